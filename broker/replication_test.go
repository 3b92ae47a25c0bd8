package broker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"chronik/logstore"
	"chronik/meta"
	"chronik/wire/batch"
)

func batchFirst(p []byte) (batch.Batch, []byte, error) { return batch.First(p) }

// produceAll produces n records with acks=all and fails on any error.
func produceAll(t testing.TB, cl *kgo.Client, topic string, n int) {
	t.Helper()
	for i := range n {
		cl.Produce(t.Context(), &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, "value %d", i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// onDisk counts the records of a topic that this broker's logs have flushed.
func (b *Broker) onDisk(topic string) (n int64) {
	mt := b.snap().Topic(topic)
	for num := range mt.Partitions {
		if l := b.store.Log(logstore.ID{Topic: mt.ID, Partition: int32(num)}); l != nil {
			n += l.Flushed() - l.Start()
		}
	}
	return n
}

// Records of acks=all are on every replica, through whichever node a topic is made.
func TestReplicate(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"num.partitions": "4"})
	for _, b := range ns.brokers {
		topic := fmt.Sprintf("made-by-%d", b.cfg.NodeID)
		began := time.Now()
		cl := client(t, b, kgo.AllowAutoTopicCreation())
		produceAll(t, cl, topic, 2000)
		t.Logf("%s: 2000 records in %v", topic, time.Since(began).Round(time.Millisecond))
		for _, other := range ns.brokers { // at once: that is what the answers said
			if got := other.onDisk(topic); got != 2000 {
				t.Errorf("node %d has %d of 2000 acknowledged records of %s on disk", other.cfg.NodeID, got, topic)
			}
		}
		for n, p := range b.snap().Topic(topic).Partitions {
			if len(p.Replicas) != 3 || len(p.ISR) != 3 {
				t.Errorf("%s-%d: %+v", topic, n, p)
			}
		}
		ns.alike(topic, 2000)
		consumeAll(t, b, topic, 2000)
	}
}

// created makes a topic of one partition with these replicas; the first leads.
func (ns *nodes) created(topic string, configs map[string]*string, replicas ...int32) {
	ns.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Replicas = replicas
	rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
	for name, value := range configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, value
		rt.Configs = append(rt.Configs, c)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ns.t.Context(), ns.client())
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		ns.t.Fatalf("create %s: %v", topic, err)
	}
	ns.known(topic)
}

// known waits until all nodes have taken up a topic.
func (ns *nodes) known(topic string) {
	ns.t.Helper()
	eventually(ns.t, func() error {
		for _, b := range ns.brokers {
			if b.topics.named([]byte(topic)) == nil {
				return fmt.Errorf("node %d does not know %s", b.cfg.NodeID, topic)
			}
		}
		return nil
	})
}

// isr waits until the ISR of partition 0 is this.
func (ns *nodes) isr(topic string, want ...int32) *meta.Partition {
	ns.t.Helper()
	var p *meta.Partition
	eventually(ns.t, func() error {
		p = ns.leaderOf(topic).snap().Topic(topic).Partitions[0]
		if got := slices.Sorted(slices.Values(p.ISR)); !slices.Equal(got, want) {
			return fmt.Errorf("in sync %v, want %v", p.ISR, want)
		}
		return nil
	})
	return p
}

// leaderOf is the broker that leads partition 0, once there is one.
func (ns *nodes) leaderOf(topic string) (leader *Broker) {
	ns.t.Helper()
	eventually(ns.t, func() error {
		for _, b := range ns.brokers {
			if b.stopping.Load() {
				continue
			}
			if p, err := b.partition(topic, 0); err == nil && !p.gone.Load() {
				leader = b
				return nil
			}
		}
		return fmt.Errorf("nobody leads %s", topic)
	})
	return leader
}

// held keeps a follower from writing what it fetches, until release.
func (ns *nodes) held(id int32, topic string) (release func()) {
	ns.t.Helper()
	var f *followed
	eventually(ns.t, func() error {
		if t := ns.node(id).topics.named([]byte(topic)); t != nil {
			f = t.followed[0]
		}
		if f == nil {
			return fmt.Errorf("node %d does not follow %s", id, topic)
		}
		return nil
	})
	f.mu.Lock()
	return f.mu.Unlock
}

// produceOne asks the leader once, and returns the error that it answers.
func produceOne(ns *nodes, topic, value string, acks int16) error {
	ns.t.Helper()
	leader := ns.leaderOf(topic)
	one := batch.NewBuilder(batch.None)
	one.Add(time.Now().UnixMilli(), nil, []byte(value))
	records, err := one.Build(nil)
	if err != nil {
		ns.t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, acks, 10_000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rt.Topic, rp.Records = topic, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	opts := []kgo.Opt{kgo.MaxVersions(kversion.V2_8_0()), kgo.DisableIdempotentWrite()}
	if acks == 1 { // the client writes its own into the request
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()))
	}
	cl := client(ns.t, leader, opts...)
	defer cl.Close()
	resp, err := cl.Broker(int(leader.cfg.NodeID)).Request(ns.t.Context(), req)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// A follower that lags leaves the ISR, and only then records are acknowledged without
