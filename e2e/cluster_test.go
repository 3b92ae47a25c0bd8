package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Three nodes: each registers itself, and every one tells of all.
func TestClusterStart(t *testing.T) {
	t.Parallel()
	chronikBin(t)
	c := NewCluster(t, 3)
	began := time.Now()
	c.Start()
	c.WaitAllReady()
	t.Logf("cold start of 3 nodes to all ready: %v", time.Since(began).Round(time.Millisecond))
	directories := map[string]bool{}
	for _, n := range c.Nodes {
		var broker struct {
			ID               int
			State, Directory string
		}
		if err := c.Get(fmt.Sprintf("brokers/%d", n.ID), &broker); err != nil || broker.ID != n.ID || broker.State != "active" {
			t.Errorf("broker %d: %+v, %v", n.ID, broker, err)
		}
		directories[broker.Directory] = true
		if lines := strings.Count(n.Log(1<<20), "broker registered"); lines != 1 {
			t.Errorf("node %d tells %d times that it is registered", n.ID, lines)
		}
	}
	if len(directories) != 3 {
		t.Errorf("directories %v", directories)
	}
	clusters := map[string]bool{}
	for _, n := range c.Nodes {
		m, err := newAdmin(t, n.Kafka).BrokerMetadata(t.Context())
		if err != nil || len(m.Brokers) != 3 {
			t.Errorf("node %d lists %v, %v", n.ID, m.Brokers.NodeIDs(), err)
		}
		clusters[m.Cluster] = true
	}
	if len(clusters) != 1 {
		t.Errorf("clusters %v", clusters)
	}
	sameTopics(t, c)
	restarts(t, c)
	t.Logf("all stopped together: %v", c.StopAll().Round(time.Millisecond))
	began = time.Now()
	c.Start()
	c.WaitAllReady()
	t.Logf("warm start of 3 nodes to all ready: %v", time.Since(began).Round(time.Millisecond))
}

// sameTopics creates a topic through each node; each lists all.
func sameTopics(t *testing.T, c *Cluster) {
	t.Helper()
	var topics []string
	for _, n := range c.Nodes {
		topics = append(topics, topicName(t, fmt.Sprint(n.ID)))
		createTopic(t, n.Kafka, topics[len(topics)-1], 3, nil)
	}
	for _, n := range c.Nodes {
		eventually(t, 5*time.Second, func() error {
			listed, err := newAdmin(t, n.Kafka).ListTopics(t.Context(), topics...)
			if err == nil {
				listed.EachError(func(d kadm.TopicDetail) { err = d.Err })
			}
			return err
		})
	}
}

// restarts stops and kills one node after the other: the others go on listing
// whoever is there.
func restarts(t *testing.T, c *Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		stopped := n.Stop()
		began := time.Now()
		n.Start()
		c.WaitAllReady()
		t.Logf("node %d: stopped in %v, back in %v", n.ID, stopped.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	leader := c.EtcdLeader()
	leader.Kill9()
	for _, n := range c.Running() {
		eventually(t, 30*time.Second, func() error { return n.lists(2) })
	}
	began := time.Now()
	leader.Start()
	c.WaitAllReady()
	t.Logf("node %d, killed as leader of etcd, back in %v", leader.ID, time.Since(began).Round(time.Millisecond))
}

// One node of three waits, at its first start and later, and says so and for whom;
// it neither hangs nor exits.
func TestClusterWaitsForQuorum(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, 3)
	n := c.Node(1)
	n.startsAlone(t, "node 2 ("+c.Node(2).Peer+"), node 3 ("+c.Node(3).Peer+") do not answer")
	if err := askApiVersions(n.Kafka); err != nil {
		t.Errorf("ApiVersions while it waits: %v", err)
	}
	if took := n.Stop(); took > 10*time.Second {
		t.Errorf("stopped in %v", took)
	}
	c.Start()
	c.WaitAllReady()
	c.StopAll()
	n.startsAlone(t, "node 2 ("+c.Node(2).Peer+"), node 3 ("+c.Node(3).Peer+") do not answer")
	c.Node(3).Start()
	c.WaitAllReady()
}

// startsAlone starts a node and waits until it says for whom it waits, and has told so in
// one line of its log.
func (n *Node) startsAlone(t *testing.T, whom string) {
	t.Helper()
	told := func() int { return strings.Count(n.Log(1<<20), "waiting for a quorum") }
	before := told()
	n.Start()
	eventually(t, 20*time.Second, func() error {
		code, text, err := n.Get("/readyz")
		if err == nil && (code != 503 || !strings.Contains(text, whom)) {
			err = fmt.Errorf("/readyz: %d %s", code, text)
		}
		if lines := told() - before; err == nil && lines != 1 {
			err = fmt.Errorf("%d lines say that it waits", lines)
		}
		return n.alive(err)
	})
}

// A node whose directory was wiped comes back under its id, as a new directory, and
// is a full member of etcd again: the cluster survives the loss of another one.
func TestClusterReplacesDirectory(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	var before, after struct{ Directory string }
	if err := c.Get("brokers/2", &before); err != nil {
		t.Fatal(err)
	}
	wiped := c.Node(2)
	wiped.Kill9()
	if err := os.RemoveAll(wiped.Dir); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	wiped.Start()
	c.WaitAllReady()
	t.Logf("a wiped node is back after %v", time.Since(began).Round(time.Millisecond))
	if err := c.Get("brokers/2", &after); err != nil || after == before {
		t.Errorf("directory %s after %s, %v", after.Directory, before.Directory, err)
	}
	eventually(t, 30*time.Second, func() error {
		if members := c.Members(); members != "voter voter voter" {
			return fmt.Errorf("members of etcd: %s", members)
		}
		return nil
	})
	c.Node(3).Kill9()
	for _, n := range c.Running() {
		eventually(t, 30*time.Second, func() error { return n.lists(2) })
	}
}

// Two more nodes join a cluster; each is a voter then, and a broker like the others.
func TestClusterGrows(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	for id := 4; id <= 5; id++ {
		n := NewNode(t, NodeConfig{ID: id, Args: []string{"--join", c.Node(1).Etcd + "," + c.Node(2).Etcd}})
		c.Nodes = append(c.Nodes, n)
		began := time.Now()
		n.Start()
		c.WaitAllReady()
		t.Logf("node %d joined in %v", id, time.Since(began).Round(time.Millisecond))
		want := strings.Repeat("voter ", id-1) + "voter"
		eventually(t, 30*time.Second, func() error {
			if members := c.Members(); members != want {
				return fmt.Errorf("members of etcd: %s", members)
			}
			return n.alive(nil)
		})
		t.Logf("node %d votes after %v", id, time.Since(began).Round(time.Millisecond))
	}
	sameTopics(t, c)
	c.Node(1).Kill9() // through which the fifth joined
	c.Node(5).Restart()
	c.Node(2).Kill9()
	for _, n := range c.Running() {
		eventually(t, 30*time.Second, func() error { return n.lists(3) })
	}
}
