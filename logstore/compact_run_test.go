package logstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chronik/wire/batch"
)

// compacting opens a store that compacts all the time.
func compacting(t testing.TB, dir string, c CompactionConfig) (*Store, func()) {
	t.Helper()
	s, err := Open(Config{Dir: dir, NodeID: 1, Compaction: c, RetentionInterval: 20 * time.Millisecond})
	mustDo(t, err)
	mustDo(t, s.Recover(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return s, func() {
		cancel()
		wg.Wait()
		mustDo(t, s.Close())
	}
}

// Who reads while the log is compacted, truncated by retention and written sees every key's last
// value, in the order of offsets, and every other question is answered as well.
func TestReadersDuringCompaction(t *testing.T) {
	s, stop := compacting(t, t.TempDir(), CompactionConfig{Interval: time.Millisecond})
	o := compactable()
	o.SegmentBytes = 4000
	l := taken(t, s, o)
	const keys, updates = 20, 3000
	var wg sync.WaitGroup
	written := make(chan struct{})
	wg.Go(func() {
		defer close(written)
		for i := range updates {
			mustDo(t, l.Append(1, []Item{{Batch: keyedBatch(batch.Codec(i%5), kv{key: fmt.Sprint(i % keys), value: fmt.Sprint(i), ts: int64(i)})}}))
			if i%20 == 0 {
				reached(t, l.AckedMark(), int64(i)+1)
			}
		}
		reached(t, l.AckedMark(), updates)
	})
	for range 3 {
		wg.Go(func() {
			for done := false; !done; {
				select {
				case <-written:
					done = true
				default:
				}
				readAsConsumer(t, l, keys)
			}
		})
	}
	wg.Wait()
	eventually(t, func() error {
		if n := len(recordsOf(t, l)); n > 10*keys {
			return fmt.Errorf("%d records of %d keys; %+v", n, keys, s.Compactions())
		}
		return nil
	})
	t.Logf("%+v", s.Compactions())
	if st := s.Compactions(); st.Runs == 0 || st.BytesRead == 0 || st.BytesWritten == 0 || st.FailingLogs != 0 {
		t.Errorf("%+v", st)
	}
	stop()
	if r, err := Check(l.dir); err != nil || !r.OK() || r.Stock != "ok" {
		t.Errorf("%+v, %v", r, err)
	}
}

// readAsConsumer reads the log until it has caught up: the i-th update of a key is at offset i.
// What lies below a limit may go while it is read, but only for an update above it.
func readAsConsumer(t testing.TB, l *Log, keys int64) {
	end, at := l.Acked(), int64(0)
	seen := map[int64]int64{}
	for limit := end; at < limit; limit = l.Acked() {
		got, err := l.Read(nil, at, limit, 3000)
		if err != nil || len(got) == 0 && l.Acked() == limit {
			t.Errorf("nothing at %d of %d: %v", at, limit, err)
			return
		}
		for len(got) > 0 {
			b, rest, err := batch.First(got)
			if err != nil || b.CheckCRC() != nil || b.LastOffset() < at {
				t.Errorf("at %d: batch %d to %d: %v", at, b.BaseOffset(), b.LastOffset(), err)
				return
			}
			if b.NumRecords() > 0 {
				seen[b.BaseOffset()%keys] = b.BaseOffset()
			}
			got, at = rest, b.LastOffset()+1
		}
	}
	for k := range min(keys, at) {
		if last := (at-1-k)/keys*keys + k; seen[k] < last {
			t.Errorf("key %d was last at %d of %d, seen at %d", k, last, at, seen[k])
		}
	}
	if o, ts, _, err := l.MaxTimestamp(); err != nil || end > 0 && (o != ts || o < end-1) {
		t.Errorf("the largest time is %d at %d of %d: %v", ts, o, end, err)
	}
	if o, ts, _, err := l.OffsetForTime(end - 1); err != nil || end > 0 && (o != ts || o < end-1) {
		t.Errorf("time %d is at offset %d of %d: %v", end-1, o, at, err)
	}
	_ = l.SizeFrom(end/2, end, 1<<20)
}

// What there is to compact follows the settings, those of this moment.
func TestWhatIsCompacted(t *testing.T) {
	now := time.UnixMilli(1e12)
	s, kill := still(t, t.TempDir())
	s.cfg.Now = func() time.Time { return now }
	o := compactable()
	l := taken(t, s, o)
	update := func(n int) {
		for i := range n {
			mustDo(t, l.Append(1, []Item{{Batch: keyedBatch(batch.None, kv{key: fmt.Sprint("key", i%10), value: strings.Repeat("x", 50), ts: now.UnixMilli()})}}))
		}
		settled(t, l)
	}
	segments := func(c Compaction) int {
		o.Compact = &c
		l.Configure(o)
		l.compact.first = nil
		d, err := l.dirty(now)
		mustDo(t, err)
		return len(d.segs)
	}
	never := int64(math.MaxInt64)
	update(200)
	sealed := len(*l.segs.Load()) - 1
	if n := segments(Compaction{MaxLagMs: never}); n != sealed {
		t.Fatalf("%d segments of %d", n, sealed)
	}
	l.Configure(Options{})
	if d, err := l.dirty(now); err != nil || len(d.segs) > 0 {
		t.Errorf("a log that is not compacted: %d segments, %v", len(d.segs), err)
	}
	if n := segments(Compaction{MaxLagMs: never, MinLagMs: 1000}); n != 0 {
		t.Errorf("%d segments are younger than the least lag", n)
	}
	now = now.Add(time.Second)
	if n := segments(Compaction{MaxLagMs: never, MinLagMs: 1000}); n != sealed {
		t.Errorf("%d segments of %d are old enough", n, sealed)
	}
	o.Compact = &Compaction{MaxLagMs: never}
	l.Configure(o)
	compacted(t, l)
	if n := segments(Compaction{MaxLagMs: never}); n != 0 {
		t.Errorf("%d segments after a compaction", n)
	}
	update(25)
	d, err := l.dirty(now)
	mustDo(t, err)
	if len(d.segs) < 2 || d.ratio <= 0.3 || d.ratio >= 0.95 {
		t.Fatalf("%d segments, ratio %v", len(d.segs), d.ratio)
	}
	for _, c := range []struct {
		minRatio float64
		maxLag   int64
		want     int
	}{{d.ratio - 0.01, never, len(d.segs)}, {d.ratio, never, 0}, {1, 1000, 0}, {1, -1, len(d.segs)}} {
		if n := segments(Compaction{MinDirtyRatio: c.minRatio, MaxLagMs: c.maxLag}); n != c.want {
			t.Errorf("ratio %v of at least %v, lag of at most %d: %d segments, want %d", d.ratio, c.minRatio, c.maxLag, n, c.want)
		}
	}
	now = now.Add(1500 * time.Millisecond)
	if n := segments(Compaction{MinDirtyRatio: 1, MaxLagMs: 1000}); n != len(d.segs) {
		t.Errorf("%d segments of %d wait longer than the largest lag", n, len(d.segs))
	}
	kill()
}

// A topic that nobody writes to any more is compacted, too.
func TestQuietLogIsRolled(t *testing.T) {
	for _, o := range []Options{{SegmentMs: 1000, Compact: &Compaction{MaxLagMs: math.MaxInt64}}, {Compact: &Compaction{MaxLagMs: 1000}}, {FlushMessages: 1 << 60, Compact: &Compaction{MaxLagMs: 1000}}} {
		now := time.Now()
		s, kill := still(t, t.TempDir())
		s.cfg.Now = func() time.Time { return now }
		l := taken(t, s, o)
		for i := range 50 {
			mustDo(t, l.Append(1, []Item{{Batch: keyedBatch(batch.None, kv{key: "key", value: fmt.Sprint(i), ts: now.UnixMilli()})}}))
		}
		compacted(t, l)
		if n := len(*l.segs.Load()); n != 1 {
			t.Fatalf("%d segments of a young log", n)
		}
		now = now.Add(2 * time.Second)
		compacted(t, l)
		compacted(t, l) // its sidecar has come
		found := recordsOf(t, l)
		if len(found) != 1 || found[49].value != "49" || len(*l.segs.Load()) != 2 {
			t.Errorf("%+v: %v in %d segments", o, found, len(*l.segs.Load()))
		}
		end := l.End()
		kill()
		s, kill = still(t, s.cfg.Dir)
		if l = taken(t, s, o); l.End() != end || l.Err() != nil {
			t.Errorf("%+v: ends at %d of %d: %v", o, l.End(), end, l.Err())
		}
		kill()
	}
}

// What is rewritten ends where it ended though its last record goes, and no time is found at a record
// that went.
func TestLastRecordGoes(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	o := Options{Compact: &Compaction{MaxLagMs: 1000}}
	s, kill := still(t, dir)
	s.cfg.Now = func() time.Time { return now }
	l := taken(t, s, o)
	add := func(records ...kv) {
		for _, r := range records {
			mustDo(t, l.Append(1, []Item{{Batch: keyedBatch(batch.Gzip, r)}}))
		}
		for range 2 { // sealed, then compacted
			settled(t, l)
			now = now.Add(2 * time.Second)
			compacted(t, l)
		}
	}
	add(kv{key: "a", value: "1", ts: 100}, kv{key: "b", value: "2", ts: 200}, kv{key: "a", tombstone: true, ts: 300})
	add(kv{key: "c", value: "3", ts: 150}, kv{value: "no key", ts: 999})
	for range 2 {
		found := recordsOf(t, l)
		if len(found) != 2 || found[1].key != "b" || found[3].key != "c" || l.End() != 5 {
			t.Fatalf("%v up to %d", found, l.End())
		}
		if offset, ts, _, err := l.MaxTimestamp(); offset != 1 || ts != 200 || err != nil {
			t.Errorf("the largest time is %d at %d: %v", ts, offset, err)
		}
		if got, err := l.Read(nil, 4, 5, 100); err != nil || len(got) != batch.HeaderLen || batch.Batch(got).LastOffset() != 4 {
			t.Errorf("%d bytes at the last offset: %v", len(got), err)
		}
		kill()
		mustDo(t, os.RemoveAll(filepath.Join(l.dir, indexName)))
		s, kill = still(t, dir)
		l = taken(t, s, o)
	}
	kill()
}

// A producer whose last batch lost all its records goes on where it was, though its state is lost.
func TestProducersOutliveCompaction(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := taken(t, s, compactable())
	for seq := range int32(3) {
		b := batch.NewBuilder(batch.None)
		b.SetProducer(9, 2, seq)
		addTo(b, kv{key: "0", value: "old"})
		mustDo(t, l.Append(0, []Item{{Batch: build(b)}}))
	}
	filled(t, s, compactable())
	compacted(t, l)
	kill()
	mustDo(t, os.Remove(filepath.Join(l.dir, producersName)))
	s, kill = still(t, s.cfg.Dir)
	l = taken(t, s, compactable())
	if p := l.Producers(); len(p) != 1 || p[0].ProducerID != 9 || p[0].LastSequence != 2 || p[0].ProducerEpoch != 2 || p[0].LastOffset != 2 {
		t.Errorf("%+v", p)
	}
	if found := recordsOf(t, l); found[2].key != "" {
		t.Errorf("%+v", found[2])
	}
	kill()
}

// toldErrors counts what is logged as an error.
type toldErrors struct {
	slog.Handler
	n *int
}

func (h toldErrors) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		*h.n++
	}
	return nil
}

