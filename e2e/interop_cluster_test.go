//go:build interop

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A topic that a client makes by producing through one node is there for clients of all.
func TestInteropClusterTopics(t *testing.T) {
	python := familyNamed(t, "kafka-python")
	python.installed(t)
	c := StartCluster(t, 3)
	var topics []string
	for _, n := range c.Nodes {
		topics = append(topics, topicName(t, ""))
		python.tell(t, n.Kafka, "produce", topics[len(topics)-1], "none", "1000")
	}
	slices.Sort(topics)
	for _, n := range c.Nodes {
		listed := strings.Fields(python.tell(t, n.Kafka, "list"))
		slices.Sort(listed)
		if !slices.Equal(listed, topics) {
			t.Errorf("node %d lists %v, not %v", n.ID, listed, topics)
		}
		for _, topic := range topics {
			python.tell(t, n.Kafka, "consume", topic, "1000")
		}
	}
}

// The leader of what foreign producers write, each with its own settings, is killed in each
// of its roles, or stopped in order: no producer meets an error, and nothing is lost or
// twice.
func TestInteropClusterFailover(t *testing.T) {
	var producers []family
	for _, name := range []string{"confluent-kafka", "kcat", "java"} {
		producers = append(producers, familyNamed(t, name))
		producers[len(producers)-1].installed(t)
	}
	c := StartCluster(t, 3)
	for _, r := range roles() {
		failovers(t, c, producers, r, "kill -9", (*Node).Kill9)
	}
	all := roles()
	failovers(t, c, producers, all[len(all)-1], "SIGTERM", func(n *Node) { n.Stop() })
}

// failovers are rounds of one kind.
func failovers(t *testing.T, c *Cluster, producers []family, r role, how string, end func(*Node)) {
	t.Helper()
	gaps := make([][]time.Duration, len(producers))
	for range rounds(1, 50) {
		for i, gap := range failover(t, c, producers, r, end) {
			gaps[i] = append(gaps[i], gap)
		}
		if t.Failed() {
			t.Fatalf("%s of %s", how, r.name)
		}
	}
	for i, f := range producers {
		t.Logf("%s of %s, %s, %d rounds: longest time without an acknowledged record: %s", how, r.name, f.name, len(gaps[i]), longestOf(gaps[i]))
	}
}

// failover is one round: it returns for each producer the longest time in which the high
// watermark of its topic stood still, from shortly before the end of the leader until most
// was written.
func failover(t *testing.T, c *Cluster, producers []family, r role, end func(*Node)) (gaps []time.Duration) {
	t.Helper()
	const records, seconds = 12_000, 5
	victim, _ := r.holder(c)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var topics []string
	var wrote sync.WaitGroup
	var watched []*highWatermark
	for _, f := range producers {
		topic := topicName(t, f.name)
		createLed(c, topic, victim)
		topics, watched = append(topics, topic), append(watched, watchHighWatermark(t, c, topic))
		wrote.Go(func() {
			if out, err := f.command(ctx, c.Bootstrap(), "idempotent", topic, fmt.Sprint(records), fmt.Sprint(seconds)).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", f.name, err, tail(string(out)))
			}
		})
	}
	for _, h := range watched {
		h.waitFor(records / 4)
	}
	for _, h := range watched {
		h.begin()
	}
	end(victim)
	for _, h := range watched {
		h.waitFor(records * 3 / 4)
		gaps = append(gaps, h.end())
	}
	victim.Start()
	wrote.Wait()
	victim.WaitReady()
	for _, topic := range topics {
		c.WaitFullISR(topic)
		checkRecords(t, c.Bootstrap(), topic, records, plainRecord)
		c.CheckAlike(topic)
	}
	return gaps
}

// highWatermark follows that of partition 0 of a topic, as the nodes themselves tell it.
type highWatermark struct {
	t       *testing.T
	stop    context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex // guards what follows
	at      int64
	since   time.Time
	longest time.Duration
	errs    map[int]error // the last of each node
}

func watchHighWatermark(t *testing.T, c *Cluster, topic string) *highWatermark {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &highWatermark{t: t, stop: cancel, since: time.Now(), errs: map[int]error{}}
	for _, n := range c.Nodes {
		client := newClient(t, n.Kafka, kgo.RequestRetries(0))
		h.done.Go(func() {
			defer client.Close()
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				at, err := toldBy(ctx, client, topic)
				h.told(n.ID, at, err)
				<-tick.C
			}
		})
	}
	return h
}

// toldBy asks the node that a client was given for the end of partition 0.
func toldBy(ctx context.Context, client *kgo.Client, topic string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	rp.Timestamp = -1
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := client.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return 0, err
	}
	got := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	return got.Offset, kerr.ErrorForCode(got.ErrorCode)
}

func (h *highWatermark) told(node int, at int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.errs[node] = err
	if err == nil && at > h.at {
		h.at, h.since = at, now
	}
	h.longest = max(h.longest, now.Sub(h.since))
}

// begin forgets how long it stood still before.
func (h *highWatermark) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.longest = 0
}

func (h *highWatermark) waitFor(at int64) {
	h.t.Helper()
	eventually(h.t, time.Minute, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.at < at {
			return fmt.Errorf("the high watermark is %d, not %d: %v", h.at, at, h.errs)
		}
		return nil
	})
}

func (h *highWatermark) end() time.Duration {
	h.stop()
	h.done.Wait()
	return h.longest
}
