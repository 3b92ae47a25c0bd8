package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"chronik/wire/batch"
)

// running opens a store on dir, recovers it and runs it until stop, which ends it as given.
func running(t testing.TB, dir string) (s *Store, stop func(clean bool)) {
	t.Helper()
	s, err := Open(Config{Dir: dir, NodeID: 1, Logger: slog.New(slog.DiscardHandler)})
	mustDo(t, err)
	mustDo(t, s.Recover(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	end := sync.OnceFunc(func() {})
	stop = func(clean bool) {
		end()
		cancel()
		wg.Wait()
		if clean {
			mustDo(t, s.Close())
			return
		}
		for _, l := range s.Logs() {
			for _, seg := range *l.segs.Load() {
				s.caches.discard([]*segment{seg})
			}
		}
		mustDo(t, s.lock.Close())
	}
	return s, stop
}

// eventually polls until f is content, and tells its last reason if it never is.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for err := f(); err != nil; err = f() {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

var testID = ID{Topic: [16]byte{7}, Partition: 3}

func taken(t testing.TB, s *Store, o Options) *Log {
	t.Helper()
	l, err := s.Take(testID, o)
	mustDo(t, err)
	return l
}

// waitFor waits until the mark is at v.
type chanWaker chan error

func (c chanWaker) Wake(err error) { c <- err }

func reached(t testing.TB, m *Mark, v int64) {
	t.Helper()
	w := Waiter{At: v, Waker: make(chanWaker, 1)}
	m.Wait(&w)
	select {
	case err := <-w.Waker.(chanWaker):
		mustDo(t, err)
	case <-time.After(10 * time.Second):
		t.Fatalf("mark is at %d, not at %d", m.Load(), v)
	}
}

// readBack reads everything from start to end and returns the batches.
func readBack(t testing.TB, l *Log, limit int) (all []batch.Batch) {
	t.Helper()
	for at := l.Start(); at < l.End(); {
		got, err := l.Read(nil, at, l.End(), limit)
		mustDo(t, err)
		if len(got) == 0 {
			t.Fatalf("nothing at offset %d of %d", at, l.End())
		}
		for len(got) > 0 {
			b, rest, err := batch.First(got)
			mustDo(t, err)
			mustDo(t, b.CheckCRC())
			all, got, at = append(all, b), rest, b.LastOffset()+1
		}
	}
	return all
}

func TestAppendReadReopen(t *testing.T) {
	for _, clean := range []bool{true, false} {
		dir := t.TempDir()
		s, stop := running(t, dir)
		l := taken(t, s, Options{SegmentBytes: 20_000, IndexIntervalBytes: 500})
		var m maker
		var want []batch.Batch
		for i := range 200 {
			items := []Item{{Batch: m.batch(1+i%3, 100+i, int64(i))}, {Batch: m.batch(1, 10, int64(i))}}
			mustDo(t, l.Append(int32(i/50), items))
			for _, it := range items {
				mustDo(t, it.Err)
				want = append(want, bytes.Clone(it.Batch))
			}
		}
		reached(t, l.AckedMark(), l.End())
		if n := len(*l.segs.Load()); n < 3 {
			t.Fatalf("%d segments", n)
		}
		same := func(l *Log) {
			t.Helper()
			for _, limit := range []int{1, 700, 1 << 20} {
				got := readBack(t, l, limit)
				if len(got) != len(want) {
					t.Fatalf("%d batches, want %d", len(got), len(want))
				}
				for i := range got {
					if !bytes.Equal(got[i], want[i]) {
						t.Fatalf("batch %d differs", i)
					}
				}
			}
			if e, end := l.EpochEnd(1); e != 1 || end != want[200].BaseOffset() {
				t.Errorf("epoch 1 ends at %d (%d), want %d", end, e, want[200].BaseOffset())
			}
			if o, ts, _, err := l.OffsetForTime(77); err != nil || ts != 77 || o < want[140].BaseOffset() || o > want[154].LastOffset() {
				t.Errorf("time 77 is at offset %d, timestamp %d: %v", o, ts, err)
			}
		}
		same(l)
		end := l.End()
		stop(clean)
		s, stop = running(t, dir)
		l = taken(t, s, Options{SegmentBytes: 20_000, IndexIntervalBytes: 500})
		if l.End() != end || l.Acked() != end || l.Flushed() != end {
			t.Fatalf("clean %v: ends at %d, %d, %d, want %d", clean, l.End(), l.Acked(), l.Flushed(), end)
		}
		same(l)
		mustDo(t, l.Append(9, []Item{{Batch: m.batch(1, 10, 1)}}))
		if l.End() != end+1 {
			t.Errorf("end %d after one more", l.End())
		}
		stop(true)
	}
}

func TestProducerStateSurvives(t *testing.T) {
	for _, clean := range []bool{true, false} {
		dir := t.TempDir()
		s, stop := running(t, dir)
		l := taken(t, s, Options{})
		var m maker
		for seq := range int32(8) {
			mustDo(t, l.Append(0, []Item{{Batch: m.produced(1, 55, 0, seq)}}))
		}
		reached(t, l.AckedMark(), l.End())
		stop(clean)
		s, stop = running(t, dir)
		l = taken(t, s, Options{})
		items := []Item{{Batch: m.produced(1, 55, 0, 6)}, {Batch: m.produced(1, 55, 0, 9)}, {Batch: m.produced(1, 55, 0, 8)}}
		mustDo(t, l.Append(1, items))
		if !errors.Is(items[0].Err, ErrDuplicate) || items[0].BaseOffset != 6 {
			t.Errorf("clean %v: a duplicate: %v at %d", clean, items[0].Err, items[0].BaseOffset)
		}
		if !errors.Is(items[1].Err, ErrOutOfOrderSequence) {
			t.Errorf("clean %v: a gap: %v", clean, items[1].Err)
		}
		if items[2].Err != nil || items[2].BaseOffset != 8 {
			t.Errorf("clean %v: the next: %v at %d", clean, items[2].Err, items[2].BaseOffset)
		}
		stop(true)
	}
}

// What a crash leaves behind the flushed end is cut; what was flushed stays.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{})
	var m maker
	for range 10 {
		mustDo(t, l.Append(0, []Item{{Batch: m.batch(2, 50, 1)}}))
	}
	reached(t, l.AckedMark(), 20)
	path := l.active().path
	stop(false)
	whole, err := os.ReadFile(path)
	mustDo(t, err)
	for _, tail := range [][]byte{make([]byte, 4096), {0x80}, whole[:100], append(bytes.Clone(whole[:150]), whole...)} {
		mustDo(t, os.WriteFile(path, append(bytes.Clone(whole), tail...), 0o640))
		s, stop = running(t, dir)
		l = taken(t, s, Options{})
		if l.End() != 20 || len(readBack(t, l, 1<<20)) != 10 {
			t.Errorf("tail of %d bytes: end %d", len(tail), l.End())
		}
		stop(false)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("tail of %d bytes is not cut: %d bytes, want %d (%v)", len(tail), len(got), len(whole), err)
		}
	}
}

