package logstore

import (
	"container/list"
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// caches bound what the logs of a store hold open and in memory.
type caches struct {
	files    fileCache
	sidecars sidecarCache
}

// sidecarRoom is the memory for the indexes of sealed segments.
const sidecarRoom = 32 << 20

// segmentFile is the open file of a segment: mu is held for reading while it is used.
type segmentFile struct {
	mu      sync.RWMutex
	f       *os.File               // nil while closed; guarded by mu
	gone    bool                   // the segment left the log: not to be opened again; guarded by mu
	used    atomic.Int64           // unix nanoseconds of the last use
	at      *list.Element          // in the cache's list; guarded by the cache
	staged  atomic.Pointer[string] // where the file is until a compaction gives it its name
	checked checkedSpans
}

// errGone says that a segment was replaced: the log's present list leads on.
var errGone = errors.New("segment left the log")

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
	defer s.file.mu.Unlock()
	if s.file.gone {
		return errGone
	}
	if s.file.f != nil {
		return nil
	}
	f, err := s.openFile()
	if err != nil {
		return err
	}
	s.file.f = f
	s.file.used.Store(time.Now().UnixNano())
	s.caches.files.add(s)
	return nil
}

// openFile opens the file wherever it lies.
func (s *segment) openFile() (*os.File, error) {
	if staged := s.file.staged.Load(); staged != nil {
		f, err := os.OpenFile(*staged, os.O_RDWR, 0)
		if err == nil && s.file.staged.Load() == staged {
			return f, nil
		}
		if err == nil { // may be of the next compaction
			err = f.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return os.OpenFile(s.path, os.O_RDWR, 0)
}

// fileCache bounds the segments that are open.
type fileCache struct {
	max int

	mu   sync.Mutex
	open list.List // of *segment, the latest opened in front; guarded by mu
}

// openFiles is how many segments may be open: well below what the process may open.
func openFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 256
	}
	return int(max(16, min(limit.Cur/4, 4096)))
}

// add takes a file in and closes what was not used for long. The caller holds the file's lock.
func (c *fileCache) add(s *segment) {
	c.mu.Lock()
	s.file.at = c.open.PushFront(s)
	c.mu.Unlock()
	for range 16 { // those in use stay, so there may be more to close than one
		c.mu.Lock()
		var victim *segment
		if c.open.Len() > c.max {
			victim = c.leastUsed(s)
		}
		c.mu.Unlock()
		if victim == nil {
			return
		}
		c.evict(victim)
	}
}

// leastUsed looks at the segments that were opened first, other than the one that just was.
func (c *fileCache) leastUsed(opened *segment) *segment {
	var least *segment
	n := 0
	for e := c.open.Back(); e != nil && n < 16; e, n = e.Prev(), n+1 {
		s := e.Value.(*segment)
		if s != opened && (least == nil || s.file.used.Load() < least.file.used.Load()) {
			least = s
		}
	}
	return least
}

// evict closes a file unless it is in use: nobody is to wait for a reader or an fsync.
func (c *fileCache) evict(s *segment) {
	if s.file.mu.TryLock() {
		c.close(s)
		s.file.mu.Unlock()
		return
	}
	c.mu.Lock()
	if s.file.at != nil {
		c.open.MoveToFront(s.file.at)
	}
	c.mu.Unlock()
}

// close closes a file under its lock. An error of closing has nothing to tell: what was written is
// not called flushed before a sync of the file, opened anew, has gone well.
func (c *fileCache) close(s *segment) {
	if s.file.f == nil {
		return
	}
	_ = s.file.f.Close()
	s.file.f = nil
	s.file.checked.forget()
	c.mu.Lock()
	c.open.Remove(s.file.at)
	s.file.at = nil
	c.mu.Unlock()
}

// closeIdle closes what was not used for a while.
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
		c.evict(s)
	}
}

// discard ends segments that leave their log, once their readers have let go of them.
func (c *caches) discard(segs []*segment) {
	for _, s := range segs {
		s.file.mu.Lock()
		s.file.gone = true
		c.files.close(s)
		s.file.mu.Unlock()
		c.sidecars.forget(s)
	}
}

// sidecarCache bounds the memory of loaded sidecars: those loaded first go first.
type sidecarCache struct {
	mu    sync.Mutex
	bytes int64     // guarded by mu
	list  list.List // of *segment, the latest loaded in front; guarded by mu
}

func (c *sidecar) memory() int64 { return 256 + int64(len(c.Rows))*24 }

// add notes that s has loaded a sidecar.
func (c *sidecarCache) add(s *segment, side *sidecar) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(s)
	s.loaded.Store(side)
	s.side = c.list.PushFront(s)
	c.bytes += side.memory()
	for c.bytes > sidecarRoom && c.list.Len() > 1 {
		c.remove(c.list.Back().Value.(*segment))
	}
}

func (c *sidecarCache) forget(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(s)
}

func (c *sidecarCache) remove(s *segment) {
	if s.side == nil {
		return
	}
	c.list.Remove(s.side)
	s.side = nil
	c.bytes -= s.loaded.Swap(nil).memory()
}
