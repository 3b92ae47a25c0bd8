package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/broker/group"
	"chronik/meta"
)

// offsetsTopic is where groups and committed offsets are kept. A group's partition
// is chosen by its id; the leader of the partition coordinates the group.
const offsetsTopic = "__consumer_offsets"

// coordinators are those of the led partitions of __consumer_offsets. State: the
// list is an immutable value behind an atomic pointer, changed by one goroutine,
// the one that applies metadata.
type coordinators struct {
	b        *Broker
	settings atomic.Pointer[groupSettings]
	list     atomic.Pointer[[]*coordinator] // by partition; nil where this broker does not lead
	start    chan func()                    // each runs one coordinator to its end
}

func newCoordinators(b *Broker) *coordinators {
	cs := &coordinators{b: b, start: make(chan func())}
	cs.list.Store(&[]*coordinator{})
	return cs
}

// run runs the coordinators until ctx ends.
func (cs *coordinators) run(ctx context.Context) error {
	var running sync.WaitGroup
	for {
		select {
		case c := <-cs.start:
			running.Go(c)
		case <-ctx.Done():
			running.Wait()
			return nil
		}
	}
}

// apply begins and ends coordinators as this broker leads partitions of t, which
// is __consumer_offsets; nil when that is deleted.
func (cs *coordinators) apply(ctx context.Context, t *topic) {
	var parts []*partition
	if t != nil {
		parts = *t.partitions.Load()
	}
	old := *cs.list.Load()
	next := make([]*coordinator, len(parts))
	var begun []func()
	for n, p := range parts {
		switch {
		case p == nil:
		case n < len(old) && old[n] != nil && old[n].p == p:
			next[n] = old[n]
		default:
			c := newCoordinator(cs.b, p)
			own, end := context.WithCancel(ctx)
			c.end = end
			next[n] = c
			begun = append(begun, func() { c.run(own) })
		}
	}
	cs.list.Store(&next)
	for n, c := range old {
		if c != nil && (n >= len(next) || next[n] != c) {
			c.end()
		}
	}
	for _, c := range begun {
		select {
		case cs.start <- c:
		case <-ctx.Done():
			return
		}
	}
}

// of finds the coordinator of a group, or says why there is none here.
func (cs *coordinators) of(groupID string) (*coordinator, error) {
	var c *coordinator
	if list := *cs.list.Load(); len(list) > 0 {
		c = list[groupPartition(groupID, len(list))]
	}
	switch {
	case c == nil && !cs.soon(groupID):
		return nil, kerr.NotCoordinator
	case c == nil, c.loading.Load():
		return nil, kerr.CoordinatorLoadInProgress
	}
	return c, nil
}

// soon reports whether this broker may coordinate a group in a moment: it, or another that is ahead of
// it, may have named it already. A client that is refused then asks around, those too that are dead.
func (cs *coordinators) soon(groupID string) bool {
	waits := cs.b.takeovers(time.Now())
	t := waits.snap.Topic(offsetsTopic)
	if t == nil || cs.b.stopping.Load() {
		return false
	}
	n := groupPartition(groupID, len(t.Partitions))
	if mp := t.Partitions[n]; mp != nil && mp.Leader == cs.b.cfg.NodeID && led(waits.snap, mp) {
		return true
	}
	return waits.until(cs.b.topics.withID(t.ID), int32(n), kerr.NotLeaderForPartition).After(waits.now)
}

// led are the coordinators of this broker; loading says that some are not ready.
func (cs *coordinators) led() (ready []*coordinator, loading bool) {
	for _, c := range *cs.list.Load() {
		switch {
		case c == nil:
		case c.loading.Load():
			loading = true
		default:
			ready = append(ready, c)
		}
	}
	return ready, loading
}

// topicDeleted has every coordinator forget the offsets of a topic.
func (cs *coordinators) topicDeleted(t *meta.Topic) {
	gone := group.TopicDeleted{Topic: t.Name, ID: t.ID}
	for _, c := range *cs.list.Load() {
		if c != nil {
			c.ask(op{do: func(c *coordinator) { c.topicDeleted(gone) }, refuse: func(error) {}, internal: true})
		}
	}
}

// groupPartition is Kafka's choice: Java's hash of the id, made positive.
func groupPartition(groupID string, partitions int) int {
	var hash int32
	for _, unit := range utf16.Encode([]rune(groupID)) {
		hash = 31*hash + int32(unit)
	}
	if hash < 0 {
		hash = -hash
	}
	return int(max(0, hash)) % partitions // the smallest integer has no positive
}

// offsets finds __consumer_offsets, or creates it.
func (b *Broker) offsets(ctx context.Context) (*meta.Topic, error) {
	if t := b.snap().Topic(offsetsTopic); t != nil {
		return t, nil
	}
	factor := b.offsetsFactor()
	if registered := len(b.snap().AllBrokers()); registered < factor {
		return nil, explain(kerr.CoordinatorNotAvailable, "%s is created with %d replicas (offsets.topic.replication.factor) and waits for as many brokers: %d are registered", offsetsTopic, factor, registered)
	}
	replicas, err := b.place(int(offsetsPartitions.of(b.brokerConfigs())), factor)
	if err != nil {
		return nil, err
	}
	err = b.createTopic(ctx, meta.NewTopic{Name: offsetsTopic, ID: meta.NewID(), Replicas: replicas, Configs: map[string]string{
		cleanupPolicy.name:   "compact",
		compressionType.name: "producer",
		segmentBytes.name:    fmt.Sprint(offsetsSegmentBytes.of(b.brokerConfigs())),
	}})
	if err != nil && !errors.Is(err, meta.ErrExists) {
		return nil, err
	}
	if t := b.snap().Topic(offsetsTopic); t != nil {
		return t, nil
	}
	return nil, kerr.CoordinatorNotAvailable
}

// offsetsFactor is how many replicas __consumer_offsets gets: as it is set; else never more
// than there are brokers, those included that were never there yet.
func (b *Broker) offsetsFactor() int {
	configs := b.brokerConfigs()
	factor := int(offsetsReplicationFactor.of(configs))
	if _, set := configs[offsetsReplicationFactor.broker]; set {
		return factor
	}
	return max(1, min(factor, max(len(b.snap().AllBrokers()), len(b.cfg.Etcd.Peers))))
}
