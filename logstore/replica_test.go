package logstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"chronik/wire/batch"
)

// A replica takes batches as they are, what it has already is left out, gaps of compaction stay.
func TestAppendReplica(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	var all []string
	var bytes []byte
	for i := range int64(20) {
		b := at(m.batch(2, 200, 1), 10*i, int32(i/10))
		all, bytes = append(all, string(b)), append(bytes, b...)
	}
	half := len(strings.Join(all[:10], ""))
	mustDo(t, l.AppendReplica(5, bytes[:half]))
	mustDo(t, l.AppendReplica(5, bytes[half/10*8:]))
	mustDo(t, l.AppendReplica(5, bytes))
	reached(t, l.AckedMark(), 192)
	holds(t, l, all)
	if l.EpochAt(100) != 1 || l.EpochAt(91) != 0 || l.End() != 192 {
		t.Errorf("epochs %+v, end %d", l.epochs.Load().list, l.End())
	}
	stop(false)
	s, stop = running(t, dir)
	holds(t, taken(t, s, Options{}), all)
	stop(true)
}

// What is damaged or does not follow is refused whole.
func TestAppendReplicaRefuses(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{})
	var m maker
	mustDo(t, l.AppendReplica(3, at(m.batch(4, 10, 1), 0, 2)))
	bad := at(m.batch(2, 10, 1), 4, 2)
	bad[len(bad)-1] ^= 1
	for what, c := range map[string]struct {
		epoch int32
		b     batch.Batch
		err   error
	}{
		"a flipped bit":           {3, bad, batch.ErrCRC},
		"an overlap":              {3, at(m.batch(4, 10, 1), 2, 3), ErrNotNext},
		"an older epoch":          {3, at(m.batch(1, 10, 1), 4, 1), ErrNotNext},
		"an epoch to come":        {3, at(m.batch(1, 10, 1), 4, 4), ErrNotNext},
		"a leader of before":      {2, at(m.batch(1, 10, 1), 4, 2), ErrFencedEpoch},
		"half a batch":            {3, at(m.batch(1, 10, 1), 4, 3)[:70], batch.ErrShort},
		"a good one before a bad": {3, append(at(m.batch(1, 10, 1), 4, 3), bad...), batch.ErrCRC},
	} {
		if err := l.AppendReplica(c.epoch, c.b); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", what, err, c.err)
		}
		if l.End() != 4 {
			t.Errorf("%s: the log ends at %d", what, l.End())
		}
	}
	stop(true)
}

// An append of a leadership that has ended comes too late.
func TestFence(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{})
	var m maker
	mustDo(t, l.Append(1, []Item{{Batch: m.batch(1, 10, 1)}}))
	l.Fence(2)
	if err := l.Append(1, []Item{{Batch: m.batch(1, 10, 1)}}); !errors.Is(err, ErrFencedEpoch) || l.End() != 1 {
		t.Errorf("append in epoch 1 after 2 began: %v, end %d", err, l.End())
	}
	mustDo(t, l.AppendReplica(2, at(m.batch(1, 10, 1), 1, 1)))
	mustDo(t, l.Append(3, []Item{{Batch: m.batch(1, 10, 1)}}))
	stop(true)
}

// Producers are known to a replica as to its leader: a duplicate is one after it was elected.
func TestReplicaKnowsProducers(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{})
	var m maker
	for seq := range int32(3) {
		mustDo(t, l.AppendReplica(1, at(m.produced(1, 55, 0, seq), int64(seq), 1)))
	}
	again := []Item{{Batch: m.produced(1, 55, 0, 1)}, {Batch: m.produced(1, 55, 0, 3)}}
	mustDo(t, l.Append(2, again))
	if !errors.Is(again[0].Err, ErrDuplicate) || again[0].BaseOffset != 1 || again[1].Err != nil {
		t.Errorf("%+v", again)
	}
	stop(true)
}

