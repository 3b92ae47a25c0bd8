package broker

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var t0 = time.Unix(1_700_000_000, 0)

// three is a partition of brokers 1, 2, 3, led by 1.
func three(minISR int, isr ...int32) *replicaSet {
	s := newReplicaSet(1, []int32{1, 2, 3}, 10, t0)
	s.committed, s.minISR = isr, minISR
	return s
}

func (s *replicaSet) saw(id int32, end int64, now time.Time) {
	s.fetched(followerFetch{id: id, brokerEpoch: int64(100 + id), end: end, logStart: 0, seen: 7}, 50, now)
}

func activeIn(epochs map[int32]int64) func(int32) (int64, bool) {
	return func(id int32) (int64, bool) { e, ok := epochs[id]; return e, ok }
}

var allActive = activeIn(map[int32]int64{1: 101, 2: 102, 3: 103})

func TestHighWatermark(t *testing.T) {
	for name, c := range map[string]struct {
		set  func() *replicaSet
		hw   int64
		ok   bool
		own  int64
		more string
	}{
		"the least of the members": {func() *replicaSet { s := three(2, 1, 2, 3); s.saw(2, 20, t0); s.saw(3, 30, t0); return s }, 20, true, 40, ""},
		"the leader's own end":     {func() *replicaSet { s := three(2, 1, 2); s.saw(2, 20, t0); return s }, 15, true, 15, ""},
		"who is outside does not count": {
			func() *replicaSet { s := three(2, 1, 2); s.saw(2, 20, t0); s.saw(3, 5, t0); return s }, 20, true, 40, "",
		},
		"a member that has not fetched": {func() *replicaSet { s := three(2, 1, 2, 3); s.saw(2, 20, t0); return s }, 0, false, 40, ""},
		"below the minimum":             {func() *replicaSet { return three(2, 1) }, 0, false, 40, ""},
		"alone, where that is enough":   {func() *replicaSet { return three(1, 1) }, 40, true, 40, ""},
		"others are eligible":           {func() *replicaSet { s := three(1, 1); s.elr = []int32{2}; return s }, 0, false, 40, ""},
		"not in the ISR itself":         {func() *replicaSet { s := three(1, 2); s.saw(2, 20, t0); return s }, 0, false, 40, ""},
		"a proposed member counts": {func() *replicaSet {
			s := three(2, 1, 2)
			s.saw(2, 20, t0)
			s.saw(3, 12, t0)
			s.proposed = &isrProposal{added: []addedReplica{{3, 103}}}
			return s
		}, 12, true, 40, ""},
		"a member proposed to leave counts": {func() *replicaSet {
			s := three(2, 1, 2, 3)
			s.saw(2, 20, t0)
			s.saw(3, 12, t0)
			s.proposed = &isrProposal{isr: []int32{1, 2}, removed: []int32{3}}
			return s
		}, 12, true, 40, ""},
		"a proposed member does not make enough": {func() *replicaSet {
			s := three(2, 1)
			s.saw(2, 20, t0)
			s.proposed = &isrProposal{isr: []int32{1, 2}, added: []addedReplica{{2, 102}}}
			return s
		}, 0, false, 40, ""},
	} {
		if hw, ok := c.set().highWatermark(c.own); hw != c.hw || ok != c.ok {
			t.Errorf("%s: %d %t, want %d %t", name, hw, ok, c.hw, c.ok)
		}
	}
}