// A damaged or missing byte below the recovery point is no end: the log is offline, its files as they were.
func TestShortLogIsOffline(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	for range 30 {
		mustDo(t, l.Append(0, []Item{{Batch: m.batch(2, 200, 1)}}))
	}
	stop(true)
	names, err := segmentsIn(l.dir)
	mustDo(t, err)
	mustDo(t, os.Rename(segmentPath(l.dir, names[2]), filepath.Join(dir, "away")))
	s, stop = running(t, dir)
	l = taken(t, s, Options{})
	if err := l.Append(1, []Item{{Batch: m.batch(1, 1, 1)}}); !errors.Is(err, ErrPoisoned) || !errors.Is(err, errShort) {
		t.Errorf("a log without its third segment takes records: %v", err)
	}
	stop(false)
	mustDo(t, os.Rename(filepath.Join(dir, "away"), segmentPath(l.dir, names[2])))
	s, stop = running(t, dir)
	if l = taken(t, s, Options{}); l.Err() != nil || l.End() != 60 {
		t.Errorf("with all its segments again: end %d, %v", l.End(), l.Err())
	}
	stop(true)
}

func TestTruncate(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 3000})
	var m maker
	for i := range 40 {
		mustDo(t, l.Append(int32(i/10), []Item{{Batch: m.batch(2, 200, int64(i))}}))
	}
	reached(t, l.AckedMark(), 80)
	for _, to := range []int64{80, 78, 50, 22, 2, 0} {
		mustDo(t, l.TruncateTo(to))
		if l.End() != to || l.Flushed() != to || int64(2*len(readBack(t, l, 1<<20))) != to {
			t.Fatalf("truncated to %d: ends %d, %d", to, l.End(), l.Flushed())
		}
		if want := int32((to/2 - 1) / 10); to > 0 && l.LastEpoch() != want {
			t.Errorf("truncated to %d: last epoch %d, want %d", to, l.LastEpoch(), want)
		}
	}
	mustDo(t, l.Append(7, []Item{{Batch: m.batch(2, 200, 1)}}))
	reached(t, l.AckedMark(), 2)
	stop(false)
	s, stop = running(t, dir)
	if l = taken(t, s, Options{}); l.End() != 2 || l.LastEpoch() != 7 {
		t.Errorf("after a restart: end %d, epoch %d, %v", l.End(), l.LastEpoch(), l.Err())
	}
	stop(true)
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 3000, RetentionBytes: 10_000})
	var m maker
	now := time.Now().UnixMilli()
	for range 40 {
		mustDo(t, l.Append(0, []Item{{Batch: m.batch(2, 200, now)}}))
	}
	reached(t, l.AckedMark(), 80)
	sidecarsWritten(t, l) // retention leaves what has none
	mustDo(t, s.retain(t.Context()))
	if l.Size() < 10_000 || l.Size() > 14_000 || l.Start() == 0 {
		t.Errorf("by size: %d bytes from offset %d", l.Size(), l.Start())
	}
	mustDo(t, l.AdvanceStart(71))
	mustDo(t, s.retain(t.Context()))
	if l.Start() != 71 || (*l.segs.Load())[0].base > 71 || l.Size() > 9000 {
		t.Errorf("by log start: %d bytes from offset %d", l.Size(), l.Start())
	}
	if _, err := l.Read(nil, 70, 80, 1000); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("read below the log start: %v", err)
	}
	stop(false)
	s, stop = running(t, dir)
	l = taken(t, s, Options{RetentionMs: 1})
	if l.Start() != 71 || l.End() != 80 {
		t.Errorf("after a restart: %d to %d", l.Start(), l.End())
	}
	eventually(t, func() error { // the last segment is sealed by one pass, flushed, and dropped by the next
		mustDo(t, s.retain(t.Context()))
		if l.Start() < 80 {
			return fmt.Errorf("expired records: starts at %d", l.Start())
		}
		return nil
	})
	mustDo(t, l.Append(1, []Item{{Batch: m.batch(1, 10, now+1e6)}}))
	if l.End() != 81 {
		t.Errorf("end %d after everything expired", l.End())
	}
	stop(true)
}

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{})
	var m maker
	mustDo(t, l.Append(0, []Item{{Batch: m.batch(1, 10, 1)}}))
	w := Waiter{At: 100, Waker: make(chanWaker, 1)}
	l.AckedMark().Wait(&w)
	mustDo(t, s.Delete(testID))
	if err := <-w.Waker.(chanWaker); !errors.Is(err, ErrDeleted) {
		t.Errorf("who waited was told %v", err)
	}
	if l = taken(t, s, Options{}); l.End() != 0 {
		t.Errorf("the next log of that name ends at %d", l.End())
	}
	stop(true)
}

