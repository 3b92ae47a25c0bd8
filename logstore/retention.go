package logstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tidwall/wal"
)

// futureSlack is how far a timestamp may be ahead of our clock and still be believed by retention.
const futureSlack = time.Hour

// retain drops what each log need not keep: log starts move first, durably, then files go.
func (s *Store) retain(context.Context) error {
	now := s.cfg.Now()
	type drop struct {
		l *Log
		n int
	}
	var drops []drop
	for _, l := range s.Logs() {
		if l.Err() != nil {
			continue
		}
		l.rollExpired(now)
		l.mu.Lock()
		l.w.producers.expire(now.UnixMilli() - l.options.Load().ProducerExpirationMs)
		n := l.expired(now)
		if n > 0 {
			segs := *l.segs.Load()
			l.start.Store(max(l.start.Load(), segs[n].base))
			drops = append(drops, drop{l, n})
		}
		l.mu.Unlock()
	}
	if len(drops) == 0 {
		return s.dropStrays()
	}
	if err := s.writeCheckpointNow(); err != nil {
		return err
	}
	errs := []error{s.dropStrays()}
	for _, d := range drops {
		errs = append(errs, d.l.dropFront(d.n))
	}
	return errors.Join(errs...)
}

// rollExpired seals an active segment of which nothing need be kept, so that it can go too.
func (l *Log) rollExpired(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.guard()
	s := l.active()
	if s == nil || s.size.Load() == 0 || !l.old(s, now) || l.flush.at().Offset != l.written.Load() {
		return
	}
	if err := l.roll(l.written.Load()); err != nil {
		_ = l.poison("roll", err) // logged there
		return
	}
	l.flush.written(l.active().name, 0, l.written.Load())
	l.store.flusher.add(l)
}

// expired counts the segments at the front that need not be kept; never the active one.
func (l *Log) expired(now time.Time) int {
	segs := *l.segs.Load()
	o := l.options.Load()
	size := l.Size()
	n := 0
	for _, s := range segs[:max(0, len(segs)-1)] {
		if s.last.Load() >= l.acked.Load() || s.index.Load() != nil {
			break // not yet on disk, or without a sidecar
		}
		size -= s.size.Load()
		bySize := o.RetentionBytes > 0 && size >= o.RetentionBytes
		if !bySize && !l.old(s, now) && s.last.Load() >= l.start.Load() {
			break
		}
		n++
	}
	return n
}

// old reports whether the youngest record of a segment is past its time. A timestamp from the
// future says nothing: the file's time stands in for it.
func (l *Log) old(s *segment, now time.Time) bool {
	keep := l.options.Load().RetentionMs
	if keep <= 0 {
		return false
	}
	youngest := time.UnixMilli(s.maxTS.Load())
	if s.maxTS.Load() < 0 || youngest.After(now.Add(futureSlack)) {
		st, err := os.Stat(s.path)
		if err != nil {
			return false
		}
		youngest = st.ModTime()
	}
	return now.Sub(youngest) > time.Duration(min(keep, int64(1<<62)/int64(time.Millisecond)))*time.Millisecond
}

// dropFront takes n segments out of the list and unlinks them. Readers that have one open go on.
func (l *Log) dropFront(n int) error {
	l.mu.Lock()
	segs := *l.segs.Load()
	if n >= len(segs) || l.Err() != nil {
		l.mu.Unlock()
		return nil
	}
	rest := append([]*segment(nil), segs[n:]...)
	l.segs.Store(&rest)
	l.w.epochs.truncateStart(l.start.Load())
	l.w.epochsNew = true
	l.mu.Unlock()
	var errs []error
	for _, s := range segs[:n] {
		l.store.files.drop(s)
		errs = append(errs, os.Remove(s.path), removeLeft(sidecarPath(s.path)))
	}
	l.store.log.Info("segments dropped", "log", l.id, "segments", n, "logStart", l.start.Load())
	return errors.Join(errs...)
}

// AdvanceStart moves the log start to offset, durably when it returns: records below it are
// deleted. A lower offset changes nothing; one above the acknowledged end is ErrOutOfRange.
func (l *Log) AdvanceStart(offset int64) error {
	if err := l.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if offset < 0 || offset > l.acked.Load() {
		l.mu.Unlock()
		return fmt.Errorf("%w: %d is not in %d to %d", ErrOutOfRange, offset, l.start.Load(), l.acked.Load())
	}
	if offset <= l.start.Load() {
		l.mu.Unlock()
		return nil
	}
	l.start.Store(offset)
	l.mu.Unlock()
	return l.store.writeCheckpointNow()
}

