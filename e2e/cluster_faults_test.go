package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Nodes start, stop and are killed in any order, all at once too. Whenever a majority
// is there its nodes get ready, and at the end all agree on every topic.
func TestClusterRounds(t *testing.T) {
	t.Parallel()
	count := rounds(12, 200)
	c := StartCluster(t, 3)
	var topics []string
	for round := range count {
		c.disturb(t)
		running := c.Running()
		if len(running) < 2 {
			continue
		}
		for _, n := range running {
			n.WaitReady()
		}
		topics = append(topics, topicName(t, fmt.Sprint(round)))
		createTopic(t, running[rand.IntN(len(running))].Kafka, topics[len(topics)-1], 1, nil)
	}
	for _, n := range c.Nodes {
		if !n.Running() {
			n.Start()
		}
	}
	c.WaitAllReady()
	for _, n := range c.Nodes {
		eventually(t, 10*time.Second, func() error { return n.knows(topics) })
	}
	t.Logf("%d rounds, %d topics", count, len(topics))
}

// disturb does one thing to the nodes.
func (c *Cluster) disturb(t *testing.T) {
	t.Helper()
	n := c.Nodes[rand.IntN(len(c.Nodes))]
	switch what := rand.IntN(8); {
	case what == 0:
		for _, n := range c.Running() {
			n.signal(syscall.SIGKILL)
		}
		for _, n := range c.Nodes {
			n.Kill9()
			n.Start()
		}
	case !n.Running():
		n.Start()
	case what < 5 || askApiVersions(n.Kafka) != nil: // it may not hear signals yet
		n.Kill9()
	default:
		n.Stop()
	}
}

// knows is an error unless the node lists exactly these topics.
func (n *Node) knows(topics []string) error {
	listed, err := newAdmin(n.t, n.Kafka).ListTopics(n.t.Context())
	if err != nil {
		return err
	}
	for _, topic := range topics {
		if !listed.Has(topic) {
			return fmt.Errorf("node %d does not list %s", n.ID, topic)
		}
	}
	if len(listed) != len(topics) {
		return fmt.Errorf("node %d lists %d topics, not %d", n.ID, len(listed), len(topics))
	}
	return nil
}

// Two of three nodes are killed: the third says why it is not ready, goes on telling
// what it knows, refuses changes soon and in words that clients repeat, and resumes by
// itself.
func TestClusterQuorumLost(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	left := c.Node(2)
	topic := topicName(t, "t")
	createTopic(t, left.Kafka, topic, 1, nil)
	c.Node(1).Kill9()
	c.Node(3).Kill9()
	eventually(t, 20*time.Second, func() error {
		code, text, err := left.Get("/readyz")
		if err == nil && (code != 503 || !strings.Contains(text, "no leader")) {
			err = fmt.Errorf("/readyz: %d %s", code, text)
		}
		return left.alive(err)
	})
	if err := left.knows([]string{topic}); err != nil {
		t.Error(err)
	}
	began := time.Now()
	err := left.tryCreate(topicName(t, "new"))
	if took := time.Since(began); err == nil || !kerr.IsRetriable(err) || took > 10*time.Second {
		t.Errorf("a creation without quorum: %v after %v", err, took)
	} else {
		t.Logf("a creation without quorum: %v after %v", err, took.Round(10*time.Millisecond))
	}
	c.Node(1).Start()
	began = time.Now()
	for _, n := range c.Running() {
		n.WaitReady()
	}
	t.Logf("ready again %v after the second of three started", time.Since(began).Round(time.Millisecond))
	createTopic(t, left.Kafka, topicName(t, "later"), 1, nil)
}

// tryCreate asks this node, whoever the controller is, and once.
func (n *Node) tryCreate(topic string) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, 1, 1
	req.Topics = append(req.Topics, rt)
	client := newClient(n.t, n.Kafka)
	defer client.Close()
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	if err := client.Ping(ctx); err != nil { // it learns who is who
		return err
	}
	resp, err := client.Broker(n.ID).Request(ctx, req)
	if err != nil {
		return err
	}
	got := resp.(*kmsg.CreateTopicsResponse).Topics[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return fmt.Errorf("%w: %s", err, deref(got.ErrorMessage))
	}
	return nil
}

// A node that stood still for longer than its lease is out meanwhile, and comes back
// as another life of its own accord.
func TestClusterPaused(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3, "--lease-ttl", "2s")
	paused := c.EtcdLeader()
	before := c.Incarnation(paused.ID)
	paused.Freeze()
	began := time.Now()
	for _, n := range c.Nodes {
		if n != paused {
			eventually(t, 30*time.Second, func() error { return n.lists(2) })
		}
	}
	t.Logf("a node that stands still, etcd's leader, is out after %v", time.Since(began).Round(time.Millisecond))
	paused.Thaw()
	began = time.Now()
	c.WaitAllReady()
	t.Logf("it is back %v after it went on", time.Since(began).Round(time.Millisecond))
	if after := c.Incarnation(paused.ID); after == before {
		t.Errorf("incarnation %s as before", after)
	}
}

// Incarnation is the life of a broker that is registered.
func (c *Cluster) Incarnation(id int) string {
	c.t.Helper()
	var live struct{ Incarnation string }
	eventually(c.t, 30*time.Second, func() error { return c.Get(fmt.Sprintf("live/%d", id), &live) })
	return live.Incarnation
}
