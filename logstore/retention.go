package logstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
)

// futureSlack is how far a timestamp may be ahead of our clock and still be believed by retention.
const futureSlack = time.Hour

// retain drops what each log need not keep: log starts move first, durably, then files go.
func (s *Store) retain(context.Context) error {
	now := s.cfg.Now()
	var moved []*Log
	for _, l := range s.Logs() {
		if l.Err() != nil {
			continue
		}
		l.rollIf(func(s *segment) bool { return l.old(s, now) }) // so that it can go, too
		if l.advanceExpired(now) {
			moved = append(moved, l)
		}
	}
	if err := s.dropStrays(); err != nil || len(moved) == 0 {
		return err
	}
	s.checkpoint.mu.Lock()
	defer s.checkpoint.mu.Unlock()
	var errs []error
	for _, l := range moved {
		if s.checkpoint.at[l.id].Segment < l.firstKept() { // nothing goes that a recovery point names
			if err := l.save(); err != nil && l.Err() == nil {
				errs = append(errs, err)
			}
		}
	}
	if err := s.writePoints(s.Logs()); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, l := range moved {
		errs = append(errs, l.dropFront())
	}
	return errors.Join(errs...)
}

// rollIf seals an active segment that is on disk and that due says is to make room for the next.
func (l *Log) rollIf(due func(*segment) bool) {
	l.mu.Lock()
	err := l.rollDue(due)
	l.mu.Unlock()
	if err != nil {
		l.tell() // logged where it happened
	}
}

func (l *Log) rollDue(due func(*segment) bool) error {
	defer l.guard()
	s := l.active()
	if s == nil || l.Err() != nil || s.size.Load() == 0 || l.flush.at().Offset != l.written.Load() || !due(s) {
		return nil
	}
	if err := l.roll(l.written.Load()); err != nil {
		return l.poison("roll", err)
	}
	l.flush.written(position{l.active().name, 0, l.written.Load()})
	l.store.flusher.add(l)
	return nil
}

// advanceExpired forgets idle producers and moves the log start over the segments at the front that
// need not be kept. It says whether any can go.
func (l *Log) advanceExpired(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.producers.expire(now.UnixMilli() - l.options.Load().ProducerExpirationMs)
	segs := *l.segs.Load()
	n := l.expired(segs, now)
	if n == 0 {
		return false
	}
	l.moveStart(segs[n].base)
	return true
}

// moveStart moves the log start up; the caller holds mu.
func (l *Log) moveStart(offset int64) {
	l.start.Store(max(l.start.Load(), offset))
	l.store.checkpoint.starts.Add(1)
}

// StartsMoved counts the moves of log starts, after each.
func (s *Store) StartsMoved() int64 { return s.checkpoint.starts.Load() }

// expired counts the segments at the front that need not be kept; never the active one, nor one
// without a sidecar, for that may not be on disk, nor one that is not committed.
func (l *Log) expired(segs []*segment, now time.Time) (n int) {
	o := l.options.Load()
	size, hw := l.Size(), l.hw.Load()
	for _, s := range segs[:max(0, len(segs)-1)] {
		if s.index.Load() != nil || hw >= 0 && s.last.Load() >= hw {
			break
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
// future says nothing, nor does a missing one: the file's time stands in for it.
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
	return now.Sub(youngest) > time.Duration(min(keep, math.MaxInt64/int64(time.Millisecond)))*time.Millisecond
}

// firstKept is the first segment that retention leaves: the one with the log start, or the active one.
func (l *Log) firstKept() uint64 {
	segs := *l.segs.Load()
	for i, s := range segs {
		if s.last.Load() >= l.start.Load() || i == len(segs)-1 {
			return s.name
		}
	}
	return 0
}

// dropFront takes the segments below the log start out of the list and unlinks them, the first one
// first. The log start is durable. Readers that have one open go on.
func (l *Log) dropFront() error {
	l.mu.Lock()
	segs := *l.segs.Load()
	n, point := 0, l.store.checkpoint.at[l.id].Segment
	for n < len(segs)-1 && segs[n].last.Load() < l.start.Load() && segs[n].index.Load() == nil && segs[n].name < point {
		n++
	}
	if n == 0 || l.Err() != nil {
		l.mu.Unlock()
		return nil
	}
	rest := append([]*segment(nil), segs[n:]...)
	l.segs.Store(&rest)
	e := epochs{list: append([]epochStart(nil), l.epochs.Load().list...)}
	if e.truncateStart(l.start.Load()) {
		l.epochs.Store(&e)
		l.w.epochsNew = true
	}
	l.mu.Unlock()
	l.store.caches.discard(segs[:n])
	var errs []error
	for _, s := range segs[:n] {
		errs = append(errs, os.Remove(s.path), removeLeft(sidecarPath(s.path)))
	}
	l.store.log.Info("segments dropped", "log", l.id, "segments", n, "logStart", l.start.Load())
	errs = append(errs, syncDir(l.dir), syncDir(filepath.Join(l.dir, indexName)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drop segments of %s: %w", l.id, err)
	}
	return nil
}

// AdvanceStart moves the log start to offset, durably when it returns: records below it are
// deleted. A lower offset changes nothing; one above the acknowledged end is ErrOutOfRange.
func (l *Log) AdvanceStart(offset int64) error {
	if err := l.Err(); err != nil {
		return err
	}
	if offset > l.Flushed() && offset <= l.acked.Load() {
		l.doFlush() // the log start lies on disk, also where acknowledgements wait for no flush
		if err := l.Err(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	if offset < 0 || offset > l.acked.Load() {
		l.mu.Unlock()
		return fmt.Errorf("%w: %d is not in %d to %d", ErrOutOfRange, offset, l.start.Load(), l.acked.Load())
	}
	l.moveStart(offset)
	l.mu.Unlock()
	return l.store.writeCheckpoint()
}
