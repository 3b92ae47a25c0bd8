package logstore

import (
	"cmp"
	"container/list"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// segment is one file of a log. Its file is opened on demand and closed when idle: file.mu is held
// for reading while it is used. What stands in it is described by index while it is written or
// fresh, and by its sidecar otherwise.
type segment struct {
	name   uint64 // index of the first entry
	base   int64  // offset of the first record that is or was here
	path   string
	cache  *fileCache
	size   atomic.Int64 // bytes that may be read
	last   atomic.Int64 // last offset, base-1 while empty
	maxTS  atomic.Int64 // largest timestamp, -1 while empty
	index  atomic.Pointer[liveIndex]
	loaded atomic.Pointer[sidecar]
	file   segmentFile
	sealed atomic.Bool // nothing is appended any more
}

// segmentFile is the open file of a segment.
type segmentFile struct {
	mu   sync.RWMutex
	f    *os.File      // nil while closed
	used atomic.Int64  // unix nanoseconds of the last use
	at   *list.Element // in the cache's list, guarded by the cache
}

func segmentPath(dir string, name uint64) string { return filepath.Join(dir, segmentFileName(name)) }

func newSegment(l *Log, name uint64, base int64) *segment {
	s := &segment{name: name, base: base, path: segmentPath(l.dir, name), cache: &l.store.files}
	s.last.Store(base - 1)
	s.maxTS.Store(-1)
	return s
}

// acquire returns the open file; release must follow.
func (s *segment) acquire() (*os.File, error) {
	for {
		s.file.mu.RLock()
		if s.file.f != nil {
			return s.file.f, nil
		}
		s.file.mu.RUnlock()
		if err := s.open(); err != nil {
			return nil, err
		}
	}
}

func (s *segment) release() {
	s.file.used.Store(time.Now().UnixNano())
	s.file.mu.RUnlock()
}

func (s *segment) open() error {
	s.file.mu.Lock()
	if s.file.f != nil {
		s.file.mu.Unlock()
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		s.file.mu.Unlock()
		return err
	}
	s.file.f = f
	s.file.used.Store(time.Now().UnixNano())
	s.file.mu.Unlock()
	s.cache.add(s)
	return nil
}

// close waits until nobody uses the file.
func (s *segment) close() error {
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	if s.file.f == nil {
		return nil
	}
	err := s.file.f.Close()
	s.file.f = nil
	return err
}

// fileCache bounds the segments that are open.
type fileCache struct {
	max int

	mu   sync.Mutex
	open list.List // of *segment, the latest opened in front; guarded by mu
}

func (c *fileCache) add(s *segment) {
	c.mu.Lock()
	s.file.at = c.open.PushFront(s)
	var victim *segment
	if c.open.Len() > c.max {
		victim = c.leastUsed()
	}
	c.mu.Unlock()
	if victim != nil && victim != s {
		c.drop(victim)
	}
}

// leastUsed looks at the segments that were opened first.
func (c *fileCache) leastUsed() *segment {
	var least *segment
	n := 0
	for e := c.open.Back(); e != nil && n < 16; e, n = e.Prev(), n+1 {
		if s := e.Value.(*segment); least == nil || s.file.used.Load() < least.file.used.Load() {
			least = s
		}
	}
	return least
}

// drop closes a segment's file. It was read or flushed, so an error of closing has nothing to tell.
func (c *fileCache) drop(s *segment) {
	c.mu.Lock()
	if s.file.at != nil {
		c.open.Remove(s.file.at)
		s.file.at = nil
	}
	c.mu.Unlock()
	s.loaded.Store(nil)
	_ = s.close()
}

func (c *fileCache) closeIdle(after time.Duration) {
	before := time.Now().Add(-after).UnixNano()
	c.mu.Lock()
	var idle []*segment
	for e := c.open.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*segment); s.file.used.Load() < before {
			idle = append(idle, s)
		}
	}
	c.mu.Unlock()
	for _, s := range idle {
		c.drop(s)
	}
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

// note takes a batch of size bytes with its prefix at pos into the index.
func (s *segment) note(x *liveIndex, b noted, interval int64) {
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
	c, err := readSidecar(sidecarPath(s.path))
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", s.path, err)
	}
	s.loaded.Store(c)
	return c, nil
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