// A log that begins anew at an offset is there after a crash, empty and with records.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	written(t, l, &m, 20)
	reached(t, l.AckedMark(), 40)
	l, err := s.Restart(testID, 1000, Options{})
	mustDo(t, err)
	check := func(end int64, want []string) {
		t.Helper()
		if l.Start() != 1000 || l.End() != end || l.Flushed() != end || l.Acked() != end {
			t.Fatalf("start %d, end %d, flushed %d, acked %d; want 1000 and %d", l.Start(), l.End(), l.Flushed(), l.Acked(), end)
		}
		holds(t, l, want)
	}
	check(1000, nil)
	for _, clean := range []bool{false, true} {
		stop(clean)
		s, stop = running(t, dir)
		l = taken(t, s, Options{})
		check(1000, nil)
	}
	b := at(m.batch(2, 200, 1), 1000, 4)
	mustDo(t, l.AppendReplica(4, b))
	reached(t, l.AckedMark(), 1002)
	for _, clean := range []bool{false, true} {
		stop(clean)
		s, stop = running(t, dir)
		l = taken(t, s, Options{})
		check(1002, []string{string(b)})
	}
	stop(true)
}

// The high watermark is written down as a hint, and is the acknowledged end of no log that was told one.
func TestHighWatermarkIsKept(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{})
	var m maker
	written(t, l, &m, 10)
	reached(t, l.AckedMark(), 20)
	for _, hw := range []int64{12, 8} {
		if l.SetHighWatermark(hw); l.KnownHighWatermark() != 12 {
			t.Errorf("high watermark %d", l.KnownHighWatermark())
		}
	}
	mustDo(t, s.writeCheckpoint())
	for range 2 { // the second life told none
		stop(false)
		s, stop = running(t, dir)
		if l = taken(t, s, Options{}); l.KnownHighWatermark() != 12 {
			t.Errorf("high watermark %d after a restart", l.KnownHighWatermark())
		}
		mustDo(t, s.writeCheckpoint())
	}
	mustDo(t, l.TruncateTo(4))
	if l.KnownHighWatermark() != 4 {
		t.Errorf("high watermark %d of a log that ends at 4", l.KnownHighWatermark())
	}
	mustDo(t, l.Append(1, []Item{{Batch: m.batch(4, 10, 1)}}))
	if l.KnownHighWatermark() != 4 {
		t.Errorf("high watermark %d: what was cut was committed, what came in its place is not", l.KnownHighWatermark())
	}
	stop(true)
}

// Retention drops what is committed only.
func TestRetentionBelowHighWatermark(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{SegmentBytes: 2000, RetentionBytes: 1})
	l.SetHighWatermark(0)
	var m maker
	written(t, l, &m, 40)
	reached(t, l.AckedMark(), 80)
	sidecarsWritten(t, l)
	mustDo(t, s.retain(t.Context()))
	if l.Start() != 0 {
		t.Fatalf("starts at %d, nothing is committed", l.Start())
	}
	l.SetHighWatermark(50)
	eventually(t, func() error {
		mustDo(t, s.retain(t.Context()))
		if l.Start() == 0 || l.Start() > 50 {
			return fmt.Errorf("starts at %d, 50 are committed", l.Start())
		}
		return nil
	})
	stop(true)
}

// Who waits is dismissed once; who waits later is not concerned.
func TestMarkDismiss(t *testing.T) {
	var m Mark
	gone := errors.New("gone")
	wait := func(v int64) chanWaker {
		c := make(chanWaker, 1)
		m.Wait(&Waiter{At: v, Waker: c})
		return c
	}
	first := wait(5)
	m.Dismiss(gone)
	if err := <-first; !errors.Is(err, gone) {
		t.Errorf("dismissed with %v", err)
	}
	second := wait(5)
	m.Raise(5)
	m.Notify()
	if err := <-second; err != nil {
		t.Errorf("reached with %v", err)
	}
	m.Fail(gone)
	if err := <-wait(6); !errors.Is(err, gone) {
		t.Errorf("failed with %v", err)
	}
}

// Compaction leaves alone what is not committed: a record that a later one replaces must
// stay while the later one may still be cut.
func TestCompactionBelowHighWatermark(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := taken(t, s, compactable())
	l.SetHighWatermark(0)
	for i := range 100 {
		mustDo(t, l.Append(1, []Item{{Batch: keyedBatch(batch.None, kv{key: "key", value: strings.Repeat("x", 50), ts: int64(i)})}}))
	}
	settled(t, l)
	for _, hw := range []int64{0, 50, 100} {
		l.SetHighWatermark(hw)
		d, err := l.dirty(s.cfg.Now())
		mustDo(t, err)
		if hw == 0 && len(d.segs) > 0 || len(d.segs) > 0 && d.end() > hw || hw == 100 && len(d.segs) != len(*l.segs.Load())-1 {
			t.Errorf("%d segments to compact, %d are committed", len(d.segs), hw)
		}
	}
	kill()
}