func (toldErrors) Enabled(context.Context, slog.Level) bool { return true }

// What goes wrong in a compaction leaves the log as it is, and is tried again later.
func TestCompactionFails(t *testing.T) {
	now, told := time.Now(), 0
	s, kill := still(t, t.TempDir())
	s.cfg.Now = func() time.Time { return now }
	s.log = slog.New(toldErrors{slog.DiscardHandler, &told})
	l := filled(t, s, compactable())
	want := entriesOf(t, l)
	bad := (*l.segs.Load())[3].path
	c := s.compactor
	fails := func(tries int, wait time.Duration) {
		t.Helper()
		mustDo(t, c.round(t.Context()))
		if c.ill[l].wait != wait || c.stats.failing.Load() != 1 {
			t.Fatalf("try %d: to be tried again after %v", tries, c.ill[l].wait)
		}
		if _, err := os.Stat(filepath.Join(l.dir, compactName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("try %d leaves its directory (%v)", tries, err)
		}
	}
	at := int64(-1) // in a value, where nothing but the checksum knows
	mustDo(t, walkSegment(bad, 1, func(e Entry) error {
		if e.Batch.Codec() == batch.None {
			at = e.Pos + entrySize(e.Batch) - 1
		}
		return nil
	}))
	flip(t, bad, at)
	fails(1, compactAgain)
	fails(2, compactAgain) // not tried
	now = now.Add(compactAgain)
	fails(3, 2*compactAgain)
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	flip(t, bad, at)
	holds(t, l, want)
	now = now.Add(2 * compactAgain)
	free := s.disk.free.Load()
	s.disk.free.Store(s.disk.limit() + 1000)
	fails(4, 4*compactAgain)
	s.disk.free.Store(free)
	now = now.Add(4 * compactAgain)
	mustDo(t, c.round(t.Context()))
	if len(c.ill) != 0 || c.stats.runs.Load() == 0 || len(entriesOf(t, l)) >= len(want) {
		t.Errorf("not compacted once nothing is wrong any more: %v", c.ill)
	}
	kill()
}

// A name that cannot be given in the middle of a swap stops the log; its recovery finishes the swap.
func TestSwapFails(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := filled(t, s, compactable())
	c := builtFor(t, l)
	var want []string
	for i := range c.out.done {
		want = append(want, entriesIn(t, c.out.done[i].path)...)
	}
	for _, left := range (*l.segs.Load())[len(c.segs):] {
		want = append(want, entriesIn(t, left.path)...)
	}
	first := (*l.segs.Load())[0].path
	mustDo(t, os.Remove(first))
	mustDo(t, os.MkdirAll(filepath.Join(first, "in the way"), 0o750))
	if err := c.swap(); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("swapped: %v", err)
	}
	l.trouble.Load().next = time.Time{}
	l.tryReopen()
	if l.Err() == nil {
		t.Error("reopened with a directory in the way")
	}
	mustDo(t, os.RemoveAll(first))
	l.trouble.Load().next = time.Time{}
	l.tryReopen()
	holds(t, l, want)
	kill()
}

