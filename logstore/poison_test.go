package logstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// broken makes the next write or fsync of the active segment fail.
func broken(t testing.TB, l *Log) {
	t.Helper()
	s := l.active()
	f, err := s.acquire()
	mustDo(t, err)
	mustDo(t, f.Close())
	s.release()
}

func serving(t testing.TB, l *Log) {
	t.Helper()
	eventually(t, l.Err)
}

// After an error of a write the log tells everybody, and is back by itself, cut to its flushed end.
func TestWriteErrorPoisons(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	reopened := make(chan ID, 10)
	s.cfg.OnReopen = func(id ID) { reopened <- id }
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 11)
	reached(t, l.AckedMark(), 22)
	w := Waiter{At: 100, Waker: make(chanWaker, 1)}
	l.AckedMark().Wait(&w)
	broken(t, l)
	err := l.Append(0, []Item{{Batch: m.batch(1, 10, 1)}})
	if !errors.Is(err, ErrPoisoned) {
		t.Fatalf("append to a broken file: %v", err)
	}
	if told := <-w.Waker.(chanWaker); !errors.Is(told, ErrPoisoned) {
		t.Errorf("who waited was told %v", told)
	}
	if _, err := l.Read(nil, 0, 22, 1000); !errors.Is(err, ErrPoisoned) {
		t.Errorf("read of a stopped log: %v", err)
	}
	serving(t, l)
	if id := <-reopened; id != testID {
		t.Errorf("reopened %v", id)
	}
	holds(t, l, all)
	if err := l.Append(0, []Item{{Batch: m.batch(1, 10, 1)}}); !errors.Is(err, ErrFencedEpoch) {
		t.Errorf("append in the epoch of the records that were cut: %v", err)
	}
	if l.mended.Load() == nil {
		t.Error("the next trouble does not know of this one")
	}
	all = append(all, written(t, l, &m, 5)...)
	reached(t, l.AckedMark(), 32)
	stop(true)
	s, stop = running(t, dir)
	holds(t, taken(t, s, Options{}), all)
	stop(true)
}

// A failed fsync is not repeated: what it was to cover is cut, though the file has it. Where it was
// acknowledged from the page cache the log is noted as one that may be short.
func TestFlushErrorCutsToFlushedEnd(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l := taken(t, s, Options{FlushMessages: 1 << 60, SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 3)
	l.doFlush()
	written(t, l, &m, 12) // several segments
	if l.Acked() != 30 || l.Flushed() != 6 {
		t.Fatalf("acked %d, flushed %d", l.Acked(), l.Flushed())
	}
	broken(t, l)
	l.doFlush()
	if !errors.Is(l.Err(), ErrPoisoned) || l.Flushed() != 6 {
		t.Fatalf("after a failed fsync: %v, flushed %d", l.Err(), l.Flushed())
	}
	l.trouble.Load().next = time.Time{}
	l.tryReopen()
	holds(t, l, all)
	if l.Acked() != 6 || l.LastEpoch() != 0 {
		t.Errorf("acked %d, epoch %d", l.Acked(), l.LastEpoch())
	}
	if kept, err := filepath.Glob(filepath.Join(l.dir, cutPrefix+"*", "*")); err != nil || len(kept) < 2 {
		t.Errorf("kept aside: %q %v", kept, err)
	}
	all = append(all, written(t, l, &m, 4)...)
	kill()
	s, kill = still(t, dir)
	holds(t, taken(t, s, Options{}), all)
	if s.props.Suspects[testID] == "" {
		t.Error("nothing says that the log may be short")
	}
	kill()
}

// What the disk lost below the flushed end is not cut and served.
func TestReopenOfAShortLog(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := taken(t, s, Options{})
	var m maker
	written(t, l, &m, 3)
	l.doFlush()
	broken(t, l)
	_ = l.Append(0, []Item{{Batch: m.batch(1, 10, 1)}})
	flip(t, l.active().path, 100)
	l.trouble.Load().next = time.Time{}
	l.tryReopen()
	isShort(t, l)
	l.tryReopen()
	isShort(t, l)
	kill()
}

// A log that cannot be read at the start is tried again, whole: nothing of it is cut.
func TestUnreadableAtTheStart(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 12)
	stop(true)
	producersPath := filepath.Join(l.dir, producersName)
	mustDo(t, os.Rename(producersPath, producersPath+".away"))
	mustDo(t, os.Mkdir(producersPath, 0o700)) // reading it is an error
	s, stop = running(t, dir)
	l = taken(t, s, Options{})
	if err := l.Err(); !errors.Is(err, ErrPoisoned) || errors.Is(err, errShort) {
		t.Fatalf("with a directory for a file: %v", err)
	}
	mustDo(t, os.Remove(producersPath))
	mustDo(t, os.Rename(producersPath+".away", producersPath))
	serving(t, l)
	holds(t, l, all)
	stop(true)
}

// While the disk is full nobody appends; the store looks for space by itself.
func TestFullDiskRefusesAppends(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{})
	var m maker
	s.disk.full.Store(true)
	if err := l.Append(0, []Item{{Batch: m.batch(1, 10, 1)}}); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("append to a full disk: %v", err)
	}
	eventually(t, func() error { return l.Append(0, []Item{{Batch: m.batch(1, 10, 1)}}) })
	stop(true)
}

// A log that stops again and again is reopened less and less often.
func TestBackOff(t *testing.T) {
	now := time.Now()
	s, kill := still(t, t.TempDir())
	s.cfg.Now = func() time.Time { return now }
	l := taken(t, s, Options{})
	var m maker
	written(t, l, &m, 1)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		_ = l.poison("test", errors.New("broken"))
		if got := l.trouble.Load().wait; got != want*time.Second {
			t.Fatalf("reopened after %v, want %v", got, want*time.Second)
		}
		now = now.Add(want * time.Second)
		l.tryReopen()
		mustDo(t, l.Err())
	}
	now = now.Add(time.Hour)
	_ = l.poison("test", errors.New("broken"))
	if got := l.trouble.Load().wait; got != time.Second {
		t.Errorf("after an hour without trouble: %v", got)
	}
	kill()
}