// A deletion is not undone by a crash, nor is the log missed.
func TestDeleteAndCrash(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l := taken(t, s, Options{})
	var m maker
	written(t, l, &m, 3)
	mustDo(t, l.save())
	mustDo(t, s.writeCheckpoint())
	mustDo(t, s.Delete(testID))
	kill()
	s, stop := running(t, dir)
	if l := s.Log(testID); l != nil {
		t.Errorf("a deleted log is back: %v", l.Err())
	}
	eventually(t, func() error {
		if files, err := os.ReadDir(filepath.Join(dir, logsName)); err != nil || len(files) > 0 {
			return fmt.Errorf("%v is left (%v)", files, err)
		}
		return nil
	})
	stop(true)
}

// A log whose topic is unknown is kept aside, and is back with its topic.
func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{})
	var m maker
	mustDo(t, l.Append(3, []Item{{Batch: m.batch(5, 10, 1)}}))
	reached(t, l.AckedMark(), 5)
	mustDo(t, s.SetAside(testID))
	mustDo(t, s.dropStrays())
	if s.Log(testID) != nil {
		t.Error("a log that was set aside is there")
	}
	if l = taken(t, s, Options{}); l.End() != 5 || l.LastEpoch() != 3 || len(readBack(t, l, 1000)) != 1 {
		t.Errorf("back with end %d, epoch %d", l.End(), l.LastEpoch())
	}
	mustDo(t, s.SetAside(testID))
	s.cfg.Now = func() time.Time { return time.Now().Add(25 * time.Hour) }
	mustDo(t, s.dropStrays())
	if l = taken(t, s, Options{}); l.End() != 0 {
		t.Errorf("after a day it is back with end %d", l.End())
	}
	stop(true)
}

func TestPageCacheMode(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{FlushMessages: 1 << 62})
	var m maker
	mustDo(t, l.Append(0, []Item{{Batch: m.batch(3, 10, 1)}}))
	if l.Acked() != 3 || l.Flushed() != 0 {
		t.Errorf("acked %d, flushed %d", l.Acked(), l.Flushed())
	}
	l.Configure(Options{})
	mustDo(t, l.Append(0, []Item{{Batch: m.batch(1, 10, 1)}}))
	reached(t, l.AckedMark(), 4)
	if l.Flushed() != 4 {
		t.Errorf("flushed %d", l.Flushed())
	}
	stop(true)
}

func TestFencedEpoch(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{})
	var m maker
	mustDo(t, l.Append(5, []Item{{Batch: m.batch(1, 10, 1)}}))
	if err := l.Append(4, []Item{{Batch: m.batch(1, 10, 1)}}); !errors.Is(err, ErrFencedEpoch) {
		t.Errorf("an older leader: %v", err)
	}
	stop(true)
}
