package logstore

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	"chronik/wire/batch"
)

func stamped(m *maker, ts ...int64) batch.Batch {
	b := batch.NewBuilder(batch.Zstd)
	for _, at := range ts {
		m.made++
		b.Add(at, nil, fmt.Appendf(nil, "value %d", m.made))
	}
	return build(b)
}

// Times are found record by record, in any segment, whatever the order of timestamps.
func TestOffsetForTime(t *testing.T) {
	for _, segmentBytes := range []int64{1 << 20, 300} {
		s, stop := running(t, t.TempDir())
		l := taken(t, s, Options{SegmentBytes: segmentBytes, IndexIntervalBytes: 150})
		var m maker
		times := [][]int64{{10, 12, 11}, {5, 6}, {20}, {15, 30, 29}, {1}, {40, 50}, {45}, {60, 50, 60}}
		var flat []int64
		for _, ts := range times {
			mustDo(t, l.Append(0, []Item{{Batch: stamped(&m, ts...)}}))
			flat = append(flat, ts...)
		}
		reached(t, l.AckedMark(), l.End())
		for _, start := range []int64{0, 2, 7, 9} {
			mustDo(t, l.AdvanceStart(start))
			for ts := int64(0); ts <= 61; ts++ {
				want := int64(-1)
				for o := int64(len(flat)) - 1; o >= start; o-- {
					if flat[o] >= ts {
						want = o
					}
				}
				if got, at, _, err := l.OffsetForTime(ts); err != nil || got != want || got >= 0 && at != flat[got] {
					t.Fatalf("segments of %d, log start %d, time %d: offset %d, timestamp %d, %v; want offset %d", segmentBytes, start, ts, got, at, err, want)
				}
			}
			if o, at, _, err := l.MaxTimestamp(); o != 13 || at != 60 || err != nil {
				t.Errorf("largest time %d at offset %d: %v", at, o, err)
			}
		}
		stop(true)
	}
}

// What is not acknowledged has no times yet.
func TestTimesBelowAcked(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := taken(t, s, Options{IndexIntervalBytes: 100})
	var m maker
	for ts := range int64(10) {
		mustDo(t, l.Append(0, []Item{{Batch: stamped(&m, 100-ts, 50)}}))
	}
	l.doFlush()
	for ts := range int64(10) {
		mustDo(t, l.Append(0, []Item{{Batch: stamped(&m, 200+ts)}}))
	}
	if o, ts, _, err := l.MaxTimestamp(); o != 0 || ts != 100 || err != nil {
		t.Errorf("largest time %d at offset %d, %v", ts, o, err)
	}
	if o, _, _, err := l.OffsetForTime(101); o != -1 || err != nil {
		t.Errorf("time 101 at offset %d, %v", o, err)
	}
	mustDo(t, l.AdvanceStart(2))
	if o, ts, _, err := l.MaxTimestamp(); o != 2 || ts != 99 || err != nil {
		t.Errorf("from offset 2 on the largest time is %d at offset %d, %v", ts, o, err)
	}
	kill()
}

// A timestamp from the future neither deletes nor keeps: the file's time decides.
func TestRetentionOfTheFuture(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 3000, RetentionMs: 3600_000})
	var m maker
	future := time.Now().Add(1000 * time.Hour).UnixMilli()
	for range 20 {
		mustDo(t, l.Append(0, []Item{{Batch: m.batch(2, 200, future)}}))
	}
	reached(t, l.AckedMark(), 40)
	sidecarsWritten(t, l)
	mustDo(t, s.retain(t.Context()))
	if l.Start() != 0 {
		t.Fatalf("records of young files are deleted up to %d", l.Start())
	}
	segs := *l.segs.Load()
	before := time.Now().Add(-2 * time.Hour)
	mustDo(t, os.Chtimes(segs[0].path, before, before))
	mustDo(t, s.retain(t.Context()))
	if l.Start() != segs[1].base {
		t.Errorf("log start %d, want %d: the first file is old", l.Start(), segs[1].base)
	}
	stop(true)
}

// flush.ms flushes what acknowledgements do not wait for.
func TestFlushMs(t *testing.T) {
	s, stop := running(t, t.TempDir())
	slow, err := s.Take(ID{Partition: 1}, Options{FlushMessages: 1 << 60, FlushMs: 3600_000})
	mustDo(t, err)
	l := taken(t, s, Options{FlushMessages: 1 << 60, FlushMs: 30})
	var m maker
	for n := int64(1); n <= 3; n++ {
		mustDo(t, slow.Append(0, []Item{{Batch: m.batch(1, 10, 1)}}))
		mustDo(t, l.Append(0, []Item{{Batch: m.batch(1, 10, 1)}}))
		eventually(t, func() error {
			if l.Flushed() < n {
				return fmt.Errorf("flushed %d of %d", l.Flushed(), n)
			}
			return nil
		})
	}
	if slow.Flushed() != 0 {
		t.Errorf("a log with a flush.ms of an hour is flushed up to %d", slow.Flushed())
	}
	stop(true)
}

// A flush that is due in ages is not looked for all the time.
func TestFlushDue(t *testing.T) {
	f := flusher{now: func() time.Time { return time.UnixMilli(1000) }}
	for due, want := range map[int64]time.Duration{0: time.Hour, 900: dueApart, 3000: 2 * time.Second, math.MaxInt64 - 1: time.Hour} {
		if f.due.Store(due); f.untilDue() != want {
			t.Errorf("due at %d: in %v, want %v", due, f.untilDue(), want)
		}
	}
}

// A time is found in a batch that grows a thousandfold without holding it whole.
func TestOffsetForTimeInLittleMemory(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{})
	b := batch.NewBuilder(batch.Zstd)
	b.Add(10, nil, make([]byte, 64<<20))
	b.Add(20, nil, nil)
	mustDo(t, l.Append(0, []Item{{Batch: build(b)}}))
	reached(t, l.AckedMark(), 2)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	o, at, _, err := l.OffsetForTime(15)
	runtime.ReadMemStats(&after)
	if o != 1 || at != 20 || err != nil {
		t.Errorf("offset %d, timestamp %d, %v", o, at, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
		t.Errorf("%d MiB allocated", took>>20)
	}
	stop(true)
}
