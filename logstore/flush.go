package logstore

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// flusher puts appended bytes on disk: it takes all logs that want it, syncs them outside every
// lock, a few at once, and wakes who waits. What is appended meanwhile rides the next round.
type flusher struct {
	wake chan struct{}

	mu    sync.Mutex
	queue []*Log // guarded by mu
}

// parallelFlushes is how many files are synced at once: a disk takes a few, and each holds a thread.
const parallelFlushes = 4

// flushState is what the flusher knows of a log.
type flushState struct {
	queued atomic.Bool
	end    atomic.Int64 // all below it is on disk
	since  atomic.Int64 // ms, when the oldest record came that waits for flush.ms; 0 none
	newDir atomic.Bool  // the log's directory itself is not yet durable

	hasRolled atomic.Bool // a sealed segment waits, also where acknowledgements wait for no flush
	mu        sync.Mutex  // held over the syncs of one log

	state    sync.Mutex
	segments []*segment // to be synced, in order: the last is the active one; guarded by state
	rolls    int        // of them whose name is not durable; guarded by state
	ahead    position   // end of what is written; guarded by state
	synced   position   // end of what is on disk; guarded by state
}

// written notes how far the log is written.
func (f *flushState) written(segment uint64, pos, offset int64) {
	f.state.Lock()
	f.ahead = position{segment, pos, offset}
	f.state.Unlock()
}

// rolled notes a new segment.
func (f *flushState) rolled(s *segment) {
	f.state.Lock()
	f.segments = append(f.segments, s)
	f.rolls++
	f.state.Unlock()
	f.hasRolled.Store(true)
}

// recovered notes that everything up to p is on disk and s is the active segment.
func (f *flushState) recovered(s *segment, p position) {
	f.state.Lock()
	f.segments, f.rolls = f.segments[:0], 0
	if s != nil {
		f.segments = append(f.segments, s)
	}
	f.ahead, f.synced = p, p
	f.state.Unlock()
	f.end.Store(p.Offset)
	f.since.Store(0)
}

// at is the end of what is on disk.
func (f *flushState) at() position {
	f.state.Lock()
	defer f.state.Unlock()
	return f.synced
}

// add has l flushed in the next round.
func (f *flusher) add(l *Log) {
	if l.flush.queued.Swap(true) {
		return
	}
	f.mu.Lock()
	f.queue = append(f.queue, l)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *flusher) run(ctx context.Context) error {
	var round []*Log
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil
		}
		f.mu.Lock()
		round, f.queue = f.queue, round[:0]
		f.mu.Unlock()
		flushAll(round)
		clear(round)
	}
}

// flushAll flushes logs. An error stops its log and is told to whoever waits there.
func flushAll(logs []*Log) {
	if len(logs) == 1 {
		logs[0].doFlush()
		return
	}
	var g errgroup.Group
	g.SetLimit(parallelFlushes)
	for _, l := range logs {
		g.Go(func() error {
			l.doFlush()
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
}

// finish flushes everything, after run has ended.
func (f *flusher) finish(logs []*Log) { flushAll(logs) }

// doFlush puts on disk what the log holds now. No fsync is repeated after an error: the pages may
// be gone.
func (l *Log) doFlush() {
	f := &l.flush
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queued.Store(false) // from here on an append queues the log again
	if l.Err() != nil {
		return
	}
	f.state.Lock()
	segments := append([]*segment(nil), f.segments...)
	rolls, target, synced := f.rolls, f.ahead, f.synced
	f.state.Unlock()
	f.since.Store(0)
	if target == synced && rolls == 0 {
		l.acked.advance(target.Offset)
		return
	}
	if err := l.sync(segments, rolls); err != nil {
		_ = l.poison("flush", err) // logged there, and told to who waits
		return
	}
	f.state.Lock()
	f.segments = f.segments[len(segments)-1:]
	f.rolls -= rolls
	f.synced = target
	f.state.Unlock()
	f.end.Store(target.Offset)
	l.acked.advance(target.Offset)
	l.store.checkpoint.changed.Store(true)
	l.writeSidecars(segments[:len(segments)-1])
}

// sync syncs the old segments, then the names of new ones, then the active one.
func (l *Log) sync(segments []*segment, rolls int) error {
	last := len(segments) - 1
	for i, s := range segments {
		if i == last && rolls > 0 {
			if err := l.syncNames(); err != nil {
				return err
			}
		}
		if err := s.sync(); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) syncNames() error {
	if err := syncDir(l.dir); err != nil {
		return err
	}
	if !l.flush.newDir.Load() {
		return nil
	}
	if err := syncDir(filepath.Dir(l.dir)); err != nil {
		return err
	}
	l.flush.newDir.Store(false)
	return nil
}

func (s *segment) sync() error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	for {
		if err = unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// writeSidecars writes down the indexes of sealed segments that are on disk. Without a sidecar a
// segment keeps its index in memory, and the next start reads the segment.
func (l *Log) writeSidecars(sealed []*segment) {
	for _, s := range sealed {
		x := s.index.Load()
		if x == nil || !s.sealed.Load() {
			continue
		}
		c := x.sidecar()
		if err := c.write(sidecarPath(s.path)); err != nil {
			l.store.log.Warn("sidecar not written", "segment", s.path, "err", err)
			continue
		}
		s.loaded.Store(c)
		s.index.Store(nil)
	}
}

// flushByTime queues a log whose oldest unflushed record is older than flush.ms.
func (l *Log) flushByTime() {
	since, limit := l.flush.since.Load(), l.options.Load().FlushMs
	if since > 0 && limit < l.store.cfg.Now().UnixMilli()-since {
		l.store.flusher.add(l)
	}
}