func TestProposeISR(t *testing.T) {
	late := t0.Add(11 * time.Second)
	view := isrView{now: late, lag: 10 * time.Second, hw: 20, active: allActive}
	for name, c := range map[string]struct {
		set      func() *replicaSet
		active   func(int32) (int64, bool)
		isr, elr []int32
	}{
		"nothing to do": {func() *replicaSet { s := three(2, 1, 2, 3); s.saw(2, 50, late); s.saw(3, 50, late); return s }, nil, nil, nil},
		"who lags leaves": {
			func() *replicaSet { s := three(2, 1, 2, 3); s.saw(2, 50, late); s.saw(3, 30, late); return s }, nil,
			[]int32{1, 2},
			nil,
		},
		"who leaves below the minimum stays eligible": {
			func() *replicaSet { return three(2, 1, 2, 3) }, nil,
			[]int32{1},
			[]int32{2, 3},
		},
		"who caught up joins": {func() *replicaSet { s := three(2, 1, 2); s.saw(2, 50, late); s.saw(3, 50, late); return s }, nil, []int32{1, 2, 3}, nil},
		"who keeps up joins": {func() *replicaSet {
			s := three(2, 1, 2)
			s.saw(2, 50, late)
			s.fetched(followerFetch{id: 3, brokerEpoch: 103, end: 10}, 20, late)
			s.saw(3, 20, late)
			return s
		}, nil, []int32{1, 2, 3}, nil},
		"who has it all but does not fetch stays out": {
			func() *replicaSet { s := three(2, 1, 2); s.saw(2, 50, late); s.saw(3, 50, t0); return s }, nil, nil, nil,
		},
		"below the high watermark is not caught up": {
			func() *replicaSet {
				s := three(2, 1, 2)
				s.saw(2, 50, late)
				s.fetched(followerFetch{id: 3, brokerEpoch: 103, end: 19}, 19, late)
				return s
			}, nil, nil, nil,
		},
		"below the start of the epoch is not caught up": {func() *replicaSet {
			s := three(2, 1, 2)
			s.begin = 51
			s.saw(2, 50, late)
			s.saw(3, 50, late)
			return s
		}, nil, nil, nil},
		"another life than the one that fetched": {
			func() *replicaSet { s := three(2, 1, 2); s.saw(2, 50, late); s.saw(3, 50, late); return s },
			activeIn(map[int32]int64{1: 101, 2: 102, 3: 104}), nil, nil,
		},
		"not active": {
			func() *replicaSet { s := three(2, 1, 2); s.saw(2, 50, late); s.saw(3, 50, late); return s },
			activeIn(map[int32]int64{1: 101, 2: 102}), nil, nil,
		},
		"with the minimum nobody else is eligible": {
			func() *replicaSet { s := three(2, 1); s.elr = []int32{2, 3}; s.saw(2, 50, late); return s }, nil,
			[]int32{1, 2},
			[]int32{},
		},
		"a lower minimum empties the eligible": {
			func() *replicaSet { s := three(1, 1); s.elr = []int32{2}; return s }, nil,
			[]int32{1},
			[]int32{},
		},
		"one at a time": {func() *replicaSet { s := three(2, 1, 2, 3); s.proposed = &isrProposal{}; return s }, nil, nil, nil},
	} {
		v := view
		if c.active != nil {
			v.active = c.active
		}
		p := c.set().propose(v)
		if p == nil {
			if c.isr != nil {
				t.Errorf("%s: nothing proposed, want %v", name, c.isr)
			}
			continue
		}
		if !slices.Equal(p.isr, c.isr) || !slices.Equal(p.elr, c.elr) {
			t.Errorf("%s: isr %v elr %v, want %v %v", name, p.isr, p.elr, c.isr, c.elr)
		}
	}
}

// A follower is caught up when it has what the leader had at its last fetch:
// under load its end is never the leader's.
func TestFollowerUnderLoad(t *testing.T) {
	s := three(2, 1, 2, 3)
	now, end := t0, int64(0)
	for range 40 {
		now, end = now.Add(time.Second), end+100
		s.fetched(followerFetch{id: 2, brokerEpoch: 102, end: end - 100}, end, now)
		s.fetched(followerFetch{id: 3, brokerEpoch: 103, end: end / 2}, end, now)
	}
	p := s.propose(isrView{now: now, lag: 10 * time.Second, active: allActive})
	if p == nil || !slices.Equal(p.isr, []int32{1, 2}) {
		t.Errorf("%+v", p)
	}
}

