package logstore

import (
	"context"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// flusher puts appended bytes on disk. A few workers each take the log that waits longest and sync
// it outside every lock; what is appended to a log meanwhile rides its next turn. Logs do not wait
// for each other, and nothing turns while no log waits.
type flusher struct {
	logs func() []*Log
	now  func() time.Time
	wake chan struct{}

	mu    sync.Mutex
	queue []*Log // guarded by mu

	due     atomic.Int64 // ms, when flush.ms asks for the next flush; 0 never
	dueSoon chan struct{}
}

// parallelFlushes is how many files are synced at once. A disk takes a few, each holds a thread,
// and syncs that meet share the file system's commit.
const parallelFlushes = 8

func newFlusher(s *Store) *flusher {
	return &flusher{
		logs: s.Logs, now: s.cfg.Now,
		wake: make(chan struct{}, parallelFlushes), dueSoon: make(chan struct{}, 1),
	}
}

// A log is in the queue, or being flushed, or both one after the other, or neither.
const (
	flushIdle int32 = iota
	flushQueued
	flushRunning
	flushAgain // running, and to be queued again
)

// flushState is what the flusher knows of a log.
type flushState struct {
	phase     atomic.Int32
	end       atomic.Int64 // all below it is on disk
	since     atomic.Int64 // ms, when the oldest record came that waits for flush.ms; 0 none
	newDir    atomic.Bool  // the log's directory itself is not yet durable
	hasRolled atomic.Bool  // a sealed segment waits, also where acknowledgements wait for no flush

	mu sync.Mutex // held over the syncs of one log

	state    sync.Mutex
	segments []*segment // to be synced, in order: the last is the active one; guarded by state
	rolls    int        // of them whose name is not durable; guarded by state
	ahead    position   // end of what is written; guarded by state
	synced   position   // end of what is on disk; guarded by state
}

// written notes how far the log is written.
func (f *flushState) written(p position) {
	f.state.Lock()
	f.ahead = p
	f.state.Unlock()
}

// rolled notes a new segment.
func (f *flushState) rolled(s *segment) {
	f.state.Lock()
	defer f.state.Unlock()
	if len(f.segments) > 0 {
		f.hasRolled.Store(true)
	}
	f.segments = append(f.segments, s)
	f.rolls++
}

// recovered notes that everything up to p is on disk and s is the active segment.
func (f *flushState) recovered(s *segment, p position) {
	f.state.Lock()
	f.segments, f.rolls = nil, 0
	if s != nil {
		f.segments = append(f.segments, s)
	}
	f.ahead, f.synced = p, p
	f.state.Unlock()
	f.end.Store(p.Offset)
	f.since.Store(0)
	f.hasRolled.Store(false)
}

// lower notes that nothing above p will be left.
func (f *flushState) lower(p position) {
	f.state.Lock()
	f.synced = lesser(f.synced, p)
	f.state.Unlock()
}

// at is the end of what is on disk.
func (f *flushState) at() position {
	f.state.Lock()
	defer f.state.Unlock()
	return f.synced
}

// lesser is the position that comes first.
func lesser(a, b position) position {
	if b.Segment < a.Segment || b.Segment == a.Segment && b.Pos < a.Pos {
		return b
	}
	return a
}

// add has l flushed.
func (f *flusher) add(l *Log) {
	for {
		switch phase := l.flush.phase.Load(); phase {
		case flushIdle:
			if l.flush.phase.CompareAndSwap(phase, flushQueued) {
				f.push(l)
				return
			}
		case flushRunning:
			if l.flush.phase.CompareAndSwap(phase, flushAgain) {
				return
			}
		default:
			return
		}
	}
}

func (f *flusher) push(l *Log) {
	f.mu.Lock()
	f.queue = append(f.queue, l)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default: // as many as there are workers will look
	}
}

func (f *flusher) pop() *Log {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return nil
	}
	l := f.queue[0]
	f.queue[0] = nil
	if f.queue = f.queue[1:]; len(f.queue) == 0 {
		f.queue = f.queue[:0:0]
	}
	return l
}

