package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chronik/wire/batch"
)

// model is a log as it should be: all batches ever that are still part of it, and where it starts.
// What is flushed may not be lost, what is not may.
type model struct {
	t     *testing.T
	rand  *rand.Rand
	dir   string
	opts  Options
	epoch int32
	maker maker

	s    *Store
	kill func()
	l    *Log

	all     []batch.Batch
	sent    []batch.Batch // compacted away or not
	start   int64
	cleaned int64 // compacted up to here
	steps   []string
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	last := m.steps[max(0, len(m.steps)-12):]
	m.t.Fatalf("%s\nlast steps: %q", fmt.Sprintf(format, args...), last)
}

func (m *model) do(err error) {
	m.t.Helper()
	if err != nil {
		m.fail("%v", err)
	}
}

func (m *model) end() int64 {
	if len(m.all) == 0 {
		return 0
	}
	return m.all[len(m.all)-1].LastOffset() + 1
}

func (m *model) open() {
	m.t.Helper()
	m.s, m.kill = still(m.t, m.dir)
	l, err := m.s.Take(testID, m.opts)
	m.do(err)
	m.do(l.Err())
	m.l = l
	m.epoch++
}

// next is the sequence that a producer goes on with.
func (m *model) next(id int64) (seq int32) {
	for _, b := range m.sent {
		if b.ProducerID() == id {
			seq = b.LastSequence() + 1
		}
	}
	return seq
}

func (m *model) append() {
	items := make([]Item, 1+m.rand.IntN(3))
	sequences := map[int64]int32{}
	for i := range items {
		n := 1 + m.rand.IntN(4)
		id := m.rand.Int64N(4)
		if id == 0 {
			items[i].Batch = m.maker.batch(n, m.rand.IntN(500), m.rand.Int64N(1000))
			continue
		}
		if _, ok := sequences[id]; !ok {
			sequences[id] = m.next(id)
		}
		items[i].Batch = m.maker.produced(n, id, 0, sequences[id])
		sequences[id] += int32(n)
	}
	if m.rand.IntN(10) == 0 {
		m.epoch++
	}
	m.do(m.l.Append(m.epoch, items))
	for i := range items {
		if items[i].Err != nil || items[i].BaseOffset != m.end() {
			m.fail("item %d at %d: %v, the end is %d", i, items[i].BaseOffset, items[i].Err, m.end())
		}
		m.all = append(m.all, bytes.Clone(items[i].Batch))
		m.sent = append(m.sent, m.all[len(m.all)-1])
	}
}

// again sends the last batch of a producer once more.
func (m *model) again() {
	id := 1 + m.rand.Int64N(3)
	for i := len(m.sent) - 1; i >= 0; i-- {
		if b := m.sent[i]; b.ProducerID() == id {
			there := slices.ContainsFunc(m.all, func(a batch.Batch) bool { return a.BaseOffset() == b.BaseOffset() })
			if b.BaseOffset() < m.start || !there {
				return // a truncation may have had to build producers again from what is left
			}
			items := []Item{{Batch: bytes.Clone(b)}}
			m.do(m.l.Append(m.epoch, items))
			if !errors.Is(items[0].Err, ErrDuplicate) || items[0].BaseOffset != b.BaseOffset() {
				m.fail("duplicate of %d: %v at %d", b.BaseOffset(), items[0].Err, items[0].BaseOffset)
			}
			return
		}
	}
}

// boundary is the base offset of some batch from the log start on, or the end.
func (m *model) boundary() int64 {
	var at []int64
	for _, b := range m.all {
		if b.BaseOffset() >= m.start {
			at = append(at, b.BaseOffset())
		}
	}
	at = append(at, m.end())
	return at[m.rand.IntN(len(at))]
}

func (m *model) truncate() {
	to := max(m.boundary(), m.start, m.cleaned)
	if i := slices.IndexFunc(m.all, func(b batch.Batch) bool { return b.LastOffset() >= to }); i >= 0 {
		to = max(m.start, m.all[i].BaseOffset())
	}
	cut := to < m.end()
	m.do(m.l.TruncateTo(to))
	m.keep(to)
	if cut && m.l.Flushed() != m.end() {
		m.fail("truncated to %d, flushed %d", to, m.l.Flushed())
	}
	m.epoch++
}

func (m *model) keep(end int64) {
	m.cleaned = min(m.cleaned, end)
	for len(m.sent) > 0 && m.sent[len(m.sent)-1].LastOffset() >= end {
		m.sent = m.sent[:len(m.sent)-1]
	}
	for len(m.all) > 0 && m.all[len(m.all)-1].LastOffset() >= end {
		m.all = m.all[:len(m.all)-1]
	}
}