// TruncateTo cuts the log to end at offset, a batch boundary at or above its start, durably when it
// returns. The stock library cuts; everything else of the log is rebuilt from what it leaves.
func (l *Log) TruncateTo(offset int64) error {
	l.store.checkpoint.mu.Lock()
	l.flush.mu.Lock()
	l.mu.Lock()
	defer l.store.checkpoint.mu.Unlock()
	defer l.flush.mu.Unlock()
	defer l.mu.Unlock()
	defer l.guard()
	if err := l.Err(); err != nil {
		return err
	}
	if offset >= l.written.Load() {
		return nil
	}
	if offset < l.start.Load() {
		return fmt.Errorf("%w: %d is below the log start %d", ErrOutOfRange, offset, l.start.Load())
	}
	keep, at, err := l.entriesBelow(offset)
	if err != nil {
		return l.poison("truncate", err)
	}
	if err := l.lowerPoint(at); err != nil {
		return l.poison("truncate", err)
	}
	for _, s := range *l.segs.Load() {
		l.store.files.drop(s)
	}
	if err := stockTruncate(l.dir, keep); err != nil {
		return l.poison("truncate", err)
	}
	r := recovery{l: l, from: at, start: l.start.Load()}
	if err := r.run(); err != nil {
		return l.poison("reopen after a truncation", err)
	}
	return nil
}

// entriesBelow finds the index of the last entry below offset, and where that one's segment begins.
func (l *Log) entriesBelow(offset int64) (last uint64, at position, err error) {
	segs := *l.segs.Load()
	i := max(findSegment(segs, offset), 0)
	if i > 0 && segs[i].base == offset {
		i--
	}
	s := segs[i]
	f, err := s.acquire()
	if err != nil {
		return 0, at, err
	}
	defer s.release()
	last = s.name - 1
	err = walk(f, 0, s.size.Load(), func(p place) bool {
		if p.last >= offset {
			return false
		}
		last++
		return true
	})
	return last, position{Segment: s.name, Pos: 0, Offset: s.base}, err
}

// lowerPoint makes a recovery point durable that the cut does not reach, and forgets what speaks of
// more than will be left.
func (l *Log) lowerPoint(at position) error {
	if l.store.checkpoint.at == nil {
		l.store.checkpoint.at = map[ID]savedPoint{}
	}
	l.store.checkpoint.at[l.id] = savedPoint{position: at}
	entries, err := readCheckpoint(filepath.Join(l.store.cfg.Dir, checkpointName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for i := range entries {
		if entries[i].ID == l.id {
			entries[i].Recovery = at
		}
	}
	return errors.Join(
		writeCheckpoint(filepath.Join(l.store.cfg.Dir, checkpointName), entries),
		removeLeft(filepath.Join(l.dir, producersName)),
		removeLeft(filepath.Join(l.dir, epochsName)),
		removeLeft(sidecarPath(segmentPath(l.dir, at.Segment))),
		syncDir(l.dir))
}

// stockTruncate keeps the entries up to index last.
func stockTruncate(dir string, last uint64) error {
	stock, err := wal.Open(dir, &wal.Options{AllowEmpty: true})
	if err != nil {
		return err
	}
	return errors.Join(stock.TruncateBack(last), stock.Close(), syncDir(dir))
}

// tryReopen brings a poisoned log back once its wait is over and the disk has space: cut to its
// flushed end, then recovered as after a crash.
func (l *Log) tryReopen() {
	t := l.trouble.Load()
	now := l.store.cfg.Now()
	if t == nil || t.offline || now.Before(t.next) || l.store.disk.full.Load() {
		return
	}
	if err := l.reopen(); err != nil {
		again := *t
		again.wait = min(2*t.wait, 30*time.Second)
		again.next = now.Add(again.wait)
		l.trouble.Store(&again)
		l.store.log.Warn("log not reopened", "log", l.id, "again", again.wait, "err", err)
		return
	}
	l.store.log.Info("log reopened", "log", l.id, "end", l.End())
	if l.store.cfg.OnReopen != nil {
		l.store.cfg.OnReopen(l.id)
	}
}

func (l *Log) reopen() error {
	l.flush.mu.Lock()
	defer l.flush.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.guard()
	for _, s := range *l.segs.Load() {
		l.store.files.drop(s)
	}
	at := l.flush.at()
	names, err := segmentsIn(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range names {
		path := segmentPath(l.dir, name)
		switch {
		case name > at.Segment:
			err = os.Remove(path)
		case name == at.Segment:
			err = truncateFile(path, at.Pos)
		}
		if err != nil {
			return err
		}
	}
	if len(names) > 0 {
		if err := syncDir(l.dir); err != nil {
			return err
		}
	}
	r := recovery{l: l, from: at, start: l.start.Load()}
	return r.run()
}
