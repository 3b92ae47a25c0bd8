package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Many partitions on three nodes: what their creation takes, what they cost while nobody
// uses them, and how long those that a killed node led are without a leader.
func TestClusterManyPartitions(t *testing.T) {
	for _, partitions := range manyPartitions() {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			c := StartCluster(t, 3)
			c.cost(t, "before")
			topic := topicName(t, "")
			began := time.Now()
			createReplicated(t, c.Node(1).Kafka, topic, int32(partitions), nil)
			created := time.Since(began)
			c.waitLed(topic, c.Nodes...)
			t.Logf("%d partitions with 3 replicas: created in %v, all led and in sync on every node after %v",
				partitions, created.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
			t.Logf("a record to each: %v", c.writeEach(topic, partitions).Round(time.Millisecond))
			c.cost(t, "idle")
			c.failover(t, topic, partitions)
		})
	}
}

func manyPartitions() []int {
	if rounds(1, 2) == 2 {
		return []int{1000, 4000}
	}
	return []int{500}
}

// cost prints what every node uses while nothing happens.
func (c *Cluster) cost(t *testing.T, when string) {
	t.Helper()
	began := time.Now()
	used := map[*Node]time.Duration{}
	for _, n := range c.Nodes {
		used[n] = cpuTime(t, n)
	}
	time.Sleep(time.Duration(rounds(2, 10)) * time.Second) // what is measured is doing nothing
	for _, n := range c.Nodes {
		t.Logf("%s: node %d: %d MiB, %.1f %% of a core, %v goroutines", when, n.ID, rss(t, n)>>20,
			100*float64(cpuTime(t, n)-used[n])/float64(time.Since(began)), metric(t, n, "go_goroutines"))
	}
}

// failover kills a node that leads a third of the topic.
func (c *Cluster) failover(t *testing.T, topic string, partitions int) {
	t.Helper()
	victim := c.Node(c.Controller().ID%3 + 1)
	led := c.ledBy(topic, c.Node(1), victim)
	began := time.Now()
	victim.Kill9()
	others := c.others(victim)
	for _, n := range others {
		eventually(t, 60*time.Second, func() error {
			if left := c.ledBy(topic, n, victim, nil); left > 0 {
				return fmt.Errorf("node %d: %d partitions are without another leader", n.ID, left)
			}
			return nil
		})
	}
	t.Logf("kill -9 of node %d, which led %d: all are led by others %v later", victim.ID, led, time.Since(began).Round(time.Millisecond))
	c.writeEach(topic, partitions)
	t.Logf("a record to each is acknowledged %v after the kill", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	victim.Start()
	victim.WaitReady()
	ready := time.Since(began)
	c.waitLed(topic, c.Nodes...)
	t.Logf("it is ready again after %v, and all is in sync after %v", ready.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// writeEach writes a record to each partition with acks=all.
func (c *Cluster) writeEach(topic string, partitions int) time.Duration {
	c.t.Helper()
	began := time.Now()
	produce(c.t, c.Bootstrap(), topic, partitions, func(topic string, i int) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: int32(i), Value: []byte("v")}
	})
	return time.Since(began)
}

// ledBy counts the partitions of a topic that are led by any of some nodes, nil being
// none, by what one node tells.
func (c *Cluster) ledBy(topic string, tells *Node, leaders ...*Node) (count int) {
	c.t.Helper()
	d, err := described(c.t, tells.Kafka, topic)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range d.Partitions {
		for _, n := range leaders {
			if n == nil && p.Leader < 0 || n != nil && int(p.Leader) == n.ID {
				count++
			}
		}
	}
	return count
}

// waitLed waits until each node tells that all partitions have a leader and a full ISR.
func (c *Cluster) waitLed(topic string, tell ...*Node) {
	c.t.Helper()
	for _, n := range tell {
		eventually(c.t, 60*time.Second, func() error {
			d, err := described(c.t, n.Kafka, topic)
			if err != nil {
				return err
			}
			for _, p := range d.Partitions {
				if p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
					return fmt.Errorf("node %d: %s-%d: leader %d, in sync %v of %v", n.ID, topic, p.Partition, p.Leader, p.ISR, p.Replicas)
				}
			}
			return nil
		})
	}
}
