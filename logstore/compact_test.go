package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"chronik/wire/batch"
)

// kv is a record of a compacted log.
type kv struct {
	key, value string
	tombstone  bool
	ts         int64
}

// keyedBatch makes a batch of records.
func keyedBatch(codec batch.Codec, records ...kv) batch.Batch {
	b := batch.NewBuilder(codec)
	for _, r := range records {
		addTo(b, r)
	}
	return build(b)
}

func addTo(b *batch.Builder, r kv) {
	var key, value []byte
	if r.key != "" {
		key = []byte(r.key)
	}
	if !r.tombstone {
		value = []byte(r.value)
	}
	b.Add(r.ts, key, value, batch.Header{Key: "h", Value: []byte(r.value)})
}

// compactable are settings under which every dirty byte is compacted.
func compactable() Options {
	return Options{SegmentBytes: 2000, IndexIntervalBytes: 300, Compact: &Compaction{MaxLagMs: math.MaxInt64, DeleteRetentionMs: 1000}}
}

// settled puts the log on disk as the background work would.
func settled(t testing.TB, l *Log) {
	t.Helper()
	l.doFlush()
	mustDo(t, l.chore())
	mustDo(t, l.Err())
}

// compacted compacts whatever can be.
func compacted(t testing.TB, l *Log) {
	t.Helper()
	settled(t, l)
	mustDo(t, l.store.compactor.round(t.Context()))
	mustDo(t, l.Err())
	for l, ill := range l.store.compactor.ill {
		t.Fatalf("compaction of %s failed, to be tried again at %v", l.id, ill.next)
	}
}

// recordsOf is what a consumer finds: each record by its offset.
func recordsOf(t testing.TB, l *Log) map[int64]kv {
	t.Helper()
	found := map[int64]kv{}
	for _, b := range readBack(t, l, 1000) {
		mustDo(t, b.Records(func(_ int, r *batch.Record) error {
			got := kv{key: string(r.Key), tombstone: r.Value == nil, ts: b.BaseTimestamp() + r.TimestampDelta, value: string(r.Headers[0].Value)}
			if b.LogAppendTime() {
				got.ts = b.MaxTimestamp()
			}
			if r.Value != nil && string(r.Value) != got.value {
				return fmt.Errorf("value %q beside header %q", r.Value, got.value)
			}
			found[b.BaseOffset()+int64(r.OffsetDelta)] = got
			return nil
		}))
	}
	return found
}

// keyedModel is a log of random updates of few keys, and what it ought to hold.
type keyedModel struct {
	t       *testing.T
	rand    *rand.Rand
	dir     string
	now     time.Time
	s       *Store
	kill    func()
	l       *Log
	all     []kv // by offset
	batches map[int64]batch.Batch
	cleaned map[int64]time.Time // tombstones, by the compaction that first met them
	seq     map[int64]int32
	opts    Options
}

func (m *keyedModel) open() {
	m.s, m.kill = still(m.t, m.dir)
	m.s.cfg.Now = func() time.Time { return m.now }
	m.s.compactor.cfg.BufferSize = 40 * keySlotBytes // so that some compactions take several passes
	if m.rand.IntN(2) == 0 {
		m.s.compactor.cfg.BufferSize = 1 << 20
	}
	m.l = taken(m.t, m.s, m.opts)
	mustDo(m.t, m.l.Err())
}

func (m *keyedModel) append() {
	n := 1 + m.rand.IntN(12)
	b := batch.NewBuilder(batch.Codec(m.rand.IntN(5)))
	if id := m.rand.Int64N(5); id > 0 {
		b.SetProducer(id, 0, m.seq[id])
		m.seq[id] += int32(n)
	}
	for range n {
		r := kv{key: fmt.Sprint("key", m.rand.IntN(60)), value: fmt.Sprint("value", len(m.all)), tombstone: m.rand.IntN(8) == 0, ts: m.now.UnixMilli() + m.rand.Int64N(50)}
		if m.rand.IntN(40) == 0 {
			r.key = ""
		}
		addTo(b, r)
		m.all = append(m.all, r)
	}
	made := build(b)
	if m.rand.IntN(10) == 0 {
		made.SetLogAppendTime(m.now.UnixMilli())
	}
	items := []Item{{Batch: made}}
	mustDo(m.t, m.l.Append(1, items))
	mustDo(m.t, items[0].Err)
	m.batches[items[0].BaseOffset] = bytes.Clone(made)
}

