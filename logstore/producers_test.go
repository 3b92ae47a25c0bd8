package logstore

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// pb is a batch of producer 7 whose offset equals 1000 plus its sequence.
func pb(epoch int16, seq, n int32) *producerBatch {
	return &producerBatch{ID: 7, Epoch: epoch, BaseSequence: seq, BaseOffset: 1000 + int64(seq), LastDelta: n - 1, Timestamp: 5}
}

func producersOf(batches ...*producerBatch) *producers {
	p := &producers{}
	for _, b := range batches {
		p.apply(b, 50)
	}
	return p
}

func TestProducersCheck(t *testing.T) {
	six := func() *producers {
		return producersOf(pb(3, 0, 2), pb(3, 2, 2), pb(3, 4, 2), pb(3, 6, 2), pb(3, 8, 2), pb(3, 10, 2))
	}
	marked := six()
	marked.apply(&producerBatch{ID: 7, Epoch: 4, BaseSequence: -1, BaseOffset: 2000}, 50)
	wrap := producersOf(pb(0, math.MaxInt32-1, 4)) // sequences max-1, max, 0, 1
	max := producersOf(pb(0, math.MaxInt32, 1))
	for _, c := range []struct {
		name     string
		p        *producers
		b        *producerBatch
		original int64
		err      error
	}{
		{"unknown from 0", &producers{}, pb(0, 0, 1), 0, nil},
		{"unknown from elsewhere", &producers{}, pb(5, 77, 1), 0, nil},
		{"next", six(), pb(3, 12, 5), 0, nil},
		{"gap", six(), pb(3, 13, 1), 0, ErrOutOfOrderSequence},
		{"newest again", six(), pb(3, 10, 2), 1010, ErrDuplicate},
		{"oldest of the window again", six(), pb(3, 2, 2), 1002, ErrDuplicate},
		{"older than the window", six(), pb(3, 0, 2), 0, ErrOutOfOrderSequence},
		{"part of one", six(), pb(3, 10, 1), 0, ErrOutOfOrderSequence},
		{"over two", six(), pb(3, 8, 4), 0, ErrOutOfOrderSequence},
		{"old epoch", six(), pb(2, 12, 1), 0, ErrProducerEpoch},
		{"old epoch, same sequences", six(), pb(2, 10, 2), 0, ErrProducerEpoch},
		{"new epoch from 0", six(), pb(4, 0, 1), 0, nil},
		{"new epoch goes on", six(), pb(4, 12, 1), 0, ErrOutOfOrderSequence},
		{"without sequence", six(), pb(3, -1, 1), 0, nil},
		{"without sequence, old epoch", six(), pb(2, -1, 1), 0, ErrProducerEpoch},
		{"after a marker from 0", marked, pb(4, 0, 1), 0, nil},
		{"after a marker goes on", marked, pb(4, 12, 1), 0, ErrOutOfOrderSequence},
		{"after a marker, old epoch", marked, pb(3, 12, 1), 0, ErrProducerEpoch},
		{"wrapped inside", wrap, pb(0, 2, 1), 0, nil},
		{"wrapped inside again", wrap, pb(0, math.MaxInt32-1, 4), 1000 + math.MaxInt32 - 1, ErrDuplicate},
		{"wrapped inside, gap", wrap, pb(0, 3, 1), 0, ErrOutOfOrderSequence},
		{"wraps after the largest", max, pb(0, 0, 1), 0, nil},
	} {
		original, err := c.p.check(c.b)
		if !errors.Is(err, c.err) || original != c.original {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, original, err, c.original, c.err)
		}
	}
}

// A new epoch forgets the sequences of the old one: the same numbers are not duplicates.
func TestProducersNewEpoch(t *testing.T) {
	p := producersOf(pb(0, 0, 1), pb(0, 1, 1), pb(1, 0, 1))
	if _, err := p.check(pb(1, 1, 1)); err != nil {
		t.Error(err)
	}
	if original, err := p.check(pb(1, 0, 1)); !errors.Is(err, ErrDuplicate) || original != 1000 {
		t.Errorf("%d, %v", original, err)
	}
	if _, err := p.check(pb(0, 2, 1)); !errors.Is(err, ErrProducerEpoch) {
		t.Error(err)
	}
}

