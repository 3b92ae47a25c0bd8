package broker

import (
	"slices"
	"testing"
)

// Placement is balanced to one, in leaders and in replicas, and names no broker twice.
func TestPlaceBalanced(t *testing.T) {
	for _, c := range []struct{ brokers, partitions, factor int }{{1, 5, 1}, {3, 50, 3}, {3, 50, 2}, {5, 1000, 3}, {7, 33, 4}} {
		hosts := make([]host, c.brokers)
		for i := range hosts {
			hosts[i].id = int32(i + 1)
		}
		leaders, replicas := map[int32]int{}, map[int32]int{}
		for _, rs := range placeOn(hosts, c.partitions, c.factor) {
			leaders[rs[0]]++
			for i, id := range rs {
				replicas[id]++
				if slices.Contains(rs[:i], id) {
					t.Fatalf("%+v: %v", c, rs)
				}
			}
			if len(rs) != c.factor {
				t.Fatalf("%+v: %v", c, rs)
			}
		}
		for _, counts := range []map[int32]int{leaders, replicas} {
			low, high := c.partitions*c.factor, 0
			for id := range int32(c.brokers) {
				low, high = min(low, counts[id+1]), max(high, counts[id+1])
			}
			if high-low > 1 {
				t.Errorf("%+v: leaders %v replicas %v", c, leaders, replicas)
				break
			}
		}
	}
}

// The replicas of one partition lie in as many racks as there are.
func TestPlaceRacks(t *testing.T) {
	racks := map[int32]string{1: "a", 2: "a", 3: "b", 4: "b", 5: "c", 6: "c"}
	var hosts []host
	for id := int32(1); id <= 6; id++ {
		hosts = append(hosts, host{id: id, rack: racks[id]})
	}
	for _, rs := range placeOn(hosts, 60, 3) {
		if racks[rs[0]] == racks[rs[1]] || racks[rs[1]] == racks[rs[2]] || racks[rs[0]] == racks[rs[2]] {
			t.Errorf("%v", rs)
		}
	}
}

// Who has least gets the new partitions.
func TestPlaceFillsUp(t *testing.T) {
	for _, rs := range placeOn([]host{{id: 1, leaders: 9, replicas: 20}, {id: 2, leaders: 9, replicas: 20}, {id: 3}}, 9, 2) {
		if rs[0] != 3 {
			t.Errorf("led by %d, broker 3 has nothing", rs[0])
		}
	}
}

func TestMinISRInForce(t *testing.T) {
	set := func(v string) map[string]string { return map[string]string{"min.insync.replicas": v} }
	for _, c := range []struct {
		topic, brokers map[string]string
		replicas, want int
	}{
		{nil, nil, 1, 1},
		{nil, nil, 2, 1},
		{nil, nil, 3, 2},
		{nil, nil, 5, 2},
		{set("1"), nil, 3, 1},
		{nil, set("1"), 3, 1},
		{set("3"), set("1"), 3, 3},
		{set("9"), nil, 2, 2},
		{nil, set("2"), 1, 1},
	} {
		if got := effectiveMinISR(c.topic, c.brokers, c.replicas); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
