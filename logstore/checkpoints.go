package logstore

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// checkpointer writes down how far each log is known to be on disk. Its lock keeps apart all that
// writes the small files of logs: recovery points, sidecars, truncation, reopening.
type checkpointer struct {
	changed   atomic.Bool
	recovered atomic.Bool  // the logs are open: before, the file on disk is the truth
	aside     atomic.Int64 // directories of logs that are set aside
	starts    atomic.Int64 // how often the start of a log has moved

	mu     sync.Mutex
	at     map[ID]savedPoint      // guarded by mu
	strays map[ID]checkpointEntry // logs that are set aside; guarded by mu
	again  []*Log                 // whose chores failed; guarded by mu
}

// savedPoint is the recovery point of one log and when it was taken.
type savedPoint struct {
	position
	when time.Time
}

// Recovery points are taken of the logs that have gone on furthest until what a start would have to
// read is bounded, and bit by bit of those that lie back for long: each costs a few fsyncs.
const (
	unsavedBytes = 256 << 20
	saveAfter    = time.Minute
	oldPerRound  = 32
)

// manyRows is how many index rows an idle log need not keep in memory.
const manyRows = 64

func (c *checkpointer) failed(l *Log) {
	c.mu.Lock()
	c.again = append(c.again, l)
	c.mu.Unlock()
}

func (c *checkpointer) set(id ID, p savedPoint) { c.at[id] = p }

// checkpointRound takes new recovery points where that is worth it and writes the checkpoint, if
// anything changed.
func (s *Store) checkpointRound(context.Context) error {
	c := &s.checkpoint
	logs := s.Logs()
	c.mu.Lock()
	for _, l := range c.again {
		s.chores.add(l)
	}
	c.again = nil
	for _, l := range logs {
		l.shed()
	}
	if !c.recovered.Load() || !c.changed.Swap(false) {
		c.mu.Unlock()
		return nil
	}
	chosen, more := s.worthSaving(logs)
	c.mu.Unlock()

	var errs []error
	for _, l := range chosen {
		c.mu.Lock() // each by itself: others may be waiting
		if err := l.save(); err != nil && l.Err() == nil {
			errs = append(errs, err)
		}
		c.mu.Unlock()
	}
	err := errors.Join(append(errs, s.writeCheckpoint())...)
	if err != nil || more {
		c.changed.Store(true)
	}
	return err
}

// worthSaving chooses the logs to take a new recovery point of; more says that others lie back.
func (s *Store) worthSaving(logs []*Log) (chosen []*Log, more bool) {
	type behind struct {
		l     *Log
		bytes int64
		when  time.Time
	}
	var all []behind
	var total int64
	for _, l := range logs {
		saved := s.checkpoint.at[l.id]
		if bytes := l.bytesSince(saved.position); l.Err() == nil && (bytes > 0 || l.flush.at() != saved.position) {
			all = append(all, behind{l, bytes, saved.when})
			total += bytes
		}
	}
	slices.SortFunc(all, func(a, b behind) int { return cmp.Compare(b.bytes, a.bytes) })
	now, old := s.cfg.Now(), 0
	for _, b := range all {
		switch {
		case total > unsavedBytes:
			total -= b.bytes
		case now.Sub(b.when) >= saveAfter && old < oldPerRound:
			old++
		default:
			more = true
			continue
		}
		chosen = append(chosen, b.l)
	}
	return chosen, more
}

// bytesSince counts the bytes on disk behind a position.
func (l *Log) bytesSince(p position) (n int64) {
	at := l.flush.at()
	for _, s := range *l.segs.Load() {
		switch size := s.size.Load(); {
		case s.name < p.Segment || s.name > at.Segment:
		case s.name == at.Segment:
			n += at.Pos
		default:
			n += size
		}
		if s.name == p.Segment {
			n -= p.Pos
		}
	}
	return max(n, 0)
}

// writeCheckpoint writes the checkpoint as the logs are, durably when it returns.
func (s *Store) writeCheckpoint() error {
	s.checkpoint.mu.Lock()
	defer s.checkpoint.mu.Unlock()
	return s.writePoints(s.Logs())
}