// What happens to a log while its new segments are made is not undone by them.
func TestLogChangesMeanwhile(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *Store, *Log) error{
		"truncated": func(_ *testing.T, _ *Store, l *Log) error { return l.TruncateTo(100) },
		"no policy": func(_ *testing.T, _ *Store, l *Log) error { l.Configure(Options{}); return nil },
		"deleted":   func(_ *testing.T, s *Store, l *Log) error { return s.Delete(l.id) },
		"set aside": func(_ *testing.T, s *Store, l *Log) error { return s.SetAside(l.id) },
		"reopened": func(t *testing.T, _ *Store, l *Log) error {
			_ = l.poison("test", errors.New("stopped"))
			l.trouble.Load().next = time.Time{}
			l.tryReopen()
			return l.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, kill := still(t, t.TempDir())
			l := filled(t, s, compactable())
			c := builtFor(t, l)
			mustDo(t, change(t, s, l))
			var want []string
			if l.Err() == nil {
				want = entriesOf(t, l)
			}
			if err := c.swap(); !errors.Is(err, errAbandoned) {
				t.Errorf("swapped: %v", err)
			}
			if want != nil {
				holds(t, l, want)
			}
			kill()
		})
	}
}

// gapped is a compacted log of small segments, with gaps between some.
func gapped(t testing.TB, s *Store) (*Log, Options) {
	t.Helper()
	o := compactable()
	l := filled(t, s, o)
	o.SegmentBytes = 100
	l.Configure(o)
	compacted(t, l)
	return l, o
}