// In random schedules of fetches, proposals, lost and late answers, everything
// below the high watermark is on every member of the ISR that the metadata has,
// whichever of the writes under way took effect, and on every eligible leader.
func TestISRSchedules(t *testing.T) {
	for seed := range uint64(300) {
		runISRSchedule(t, rand.New(rand.NewPCG(seed, 1)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func runISRSchedule(t *testing.T, r *rand.Rand) {
	s := three(1+r.IntN(2), 1, 2, 3)
	s.begin = 0
	truth := isrProposal{isr: []int32{1, 2, 3}} // what the metadata holds
	ends := map[int32]int64{1: 0, 2: 0, 3: 0}   // what each replica has
	hw, now := int64(0), t0
	for range 400 {
		now = now.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
		switch r.IntN(6) {
		case 0:
			ends[1] += int64(r.IntN(10))
		case 1, 2:
			id := int32(2 + r.IntN(2))
			ends[id] = min(ends[1], ends[id]+int64(r.IntN(20)))
			s.fetched(followerFetch{id: id, brokerEpoch: int64(100 + id), end: ends[id]}, ends[1], now)
		case 3:
			if p := s.propose(isrView{now: now, lag: 10 * time.Second, hw: hw, active: allActive}); p != nil {
				s.proposed = p
			}
		case 4: // the write takes effect; the leader sees it later
			if s.proposed != nil {
				truth = *s.proposed
			}
		case 5: // the leader sees the metadata
			if s.proposed == nil || slices.Equal(truth.isr, s.proposed.isr) {
				s.committed, s.elr, s.proposed = truth.isr, truth.elr, nil
			}
		}
		if next, ok := s.highWatermark(ends[1]); ok {
			hw = max(hw, next)
		}
		for _, id := range slices.Concat(truth.isr, truth.elr) {
			if ends[id] < hw {
				t.Errorf("%d may lead with end %d, high watermark %d (isr %v elr %v)", id, ends[id], hw, truth.isr, truth.elr)
				return
			}
		}
	}
}

// Who took itself out, as its log lost records, is in sync again once it has fetched, not
// by what it told before.
func TestWhoLeftTellsAgain(t *testing.T) {
	view := isrView{now: t0.Add(time.Second), lag: 10 * time.Second, hw: 20, active: allActive}
	for name, elr := range map[string][]int32{"out of the ISR": nil, "out of the ELR": {3}} {
		s := three(2, 1, 2, 3)
		if elr != nil {
			s.sees([]int32{1, 2}, elr, 7)
		}
		s.saw(2, 50, t0)
		s.saw(3, 50, t0)
		s.sees([]int32{1, 2}, nil, 8)
		if p := s.propose(view); p != nil {
			t.Errorf("%s: proposed %+v", name, p)
		}
		s.saw(3, 50, view.now) // was on its way
		if p := s.propose(view); p != nil {
			t.Errorf("%s: proposed by a fetch of before: %+v", name, p)
		}
		again := func(end int64) {
			s.fetched(followerFetch{id: 3, brokerEpoch: 103, end: end, seen: 9}, 50, view.now)
		}
		again(0)
		if p := s.propose(view); p != nil {
			t.Errorf("%s, with an empty log: proposed %+v", name, p)
		}
		again(50)
		s.sees([]int32{1, 2}, nil, 9) // it knew before
		if p := s.propose(view); p == nil || !slices.Equal(p.isr, []int32{1, 2, 3}) {
			t.Errorf("%s, and caught up: proposed %+v", name, p)
		}
	}
}

// Who is not reached and does not fetch leaves before it lags for long, as far as acks=all
// goes on without it, and stays out until it fetches.
func TestSilentLeaves(t *testing.T) {
	now := t0.Add(3 * time.Second)
	view := isrView{now: now, lag: 10 * time.Second, hw: 50, active: allActive, silent: map[int32]bool{3: true}}
	s := three(2, 1, 2, 3)
	s.saw(2, 50, now)
	s.saw(3, 50, now.Add(-silentFetch))
	if p := s.propose(view); p != nil {
		t.Errorf("it fetches: proposed %+v", p)
	}
	view.now = now.Add(time.Millisecond)
	if p := s.propose(isrView{now: view.now, lag: view.lag, hw: 50, active: allActive}); p != nil {
		t.Errorf("it is reached: proposed %+v", p)
	}
	p := s.propose(view)
	if p == nil || !slices.Equal(p.isr, []int32{1, 2}) || len(p.elr) > 0 {
		t.Fatalf("proposed %+v", p)
	}
	s.sees(p.isr, nil, 0)
	s.saw(2, 50, now)
	s.followers[3].end = 50 // all there is
	if p := s.propose(view); p != nil {
		t.Errorf("out: proposed %+v", p)
	}
	s.saw(3, 50, view.now)
	if p := s.propose(view); p == nil || !slices.Equal(p.isr, []int32{1, 2, 3}) {
		t.Errorf("it fetches again: proposed %+v", p)
	}
	s = three(2, 1, 3)
	s.saw(3, 50, t0)
	if p := s.propose(view); p != nil {
		t.Errorf("acks=all needs it: proposed %+v", p)
	}
}
