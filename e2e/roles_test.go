package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
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
// returns the longest time without success since begin.
type committing struct {
	cancel context.CancelFunc
	done   chan time.Duration
	forget atomic.Bool
}

func keepCommitting(c *Cluster, group, topic string) *committing {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	k := &committing{cancel: cancel, done: make(chan time.Duration, 1)}
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
	eventually(c.t, 30*time.Second, func() error { return commit(1) })
	go func() {
		defer admin.Close()
		last, longest := time.Now(), time.Duration(0)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for at := int64(2); ctx.Err() == nil; at++ {
			if commit(at) == nil {
				longest, last = max(longest, time.Since(last)), time.Now()
			}
			if k.forget.Swap(false) {
				longest = 0
			}
			<-tick.C
		}
		k.done <- max(longest, time.Since(last))
	}()
	return k
}

func (k *committing) begin() { k.forget.Store(true) }

func (k *committing) end() time.Duration {
	k.cancel()
	return <-k.done
}

// producer starts to write to a topic with a client's own settings; end waits until all is
// written, and checks that no error was met and nothing is lost or twice.
type producer struct {
	name  string
	start func(t *testing.T, servers, topic string) (end func())
}

// franzGo asks for metadata at most every 5 s: a leader that ends earlier is, for the writer,
// one that ended twice. asked is when it last did.
func franzGo(asked *lastMetadata) producer {
	return producer{"franz-go", func(t *testing.T, servers, topic string) (end func()) {
		w := startLoad(t, load{servers: servers, topic: topic, partitions: 1, usual: 2, rate: 750, hooks: []kgo.Hook{asked}})
		return func() {
			w.stop()
			w.check()
		}
	}}
}

// lastMetadata is a hook that notes when a client asked for metadata.
type lastMetadata struct{ at atomic.Pointer[time.Time] }

func (l *lastMetadata) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == 3 {
		now := time.Now()
		l.at.Store(&now)
	}
}

// old waits until that is long ago.
func (l *lastMetadata) old() {
	for {
		left := time.Until(l.at.Load().Add(5200 * time.Millisecond))
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

// The leader of what is written is killed in each of its roles, or stopped in order.
func TestClusterFailover(t *testing.T) { failovers(t) }

func failovers(t *testing.T, others ...producer) {
	t.Helper()
	f := failover{c: StartCluster(t, 3)}
	f.producers = append([]producer{franzGo(&f.asked)}, others...)
	all := roles()
	f.end = (*Node).Kill9
	for _, f.role = range all {
		f.rounds(t, "kill -9")
	}
	f.end = func(n *Node) { n.Stop() }
	f.rounds(t, "SIGTERM") // of all in one
}

// failover is one kind of end of a leader.
type failover struct {
	c         *Cluster
	producers []producer
	asked     lastMetadata // by franz-go
	role      role
	end       func(*Node)
}

func (f *failover) rounds(t *testing.T, how string) {
	t.Helper()
	gaps := make([][]time.Duration, len(f.producers)+1)
	for round := range rounds(1, 50) {
		for i, gap := range f.round(t) {
			gaps[i] = append(gaps[i], gap)
		}
		if t.Failed() {
			t.Fatalf("round %d: %s of %s", round, how, f.role.name)
		}
	}
	for i, of := range gaps {
		name := "commits of a group"
		if i < len(f.producers) {
			name = f.producers[i].name
		}
		slices.Sort(of)
		t.Logf("%s of %s, %d rounds: longest time without success: %s: p50 %v, max %v",
			how, f.role.name, len(of), name, of[len(of)/2].Round(time.Millisecond), of[len(of)-1].Round(time.Millisecond))
	}
}

// round returns for each producer the longest time in which the high watermark of its
// topic stood still, and that without a commit.
func (f *failover) round(t *testing.T) (gaps []time.Duration) {
	t.Helper()
	victim, group := f.role.holder(f.c)
	var topics []string
	var ends []func()
	var watched []*highWatermark
	for _, p := range f.producers {
		topic := topicName(t, p.name)
		createLed(f.c, topic, victim)
		topics, ends = append(topics, topic), append(ends, p.start(t, f.c.Bootstrap(), topic))
		watched = append(watched, watchHighWatermark(t, f.c, topic))
	}
	k := keepCommitting(f.c, group, topics[0])
	for _, h := range watched {
		h.waitFor(3000)
	}
	f.asked.old()
	var enough []int64
	for _, h := range watched {
		h.begin()
		enough = append(enough, h.now()+1500)
	}
	k.begin()
	f.end(victim)
	for i, h := range watched {
		h.waitFor(enough[i])
		gaps = append(gaps, h.end())
	}
	gaps = append(gaps, k.end())
	victim.Start()
	for _, end := range ends {
		end()
	}
	victim.WaitReady()
	for _, topic := range topics {
		f.c.WaitFullISR(topic)
		f.c.CheckAlike(topic)
	}
	return gaps
}
