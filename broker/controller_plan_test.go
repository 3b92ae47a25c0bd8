package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"chronik/meta"
)

// cast is a view by hand: how each broker stands, in which life.
type cast struct {
	stands map[int32]standing
	epochs map[int32]int64
}

func (c cast) standing(id int32) standing { return c.stands[id] }
func (c cast) leads(p *meta.Partition) bool {
	return c.stands[p.Leader] != dead && c.epochs[p.Leader] == p.LeaderBrokerEpoch
}
func (c cast) restarted(id int32, p *meta.Partition) bool { return c.epochs[id] > p.ModRevision }

// stand is a cast of brokers 1, 2, … in lives 101, 102, …
func stand(s ...standing) cast {
	c := cast{map[int32]standing{}, map[int32]int64{}}
	for i, st := range s {
		c.stands[int32(i+1)], c.epochs[int32(i+1)] = st, int64(101+i)
	}
	return c
}

func ids(list ...int32) []int32 { return list }

func TestPlanPartition(t *testing.T) {
	led := func(leader int32, isr, elr []int32) *meta.Partition {
		return &meta.Partition{Replicas: ids(1, 2, 3), Leader: leader, LeaderBrokerEpoch: int64(100 + leader), LeaderEpoch: 4, ISR: isr, ELR: elr}
	}
	offline := led(1, ids(1, 2, 3), nil)
	offline.Offline = ids(1)
	earlier := led(1, ids(1, 2, 3), nil)
	earlier.LeaderBrokerEpoch = 55
	for name, c := range map[string]struct {
		v       cast
		p       *meta.Partition
		min     int
		none    bool
		leader  int32 // with keep: unchanged
		keep    bool
		members *meta.Members
	}{
		"all well": {stand(serving, serving, serving), led(1, ids(1, 2, 3), nil), 2, true, 0, false, nil},
		"the leader died": {
			stand(dead, serving, serving), led(1, ids(1, 2, 3), nil), 2, false, 2, false,
			&meta.Members{ISR: ids(2, 3), ELR: ids()},
		},
		"a follower died": {
			stand(serving, serving, dead), led(1, ids(1, 2, 3), nil), 2, false, 1, true,
			&meta.Members{ISR: ids(1, 2), ELR: ids()},
		},
		"a follower is back but not ready": {
			stand(serving, starting, serving), led(1, ids(1, 2, 3), nil), 2, false, 1, true,
			&meta.Members{ISR: ids(1, 3), ELR: ids()},
		},
		"two died, below the minimum": {
			stand(serving, dead, dead), led(1, ids(1, 2, 3), nil), 2, false, 1, true,
			&meta.Members{ISR: ids(1), ELR: ids(2, 3)},
		},
		"only who is in sync is elected": {
			stand(dead, serving, serving), led(1, ids(1, 3), nil), 2, false, 3, false,
			&meta.Members{ISR: ids(3), ELR: ids(1)},
		},
		"nobody in sync is left": {
			stand(dead, serving, serving), led(1, ids(1), nil), 1, false, -1, false,
			&meta.Members{ISR: ids(), ELR: ids(1)},
		},
		"who is eligible is elected": {
			stand(dead, serving, dead), led(1, ids(1), ids(2, 3)), 2, false, 2, false,
			&meta.Members{ISR: ids(2), ELR: ids(3, 1)},
		},
		"without a leader and nobody back": {stand(dead, serving, serving), led(-1, ids(), ids(1)), 1, true, 0, false, nil},
		"the last one is back":             {stand(serving, serving, serving), led(-1, ids(), ids(1)), 1, false, 1, false, &meta.Members{ISR: ids(1), ELR: ids()}},
		"the last one recovers its logs":   {stand(starting, serving, serving), led(1, ids(1), nil), 1, true, 0, false, nil},
		"the leader lives another life":    {stand(serving, serving, serving), earlier, 2, false, 1, false, nil},
		"the leader is about to stop": {
			stand(leaving, serving, serving), led(1, ids(1, 2, 3), nil), 2, false, 2, false,
			&meta.Members{ISR: ids(2, 3), ELR: ids()},
		},
		"a follower is about to stop": {
			stand(serving, serving, leaving), led(1, ids(1, 2, 3), nil), 2, false, 1, true,
			&meta.Members{ISR: ids(1, 2), ELR: ids()},
		},
		"too few are left without one that stops": {stand(serving, leaving, dead), led(1, ids(1, 2), nil), 2, true, 0, false, nil},
		"the leader stops, too few are left":      {stand(leaving, serving, dead), led(1, ids(1, 2), nil), 2, false, 2, false, nil},
		"none is left but the leader":             {stand(serving, leaving, dead), led(1, ids(1, 2), nil), 1, true, 0, false, nil},
		"one stops and one died": {
			stand(serving, leaving, dead), led(1, ids(1, 2, 3), nil), 2, false, 1, true,
			&meta.Members{ISR: ids(1, 2), ELR: ids()},
		},
		"all that are in sync stop":         {stand(leaving, leaving, serving), led(1, ids(1, 2), nil), 2, true, 0, false, nil},
		"the leader died, the others stop":  {stand(dead, leaving, dead), led(1, ids(1, 2), nil), 1, false, 2, false, &meta.Members{ISR: ids(2), ELR: ids()}},
		"the leader's log is offline":       {stand(serving, serving, serving), offline, 2, false, 2, false, nil},
		"who was known last is forgotten":   {stand(serving, serving, dead), &meta.Partition{Replicas: ids(1, 2, 3), Leader: 1, LeaderBrokerEpoch: 101, ISR: ids(1, 2, 3), LastKnown: ids(3)}, 2, false, 1, true, &meta.Members{ISR: ids(1, 2), ELR: ids()}},
		"all were killed, one is ready":     {stand(serving, starting, dead), earlier, 2, false, 1, false, &meta.Members{ISR: ids(1), ELR: ids(2, 3)}},
		"all were killed, none is ready":    {stand(starting, starting, dead), earlier, 2, true, 0, false, nil},
		"a leader outside of the ISR":       {stand(serving, serving, serving), led(3, ids(1, 2), nil), 2, false, 1, false, nil},
		"an eligible one stops, none leads": {stand(dead, leaving, dead), led(-1, ids(), ids(1, 2)), 2, true, 0, false, nil},
	} {
		e, ok := planPartition(c.v, c.p, planRules{minISR: c.min})
		if h := healthy(c.v, c.p); h && !c.none {
			t.Errorf("%s: passes for healthy", name)
		}
		if ok == c.none {
			t.Errorf("%s: planned %t, %+v", name, ok, e)
			continue
		}
		if !ok {
			continue
		}
		if e.Keep != c.keep || e.Leader != c.leader || fmt.Sprint(e.Members) != fmt.Sprint(c.members) {
			t.Errorf("%s: leader %d keep %t members %+v", name, e.Leader, e.Keep, e.Members)
		}
	}
}