func (m *model) advance() {
	to := m.start + m.rand.Int64N(m.l.Acked()-m.start+1)
	m.do(m.l.AdvanceStart(to))
	m.start = to
}

func (m *model) retain() {
	m.opts.RetentionBytes = 4000 + m.rand.Int64N(20_000)
	m.l.Configure(m.opts)
	before := m.l.Size()
	m.do(m.s.retain(m.t.Context()))
	if m.l.Start() < m.start || m.l.Size() < min(before, m.opts.RetentionBytes) && m.l.Start() != m.start && m.l.Size() == 0 {
		m.fail("%d bytes of %d are left, start %d", m.l.Size(), before, m.l.Start())
	}
	m.start = m.l.Start()
	m.opts.RetentionBytes = 0
	m.l.Configure(m.opts)
}

// compact compacts, and takes over what is left once it is seen to be right.
func (m *model) compact() {
	m.opts.Compact = &Compaction{MaxLagMs: 1 << 60, DeleteRetentionMs: 1000}
	m.l.Configure(m.opts)
	m.do(m.l.chore())
	m.do(m.s.compactor.round(m.t.Context()))
	for _, ill := range m.s.compactor.ill {
		m.fail("compaction failed, again at %v", ill.next)
	}
	cleaned, err := m.l.cleanedTo()
	m.do(err)
	m.opts.Compact = nil
	m.l.Configure(m.opts)
	if m.cleaned = cleaned; m.end() == m.start {
		return
	}
	left := map[int64]batch.Batch{}
	for _, b := range readBack(m.t, m.l, 5000) {
		left[b.BaseOffset()] = bytes.Clone(b)
	}
	latest := map[string]int64{}
	var all []batch.Batch
	for _, b := range slices.Backward(m.all) {
		if b.LastOffset() >= m.start {
			b = m.compactedAs(b, left[b.BaseOffset()], latest)
		}
		if b != nil {
			all = append(all, b)
		}
	}
	slices.Reverse(all)
	m.all = all
}

// compactedAs holds what is left of a batch against it. latest is of the batches behind it.
func (m *model) compactedAs(was, left batch.Batch, latest map[string]int64) batch.Batch {
	there := map[int32]string{}
	if left != nil {
		if left.LastOffset() != was.LastOffset() || left.ProducerID() != was.ProducerID() || left.LastSequence() != was.LastSequence() {
			m.fail("batch at %d to %d is now to %d", was.BaseOffset(), was.LastOffset(), left.LastOffset())
		}
		m.do(left.Records(func(_ int, r *batch.Record) error {
			there[r.OffsetDelta] = string(r.Key) + string(r.Value)
			return nil
		}))
	}
	keys := map[string]int64{}
	m.do(was.Records(func(_ int, r *batch.Record) error {
		offset := was.BaseOffset() + int64(r.OffsetDelta)
		if got, ok := there[r.OffsetDelta]; ok && got != string(r.Key)+string(r.Value) {
			m.fail("offset %d is now %q", offset, got)
		} else if !ok && offset >= m.cleaned {
			m.fail("offset %d is gone, compacted up to %d", offset, m.cleaned)
		}
		keys[string(r.Key)] = max(keys[string(r.Key)], offset)
		return nil
	}))
	for key, offset := range keys {
		_, later := latest[key]
		if _, ok := there[int32(offset-was.BaseOffset())]; !ok && !later && was.LastOffset() >= m.start {
			m.fail("the last value of %q, at %d, is gone", key, offset)
		}
		if !later {
			latest[key] = offset
		}
	}
	return left
}

func (m *model) save() {
	m.s.checkpoint.mu.Lock()
	m.do(m.l.save())
	m.s.checkpoint.mu.Unlock()
	if m.rand.IntN(2) == 0 { // else a crash comes between
		m.do(m.s.writeCheckpoint())
	}
}

// poison breaks the file under an append: the log is back with what was flushed.
func (m *model) poison() {
	if m.l.active() == nil {
		return
	}
	flushed := m.l.Flushed()
	broken(m.t, m.l)
	_ = m.l.Append(m.epoch, []Item{{Batch: m.maker.batch(1, 10, 1)}})
	m.l.doFlush()
	if m.l.Err() == nil {
		m.fail("an append to a broken file and its flush are well")
	}
	m.l.trouble.Load().next = time.Time{}
	m.l.tryReopen()
	m.do(m.l.Err())
	m.keep(flushed)
	m.epoch++
}