// compact compacts and holds the log against what it ought to be.
func (m *keyedModel) compact() {
	before := m.s.Compactions().Runs
	compacted(m.t, m.l)
	if m.s.Compactions().Runs == before {
		return // nothing is dirty
	}
	end, err := m.l.cleanedTo()
	mustDo(m.t, err)
	last := map[string]int64{}      // of all records
	lastClean := map[string]int64{} // of those that were compacted
	for o, r := range m.all {
		last[r.key] = int64(o)
		if int64(o) < end {
			lastClean[r.key] = int64(o)
		}
	}
	found := recordsOf(m.t, m.l)
	m.checkBatches()
	m.checkTimes(found)
	for o, r := range m.all {
		o := int64(o)
		_, there := found[o]
		met, wasMet := m.cleaned[o]
		expired := wasMet && !m.now.Before(met.Add(time.Second))
		switch {
		case o >= end || last[r.key] == o && r.key != "" && !r.tombstone:
			m.want(there, "offset %d (%q), the last of its key or not compacted, is not there", o, r.key)
		case r.key == "" || lastClean[r.key] != o:
			m.want(!there, "offset %d (%q) is superseded and still there", o, r.key)
		case r.tombstone && expired:
			m.want(!there, "the tombstone at %d (%q) was to be removed", o, r.key)
		case r.tombstone:
			m.want(there, "the tombstone at %d (%q) is gone before its time", o, r.key)
		default:
			m.want(there, "offset %d (%q), the last that is compacted, is not there", o, r.key)
		}
		if there && o < end && r.tombstone && !wasMet {
			m.cleaned[o] = m.now
		}
	}
}

func (m *keyedModel) want(ok bool, format string, args ...any) {
	m.t.Helper()
	if !ok {
		m.t.Fatalf(format, args...)
	}
}

// checkBatches holds what is left of each batch against the batch.
func (m *keyedModel) checkBatches() {
	m.t.Helper()
	for _, b := range readBack(m.t, m.l, 5000) {
		was, ok := m.batches[b.BaseOffset()]
		m.want(ok, "no batch was at %d", b.BaseOffset())
		m.want(b.LastOffset() == was.LastOffset() && b.ProducerID() == was.ProducerID() && b.BaseSequence() == was.BaseSequence() &&
			b.LeaderEpoch() == was.LeaderEpoch() && b.LogAppendTime() == was.LogAppendTime(), "batch at %d: %x, was %x", b.BaseOffset(), b[:61], was[:61])
		m.want(b.NumRecords() == 0 || b.Codec() == was.Codec(), "batch at %d: codec %v, was %v", b.BaseOffset(), b.Codec(), was.Codec())
		largest := int64(-1)
		mustDo(m.t, b.Records(func(_ int, r *batch.Record) error {
			o := b.BaseOffset() + int64(r.OffsetDelta)
			want, ts := m.all[o], b.BaseTimestamp()+r.TimestampDelta
			largest = max(largest, ts)
			if string(r.Key) != want.key || (r.Value == nil) != want.tombstone || string(r.Headers[0].Value) != want.value || ts != want.ts {
				return fmt.Errorf("offset %d: %q, %q at %d, want %+v", o, r.Key, r.Value, ts, want)
			}
			return nil
		}))
		m.want(b.LogAppendTime() || b.NumRecords() == 0 || b.MaxTimestamp() == largest, "batch at %d: largest timestamp %d, want %d", b.BaseOffset(), b.MaxTimestamp(), largest)
	}
}

// checkTimes holds times to offsets, and offsets to batches, against the records.
func (m *keyedModel) checkTimes(found map[int64]kv) {
	m.t.Helper()
	largest := kv{ts: -1}
	for _, r := range found {
		largest.ts = max(largest.ts, r.ts)
	}
	for range 5 {
		ts := largest.ts - m.rand.Int64N(300)
		want := int64(-1)
		for o := int64(len(m.all)) - 1; o >= 0; o-- {
			if r, ok := found[o]; ok && o < m.l.Acked() && r.ts >= ts {
				want = o
			}
		}
		got, at, _, err := m.l.OffsetForTime(ts)
		m.want(err == nil && got == want && (got < 0 || at == found[got].ts), "time %d is at offset %d, %d (%v), want %d", ts, got, at, err, want)
	}
	if m.l.Acked() == m.l.End() {
		_, at, _, err := m.l.MaxTimestamp()
		m.want(err == nil && at == largest.ts, "the largest time is %d (%v), want %d", at, err, largest.ts)
	}
	from := m.rand.Int64N(m.l.End())
	got, err := m.l.Read(nil, from, m.l.End(), 1)
	mustDo(m.t, err)
	b, _, err := batch.First(got)
	mustDo(m.t, err)
	for o := range found {
		m.want(o < from || b.BaseOffset() <= o, "read from %d begins at %d, behind %d", from, b.BaseOffset(), o)
	}
}

func (m *keyedModel) reopen() {
	clean := m.rand.IntN(2) == 0
	if clean {
		mustDo(m.t, m.s.Close())
	} else {
		m.l.doFlush()
		m.kill()
	}
	report, err := Check(m.l.dir)
	mustDo(m.t, err)
	m.want(report.OK() && report.Stock == "ok", "problems %q, stock %q", report.Problems, report.Stock)
	switch m.rand.IntN(6) {
	case 0:
		mustDo(m.t, os.RemoveAll(filepath.Join(m.l.dir, indexName)))
	case 1:
		mustDo(m.t, removeLeft(filepath.Join(m.dir, checkpointName)))
	case 2:
		mustDo(m.t, removeLeft(filepath.Join(m.l.dir, producersName)))
	}
	m.open()
}

