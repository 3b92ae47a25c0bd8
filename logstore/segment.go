package logstore

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync/atomic"

	"chronik/wire/batch"
)

// segment is one file of a log. What stands in it is described by index while it is written or
// fresh, and by its sidecar otherwise.
type segment struct {
	name   uint64 // index of the first entry
	base   int64  // offset of the first record that is or was here
	path   string
	caches *caches
	size   atomic.Int64 // bytes that may be read
	last   atomic.Int64 // last offset, base-1 while empty
	maxTS  atomic.Int64 // largest timestamp, -1 while empty
	index  atomic.Pointer[liveIndex]
	loaded atomic.Pointer[sidecar] // changed by the cache alone
	side   *list.Element           // in the cache's list; guarded by the cache
	file   segmentFile
	sealed atomic.Bool // nothing is appended any more
}

func segmentPath(dir string, name uint64) string { return filepath.Join(dir, segmentFileName(name)) }

func newSegment(l *Log, name uint64, base int64) *segment {
	s := &segment{name: name, base: base, path: segmentPath(l.dir, name), caches: &l.store.caches}
	s.last.Store(base - 1)
	s.maxTS.Store(-1)
	return s
}

// publish lets readers see what fixed describes: who sees a time sees the offset that it belongs to.
func (s *segment) publish(fixed *sidecar) {
	s.last.Store(fixed.LastOffset)
	s.maxTS.Store(fixed.MaxTimestamp)
	s.size.Store(fixed.Size)
}

// written is the index of the segment that is written. An idle log keeps none in memory: what its
// recovery point wrote down is taken up again.
func (s *segment) written() (*liveIndex, error) {
	if x := s.index.Load(); x != nil {
		return x, nil
	}
	s.caches.sidecars.forget(s) // a reader may have loaded an older one
	c, err := s.sidecar()
	if err != nil {
		return nil, err
	}
	if c.Size != s.size.Load() {
		return nil, fmt.Errorf("%w: the index of %s describes %d bytes of %d", errBadFile, s.path, c.Size, s.size.Load())
	}
	x := liveFrom(c)
	s.index.Store(x)
	s.caches.sidecars.forget(s)
	return x, nil
}

// liveIndex is the sparse index of a segment that is written. One goroutine, under the log's lock,
// adds; any may look up: a row is published by count after it was written and never changes.
type liveIndex struct {
	rows  atomic.Pointer[[]indexRow] // len is the room
	count atomic.Int64
	open  indexRow // the row that still grows, seen by the writer alone
	any   bool     // open is in use
	fixed sidecar  // everything but the rows, kept by the writer
}

// add notes a batch at pos.
func (x *liveIndex) add(offset, pos, ts, interval int64) {
	if x.any && pos-x.open.Pos >= interval {
		x.publish(x.open)
		x.open = indexRow{Offset: offset, Pos: pos, MaxTimestamp: x.open.MaxTimestamp}
	}
	if !x.any {
		x.open, x.any = indexRow{Offset: offset, Pos: pos, MaxTimestamp: ts}, true
	}
	x.open.MaxTimestamp = max(x.open.MaxTimestamp, ts)
}

func (x *liveIndex) publish(r indexRow) {
	n := x.count.Load()
	rows := x.rows.Load()
	if rows == nil || int(n) == len(*rows) {
		grown := make([]indexRow, max(16, 2*n))
		if rows != nil {
			copy(grown, *rows)
		}
		x.rows.Store(&grown)
		rows = &grown
	}
	(*rows)[n] = r
	x.count.Store(n + 1)
}

// view is the rows that are published.
func (x *liveIndex) view() []indexRow {
	n := x.count.Load()
	rows := x.rows.Load()
	if rows == nil {
		return nil
	}
	return (*rows)[:min(n, int64(len(*rows)))]
}

// all is every row, the growing one too; for the writer.
func (x *liveIndex) all() []indexRow {
	rows := slices.Clone(x.view())
	if x.any {
		rows = append(rows, x.open)
	}
	return rows
}

// liveFrom is an index that goes on where a sidecar ends.
func liveFrom(c *sidecar) *liveIndex {
	x := &liveIndex{fixed: *c}
	x.fixed.Rows = nil
	if n := len(c.Rows); n > 0 {
		closed := slices.Clone(c.Rows[:n-1])
		x.rows.Store(&closed)
		x.count.Store(int64(n - 1))
		x.open, x.any = c.Rows[n-1], true
	}
	return x
}

// note takes a batch of size bytes with its prefix at pos into the index.
func (x *liveIndex) note(b noted, interval int64) {
	x.add(b.base, b.pos, b.maxTS, interval)
	f := &x.fixed
	if f.Entries == 0 {
		f.BaseOffset, f.FirstCRC, f.MaxTimestamp, f.MaxTimestampOffset = b.base, b.crc, b.maxTS, b.last
	}
	if b.maxTS > f.MaxTimestamp {
		f.MaxTimestamp, f.MaxTimestampOffset = b.maxTS, b.last
	}
	f.Entries++
	f.LastOffset, f.LastCRC, f.Size = b.last, b.crc, b.pos+b.size
}

// noted is what an index keeps of one batch.
type noted struct {
	base, last int64
	pos, size  int64
	maxTS      int64
	crc        uint32
}

// notedAt is a batch whose entry of size bytes is at pos.
func notedAt(b batch.Batch, pos, size int64) noted {
	return noted{b.BaseOffset(), b.LastOffset(), pos, size, newestOf(b), b.CRC()}
}

// sidecar describes the segment as it is now, for the writer.
func (x *liveIndex) sidecar() *sidecar {
	c := x.fixed
	c.Rows = x.all()
	return &c
}

// rows are the rows to look up offsets in: those published, or those of the sidecar.
func (s *segment) rows() ([]indexRow, error) {
	if x := s.index.Load(); x != nil {
		return x.view(), nil
	}
	c, err := s.sidecar()
	if err != nil {
		return nil, err
	}
	return c.Rows, nil
}

// sidecar is the sidecar of a sealed segment, loaded on demand.
func (s *segment) sidecar() (*sidecar, error) {
	if c := s.loaded.Load(); c != nil {
		return c, nil
	}
	c, err := s.readSidecar()
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", s.path, err)
	}
	s.caches.sidecars.add(s, c)
	return c, nil
}

// readSidecar reads the sidecar wherever it lies.
func (s *segment) readSidecar() (*sidecar, error) {
	if staged := s.file.staged.Load(); staged != nil {
		c, err := readSidecar(stagedSidecar(*staged))
		if err == nil && s.file.staged.Load() == staged || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return readSidecar(sidecarPath(s.path))
}

func sidecarPath(segment string) string {
	return filepath.Join(filepath.Dir(segment), indexName, filepath.Base(segment))
}

// findSegment returns the index of the segment that offset lies in or after, -1 when it is before all.
func findSegment(segs []*segment, offset int64) int {
	i, exact := slices.BinarySearchFunc(segs, offset, func(s *segment, o int64) int { return cmp.Compare(s.base, o) })
	if exact {
		return i
	}
	return i - 1
}