func (m *model) clean() {
	m.do(m.s.Close())
	m.check()
	m.open()
}

// crash is a kill; bytes that no flush covered may be gone, or others.
func (m *model) crash() {
	at, flushed, l := m.l.flush.at(), m.l.Flushed(), m.l
	m.kill()
	if m.rand.IntN(2) == 0 {
		m.powerCut(l, at)
	}
	m.open()
	if end := m.l.End(); end < flushed || end > m.end() || m.l.Flushed() != end {
		m.fail("crashed with %d flushed of %d, back with %d", flushed, m.end(), end)
	}
	m.keep(m.l.End())
	m.kill()
	m.check()
	m.open()
}

// powerCut spoils what lies behind the flushed end.
func (m *model) powerCut(l *Log, at position) {
	names, err := segmentsIn(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	m.do(err)
	for i := len(names) - 1; i >= 0 && names[i] >= at.Segment; i-- {
		path, keep := segmentPath(l.dir, names[i]), int64(0)
		if names[i] == at.Segment {
			keep = at.Pos
		} else if i == len(names)-1 && i > 0 && m.rand.IntN(3) == 0 {
			m.do(os.Rename(path, filepath.Join(l.dir, nextName)))
			continue
		} else if i == len(names)-1 && m.rand.IntN(3) == 0 && at.Segment > 0 {
			m.do(os.Remove(path))
			continue
		}
		p, err := os.ReadFile(path)
		m.do(err)
		if int64(len(p)) == keep {
			continue
		}
		from := keep + m.rand.Int64N(int64(len(p))-keep)
		switch m.rand.IntN(4) {
		case 0:
			p = p[:from]
		case 1:
			clear(p[from:])
		case 2:
			for i := from; i < int64(len(p)); i++ {
				p[i] = byte(m.rand.Int())
			}
		}
		m.do(os.WriteFile(path, p, 0o640))
	}
}

// check has the tool and with it the stock library read the log at rest.
func (m *model) check() {
	if _, err := os.Stat(m.l.dir); err != nil {
		return
	}
	report, err := Check(m.l.dir)
	m.do(err)
	if !report.OK() {
		m.fail("%q", report.Problems)
	}
}

// same compares the log with the model.
func (m *model) same() {
	m.t.Helper()
	if m.l.End() != m.end() || m.l.Start() != m.start {
		m.fail("%d to %d, want %d to %d", m.l.Start(), m.l.End(), m.start, m.end())
	}
	at := m.start
	for _, want := range m.all {
		if want.LastOffset() < m.start {
			continue
		}
		for at <= want.LastOffset() {
			got, err := m.l.Read(nil, at, m.end(), m.rand.IntN(3000))
			m.do(err)
			b, _, err := batch.First(got)
			m.do(err)
			if !bytes.Equal(b, want) {
				m.fail("offset %d: batch %d to %d, want %d to %d", at, b.BaseOffset(), b.LastOffset(), want.BaseOffset(), want.LastOffset())
			}
			at++
		}
		if e := m.l.EpochAt(want.LastOffset()); e != want.LeaderEpoch() {
			m.fail("offset %d is of epoch %d, want %d", want.LastOffset(), e, want.LeaderEpoch())
		}
	}
}

// The log does what the model does, whatever comes in whatever order.
func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{t: t, rand: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), opts: Options{SegmentBytes: 3000, IndexIntervalBytes: 700}}
			m.maker.keys = 100
			if seed%2 == 1 {
				m.opts.FlushMessages = 1 << 60
			}
			m.open()
			steps := []struct {
				name   string
				weight int
				do     func()
			}{
				{"append", 30, m.append},
				{"again", 4, m.again},
				{"flush", 8, func() { m.l.doFlush() }},
				{"chore", 4, func() { m.do(m.l.chore()) }},
				{"save", 4, m.save},
				{"truncate", 2, m.truncate},
				{"advance", 1, m.advance},
				{"retain", 1, m.retain},
				{"compact", 2, m.compact},
				{"poison", 1, m.poison},
				{"clean", 1, m.clean},
				{"crash", 3, m.crash},
			}
			total := 0
			for _, s := range steps {
				total += s.weight
			}
			for range 150 {
				n := m.rand.IntN(total)
				for _, s := range steps {
					if n -= s.weight; n < 0 {
						m.steps = append(m.steps, fmt.Sprintf("%s at %d", s.name, m.l.End()))
						s.do()
						break
					}
				}
				m.same()
			}
			m.kill()
		})
	}
}
