package logstore

import (
	"sync"
	"testing"
)

// Producers that append at once get offsets that no two share, in the order of the bytes.
func TestConcurrentAppends(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 50_000})
	const appenders, appends = 8, 200
	var wg sync.WaitGroup
	for range appenders {
		wg.Go(func() {
			var m maker
			for range appends {
				items := []Item{{Batch: m.batch(2, 10, 1)}}
				if err := l.Append(0, items); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if want := int64(appenders * appends * 2); l.End() != want {
		t.Errorf("end %d, want %d", l.End(), want)
	}
	reached(t, l.AckedMark(), l.End())
	next := int64(0)
	for _, b := range readBack(t, l, 1<<20) {
		if b.BaseOffset() != next {
			t.Fatalf("batch at %d, want %d", b.BaseOffset(), next)
		}
		next = b.LastOffset() + 1
	}
	stop(true)
}

// Segments are no larger than they may be, however much comes with the first append.
func TestFirstAppendRolls(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 5000})
	var m maker
	items := make([]Item, 50)
	for i := range items {
		items[i].Batch = m.batch(1, 1000, 1)
	}
	mustDo(t, l.Append(0, items))
	for _, s := range *l.segs.Load() {
		if size := s.size.Load(); size > 5000 {
			t.Errorf("segment %d has %d bytes", s.name, size)
		}
	}
	reached(t, l.AckedMark(), 50)
	stop(true)
}
