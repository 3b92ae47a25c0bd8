package logstore

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spliced reads through the pipe, and returns how much of it went there.
func spliced(t testing.TB, l *Log, p *Pipe, from, until int64, limit int) (got []byte, inPipe int) {
	t.Helper()
	rest, err := l.Splice([]byte("before"), Want{from, until, limit, p})
	mustDo(t, err)
	inPipe = p.Held()
	got = make([]byte, inPipe)
	for at := 0; at < inPipe; {
		n, err := unix.Read(p.out, got[at:])
		mustDo(t, err)
		at, p.held = at+n, p.held-n
	}
	if string(rest[:6]) != "before" {
		t.Fatal("what stood there is gone")
	}
	return append(got, rest[6:]...), inPipe
}

func newPipe(t testing.TB, size int) *Pipe {
	t.Helper()
	p, err := NewPipe(size)
	mustDo(t, err)
	t.Cleanup(func() { mustDo(t, p.Close()) })
	return p
}

// What is spliced are the batches that a copy has, of any size, from any offset, up to any bound, over
// segments.
func TestSplice(t *testing.T) {
	s, stop := running(t, t.TempDir())
	l := taken(t, s, Options{FlushMessages: 1 << 60, SegmentBytes: 8 << 20})
	var m maker
	var offsets []int64
	for range 150 {
		n := []int{1, 9, 16, 64, 150, 1000}[rand.IntN(6)] // KiB
		items := []Item{{Batch: m.batch(n, 1014, 1)}}
		mustDo(t, l.Append(1, items))
		offsets = append(offsets, items[0].Batch.LastOffset()+1)
	}
	small, big := newPipe(t, 64<<10), newPipe(t, 1<<20)
	in, most := map[*Pipe]int{}, map[*Pipe]int{} // bytes that went there, and that did not fit of a batch
	for from := int64(0); from < l.End(); from += 1 + rand.Int64N(20) {
		until := offsets[rand.IntN(len(offsets))]
		limit := 1 << (16 + rand.IntN(7))
		want, err := l.Read(nil, from, until, limit)
		mustDo(t, err)
		for _, p := range []*Pipe{small, big} {
			got, n := spliced(t, l, p, from, until, limit)
			if n == 0 && !bytes.Equal(got, want) || !bytes.HasPrefix(want, got) || len(got) == 0 && len(want) > 0 {
				t.Fatalf("%d bytes from %d to %d, limit %d; a copy has %d", len(got), from, until, limit, len(want))
			}
			if n > 0 {
				in[p], most[p] = in[p]+n, max(most[p], len(got)-n)
			}
		}
	}
	if in[small] < 2<<20 || in[big] < 10<<20 || most[small] == 0 {
		t.Errorf("%d and %d bytes were spliced, at most %d of a batch copied", in[small], in[big], most[small])
	}
	stop(true)
}

// ofLarge is a log of n batches of 16 records, of 1000 bytes each; nothing settles by itself.
func ofLarge(t *testing.T, n int) (l *Log, kill func()) {
	t.Helper()
	s, kill := still(t, t.TempDir())
	l = taken(t, s, Options{})
	var m maker
	for range n {
		mustDo(t, l.Append(1, []Item{{Batch: m.batch(16, 1000, 1)}}))
	}
	return l, kill
}

// Readers side by side do not look at each other's memory (the race detector tells).
func TestSpliceSideBySide(t *testing.T) {
	l, kill := ofLarge(t, 40)
	var readers sync.WaitGroup
	for n := range 4 {
		p := newPipe(t, 1<<20)
		readers.Go(func() {
			for i := range 4000 {
				if got, inPipe := spliced(t, l, p, int64((i+n)%4*16), l.End(), 128<<10); inPipe == 0 {
					t.Errorf("%d bytes, all copied", len(got))
				}
			}
		})
	}
	readers.Wait()
	kill()
}

// What was written a while ago is not handed on before it was checked.
func TestSpliceChecks(t *testing.T) {
	l, kill := ofLarge(t, 20)
	p := newPipe(t, 1<<20)
	inPipe := func(from int64) int {
		_, n := spliced(t, l, p, from, l.End(), 1<<20)
		return n
	}
	if inPipe(0) < 256<<10 {
		t.Error("what was just written is copied")
	}
	l.doFlush()
	l.settle()
	l.settle()
	if n := inPipe(160); n > 0 {
		t.Errorf("%d bytes that nobody checked were handed on", n)
	}
	if n := inPipe(160); n < 128<<10 {
		t.Errorf("%d bytes of what was checked a moment ago", n)
	}
	if n := inPipe(0); n > 0 {
		t.Errorf("%d bytes before what was checked were handed on", n)
	}
	seg := (*l.segs.Load())[0]
	for i := range seg.file.checked.spans {
		seg.file.checked.spans[i].since = time.Now().Add(-checkedFor)
	}
	flip(t, seg.path, 200<<10)
	if got, err := l.Splice(nil, Want{0, l.End(), 1 << 20, p}); err != nil || p.Held() > 0 || len(got) > 200<<10 {
		t.Errorf("with damage: %d bytes in the pipe, %d copied, %v", p.Held(), len(got), err)
	}
	if _, err := l.Splice(nil, Want{192, l.End(), 1 << 20, p}); !errors.Is(err, ErrDamaged) || p.Held() > 0 {
		t.Errorf("the damaged batch: %d bytes in the pipe, %v", p.Held(), err)
	}
	kill()
}

func TestCheckedSpans(t *testing.T) {
	const size = 10_000
	var c checkedSpans
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	entry := func(i int) int64 { return int64(i) * (size + 2) } // the offset of its record is i
	add := func(from, to, s int) {
		r := checkedRun{start: entry(from) + 2}
		for i := from; i < to; i++ {
			r.add((i-from+1)*(size+2)-2, int64(i))
		}
		c.add(entry(from), &r, at(s))
	}
	want := func(from, s, n int) {
		t.Helper()
		got := 0
		c.each(entry(from), 1000, at(s), func(at, length int64) bool {
			if at != entry(from+got)+2 || length != size {
				t.Errorf("batch %d: %d bytes at %d", from+got, length, at)
			}
			got++
			return true
		})
		if got != n {
			t.Errorf("after %d s: %d checked from %d on, not %d", s, got, from, n)
		}
	}
	want(10, 0, 0)
	add(10, 20, 0)
	add(20, 30, 30) // goes on
	add(15, 25, 30) // is there
	add(28, 32, 30) // more of it
	want(10, 30, 22)
	want(31, 59, 1)
	want(9, 59, 0)
	want(32, 59, 0)
	want(20, 60, 0) // as old as its beginning
	add(30, 40, 70)
	want(30, 70, 10)
	want(25, 70, 0)
	c.each(entry(30), 39, at(70), func(int64, int64) bool { t.Error("the last one is not wanted"); return false })
	for i := range len(c.spans) {
		add(100*(i+1), 100*(i+1)+1, 80+i)
	}
	want(30, 90, 0) // made room
	want(400, 90, 1)
	c.forget()
	want(400, 90, 0)
}

func TestBatchSize(t *testing.T) {
	for _, size := range []int64{61, 127, 128, 16383, 16384, 2097151, 2097152, 5e6} {
		if got := batchSize(size + int64(uvarintLen(uint64(size)))); got != size {
			t.Errorf("a batch of %d bytes: %d", size, got)
		}
	}
}