// A compacted log is cut anywhere, in gaps between segments, too; how far it was compacted is
// forgotten with what is cut.
func TestTruncateCompacted(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l, o := gapped(t, s)
	segs := *l.segs.Load()
	gaps := 0
	for i, s := range segs[1:] {
		if segs[i].last.Load()+1 < s.base {
			gaps++
		}
	}
	if len(segs) < 6 || gaps < 2 {
		t.Fatalf("%d segments, %d gaps between them", len(segs), gaps)
	}
	cleaned, err := l.cleanedTo()
	mustDo(t, err)
	for to := l.End() - 1; to > 0; to-- {
		var want []string
		for _, b := range readBack(t, l, 1000) {
			if b.LastOffset() < to {
				want = append(want, string(b))
			}
		}
		mustDo(t, l.TruncateTo(to))
		holds(t, l, want)
		if now, err := l.cleanedTo(); err != nil || l.End() > to || now > min(cleaned, l.End()) {
			t.Fatalf("cut to %d: ends at %d, compacted to %d (%v)", to, l.End(), now, err)
		}
		if to%7 == 0 {
			end := l.End()
			kill()
			s, kill = still(t, dir)
			if l = taken(t, s, o); l.End() != end {
				t.Fatalf("ends at %d after a restart, at %d before", l.End(), end)
			}
			holds(t, l, want)
		}
	}
	kill()
}

