package broker

import (
	"slices"
	"testing"

	"chronik/meta"
)

func TestCandidates(t *testing.T) {
	part := func(rev int64, isr, elr []int32) *meta.Partition {
		return &meta.Partition{Replicas: ids(1, 2, 3), Leader: -1, ISR: isr, ELR: elr, LastKnown: ids(2), ModRevision: rev}
	}
	out := part(0, ids(1, 2, 3), nil)
	out.Offline = ids(3)
	ledBy := part(0, ids(1, 2, 3), nil)
	ledBy.Leader, ledBy.LeaderBrokerEpoch = 1, 101
	for name, c := range map[string]struct {
		v     cast
		p     *meta.Partition
		rules planRules
		want  []int32
	}{
		"all in sync began another life":   {stand(serving, serving, serving), part(100, ids(1, 2, 3), nil), planRules{}, ids(1, 2, 3)},
		"not who still begins it":          {stand(serving, starting, serving), part(100, ids(1, 2, 3), nil), planRules{}, ids(1, 3)},
		"nor whose log is offline":         {stand(serving, serving, serving), out, planRules{}, ids(1, 2)},
		"nor one alone":                    {stand(serving, starting, starting), part(100, ids(1, 2, 3), nil), planRules{}, nil},
		"one in sync has lived on":         {stand(serving, serving, serving), part(101, ids(1, 2, 3), nil), planRules{}, nil},
		"a follower is out, the leader is": {stand(serving, dead, serving), ledBy, planRules{}, nil},
		"several are eligible":             {stand(serving, serving, serving), part(200, nil, ids(3, 1)), planRules{}, ids(1, 3)},
		"eligible beside dead in sync":     {stand(serving, dead, serving), part(200, ids(2), ids(3, 1)), planRules{}, ids(1, 3)},
		"one is eligible":                  {stand(dead, serving, serving), part(200, nil, ids(3, 1)), planRules{}, nil},
		"the page cache was lost":          {stand(serving, serving, dead), part(200, nil, nil), planRules{pageCache: true}, ids(1, 2)},
		"by all but one":                   {stand(serving, serving, dead), part(200, nil, ids(3)), planRules{pageCache: true}, nil},
		"disks were lost":                  {stand(serving, serving, serving), part(200, nil, nil), planRules{}, nil},
		"and any is better than none":      {stand(serving, serving, serving), part(200, nil, nil), planRules{unclean: true}, ids(1, 2, 3)},
		"but not while one recovers":       {stand(serving, serving, starting), part(200, ids(3), nil), planRules{unclean: true}, nil},
	} {
		if got := candidates(c.v, c.p, c.rules); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Of those that told, the one whose log goes furthest is elected; an epoch counts more
// than an offset.
func TestPlanTold(t *testing.T) {
	isr := &meta.Partition{Replicas: ids(1, 2, 3), Leader: -1, ISR: ids(1, 2, 3)}
	elr := &meta.Partition{Replicas: ids(1, 2, 3), Leader: -1, ELR: ids(1, 2, 3)}
	lost := &meta.Partition{Replicas: ids(1, 2, 3), Leader: -1, LastKnown: ids(1)}
	all := map[int32]logEnd{1: {4, 10, false}, 2: {5, 7, false}, 3: {5, 8, false}}
	short := map[int32]logEnd{1: {4, 10, false}, 2: {4, 12, false}, 3: {5, 8, true}}
	two := map[int32]logEnd{1: {4, 10, false}, 2: {4, 12, false}}
	none := map[int32]logEnd{1: {-1, 0, false}, 2: {-1, 0, false}, 3: {-1, 0, false}}
	nothing := map[int32]logEnd{1: {-1, 0, false}, 2: {-1, 0, false}}
	pageCache := planRules{minISR: 2, pageCache: true}
	for name, c := range map[string]struct {
		p      *meta.Partition
		rules  planRules
		told   map[int32]logEnd
		waited bool
		leader int32 // 0: no change
	}{
		"in sync":                         {isr, planRules{minISR: 2}, all, false, 3},
		"in sync, one silent":             {isr, planRules{minISR: 2}, two, false, 2},
		"in sync, nobody told":            {isr, planRules{minISR: 2}, map[int32]logEnd{}, false, 1},
		"eligible":                        {elr, planRules{minISR: 2}, all, false, 3},
		"eligible, one short":             {elr, planRules{minISR: 2}, short, false, 2},
		"disks lost":                      {lost, planRules{minISR: 2}, all, true, 0},
		"disks lost, unclean":             {lost, planRules{minISR: 2, unclean: true}, all, false, 3},
		"page cache lost":                 {lost, pageCache, all, false, 3},
		"page cache lost, one short":      {lost, pageCache, short, false, 2},
		"page cache lost, one silent":     {lost, pageCache, two, false, 0},
		"page cache lost, silent long":    {lost, pageCache, two, true, 2},
		"page cache lost, nothing left":   {lost, pageCache, none, false, 1},
		"nothing left of those that told": {lost, pageCache, nothing, true, 0},
		"page cache lost, nobody told":    {lost, pageCache, map[int32]logEnd{}, true, 0},
	} {
		c.rules.told, c.rules.waited = c.told, c.waited
		e, ok := planPartition(stand(serving, serving, serving), c.p, c.rules)
		switch {
		case ok != (c.leader > 0):
			t.Errorf("%s: planned %t, %+v", name, ok, e)
		case ok && (e.Leader != c.leader || e.Keep || e.Members != nil && !slices.Equal(e.Members.ISR, ids(c.leader))):
			t.Errorf("%s: leader %d, members %+v", name, e.Leader, e.Members)
		}
	}
}