// Whatever is written in whatever codec: compaction leaves the last value of each key, at its offset,
// and removes the rest; tombstones go after their time; the stock library reads the log.
func TestCompactionKeepsTheLast(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &keyedModel{
				t: t, rand: rand.New(rand.NewPCG(seed, 3)), dir: t.TempDir(), now: time.UnixMilli(1e12), opts: compactable(),
				batches: map[int64]batch.Batch{}, cleaned: map[int64]time.Time{}, seq: map[int64]int32{},
			}
			if seed%3 == 2 {
				m.opts.FlushMessages = 1 << 60
			}
			m.open()
			for range 40 {
				for range 1 + m.rand.IntN(25) {
					m.append()
				}
				m.now = m.now.Add(time.Duration(m.rand.IntN(400)) * time.Millisecond)
				if m.rand.IntN(3) > 0 {
					m.compact()
				}
				if m.rand.IntN(6) == 0 {
					m.reopen()
				}
			}
			m.compact()
			for id, next := range m.seq { // no producer lost its place
				b := batch.NewBuilder(batch.None)
				b.SetProducer(id, 0, next)
				addTo(b, kv{key: "end", value: "end"})
				items := []Item{{Batch: build(b)}}
				mustDo(t, m.l.Append(2, items))
				mustDo(t, items[0].Err)
			}
			m.kill()
		})
	}
}

// filled is a log of many updates of few keys, ready to be compacted.
func filled(t testing.TB, s *Store, o Options) *Log {
	t.Helper()
	l := taken(t, s, o)
	for i := range 200 {
		items := []Item{{Batch: keyedBatch(batch.Codec(i%5), kv{key: fmt.Sprint(i % 17), value: fmt.Sprint(i)}, kv{key: fmt.Sprint(i % 5), value: fmt.Sprint(i)})}}
		mustDo(t, l.Append(int32(i/50), items))
		if i == 100 { // its recovery point lies back
			mustDo(t, l.save())
			mustDo(t, s.writeCheckpoint())
		}
	}
	settled(t, l)
	return l
}

// entriesIn are the batches of segment files.
func entriesIn(t testing.TB, paths ...string) (all []string) {
	t.Helper()
	for _, path := range paths {
		mustDo(t, walkSegment(path, 1, func(e Entry) error {
			all = append(all, string(e.Batch))
			return e.Err
		}))
	}
	return all
}

// builtFor is a compaction of the log that has its segments and no journal yet.
func builtFor(t testing.TB, l *Log) *compaction {
	t.Helper()
	all := l.store.compactor.look()
	if len(all) != 1 {
		t.Fatalf("%d logs to compact", len(all))
	}
	c := &compaction{dirt: all[0], c: l.store.compactor, now: l.store.cfg.Now().UnixMilli()}
	var err error
	c.out, err = newCompactOut(l)
	mustDo(t, err)
	mustDo(t, c.build(t.Context()))
	return c
}

// A crash at any step leaves the log as it was or compacted, never anything else.
func TestCompactionCrash(t *testing.T) {
	steps := 1
	random := rand.New(rand.NewPCG(1, 2))
	for at := -1; at < 2*steps; at++ {
		dir := t.TempDir()
		s, kill := still(t, dir)
		l := filled(t, s, compactable())
		before := entriesOf(t, l)
		c := builtFor(t, l)
		segs := *l.segs.Load()
		var want []string
		if at < 0 { // before the journal
			want = before
		} else {
			s.checkpoint.mu.Lock()
			j, made, err := c.prepare()
			mustDo(t, err)
			mustDo(t, j.commit(l.dir))
			_, err = c.publish(made)
			mustDo(t, err)
			s.checkpoint.mu.Unlock()
			for i := range c.out.done {
				want = append(want, entriesIn(t, c.out.done[i].path)...)
			}
			for _, left := range segs[len(c.segs):] {
				want = append(want, entriesIn(t, left.path)...)
			}
			all := j.steps(l.dir)
			steps = len(all)
			if at < steps {
				for _, do := range all[:at] {
					mustDo(t, do())
				}
			} else { // a power cut: any of the names may be there or not
				for _, do := range all[:steps-5] {
					if random.IntN(2) == 0 {
						mustDo(t, do())
					}
				}
			}
		}
		kill()
		s, kill = still(t, dir)
		l = taken(t, s, compactable())
		holds(t, l, want)
		if _, err := os.Stat(filepath.Join(l.dir, compactName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("step %d: the directory of the compaction is there (%v)", at, err)
		}
		if e, end := l.EpochEnd(1); e != 1 || end != 200 {
			t.Errorf("step %d: epoch 1 ends at %d (%d)", at, end, e)
		}
		compacted(t, l)
		kill()
		if r, err := Check(l.dir); err != nil || !r.OK() || r.Stock != "ok" || len(want) >= len(before) != (at < 0) {
			t.Errorf("step %d: %d of %d batches, %+v, %v", at, len(want), len(before), r, err)
		}
	}
	if steps < 15 {
		t.Errorf("%d steps", steps)
	}
}

func entriesOf(t testing.TB, l *Log) (all []string) {
	t.Helper()
	for _, b := range readBack(t, l, 1<<20) {
		all = append(all, string(b))
	}
	return all
}
