package logstore

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"chronik/wire/batch"
)

// readFrom reads one batch at an offset.
func readFrom(l *Log, offset int64) (batch.Batch, error) {
	got, err := l.Read(nil, offset, l.End(), 1)
	return got, err
}

// A flipped bit in what nobody has written lately is met by whoever reads that batch: all others
// are served, the owner is told once, and the next life knows.
func TestDamageIsMetByReads(t *testing.T) {
	for name, at := range map[string]int64{"records": 100, "length": 10, "magic": 18} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := still(t, dir)
			told := 0
			s.cfg.OnTrouble = func(ID) { told++ }
			l := taken(t, s, Options{IndexIntervalBytes: 1, SegmentBytes: 4000})
			var m maker
			all := written(t, l, &m, 20)
			l.doFlush()
			l.settle()
			l.settle()
			mustDo(t, s.checkpointRound(t.Context()))
			entry := int64(len(all[0])) + 2 // with its prefix
			flip(t, segmentPath(l.dir, 1), 2*entry+at)
			for i, want := range all {
				got, err := readFrom(l, int64(2*i))
				switch {
				case i == 2 && !errors.Is(err, ErrDamaged):
					t.Errorf("the damaged batch: %v", err)
				case i != 2 && (err != nil || string(got) != want):
					t.Errorf("batch %d: %v", i, err)
				}
			}
			if got, err := l.Read(nil, 0, l.End(), 1<<20); err != nil || len(got) != len(all[0])+len(all[1]) {
				t.Errorf("up to the damaged batch: %d bytes, %v", len(got), err)
			}
			if told != 1 || l.Err() != nil || !errors.Is(l.Damage(), ErrDamaged) {
				t.Errorf("told %d times, serves: %v, damage: %v", told, l.Err(), l.Damage())
			}
			if ids := s.Doubtful(); len(ids) != 1 {
				t.Errorf("in doubt: %v", ids)
			}
			mustDo(t, s.NoteDamage(testID))
			mustDo(t, s.Close())
			s, kill := still(t, dir)
			l = taken(t, s, Options{})
			if !errors.Is(l.Damage(), ErrDamaged) || l.Err() != nil {
				t.Errorf("the next life: %v, serves: %v", l.Damage(), l.Err())
			}
			if l, err := s.Restart(testID, 0, Options{}); err != nil || l.Damage() != nil {
				t.Errorf("built anew: %v %v", err, l.Damage())
			}
			kill()
		})
	}
}

// A segment that is gone is damage too; one that retention took is not.
func TestMissingSegmentIsDamage(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	written(t, l, &m, 30)
	l.doFlush()
	segs := *l.segs.Load()
	s.caches.files.closeIdle(0)
	mustDo(t, os.Remove(segs[1].path))
	if _, err := readFrom(l, segs[1].base); !errors.Is(err, ErrDamaged) {
		t.Errorf("of a segment that is gone: %v", err)
	}
	if _, err := readFrom(l, segs[2].base); err != nil {
		t.Error(err)
	}
	kill()
}

// What was just written is not checked again, a moment later it is.
func TestFreshRecordsAreNotChecked(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := taken(t, s, Options{})
	var m maker
	written(t, l, &m, 3)
	flip(t, l.active().path, 100)
	if _, err := readFrom(l, 0); err != nil {
		t.Errorf("fresh: %v", err)
	}
	l.settle()
	l.settle()
	if _, err := readFrom(l, 0); !errors.Is(err, ErrDamaged) {
		t.Errorf("settled: %v", err)
	}
	kill()
}

// BenchmarkReadChecked is what the checksums of a read cost.
func BenchmarkReadChecked(b *testing.B) {
	for _, size := range []int{1 << 20, 16 << 10} {
		for _, checked := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dKiB/checked=%t", size>>10, checked), func(b *testing.B) {
				s, kill := still(b, b.TempDir())
				l := taken(b, s, Options{FlushMessages: 1 << 60})
				var m maker
				made := m.batch(size/1024, 1000, 1)
				for l.Size() < 32<<20 {
					mustDo(b, l.Append(0, []Item{{Batch: made}}))
				}
				if checked {
					l.settle()
					l.settle()
				}
				var buf []byte
				var at int64
				b.SetBytes(1 << 20)
				for b.Loop() {
					got, err := l.Read(buf[:0], at, l.End(), 1<<20+200)
					mustDo(b, err)
					at += 1 << 20 / int64(size) * int64(size/1024)
					if buf = got; at+2048 > l.End() {
						at = 0
					}
				}
				kill()
			})
		}
	}
}
