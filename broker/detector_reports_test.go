package broker

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"chronik/meta"
)

func TestReports(t *testing.T) {
	r, base := reports{}, time.Now()
	at := func(s float64) time.Time { return base.Add(time.Duration(s * float64(time.Second))) }
	l := func(id int32) brokerLife { return brokerLife{id, int64(id * 10)} }
	lives := map[int32]int64{1: 10, 2: 20, 3: 30}
	want := func(what string, now time.Time, n map[int32]int) {
		t.Helper()
		if got := r.against(lives, now); !maps.Equal(got, n) {
			t.Errorf("%s: %v, want %v", what, got, n)
		}
	}
	if !r.note(l(2), l(1), at(0)) || r.note(l(2), l(1), at(1)) || !r.note(l(3), l(1), at(1)) {
		t.Error("what is news is not, or what is not is")
	}
	r.note(l(1), l(2), at(1))
	r.note(brokerLife{3, 29}, l(2), at(1))
	r.note(l(1), brokerLife{3, 29}, at(1))
	want("who reports whom", at(2), map[int32]int{1: 2, 2: 1})
	delete(lives, 3)
	want("the reporter died", at(2), map[int32]int{1: 1, 2: 1})
	lives[3], lives[1] = 30, 11
	want("the reported one lives another life", at(2), map[int32]int{})
	lives[1] = 10
	want("not repeated", at(4.5), map[int32]int{})
	if !r.note(l(2), l(1), at(5)) {
		t.Error("a report after a while is no news")
	}
	if r.forget(at(5)); len(r) != 1 || len(r[l(1)]) != 1 {
		t.Errorf("left %v", r)
	}
}

func TestIsCutOff(t *testing.T) {
	for others, least := range map[int]int{0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3} {
		for n := range others + 1 {
			if got := isCutOff(n, others); got != (n < least) {
				t.Errorf("in contact with %d of %d: cut off %t", n, others, got)
			}
		}
	}
}

func TestMoveAway(t *testing.T) {
	all := stand(serving, serving, serving)
	led := func(isr, elr []int32) *meta.Partition {
		return &meta.Partition{Replicas: ids(1, 2, 3), Leader: 1, LeaderBrokerEpoch: 101, ISR: isr, ELR: elr}
	}
	offline := led(ids(1, 2, 3), nil)
	offline.Offline = ids(2)
	for name, c := range map[string]struct {
		v        cast
		p        *meta.Partition
		reported map[int32]int
		leader   int32 // 0: stays
		members  *meta.Members
	}{
		"nobody is reported":                  {all, led(ids(1, 2, 3), nil), nil, 0, nil},
		"a follower is reported":              {all, led(ids(1, 2, 3), nil), map[int32]int{2: 2}, 0, nil},
		"the leader by both":                  {all, led(ids(1, 2, 3), nil), map[int32]int{1: 2}, 2, &meta.Members{ISR: ids(2, 3), ELR: ids()}},
		"the leader by both, and it them":     {all, led(ids(1, 2, 3), nil), map[int32]int{1: 2, 2: 1, 3: 1}, 2, &meta.Members{ISR: ids(2, 3), ELR: ids()}},
		"too few are left without it":         {all, led(ids(1, 2), nil), map[int32]int{1: 2}, 2, nil},
		"a link of three is cut":              {all, led(ids(1, 2, 3), nil), map[int32]int{1: 1, 2: 1}, 3, &meta.Members{ISR: ids(2, 3), ELR: ids()}},
		"a link is cut, the third lags":       {all, led(ids(1, 2), nil), map[int32]int{1: 1, 2: 1}, 0, nil},
		"nobody else is in sync":              {all, led(ids(1), nil), map[int32]int{1: 2}, 0, nil},
		"who is in sync goes before eligible": {all, led(ids(1, 3), ids(2)), map[int32]int{1: 2, 3: 1}, 3, nil},
		"who is eligible":                     {all, led(ids(1), ids(2, 3)), map[int32]int{1: 2}, 2, &meta.Members{ISR: ids(1, 2), ELR: ids()}},
		"its log is offline":                  {all, offline, map[int32]int{1: 2}, 3, &meta.Members{ISR: ids(2, 3), ELR: ids()}},
		"the others stop":                     {stand(serving, leaving, leaving), led(ids(1, 2, 3), nil), map[int32]int{1: 2}, 0, nil},
		"it is dead: the plan's":              {stand(dead, serving, serving), led(ids(1, 2, 3), nil), map[int32]int{1: 2}, 0, nil},
		"without a leader":                    {all, &meta.Partition{Replicas: ids(1, 2), Leader: -1, ELR: ids(1)}, map[int32]int{-1: 1, 1: 1}, 0, nil},
	} {
		e, ok := moveAway(c.v, c.p, 2, c.reported)
		if ok != (c.leader != 0) || ok && (e.Leader != c.leader || e.Keep || fmt.Sprint(e.Members) != fmt.Sprint(c.members)) {
			t.Errorf("%s: %t, leader %d keep %t members %+v", name, ok, e.Leader, e.Keep, e.Members)
		}
		if ok { // and that is all: it does not go back
			next := applied(c.v, c.p, e)
			if again, ok := moveAway(c.v, next, 2, c.reported); ok && c.reported[again.Leader] >= c.reported[next.Leader] {
				t.Errorf("%s: then to %d", name, again.Leader)
			}
		}
	}
}

func TestReachable(t *testing.T) {
	changes := []meta.Election{{Topic: "a", Leader: 1}, {Topic: "b", Leader: 2}, {Topic: "c", Leader: 1}}
	if got := reachable(changes, map[int32]int{1: 1}); len(got) != 1 || got[0].Topic != "b" {
		t.Errorf("%+v", got)
	}
}
