package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// role is what a node does beside leading what is written to, when it is killed.
type role struct {
	name   string
	holder func(*Cluster) (n *Node, group string) // and a group to watch
}

// roles are those whose end may take longer than that of a broker which only leads.
func roles() []role {
	const group = "group-0"
	return []role{
		{"plain broker", func(c *Cluster) (*Node, string) { return c.plain(), group }},
		{"etcd leader", func(c *Cluster) (*Node, string) { return c.EtcdLeader(), group }},
		{"controller", func(c *Cluster) (*Node, string) { return c.Controller(), group }},
		{"coordinator", func(c *Cluster) (*Node, string) { return c.Coordinator(group), group }},
		{"all in one", (*Cluster).allInOne},
	}
}

// plain is neither etcd leader nor controller.
func (c *Cluster) plain() *Node {
	c.t.Helper()
	leader, controller := c.EtcdLeader(), c.Controller()
	rest := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *Node) bool { return n == leader || n == controller })
	return rest[rand.IntN(len(rest))]
}

// allInOne is the controller, made the etcd leader too, and a group that it coordinates.
func (c *Cluster) allInOne() (node *Node, group string) {
	c.t.Helper()
	node = c.Controller()
	if leader := c.EtcdLeader(); leader != node {
		c.moveEtcdLeader(leader, node)
	}
	for i := 0; ; i++ {
		if group = fmt.Sprintf("group-%d", i); c.Coordinator(group) == node {
			return node, group
		}
	}
}

func (c *Cluster) moveEtcdLeader(from, to *Node) {
	c.t.Helper()
	client, err := c.etcd(from)
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	eventually(c.t, 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		defer cancel()
		status, err := client.Status(ctx, to.Etcd)
		if err != nil {
			return err
		}
		if status.Leader == status.Header.MemberId {
			return nil
		}
		if _, err := client.MoveLeader(ctx, status.Header.MemberId); err != nil {
			return err
		}
		return fmt.Errorf("node %d does not lead etcd yet", to.ID)
	})
}

// createLed creates a topic of one partition that a node leads, and all others follow.
func createLed(c *Cluster, topic string, leader *Node) {
	c.t.Helper()
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Replicas = []int32{int32(leader.ID)}
	for _, n := range c.others(leader) {
		a.Replicas = append(a.Replicas, int32(n.ID))
	}
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, rt)
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	resp, err := req.RequestWith(ctx, newClient(c.t, c.Bootstrap()))
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		c.t.Fatalf("create %s: %v", topic, err)
	}
}

// committing commits offsets of a group with a client's own settings until end, which
// returns the longest time without success.
type committing struct {
	cancel context.CancelFunc
	done   chan time.Duration
}

func keepCommitting(c *Cluster, group, topic string) *committing {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	k := &committing{cancel, make(chan time.Duration, 1)}
	admin := newAdmin(c.t, c.Bootstrap())
	commit := func(at int64) error {
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, 0, at, -1)
		committed, err := admin.CommitOffsets(ctx, group, offsets)
		if err == nil {
			err = committed.Error()
		}
		return err
	}
	at := int64(1)
	eventually(c.t, 30*time.Second, func() error { return commit(at) })
	go func() {
		defer admin.Close()
		last, longest := time.Now(), time.Duration(0)
		for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if at++; commit(at) == nil {
				longest, last = max(longest, time.Since(last)), time.Now()
			}
		}
		k.done <- max(longest, time.Since(last))
	}()
	return k
}

func (k *committing) end() time.Duration {
	k.cancel()
	return <-k.done
}

// The leader of what is written is killed under load, which is more than that in all cases
// but one. The writers and the group have a client's own patience.
func TestClusterKillRoles(t *testing.T) {
	c := StartCluster(t, 3)
	for _, r := range roles() {
		var records, commits []time.Duration
		for round := range rounds(1, 50) {
			gap, silent := r.killed(t, c, topicName(t, fmt.Sprint("round", round)))
			records, commits = append(records, gap), append(commits, silent)
			if t.Failed() {
				t.Fatalf("%s, round %d", r.name, round)
			}
		}
		t.Logf("%s, %d rounds of kill -9: longest time without an acknowledged record: %s; without a commit: %s",
			r.name, len(records), longestOf(records), longestOf(commits))
	}
}

// longestOf is the median and the longest.
func longestOf(d []time.Duration) string {
	slices.Sort(d)
	return fmt.Sprintf("p50 %v, max %v", d[len(d)/2].Round(time.Millisecond), d[len(d)-1].Round(time.Millisecond))
}

func (r role) killed(t *testing.T, c *Cluster, topic string) (gap, silent time.Duration) {
	t.Helper()
	victim, group := r.holder(c)
	createLed(c, topic, victim)
	w := startLoad(t, load{servers: c.Bootstrap(), topic: topic, partitions: 1, usual: 2})
	w.waitFor(5_000)
	k := keepCommitting(c, group, topic)
	g := watchGap(w)
	victim.Kill9()
	w.waitFor(w.count() + 2_000)
	c.waitDead(victim)
	gap, silent = g.end(), k.end()
	victim.Start()
	victim.WaitReady()
	c.WaitFullISR(topic)
	w.waitFor(w.count() + 1_000)
	w.stop()
	w.check()
	c.CheckAlike(topic)
	return gap, silent
}