// writePoints is writeCheckpoint for a caller that holds the checkpoint's lock. A log that is out of
// service keeps the recovery point that it had: it is the witness of what was on disk.
func (s *Store) writePoints(logs []*Log) error {
	c := &s.checkpoint
	entries := make([]checkpointEntry, 0, len(logs)+len(c.strays))
	for _, l := range logs {
		entries = append(entries, checkpointEntry{
			ID: l.id, Recovery: c.at[l.id].position, Start: l.start.Load(), HighWatermark: max(l.hw.Load(), l.hint.Load()),
		})
	}
	for _, e := range c.strays {
		entries = append(entries, e)
	}
	if len(c.at) > len(logs) {
		for id := range c.at {
			if s.Log(id) == nil {
				delete(c.at, id)
			}
		}
	}
	slices.SortFunc(entries, func(a, b checkpointEntry) int {
		return cmp.Or(slices.Compare(a.ID.Topic[:], b.ID.Topic[:]), cmp.Compare(a.ID.Partition, b.ID.Partition))
	})
	if err := writeCheckpoint(filepath.Join(s.cfg.Dir, checkpointName), entries); err != nil {
		return err
	}
	for _, l := range logs {
		l.named.Store(true)
	}
	return nil
}

// save makes the present end of the log its recovery point: it takes index and producers as of now,
// has everything up to here flushed, and writes them down. The caller holds the checkpoint's lock
// and then writes the checkpoint, which so never names more than these files say.
func (l *Log) save() error {
	p, err := l.savePoint()
	if err == nil && p.Segment != 0 {
		l.store.checkpoint.set(l.id, savedPoint{p, l.store.cfg.Now()})
	}
	return err
}

// savedState is what a recovery point consists of.
type savedState struct {
	index     *sidecar // nil: the one on disk is right
	producers []byte
	epochs    []byte // nil: they are written down
}

func (l *Log) savePoint() (position, error) {
	l.mu.Lock()
	s := l.active()
	if err := l.Err(); err != nil || s == nil {
		l.mu.Unlock()
		return position{}, err
	}
	p := position{s.name, s.size.Load(), l.written.Load()}
	state := savedState{producers: l.w.producers.encode(p.Offset)}
	if x := s.index.Load(); x != nil && p.Pos > 0 {
		state.index = x.sidecar()
	}
	if l.w.epochsNew {
		state.epochs = l.epochs.Load().encode()
	}
	l.mu.Unlock()

	if l.Flushed() < p.Offset || l.flush.at().Segment < p.Segment {
		l.doFlush()
	}
	if err := l.Err(); err != nil {
		return position{}, err
	}
	return p, l.saveState(s, state)
}

// saveState writes down what belongs to a recovery point in segment s.
func (l *Log) saveState(s *segment, state savedState) error {
	if state.epochs != nil {
		if err := epochsFile.stage(filepath.Join(l.dir, epochsName), state.epochs); err != nil {
			return err
		}
	}
	if state.index != nil && s.index.Load() != nil { // else its full sidecar has come meanwhile
		if err := state.index.write(sidecarPath(s.path)); err != nil {
			return err
		}
	}
	if err := producersFile.write(filepath.Join(l.dir, producersName), state.producers); err != nil {
		return err
	}
	if state.epochs != nil {
		l.mu.Lock()
		l.w.epochsNew = string(l.epochs.Load().encode()) != string(state.epochs)
		l.mu.Unlock()
	}
	return nil
}

// shed forgets the index of a log that has not been written since its recovery point: the sidecar
// there says the same. The caller holds the checkpoint's lock.
func (l *Log) shed() {
	saved := l.store.checkpoint.at[l.id]
	s := l.active()
	if s == nil || saved.Segment != s.name || l.store.cfg.Now().Sub(saved.when) < saveAfter {
		return
	}
	if x := s.index.Load(); x == nil || x.count.Load() < manyRows {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == l.active() && saved.position == (position{s.name, s.size.Load(), l.written.Load()}) {
		s.caches.sidecars.forget(s)
		s.index.Store(nil)
	}
}
