package cli

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
)

func assigned(replicas, isr []int32, leader int32) *assignment {
	return &assignment{name: "t-0", partitionValue: partitionValue{
		Replicas: replicas, ISR: isr, ELR: []int32{3}, LastKnown: []int32{3, 1}, Leader: leader, LeaderEpoch: 4, LeaderBrokerEpoch: 103, PartitionEpoch: 7,
	}}
}

// What a partition becomes when node 3 goes; node 2 is not active.
func TestPartitionWithoutANode(t *testing.T) {
	type ids = []int32
	for name, c := range map[string]struct {
		a             *assignment
		active        []int32
		blocks        bool
		replicas, isr []int32
		leader        int32
	}{
		"it led, and another one follows in sync": {assigned(ids{3, 2, 1}, ids{3, 1}, 3), ids{1, 3}, false, ids{2, 1}, ids{1}, 1},
		"it followed, and the leader stays":       {assigned(ids{4, 3, 1}, ids{4, 3, 1}, 1), ids{1, 3, 4}, false, ids{4, 1}, ids{4, 1}, 1},
		"it is dead":                              {assigned(ids{3, 1}, ids{1}, 1), ids{1}, false, ids{1}, ids{1}, 1},
		"another node takes its place":            {assigned(ids{1, 3}, ids{1, 3}, 3), ids{1, 3, 4, 5}, false, ids{1, 5}, ids{1}, 1},
		"the only one in sync":                    {assigned(ids{3, 1}, ids{3}, 3), ids{1, 3}, true, nil, nil, 0},
		"who is in sync too is not active":        {assigned(ids{3, 2}, ids{3, 2}, 3), ids{3, 1}, true, nil, nil, 0},
	} {
		v := &nodeView{active: map[int32]activeNode{}, partitions: []*assignment{c.a}}
		for _, id := range c.active {
			v.active[id] = activeNode{live: int64(100 + id), replicas: 10 - int(id)}
		}
		all, blocking := v.of(3)
		if len(all) != 1 || (len(blocking) > 0) != c.blocks {
			t.Errorf("%s: %v blocks", name, blocking)
		}
		if c.blocks {
			continue
		}
		got, before := c.a.without(v, 3), slices.Clone(c.a.ISR)
		want := partitionValue{c.replicas, c.isr, ids{}, ids{1}, ids{}, c.leader, 5, int64(100 + c.leader), 8}
		if !reflect.DeepEqual(got.partitionValue, want) {
			t.Errorf("%s: %+v, want %+v", name, got.partitionValue, want)
		}
		if !slices.Equal(before, c.a.ISR) {
			t.Errorf("%s: what was there has changed", name)
		}
	}
}

// A field that this build does not know is kept.
func TestPartitionKeepsOtherFields(t *testing.T) {
	v := &nodeView{active: map[int32]activeNode{}}
	if err := v.add("/chronik/topics/t/0", "t/0", 9, []byte(`{"replicas":[1],"isr":[1],"leader":1,"adding":[4],"partitionEpoch":3}`)); err != nil {
		t.Fatal(err)
	}
	text, err := v.partitions[0].encode()
	var back map[string]any
	if err != nil || json.Unmarshal([]byte(text), &back) != nil || !reflect.DeepEqual(back["adding"], []any{4.0}) || back["partitionEpoch"] != 3.0 {
		t.Errorf("%s, %v", text, err)
	}
}
