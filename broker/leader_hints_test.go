package broker

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"chronik/meta"
	"chronik/wire/batch"
)

// moved makes a broker the leader of partition 0, and waits until it and all others know.
func (ns *nodes) moved(topic string, leader int32) (epoch int32) {
	ns.t.Helper()
	eventually(ns.t, func() error {
		id, _ := ns.node(1).snap().Controller()
		if id < 1 {
			return errors.New("no controller")
		}
		b := ns.node(id)
		p := b.snap().Topic(topic).Partitions[0]
		_, err := b.meta.Elect(ns.t.Context(), []meta.Election{{Topic: topic, Leader: leader, Base: p}})
		return err
	})
	eventually(ns.t, func() error {
		epoch = ns.node(leader).snap().Topic(topic).Partitions[0].LeaderEpoch
		for _, b := range ns.brokers {
			if p := b.snap().Topic(topic).Partitions[0]; p.Leader != leader || p.LeaderEpoch != epoch {
				return fmt.Errorf("node %d knows %+v", b.cfg.NodeID, p)
			}
			if p, err := b.partition(topic, 0); (err == nil && p.epoch == epoch) != (b.cfg.NodeID == leader) {
				return fmt.Errorf("node %d leads: %v", b.cfg.NodeID, err)
			}
		}
		return nil
	})
	return epoch
}

// ask sends a request to one node, in a version.
func (ns *nodes) ask(id int32, version int16, req kmsg.Request) (kmsg.Response, error) {
	ns.t.Helper()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(req.Key(), version)
	cl := client(ns.t, ns.node(id), kgo.MaxVersions(versions), kgo.DisableIdempotentWrite(), kgo.RequestRetries(0))
	defer cl.Close()
	return cl.Broker(int(id)).Request(ns.t.Context(), req)
}

