package logstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A partition that is taken up costs no disk access and little memory; one that has records and is
// idle no open file, no goroutine, little memory.
func TestIdleLogsCostLittle(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	const logs, withRecords = 2000, 100
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	began, goroutines := heap(), runtime.NumGoroutine()
	for n := range int32(logs) {
		_, err := s.Take(ID{Partition: n}, Options{})
		mustDo(t, err)
	}
	if files, err := os.ReadDir(filepath.Join(dir, logsName)); err != nil || len(files) > 0 {
		t.Errorf("%d directories of empty logs (%v)", len(files), err)
	}
	if each := (heap() - began) / logs; each > 2<<10 {
		t.Errorf("an empty log takes %d bytes", each)
	}
	began = heap()
	var m maker
	for n := range int32(withRecords) {
		l := s.Log(ID{Partition: n})
		for range 20 {
			mustDo(t, l.Append(0, []Item{{Batch: m.batch(1, 20_000, 1)}}))
		}
		reached(t, l.AckedMark(), 20)
	}
	eventually(t, func() error {
		s.caches.files.closeIdle(-time.Hour)
		if n := s.caches.files.open.Len(); n > 0 {
			return fmt.Errorf("%d files are open", n)
		}
		return nil
	})
	if each := (heap() - began) / withRecords; each > 10<<10 {
		t.Errorf("an idle log takes %d bytes", each)
	}
	if n := runtime.NumGoroutine(); n > goroutines+2 {
		t.Errorf("%d goroutines, %d without logs", n, goroutines)
	}
	stop(true)
}

// A long index of a log that is idle is not kept in memory, and is taken up again with the next append.
func TestIdleIndexIsShed(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l := taken(t, s, Options{IndexIntervalBytes: 1})
	var m maker
	all := written(t, l, &m, 300)
	mustDo(t, l.save())
	s.cfg.Now = func() time.Time { return time.Now().Add(time.Hour) }
	shed := func() {
		t.Helper()
		l.shed()
		if l.active().index.Load() != nil {
			t.Fatal("the index is in memory")
		}
	}
	shed()
	holds(t, l, all)
	all = append(all, written(t, l, &m, 10)...)
	if n := l.active().index.Load().count.Load(); n != 309 {
		t.Errorf("%d rows after 310 batches", n)
	}
	l.shed()
	if l.active().index.Load() == nil {
		t.Fatal("an index is shed that is written nowhere")
	}
	mustDo(t, l.save())
	s.cfg.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	shed()
	mustDo(t, s.writeCheckpoint())
	kill()
	s, kill = still(t, dir)
	l = taken(t, s, Options{IndexIntervalBytes: 1})
	if l.active().index.Load() != nil {
		t.Error("the index of an idle log is in memory after a start")
	}
	all = append(all, written(t, l, &m, 1)...)
	holds(t, l, all)
	kill()
}

// No more files are open than allowed and in use.
func TestOpenFilesAreBounded(t *testing.T) {
	s, stop := running(t, t.TempDir())
	s.caches.files.max = 4
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 80)
	reached(t, l.AckedMark(), l.End())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { holds(t, l, all) })
	}
	wg.Wait()
	holds(t, l, all) // what was in use at the same time goes with the next files
	s.caches.files.mu.Lock()
	if n := s.caches.files.open.Len(); n > 5 {
		t.Errorf("%d files are open", n)
	}
	s.caches.files.mu.Unlock()
	stop(true)
}

// The memory for sidecars is bounded.
func TestSidecarsAreBounded(t *testing.T) {
	var c sidecarCache
	segs := make([]segment, 100)
	for i := range segs {
		c.add(&segs[i], &sidecar{Rows: make([]indexRow, 50_000)})
	}
	if c.bytes > sidecarRoom || c.list.Len() != sidecarRoom/(50_000*24+256) {
		t.Errorf("%d sidecars of %d bytes", c.list.Len(), c.bytes)
	}
	if segs[0].loaded.Load() != nil || segs[99].loaded.Load() == nil {
		t.Error("the wrong ones are kept")
	}
	for i := range segs {
		c.forget(&segs[i])
	}
	if c.bytes != 0 || c.list.Len() != 0 {
		t.Errorf("%d sidecars of %d bytes after all are forgotten", c.list.Len(), c.bytes)
	}
}

// The segment to come is made before it is needed, and used.
func TestNextIsMadeAhead(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 3000})
	var m maker
	written(t, l, &m, 5) // more than half
	next := filepath.Join(l.dir, nextName)
	var made os.FileInfo
	eventually(t, func() (err error) {
		made, err = os.Stat(next)
		if err == nil && !l.w.next.made.Load() {
			err = errors.New("not yet known")
		}
		return err
	})
	written(t, l, &m, 2)
	last, err := os.Stat(l.active().path)
	mustDo(t, err)
	if !os.SameFile(made, last) || len(*l.segs.Load()) != 2 {
		t.Errorf("%s of %d segments is another file", last.Name(), len(*l.segs.Load()))
	}
	stop(true)
	if _, err := os.Stat(next); err == nil {
		t.Error("next is there still")
	}
}

// Readers wait for no writer and no fsync.
func TestReadersNeverBlock(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 3000})
	var m maker
	all := written(t, l, &m, 30)
	reached(t, l.AckedMark(), 60)
	s.checkpoint.mu.Lock()
	l.flush.mu.Lock()
	l.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		holds(t, l, all)
		if o, _, epoch, err := l.OffsetForTime(1); o != 0 || epoch != 0 || err != nil {
			t.Errorf("time 1: offset %d, epoch %d, %v", o, epoch, err)
		}
		if o, _, _, err := l.MaxTimestamp(); o != 1 || err != nil {
			t.Errorf("largest time: offset %d, %v", o, err)
		}
		if l.SizeFrom(0, 60, 1<<20) < 1000 || l.LastEpoch() != 0 || l.Size() == 0 {
			t.Error("size or epoch")
		}
		if e, end := l.EpochEnd(0); e != 0 || end != 60 {
			t.Errorf("epoch %d ends at %d", e, end)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a reader waits for a lock of the writer")
	}
	l.mu.Unlock()
	l.flush.mu.Unlock()
	s.checkpoint.mu.Unlock()
	<-done
	stop(true)
}