// Retention drops segments that are being compacted: what takes their place begins below the log
// start, and goes when all of it is.
func TestRetentionOfCompacted(t *testing.T) {
	s, kill := still(t, t.TempDir())
	o := compactable()
	l := filled(t, s, o)
	o.SegmentBytes = 100 // many segments, and gaps between them
	l.Configure(o)
	c := builtFor(t, l)
	start := (*l.segs.Load())[5].base
	mustDo(t, l.AdvanceStart(start))
	mustDo(t, s.retain(t.Context()))
	mustDo(t, c.swap())
	found := recordsOf(t, l)
	if l.Start() != start || len(found) == 0 {
		t.Fatalf("starts at %d, want %d; %d records", l.Start(), start, len(found))
	}
	for i := range 6 {
		o.RetentionBytes = l.Size() * 3 / 4
		l.Configure(o)
		mustDo(t, s.retain(t.Context()))
		start = max(start, l.Start())
		if i == 4 {
			start += 3
			mustDo(t, l.AdvanceStart(start))
		}
		kill()
		if i%2 == 0 { // it is read whole, and then not
			mustDo(t, os.RemoveAll(filepath.Join(l.dir, indexName)))
		}
		s, kill = still(t, s.cfg.Dir)
		if l = taken(t, s, o); l.Start() != start || l.Err() != nil || l.End() != 400 {
			t.Fatalf("starts at %d, want %d, ends at %d: %v", l.Start(), start, l.End(), l.Err())
		}
		if settled(t, l); i == 3 {
			compacted(t, l)
		}
	}
	kill()
}

// Retention drops the segment before a gap: the log starts where the next one begins.
func TestRetentionAtAGap(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l, o := gapped(t, s)
	segs := *l.segs.Load()
	first, second := segs[0], segs[1]
	if first.last.Load()+1 >= second.base {
		t.Fatalf("no gap: to %d, from %d", first.last.Load(), second.base)
	}
	kill()
	mustDo(t, os.RemoveAll(filepath.Join(l.dir, indexName))) // what is read now is not when it is opened again
	for range 2 {
		s, kill = still(t, dir)
		l = taken(t, s, o)
		settled(t, l)
		o.RetentionBytes = l.Size() - first.size.Load()
		l.Configure(o)
		mustDo(t, s.retain(t.Context()))
		if l.Start() != second.base {
			t.Errorf("starts at %d, want %d", l.Start(), second.base)
		}
		kill()
	}
}

// Who holds the list from before a compaction is sent to the new one: an old segment's name may be a
// new one's.
func TestOldSegmentsAreGone(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := filled(t, s, compactable())
	old := *l.segs.Load()
	compacted(t, l)
	list := *l.segs.Load()
	for _, seg := range old[:len(old)-1] {
		if _, err := seg.acquire(); !errors.Is(err, errGone) {
			t.Errorf("%s can be read: %v", seg.path, err)
		}
	}
	if _, err := l.read(nil, old, wanted{Want: Want{Until: l.End(), Limit: 1000}}); !errors.Is(err, errGone) {
		t.Errorf("read from the old list: %v", err)
	}
	if old[len(old)-1] != list[len(list)-1] || len(list) >= len(old) {
		t.Errorf("%d segments of %d", len(list), len(old))
	}
	kill()
}

// Reading and writing keep to their bytes in a second.
func TestCompactionPace(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := filled(t, s, compactable())
	size := l.Size()
	s.compactor.pace.perSecond = float64(size) * 4
	began := time.Now()
	compacted(t, l)
	st := s.Compactions()
	least := time.Duration(float64(st.BytesRead+st.BytesWritten) / s.compactor.pace.perSecond * float64(time.Second))
	if took := time.Since(began); took < least*8/10 || least < 400*time.Millisecond {
		t.Errorf("%d bytes read and %d written in %v, at least %v wanted", st.BytesRead, st.BytesWritten, took, least)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.compactor.pace.spend(ctx, 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("a pause does not end: %v", err)
	}
	kill()
}

// A damaged journal says nothing of how far the swap came: the log is short, and its files stay.
func TestDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l := filled(t, s, compactable())
	c := builtFor(t, l)
	s.checkpoint.mu.Lock()
	j, _, err := c.prepare()
	mustDo(t, err)
	mustDo(t, j.commit(l.dir))
	s.checkpoint.mu.Unlock()
	kill()
	flip(t, filepath.Join(l.dir, compactName, swapName), 30)
	s, kill = still(t, dir)
	isShort(t, taken(t, s, compactable()))
	if files, err := os.ReadDir(filepath.Join(l.dir, compactName)); err != nil || len(files) < 3 {
		t.Errorf("%d files are left (%v)", len(files), err)
	}
	kill()
	if r, err := Check(l.dir); err != nil || r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

// A store that does not compact does not.
func TestCompactionDisabled(t *testing.T) {
	s, stop := compacting(t, t.TempDir(), CompactionConfig{Disabled: true, Interval: time.Nanosecond})
	l := filled(t, s, compactable())
	want := entriesOf(t, l)
	mustDo(t, s.compactor.run(t.Context())) // returns at once
	holds(t, l, want)
	stop()
}