// it; it is back when it has caught up.
func TestISRShrinksAndGrows(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"replica.lag.time.max.ms": "4000"})
	ns.created("t", nil, 1, 2, 3)
	produceAll(t, ns.client(), "t", 10)
	release := ns.held(3, "t")
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- produceOne(ns, "t", "without 3", -1) }()
	p, err := ns.node(1).partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if p.log.End() != 11 {
			return fmt.Errorf("the log ends at %d", p.log.End())
		}
		return nil
	})
	if hw := p.hw(); hw != 10 {
		t.Errorf("high watermark %d while node 3 is in sync and has 10 records", hw)
	}
	if err := <-done; err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if p := ns.isr("t", 1, 2); len(p.ELR) != 0 {
		t.Errorf("%+v", p)
	}
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("acknowledged after %v, while node 3 was in sync", took)
	}
	release()
	ns.isr("t", 1, 2, 3)
	ns.alike("t", 11)
}

// acks=all is refused while fewer than min.insync.replicas are in sync, before and
// after the append; nothing is committed then. acks=1 goes on.
func TestMinISR(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"replica.lag.time.max.ms": "4000"})
	ns.created("t", map[string]*string{"min.insync.replicas": new("2")}, 1, 2)
	if err := produceOne(ns, "t", "a", -1); err != nil {
		t.Fatal(err)
	}
	release := ns.held(2, "t")
	if err := produceOne(ns, "t", "b", -1); !errors.Is(err, kerr.NotEnoughReplicasAfterAppend) {
		t.Errorf("appended, and then the follower left: %v", err)
	}
	if p := ns.isr("t", 1); !slices.Equal(p.ELR, []int32{2}) {
		t.Errorf("%+v", p)
	}
	if err := produceOne(ns, "t", "c", -1); !errors.Is(err, kerr.NotEnoughReplicas) {
		t.Errorf("below the minimum: %v", err)
	}
	if err := produceOne(ns, "t", "d", 1); err != nil {
		t.Errorf("acks=1 below the minimum: %v", err)
	}
	p, err := ns.node(1).partition("t", 0)
	if err != nil || p.hw() != 1 || p.log.End() != 3 {
		t.Errorf("high watermark %d, end %d, %v", p.hw(), p.log.End(), err)
	}
	release()
	if p := ns.isr("t", 1, 2); len(p.ELR) != 0 {
		t.Errorf("%+v", p)
	}
	if err := produceOne(ns, "t", "e", -1); err != nil {
		t.Error(err)
	}
	ns.alike("t", 4)
}

// What a leader had written alone is cut when it comes back as a follower: the new
// leader wrote other records there.
func TestDivergedTailIsCut(t *testing.T) {
	ns := startNodes(t, 3, nil)
	ns.created("t", nil, 1, 2, 3)
	produceAll(t, ns.client(), "t", 20)
	for _, id := range []int32{2, 3} { // as if the epoch were over there
		release := ns.held(id, "t")
		ns.node(id).topics.named([]byte("t")).followed[0].ended = true
		release()
	}
	for range 5 {
		if err := produceOne(ns, "t", "of the old leader alone", 1); err != nil {
			t.Fatal(err)
		}
	}
	ns.stop(1)
	leader := ns.leaderOf("t")
	if leader.cfg.NodeID == 1 {
		t.Fatal("node 1 still leads")
	}
	if err := produceOne(ns, "t", "of the new leader", 1); err != nil {
		t.Error(err)
	}
	ns.begin(1)
	ns.ready(1)
	ns.isr("t", 1, 2, 3)
	ns.alike("t", 21)
}

// A log that fails under its leader is left to the others: what was acknowledged stays,
// and the failed one is built anew.
func TestFailedLogGivesWay(t *testing.T) {
	ns := startNodes(t, 3, nil)
	ns.created("t", map[string]*string{"segment.bytes": new("1048576")}, 1, 2, 3)
	produceAll(t, ns.client(), "t", 20)
	p, err := ns.node(1).partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(ns.dir, "1", "logs", p.log.ID().String())); err != nil {
		t.Fatal(err)
	}
	cl := ns.client(kgo.ProducerBatchMaxBytes(1000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 8 { // some segments: the next one cannot be made
		r := &kgo.Record{Topic: "t", Value: bytes.Repeat([]byte{1}, 500_000)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if !p.gone.Load() { // it may lead again, in a later epoch
		t.Error("node 1 still leads with a log that failed")
	}
	ns.isr("t", 1, 2, 3)
	ns.alike("t", 28)
}