func TestProducersExpire(t *testing.T) {
	p := producersOf(pb(0, 0, 1))
	p.apply(&producerBatch{ID: 8, BaseSequence: 0}, 60)
	p.apply(&producerBatch{ID: 9, BaseSequence: 0}, 40)
	p.byID[9].txnStart = 3
	if n := p.expire(50); n != 0 {
		t.Errorf("%d expired early", n)
	}
	if n := p.expire(51); n != 1 || p.byID[7] != nil || p.byID[8] == nil || p.byID[9] == nil {
		t.Errorf("%d expired: %v", n, p.states())
	}
	if _, err := p.check(pb(0, 99, 1)); err != nil {
		t.Errorf("after expiry: %v", err)
	}
}

func TestProducersStates(t *testing.T) {
	p := producersOf(pb(3, 0, 2), pb(3, 2, 3))
	p.apply(&producerBatch{ID: 2, Epoch: 1, BaseSequence: -1, BaseOffset: 9, Timestamp: 77}, 60)
	want := []ProducerState{
		{ProducerID: 2, ProducerEpoch: 1, LastSequence: -1, LastOffset: -1, LastTimestamp: 77, CoordinatorEpoch: -1, TxnStartOffset: -1},
		{ProducerID: 7, ProducerEpoch: 3, LastSequence: 4, LastOffset: 1004, LastTimestamp: 5, CoordinatorEpoch: -1, TxnStartOffset: -1},
	}
	if got := p.states(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// Rolling back is exact or says that it is not: against a state built from the log alone.
func TestProducersRollback(t *testing.T) {
	exact := 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 4))
		log := randomProduce(r, 3+r.IntN(12))
		p := producersOf(log...)
		cut := len(log) - 1 - r.IntN(3)
		if !p.rollback(log[cut].BaseOffset) {
			continue
		}
		exact++
		want := producersOf(log[:cut]...)
		for id, st := range p.byID {
			st.stamp = want.byID[id].stamp // only DescribeProducers shows it
		}
		if !reflect.DeepEqual(p.states(), want.states()) || string(p.encode(0)) != string(want.encode(0)) {
			t.Fatalf("seed %d, cut at %d of %d:\ngot  %+v\nwant %+v", seed, cut, len(log), p.states(), want.states())
		}
	}
	if exact < 50 || exact > 450 {
		t.Errorf("%d of 500 exact: the test tests little", exact)
	}
}

func TestProducersEncode(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		p := producersOf(randomProduce(r, r.IntN(40))...)
		buf := p.encode(int64(seed))
		got, offset, err := decodeProducers(buf)
		if err != nil || offset != int64(seed) || string(got.encode(offset)) != string(buf) || !reflect.DeepEqual(got.states(), p.states()) {
			t.Fatalf("seed %d: %+v, %d, %v", seed, got.states(), offset, err)
		}
		for i := range buf {
			if _, _, err := decodeProducers(buf[:i]); err != nil && !errors.Is(err, errBadFile) {
				t.Fatalf("cut at %d: %v", i, err)
			}
		}
	}
}

// randomProduce is a valid log of some producers with new epochs and markers among the batches.
func randomProduce(r *rand.Rand, n int) []*producerBatch {
	type state struct {
		epoch int16
		next  int32
	}
	states := map[int64]*state{}
	var log []*producerBatch
	offset := int64(100)
	for range n {
		id := r.Int64N(4)
		st := states[id]
		if st == nil {
			st = &state{next: r.Int32N(2) * (math.MaxInt32 - 3)}
			states[id] = st
		}
		if r.IntN(12) == 0 {
			st.epoch, st.next = st.epoch+1, 0
		}
		b := &producerBatch{ID: id, Epoch: st.epoch, BaseSequence: st.next, BaseOffset: offset, LastDelta: r.Int32N(4), Timestamp: offset}
		if r.IntN(10) == 0 {
			b.BaseSequence, b.LastDelta = -1, 0
		} else {
			st.next = addSequence(st.next, b.LastDelta+1)
		}
		log, offset = append(log, b), offset+int64(b.LastDelta)+1
	}
	return log
}

func TestProducersCheckAllocatesNothing(t *testing.T) {
	p := producersOf(pb(0, 0, 1))
	next := pb(0, 1, 1)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := p.check(next); err != nil {
			t.Fatal(err)
		}
		p.apply(next, 50)
		next.BaseSequence++
		next.BaseOffset++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