func (f *flusher) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range parallelFlushes {
		g.Go(func() error { return f.work(ctx) })
	}
	g.Go(func() error { return f.watchTime(ctx) })
	return g.Wait()
}

func (f *flusher) work(ctx context.Context) error {
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil
		}
		for l := f.pop(); l != nil && ctx.Err() == nil; l = f.pop() {
			l.flush.phase.Store(flushRunning)
			l.doFlush()
			if !l.flush.phase.CompareAndSwap(flushRunning, flushIdle) {
				l.flush.phase.Store(flushQueued)
				f.push(l)
			}
		}
	}
}

// flushWithin has l flushed in so many ms at the latest, for logs whose acknowledgements wait for
// no flush.
func (f *flusher) flushWithin(l *Log, ms int64) {
	if ms == math.MaxInt64 || l.flush.since.Load() != 0 {
		return
	}
	now := f.now().UnixMilli()
	if !l.flush.since.CompareAndSwap(0, now) {
		return
	}
	if f.dueBy(now + min(ms, math.MaxInt64-now)) {
		select {
		case f.dueSoon <- struct{}{}:
		default:
		}
	}
}

// dueBy moves the next look forward to due, if it was later.
func (f *flusher) dueBy(due int64) bool {
	for {
		old := f.due.Load()
		if old != 0 && old <= due {
			return false
		}
		if f.due.CompareAndSwap(old, due) {
			return true
		}
	}
}

// dueApart keeps a node with many logs from looking through them all the time.
const dueApart = 10 * time.Millisecond

// watchTime queues logs whose oldest unflushed record is older than flush.ms: one timer for all.
func (f *flusher) watchTime(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			f.due.Store(0) // who comes from here on sets it, and wakes us
			if next := f.queueDue(); next != 0 {
				f.dueBy(next)
			}
		case <-f.dueSoon:
		case <-ctx.Done():
			return nil
		}
		timer.Reset(f.untilDue())
	}
}

// untilDue is how long to wait for the next flush that flush.ms asks for; an hour at most.
func (f *flusher) untilDue() time.Duration {
	due := f.due.Load()
	if due == 0 {
		return time.Hour
	}
	ms := min(due-f.now().UnixMilli(), time.Hour.Milliseconds())
	return max(dueApart, time.Duration(ms)*time.Millisecond)
}

// queueDue queues what is due and returns when the next log is, 0 if none waits.
func (f *flusher) queueDue() (next int64) {
	now := f.now().UnixMilli()
	for _, l := range f.logs() {
		since, limit := l.flush.since.Load(), l.options.Load().FlushMs
		if since == 0 || limit == math.MaxInt64 {
			continue
		}
		if now-since >= limit {
			f.add(l)
		} else if next == 0 || since+limit < next {
			next = since + limit
		}
	}
	return next
}

// doFlush puts on disk what the log holds now, and tells whoever waits for it.
func (l *Log) doFlush() {
	if l.flushed() {
		l.acked.notify()
	} else {
		l.tell()
	}
}

// flushed does it and says whether it went well. No fsync is repeated after an error: the pages
// may be gone.
func (l *Log) flushed() bool {
	f := &l.flush
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.Err() != nil {
		return false
	}
	var few [4]*segment
	f.state.Lock()
	segments := append(few[:0], f.segments...)
	rolls, target, synced := f.rolls, f.ahead, f.synced
	f.state.Unlock()
	f.since.Store(0)
	if target == synced && rolls == 0 {
		l.acked.raise(target.Offset)
		return true
	}
	if err := l.sync(segments, rolls); err != nil {
		_ = l.poison("flush", err) // logged there
		return false
	}
	f.state.Lock()
	if len(segments) > 1 {
		f.segments = append([]*segment(nil), f.segments[len(segments)-1:]...)
	}
	f.rolls -= rolls
	f.synced = target
	f.state.Unlock()
	f.end.Store(target.Offset)
	l.acked.raise(target.Offset)
	l.store.checkpoint.changed.Store(true)
	if target.Segment != synced.Segment {
		l.store.chores.add(l) // a sealed segment is on disk: its sidecar
	}
	return true
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