// A topic that rather has a leader that may lack records gets one, but only when
// nobody who has them all is there or on its way.
func TestPlanUnclean(t *testing.T) {
	p := &meta.Partition{Replicas: ids(1, 2, 3), Leader: 1, LeaderBrokerEpoch: 101, ISR: ids(1)}
	for name, c := range map[string]struct {
		v      cast
		p      *meta.Partition
		leader int32
	}{
		"any that serves":          {stand(dead, serving, serving), p, 2},
		"the last that was known":  {stand(serving, serving, serving), &meta.Partition{Replicas: ids(1, 2, 3), Leader: -1, LastKnown: ids(3)}, 3},
		"not before one that will": {stand(starting, serving, serving), p, 0},
		"not before one eligible":  {stand(dead, serving, serving), &meta.Partition{Replicas: ids(1, 2, 3), Leader: -1, ELR: ids(3)}, 3},
	} {
		e, ok := planPartition(c.v, c.p, planRules{minISR: 1, unclean: true})
		if ok != (c.leader > 0) || ok && (e.Leader != c.leader || e.Keep || !slices.Equal(e.Members.ISR, ids(c.leader))) {
			t.Errorf("%s: %t %+v", name, ok, e)
		}
	}
}

// The preferred replica leads again once it is in sync and serves.
func TestPrefers(t *testing.T) {
	for name, c := range map[string]struct {
		v    cast
		p    *meta.Partition
		want bool
	}{
		"in sync":      {stand(serving, serving), &meta.Partition{Replicas: ids(1, 2), Leader: 2, ISR: ids(2, 1)}, true},
		"not in sync":  {stand(serving, serving), &meta.Partition{Replicas: ids(1, 2), Leader: 2, ISR: ids(2)}, false},
		"about to end": {stand(leaving, serving), &meta.Partition{Replicas: ids(1, 2), Leader: 2, ISR: ids(1, 2)}, false},
		"log offline":  {stand(serving, serving), &meta.Partition{Replicas: ids(1, 2), Leader: 2, ISR: ids(1, 2), Offline: ids(1)}, false},
	} {
		if got := prefers(c.v, c.p); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// applied is what the metadata holds after an election.
func applied(v cast, p *meta.Partition, e meta.Election) *meta.Partition {
	next := *p
	if e.Members != nil {
		next.ISR, next.ELR, next.LastKnown = e.Members.ISR, e.Members.ELR, e.Members.LastKnown
	}
	if !e.Keep {
		next.Leader, next.LeaderBrokerEpoch = e.Leader, v.epochs[e.Leader]
		next.LeaderEpoch++
	}
	return &next
}

// Whatever happens to brokers, a plan is done after one round, its leader is in
// sync and alive, and nobody who has all committed records stops being electable
// while fewer than the minimum are in sync.
func TestPlanSchedules(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 2))
		minISR := 1 + r.IntN(2)
		v := stand(serving, serving, serving)
		p := &meta.Partition{Replicas: ids(1, 2, 3), Leader: 1, LeaderBrokerEpoch: 101, ISR: ids(1, 2, 3)}
		for range 30 {
			id := int32(1 + r.IntN(3))
			if v.stands[id] = standing(r.IntN(4)); v.stands[id] <= starting {
				v.epochs[id] += 10
			}
			before := p
			if e, ok := planPartition(v, p, planRules{minISR: minISR}); ok {
				if healthy(v, p) {
					t.Fatalf("seed %d: %+v passes for healthy, planned %+v", seed, p, e)
				}
				p = applied(v, p, e)
			}
			if e, ok := planPartition(v, p, planRules{minISR: minISR}); ok {
				t.Fatalf("seed %d: %+v is not done after a round: %+v", seed, p, e)
			}
			checkPlanned(t, v, p, before, minISR)
			if t.Failed() {
				t.Fatalf("seed %d: from %+v to %+v, brokers %v", seed, before, p, v.stands)
			}
			if id := int32(1 + r.IntN(3)); v.leads(p) && !slices.Contains(p.ISR, id) && v.stands[id] >= leaving { // it caught up
				next := *p
				next.ISR = keep(p.Replicas, func(x int32) bool { return x == id || slices.Contains(p.ISR, x) })
				next.ELR = eligible(next.ISR, p.ELR, nil, minISR)
				p = &next
			}
		}
	}
}

func checkPlanned(t *testing.T, v cast, p, before *meta.Partition, minISR int) {
	t.Helper()
	may := union(p.ISR, p.ELR)
	if len(may) == 0 {
		t.Error("nobody may lead")
	}
	if p.Leader >= 0 && v.leads(p) && !slices.Contains(p.ISR, p.Leader) {
		t.Error("the leader is not in sync")
	}
	if len(p.ISR) < minISR {
		for _, id := range union(before.ISR, before.ELR) {
			if !slices.Contains(may, id) {
				t.Errorf("%d may not lead any more", id)
			}
		}
	}
	for _, id := range may {
		if v.stands[id] == serving && (p.Leader < 0 || !v.leads(p)) {
			t.Errorf("no leader, though %d serves and may lead", id)
		}
	}
	if p.LeaderEpoch > before.LeaderEpoch && p.Leader >= 0 && !slices.Contains(union(before.ISR, before.ELR), p.Leader) {
		t.Errorf("elected %d, which may not lead", p.Leader)
	}
}
