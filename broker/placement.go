package broker

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/meta"
)

// host is a broker that replicas are placed on, with what it has already.
type host struct {
	id                int32
	rack              string
	standing          standing
	leaders, replicas int
}

// placeOn chooses the replicas of new partitions; the first of each leads. Leaders
// and replicas are spread over the brokers that have fewest, the replicas of one
// partition over racks first. Who does not serve is taken where the others do not suffice,
// and who is dead is not first. Pure: hosts is changed.
func placeOn(hosts []host, partitions, factor int) [][]int32 {
	placed := make([][]int32, partitions)
	order := make([]*host, len(hosts))
	for i := range hosts {
		order[i] = &hosts[i]
	}
	for n := range placed {
		slices.SortFunc(order, func(a, b *host) int {
			return cmp.Or(int(b.standing)-int(a.standing), a.leaders-b.leaders, a.replicas-b.replicas, int(a.id)-int(b.id))
		})
		chosen := []*host{order[0]}
		for len(chosen) < factor {
			chosen = append(chosen, nextHost(order, chosen, n))
		}
		for i, h := range chosen { // who starts leads its part when it is there
			if h.standing != dead && h.leaders < chosen[0].leaders {
				chosen[0], chosen[i] = h, chosen[0]
			}
		}
		chosen[0].leaders++
		for _, h := range chosen {
			h.replicas++
			placed[n] = append(placed[n], h.id)
		}
	}
	return placed
}

// nextHost is the one with fewest replicas, in a rack with fewest of this
// partition. turn decides between equals, so that followers of one leader differ.
func nextHost(hosts, chosen []*host, turn int) *host {
	inRack := func(h *host) (n int) {
		for _, c := range chosen {
			if c.rack == h.rack && h.rack != "" {
				n++
			}
		}
		return n
	}
	var best *host
	for i := range hosts {
		h := hosts[(i+turn)%len(hosts)]
		if slices.Contains(chosen, h) {
			continue
		}
		if best == nil || cmp.Or(int(best.standing)-int(h.standing), inRack(h)-inRack(best), h.replicas-best.replicas) < 0 {
			best = h
		}
	}
	return best
}

// place chooses the replicas of new partitions on the registered brokers. Those that are down
// get them too, when there are no others: they follow when they are back.
func (b *Broker) place(partitions, factor int) ([][]int32, error) {
	snap := b.snap()
	brokers := snap.AllBrokers()
	switch {
	case len(snap.Brokers()) == 0:
		return nil, explain(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): All brokers are currently fenced.", factor)
	case factor > len(brokers):
		return nil, explain(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached because only %d broker(s) are registered.", factor, factor, len(brokers))
	}
	leaders, replicas := map[int32]int{}, map[int32]int{}
	for t := range snap.Topics() {
		for _, p := range t.Partitions {
			leaders[p.Leader]++
			for _, id := range p.Replicas {
				replicas[id]++
			}
		}
	}
	hosts := make([]host, len(brokers))
	for i, br := range brokers {
		hosts[i] = host{br.ID, br.Rack, snapshotView{snap}.standing(br.ID), leaders[br.ID], replicas[br.ID]}
	}
	return placeOn(hosts, partitions, factor), nil
}

// mostDefaultReplicas is how many replicas a topic gets that does not say.
const mostDefaultReplicas = 3

// defaultFactor is the replication factor of a topic that does not say.
func (b *Broker) defaultFactor() int {
	configs := b.brokerConfigs()
	if _, set := configs[defaultReplicationFactor.broker]; set {
		return int(defaultReplicationFactor.of(configs))
	}
	return max(1, min(mostDefaultReplicas, len(b.snap().AllBrokers())))
}

// minISR is how many replicas of a partition a record with acks=all must reach.
func (b *Broker) minISR(t *meta.Topic, p *meta.Partition) int {
	return effectiveMinISR(t.Configs, b.brokerConfigs(), len(p.Replicas))
}

// effectiveMinISR is min.insync.replicas in force: as it is set, else 2 of three
// or more replicas; never more than there are.
func effectiveMinISR(topic, brokers map[string]string, replicas int) int {
	_, own := topic[minInsyncReplicas.name]
	_, all := brokers[minInsyncReplicas.broker]
	if !own && !all {
		return defaultMinISR(replicas)
	}
	return int(min(minInsyncReplicas.ofTopic(topic, brokers), int64(replicas)))
}

func defaultMinISR(replicas int) int {
	if replicas >= 3 {
		return 2
	}
	return 1
}
