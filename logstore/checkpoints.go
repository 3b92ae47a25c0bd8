package logstore

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chronik/wire/batch"
)

// checkpointer writes down how far each log is known to be on disk.
type checkpointer struct {
	changed   atomic.Bool
	recovered atomic.Bool // the logs are open: before, the file on disk is the truth

	mu sync.Mutex        // one writer
	at map[ID]savedPoint // guarded by mu
}

// savedPoint is the recovery point of one log and when it was taken.
type savedPoint struct {
	position
	when time.Time
}

// What a log must have grown by, or how long ago its recovery point must be, to take a new one: it
// costs two small files.
const (
	saveAfterBytes = 8 << 20
	saveAfter      = time.Minute
)

// batchHead is a batch of which only the header is there.
type batchHead = batch.Batch

// headers visits the headers of the batches from offset from to end.
func (l *Log) headers(from, end int64, visit func(batchHead)) error {
	segs := *l.segs.Load()
	head := make([]byte, batch.HeaderLen)
	for i := max(findSegment(segs, from), 0); i < len(segs); i++ {
		s := segs[i]
		if s.last.Load() < from || s.base >= end {
			continue
		}
		if err := s.headers(from, head, visit); err != nil {
			return err
		}
	}
	return nil
}

func (s *segment) headers(from int64, head []byte, visit func(batchHead)) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	first, err := s.find(f, s.size.Load(), from)
	if err != nil || first.size == 0 {
		return err
	}
	var bad error
	err = walk(f, first.pos, s.size.Load(), func(p place) bool {
		if _, bad = f.ReadAt(head, p.pos+p.prefix); bad != nil {
			return false
		}
		visit(head)
		return true
	})
	return errors.Join(err, bad)
}

// writeCheckpoint writes the checkpoint if anything changed.
func (s *Store) writeCheckpoint(context.Context) error {
	if !s.checkpoint.recovered.Load() || !s.checkpoint.changed.Swap(false) {
		return nil
	}
	return s.writeCheckpointNow()
}

// writeCheckpointNow takes new recovery points where that is worth it and writes the checkpoint,
// durably when it returns. Files of its logs come first, so that the checkpoint never names more
// than they say.
func (s *Store) writeCheckpointNow() error {
	if !s.checkpoint.recovered.Load() {
		return nil
	}
	s.checkpoint.mu.Lock()
	defer s.checkpoint.mu.Unlock()
	if s.checkpoint.at == nil {
		s.checkpoint.at = map[ID]savedPoint{}
	}
	logs := s.Logs()
	entries := make([]checkpointEntry, 0, len(logs))
	var errs []error
	for _, l := range logs {
		saved, known := s.checkpoint.at[l.id]
		if !known || l.worthSaving(saved) {
			p, err := l.savePoint()
			if err == nil {
				saved = savedPoint{p, s.cfg.Now()}
				s.checkpoint.at[l.id] = saved
			} else if l.Err() == nil {
				errs = append(errs, err)
			}
		}
		entries = append(entries, checkpointEntry{ID: l.id, Recovery: saved.position, Start: l.start.Load(), HighWatermark: l.acked.Load()})
	}
	for id := range s.checkpoint.at {
		if s.Log(id) == nil {
			delete(s.checkpoint.at, id)
		}
	}
	slices.SortFunc(entries, func(a, b checkpointEntry) int {
		return slices.Compare(appendID(nil, a.ID), appendID(nil, b.ID))
	})
	errs = append(errs, writeCheckpoint(filepath.Join(s.cfg.Dir, checkpointName), entries))
	return errors.Join(errs...)
}

// worthSaving says whether a log has gone on far enough from its recovery point.
func (l *Log) worthSaving(saved savedPoint) bool {
	at := l.flush.at()
	if at == saved.position || l.Err() != nil {
		return false
	}
	return at.Segment != saved.Segment || at.Pos-saved.Pos >= saveAfterBytes || l.store.cfg.Now().Sub(saved.when) >= saveAfter
}

// savePoint makes the present end of the log its recovery point: it takes index and producers as
// of now, has everything up to here flushed, and writes them down.
func (l *Log) savePoint() (position, error) {
	l.mu.Lock()
	s := l.active()
	if err := l.Err(); err != nil || s == nil {
		l.mu.Unlock()
		return position{}, err
	}
	p := position{s.name, s.size.Load(), l.written.Load()}
	index := s.index.Load().sidecar()
	producersBody := l.w.producers.encode(p.Offset)
	var epochsBody []byte
	if l.w.epochsNew {
		epochsBody = l.w.epochs.encode()
	}
	l.mu.Unlock()

	if l.Flushed() < p.Offset {
		l.doFlush()
		if err := l.Err(); err != nil {
			return position{}, err
		}
	}
	return p, l.saveFiles(p, index, producersBody, epochsBody)
}

// saveFiles writes what belongs to a recovery point.
func (l *Log) saveFiles(p position, index *sidecar, producersBody, epochsBody []byte) error {
	l.flush.mu.Lock() // not while the log is truncated or reopened
	defer l.flush.mu.Unlock()
	if epochsBody != nil {
		if err := epochsFile.stage(filepath.Join(l.dir, epochsName), epochsBody); err != nil {
			return err
		}
	}
	if index.Size > 0 {
		if err := index.write(sidecarPath(segmentPath(l.dir, p.Segment))); err != nil {
			return err
		}
	}
	if err := producersFile.write(filepath.Join(l.dir, producersName), producersBody); err != nil {
		return err
	}
	if epochsBody != nil {
		l.mu.Lock()
		l.w.epochsNew = l.w.epochs.last() < 0 || string(l.w.epochs.encode()) != string(epochsBody)
		l.mu.Unlock()
	}
	return nil
}

// close ends a log that is flushed, for a clean stop.
func (l *Log) close() (cleanEntry, error) {
	p := l.flush.at()
	var err error
	if p.Segment != 0 {
		var saved position
		saved, err = l.savePoint()
		l.store.checkpoint.mu.Lock()
		if l.store.checkpoint.at != nil && err == nil {
			l.store.checkpoint.at[l.id] = savedPoint{saved, l.store.cfg.Now()}
		}
		l.store.checkpoint.mu.Unlock()
	}
	for _, s := range *l.segs.Load() {
		l.store.files.drop(s)
	}
	return cleanEntry{ID: l.id, Segment: p.Segment, Size: p.Pos, End: p.Offset}, err
}
