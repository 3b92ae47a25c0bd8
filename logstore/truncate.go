package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tidwall/wal"
)

// TruncateTo cuts off the batches that end above offset, which is at or above the log start, durably when it
// returns. The stock library cuts; leader epochs, producers and indexes roll back with it.
func (l *Log) TruncateTo(offset int64) error {
	err := l.truncate(offset)
	l.tell()
	l.written.notify()
	l.acked.notify()
	return err
}

// truncate holds the checkpoint's lock, so that one log of the node is truncated at a time: the
// library reads a segment whole.
func (l *Log) truncate(offset int64) error {
	l.store.checkpoint.mu.Lock()
	defer l.store.checkpoint.mu.Unlock()
	l.flush.mu.Lock()
	defer l.flush.mu.Unlock()
	l.mu.Lock()
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
	c, err := l.cutBelow(offset)
	if err != nil {
		return l.poison("truncate", err)
	}
	r := recovery{l: l, known: known{start: l.start.Load(), named: true, floor: min(l.Flushed(), c.end.Offset)}}
	r.state.preset = l.w.producers.rollback(c.end.Offset)
	r.state.producers, r.state.at = l.w.producers, c.end.Offset
	if r.from, err = l.lowerPoint(c); err != nil {
		return l.poison("truncate", err)
	}
	l.flush.lower(c.end)
	l.store.caches.discard(*l.segs.Load())
	if err := stockTruncate(l.dir, c.last); err != nil {
		return l.poison("truncate", err)
	}
	if err := r.run(); err != nil {
		return l.poison("reopen after a truncation", err)
	}
	return nil
}

// cutting is where a log is cut.
type cutting struct {
	last  uint64   // index of the last entry that stays
	end   position // behind it
	begin position // of its segment, which is written anew
}

// cutBelow finds where the entries end that lie wholly below offset: in a segment that keeps some of
// its entries, or in the first.
func (l *Log) cutBelow(offset int64) (c cutting, err error) {
	segs := *l.segs.Load()
	for i := max(findSegment(segs, offset), 0); ; i-- {
		c, err = cutIn(segs, i, offset)
		if err != nil || i == 0 || c.last >= segs[i].name {
			return c, err
		}
	}
}

func cutIn(segs []*segment, i int, offset int64) (c cutting, err error) {
	s := segs[i]
	c = cutting{s.name - 1, position{s.name, 0, s.base}, position{s.name, 0, s.base}}
	f, err := s.acquire()
	if err != nil {
		return c, err
	}
	defer s.release()
	err = walk(f, 0, s.size.Load(), func(p place) bool {
		if p.head.LastOffset() >= offset {
			return false
		}
		c.last++
		c.end.Pos, c.end.Offset = p.next(), p.head.LastOffset()+1
		return true
	})
	return c, err
}

// lowerPoint makes a recovery point durable that the cut does not reach, then forgets what speaks of
// more than will be left.
func (l *Log) lowerPoint(c cutting) (position, error) {
	saved := l.store.checkpoint.at[l.id]
	point := lesser(saved.position, c.begin)
	l.store.checkpoint.set(l.id, savedPoint{point, saved.when})
	if err := l.store.writePoints(l.store.Logs()); err != nil {
		return point, err
	}
	_, body, err := producersFile.read(filepath.Join(l.dir, producersName))
	var at int64
	if err == nil {
		_, at, err = decodeProducers(body)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) || at > c.end.Offset {
		if err := removeLeft(filepath.Join(l.dir, producersName)); err != nil {
			return point, err
		}
	}
	if err := l.forgetCleaned(c.end.Offset); err != nil {
		return point, err
	}
	for _, s := range *l.segs.Load() {
		if s.name < c.begin.Segment {
			continue
		}
		if err := removeLeft(sidecarPath(s.path)); err != nil {
			return point, err
		}
	}
	return point, errors.Join(syncDir(l.dir), syncDir(filepath.Join(l.dir, indexName)))
}

// stockTruncate keeps the entries up to index last.
func stockTruncate(dir string, last uint64) error {
	stock, err := wal.Open(dir, &wal.Options{AllowEmpty: true})
	if err != nil {
		return err
	}
	return errors.Join(stock.TruncateBack(last), stock.Close(), syncDir(dir))
}

// finishTruncation has the stock library finish what it began.
func finishTruncation(dir string) error {
	stock, err := wal.Open(dir, &wal.Options{AllowEmpty: true})
	if err != nil {
		return fmt.Errorf("finish a truncation in %s: %w", dir, err)
	}
	return errors.Join(stock.Close(), syncDir(dir))
}
