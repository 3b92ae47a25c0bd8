package logstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A truncation lowers the recovery point, or leaves it: it never names bytes that no flush covered.
func TestTruncateNeverRaisesThePoint(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000, FlushMessages: 1 << 60})
	var m maker
	all := written(t, l, &m, 20)
	mustDo(t, l.TruncateTo(30))
	holds(t, l, all[:15])
	if p := s.checkpoint.at[testID]; p.Segment != 0 {
		t.Errorf("recovery point %+v of a log that was never flushed before", p)
	}
	if l.Flushed() != 30 || l.Acked() != 30 {
		t.Errorf("flushed %d, acked %d", l.Flushed(), l.Acked())
	}
	mustDo(t, l.save())
	if p := s.checkpoint.at[testID]; p.Offset != 30 {
		t.Fatalf("recovery point %+v", p)
	}
	mustDo(t, l.TruncateTo(20))
	entries, err := readCheckpoint(filepath.Join(dir, checkpointName))
	mustDo(t, err)
	if p := entries[0].Recovery; p.Offset > 20 {
		t.Errorf("recovery point %+v of a log that ends at 20", p)
	}
	kill()
	s, kill = still(t, dir)
	holds(t, taken(t, s, Options{}), all[:10])
	kill()
}

// Sidecars of what was cut are gone: a later segment may bear the name, and have the size.
func TestTruncateForgetsSidecars(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	written(t, l, &m, 20)
	reached(t, l.AckedMark(), 40)
	sidecarsWritten(t, l)
	mustDo(t, l.TruncateTo(14))
	files, err := os.ReadDir(filepath.Join(l.dir, indexName))
	mustDo(t, err)
	for _, f := range files {
		if f.Name() >= filepath.Base(l.active().path) {
			t.Errorf("sidecar %s is left, the last segment is %s", f.Name(), l.active().path)
		}
	}
	stop(true)
}

// Producers roll back with the log: what stays is known again, what was cut may come again.
func TestTruncateRollsProducersBack(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{})
	var m maker
	for seq := range int32(9) {
		mustDo(t, l.Append(0, []Item{{Batch: m.produced(1, 55, 0, seq)}}))
	}
	mustDo(t, l.Append(0, []Item{{Batch: m.produced(1, 66, 0, 0)}}))
	reached(t, l.AckedMark(), 10)
	s.checkpoint.mu.Lock()
	mustDo(t, l.save())
	s.checkpoint.mu.Unlock()
	mustDo(t, l.TruncateTo(8))
	check := func(when string) {
		t.Helper()
		if p := l.Producers(); len(p) != 1 || p[0].LastSequence != 7 {
			t.Errorf("%s: producers %+v", when, p)
		}
	}
	check("truncated")
	stop(false)
	s, stop = running(t, dir)
	l = taken(t, s, Options{})
	check("after a kill")
	items := []Item{{Batch: m.produced(1, 55, 0, 6)}, {Batch: m.produced(1, 55, 0, 8)}}
	mustDo(t, l.Append(1, items))
	if !errors.Is(items[0].Err, ErrDuplicate) || items[0].BaseOffset != 6 || items[1].Err != nil || items[1].BaseOffset != 8 {
		t.Errorf("a duplicate: %v at %d; the next: %v at %d", items[0].Err, items[0].BaseOffset, items[1].Err, items[1].BaseOffset)
	}
	stop(true)
}

// A truncation that fails poisons the log; reopened, it ends where it was to be cut, or above.
func TestFailedTruncation(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 20)
	reached(t, l.AckedMark(), 40)
	c, err := l.cutBelow(14)
	mustDo(t, err)
	inTheWay := segmentPath(l.dir, c.begin.Segment) + ".END.TEMP"
	mustDo(t, os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700))
	if err := l.TruncateTo(14); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("with a directory in the way: %v", err)
	}
	mustDo(t, os.RemoveAll(inTheWay))
	serving(t, l)
	holds(t, l, all[:7])
	stop(true)
}

// A reader that holds the list of before does not open what bears the same name afterwards.
func TestTruncatedSegmentsAreGone(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{})
	var m maker
	all := written(t, l, &m, 4)
	reached(t, l.AckedMark(), 8)
	old := l.active()
	mustDo(t, l.TruncateTo(4))
	if _, err := old.acquire(); !errors.Is(err, errGone) {
		t.Errorf("the segment of before: %v", err)
	}
	holds(t, l, all[:2])
	stop(true)
}

// Nothing goes that the recovery point still names.
func TestDropFrontKeepsThePoint(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	written(t, l, &m, 20)
	l.doFlush()
	mustDo(t, l.chore())
	mustDo(t, l.AdvanceStart(30))
	mustDo(t, l.dropFront())
	if (*l.segs.Load())[0].base != 0 {
		t.Fatal("segments are dropped that a start would look for")
	}
	mustDo(t, l.save())
	mustDo(t, l.dropFront())
	if base := (*l.segs.Load())[0].base; base == 0 || base > 30 {
		t.Errorf("the first segment begins at %d, the log at 30", base)
	}
	kill()
}
