package broker

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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

// Who does not serve gets replicas only where the others do not suffice; then who starts is
// first in its part of them, and who is dead in none.
func TestPlaceDown(t *testing.T) {
	for _, c := range []struct {
		standing          standing
		factor, on, first int
	}{{dead, 1, 0, 0}, {dead, 2, 0, 0}, {dead, 3, 12, 0}, {starting, 1, 0, 0}, {starting, 2, 0, 0}, {starting, 3, 12, 4}} {
		on, first := 0, 0
		hosts := []host{{id: 1, standing: serving, rack: "a"}, {id: 2, standing: c.standing, rack: "b"}, {id: 3, standing: serving, rack: "a"}}
		for _, rs := range placeOn(hosts, 12, c.factor) {
			if slices.Contains(rs, 2) {
				on++
			}
			if rs[0] == 2 {
				first++
			}
		}
		if on != c.on || first != c.first {
			t.Errorf("%+v: broker 2 has %d of 12 partitions and is first in %d", c, on, first)
		}
	}
}

// Topics are created while a broker is down: it has replicas of them, leads none, and follows
// when it is back.
func TestCreateWhileOneIsDown(t *testing.T) {
	ns := startNodes(t, 3, nil)
	b := ns.node(1)
	ns.stop(3)
	eventually(t, func() error {
		if b.snap().IsActive(3) {
			return errors.New("node 3 is there")
		}
		return nil
	})
	cl := client(t, b, kgo.AllowAutoTopicCreation())
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(t.Context(), 4, 3, nil, "asked"); err != nil {
		t.Fatal(err)
	}
	if added, err := adm.CreatePartitions(t.Context(), 2, "asked"); err != nil || added.Error() != nil {
		t.Fatal(err, added.Error())
	}
	byHand := func(topic string, replicas ...int32) error {
		req := kmsg.NewPtrCreateTopicsRequest()
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
		rt.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: replicas}}
		req.Topics = append(req.Topics, rt)
		return kerr.ErrorForCode(direct[*kmsg.CreateTopicsResponse](t, cl, req).Topics[0].ErrorCode)
	}
	if err := byHand("assigned", 3, 2, 1); err != nil {
		t.Error(err)
	}
	if err := byHand("nowhere", 3); !errors.Is(err, kerr.InvalidReplicaAssignment) {
		t.Errorf("on the one that is down alone: %v", err)
	}
	produceAll(t, cl, "made", 10)
	eventually(t, func() error { return askedCoordinator(t, cl) })
	topics := []string{"asked", "assigned", "made", offsetsTopic}
	for _, topic := range topics {
		for n, p := range b.snap().Topic(topic).Partitions {
			if len(p.Replicas) != 3 || len(p.ISR) != 2 || slices.Contains(p.ISR, 3) || !slices.Contains(p.ISR, p.Leader) {
				t.Errorf("%s-%d: %+v", topic, n, *p)
			}
		}
	}
	ns.begin(3)
	ns.ready(3)
	produceAll(t, cl, "asked", 10)
	for _, topic := range topics {
		eventually(t, func() error {
			for n, p := range b.snap().Topic(topic).Partitions {
				if len(p.ISR) != 3 {
					return fmt.Errorf("%s-%d: %+v", topic, n, *p)
				}
			}
			return nil
		})
	}
	ns.alike("made", 10)
	ns.alike("asked", 10)
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