// produceTo asks a node to append one record to partition 0.
func (ns *nodes) produceTo(id int32, version int16, topic string) *kmsg.ProduceResponse {
	ns.t.Helper()
	one := batch.NewBuilder(batch.None)
	one.Add(time.Now().UnixMilli(), nil, []byte("one"))
	records, err := one.Build(nil)
	if err != nil {
		ns.t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rt.Topic, rt.TopicID, rp.Records = topic, ns.node(1).snap().Topic(topic).ID, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := ns.ask(id, version, req)
	if err != nil {
		ns.t.Fatalf("Produce version %d to node %d: %v", version, id, err)
	}
	return resp.(*kmsg.ProduceResponse)
}

// fetchFrom asks a node for partition 0, as a consumer.
func (ns *nodes) fetchFrom(id int32, version int16, topic string, change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) *kmsg.FetchResponse {
	ns.t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.SessionEpoch = 1<<20, -1
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rt.TopicID = topic, ns.node(1).snap().Topic(topic).ID
	rp.PartitionMaxBytes, rp.CurrentLeaderEpoch, rp.LastFetchedEpoch = 1<<20, -1, -1
	change(req, &rp)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := ns.ask(id, version, req)
	if err != nil {
		ns.t.Fatalf("Fetch version %d from node %d: %v", version, id, err)
	}
	return resp.(*kmsg.FetchResponse)
}

// hint writes down what an answer tells of a leader.
func hint(code int16, leader, epoch int32, nodes ...string) string {
	return fmt.Sprint(kerr.ErrorForCode(code), " ", leader, " in ", epoch, " ", nodes)
}

func (ns *nodes) at(id int32) string { return fmt.Sprint(id, " at ", ns.node(id).Addr()) }

// Who asks the wrong broker, or with an old epoch, is told who leads and where that is, as
// far as it is known.
func TestLeaderHints(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": "false"})
	ns.created("t", nil, 1, 2)
	epoch := ns.moved("t", 2)
	moved, fenced := kerr.NotLeaderForPartition.Code, kerr.FencedLeaderEpoch.Code
	produce := func(id int32, v int16) string {
		resp := ns.produceTo(id, v, "t")
		p, nodes := resp.Topics[0].Partitions[0], []string(nil)
		for _, n := range resp.Brokers {
			nodes = append(nodes, fmt.Sprintf("%d at %s:%d", n.NodeID, n.Host, n.Port))
		}
		return hint(p.ErrorCode, p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch, nodes...)
	}
	fetch := func(id int32, v int16, claimed int32) string {
		resp := ns.fetchFrom(id, v, "t", func(_ *kmsg.FetchRequest, rp *kmsg.FetchRequestTopicPartition) { rp.CurrentLeaderEpoch = claimed })
		p, nodes := resp.Topics[0].Partitions[0], []string(nil)
		for _, n := range resp.Brokers {
			nodes = append(nodes, fmt.Sprintf("%d at %s:%d", n.NodeID, n.Host, n.Port))
		}
		return hint(p.ErrorCode, p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch, nodes...)
	}
	for _, c := range []struct{ what, got, want string }{
		{"produce 9", produce(1, 9), hint(moved, -1, -1)},
		{"produce 10", produce(1, 10), hint(moved, 2, epoch, ns.at(2))},
		{"produce 12", produce(3, 12), hint(moved, 2, epoch, ns.at(2))},
		{"produce 13", produce(3, 13), hint(moved, 2, epoch, ns.at(2))},
		{"produce 13 to the leader", produce(2, 13), hint(0, -1, -1)},
		{"fetch 15", fetch(3, 15, -1), hint(moved, -1, -1)},
		{"fetch 16", fetch(3, 16, -1), hint(moved, 2, epoch, ns.at(2))},
		{"fetch 18", fetch(3, 18, epoch), hint(moved, 2, epoch, ns.at(2))},
		{"fetch 18 in an old epoch", fetch(2, 18, epoch-1), hint(fenced, 2, epoch, ns.at(2))},
		{"fetch 18 from a follower in an old epoch", fetch(1, 18, epoch-1), hint(fenced, 2, epoch, ns.at(2))},
		{"fetch 18 in an epoch to come", fetch(2, 18, epoch+1), hint(kerr.UnknownLeaderEpoch.Code, -1, -1)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
}

// A leader that is gone is not named.
func TestNoHintOfTheDead(t *testing.T) {
	ns := startNodes(t, 3, nil)
	ns.created("t", nil, 3)
	if p := ns.produceTo(1, 13, "t").Topics[0].Partitions[0]; p.CurrentLeader.LeaderID != 3 {
		t.Fatalf("leader %+v", p.CurrentLeader)
	}
	ns.stop(3)
	eventually(t, func() error {
		resp := ns.produceTo(1, 13, "t")
		p := resp.Topics[0].Partitions[0]
		if p.CurrentLeader.LeaderID != -1 || len(resp.Brokers) > 0 || p.ErrorCode != kerr.NotLeaderForPartition.Code {
			return fmt.Errorf("%+v, brokers %+v", p, resp.Brokers)
		}
		return nil
	})
}

// metadataRequests counts what a client asks.
type metadataRequests struct{ n atomic.Int32 }

func (m *metadataRequests) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Metadata) {
		m.n.Add(1)
	}
}

// A producer goes on at the new leader without asking for metadata, and a consumer goes on.
func TestClientFollowsHints(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": "false"})
	ns.created("t", nil, 1, 2, 3)
	var asked metadataRequests
	producer := ns.client(kgo.WithHooks(&asked), kgo.MetadataMaxAge(time.Hour))
	consumer := ns.client(kgo.MetadataMaxAge(time.Hour), kgo.ConsumeTopics("t"))
	produceAll(t, producer, "t", 10)
	seen := 0
	consume := func(want int) {
		for seen < want {
			fs := consumer.PollFetches(t.Context())
			if err := fs.Err0(); err != nil {
				t.Fatal(err)
			}
			seen += fs.NumRecords()
		}
	}
	consume(10)
	before := asked.n.Load()
	ns.moved("t", 2)
	began := time.Now()
	produceAll(t, producer, "t", 10)
	produced := time.Since(began)
	consume(20)
	t.Logf("produced after %v, consumed after %v", produced.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	if n := asked.n.Load() - before; n > 0 {
		t.Errorf("the producer asked for metadata %d times", n)
	}
}
