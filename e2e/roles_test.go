package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
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
	name  string
	find  func(*Cluster) (n *Node, group string) // and a group to watch
	holds func(c *Cluster, n *Node, group string) bool
}

// roles are those whose end may take longer than that of a broker which only leads.
func roles() []role {
	const group = "group-0"
	leads := func(c *Cluster, n *Node, _ string) bool { return c.EtcdLeader() == n }
	controls := func(c *Cluster, n *Node, _ string) bool { return c.Controller() == n }
	coordinates := func(c *Cluster, n *Node, group string) bool { return c.Coordinator(group) == n }
	return []role{
		{"plain broker", func(c *Cluster) (*Node, string) { return c.plain(), group }, func(c *Cluster, n *Node, group string) bool {
			return !leads(c, n, group) && !controls(c, n, group)
		}},
		{"etcd leader", func(c *Cluster) (*Node, string) { return c.EtcdLeader(), group }, leads},
		{"controller", func(c *Cluster) (*Node, string) { return c.Controller(), group }, controls},
		{"coordinator", func(c *Cluster) (*Node, string) { return c.Coordinator(group), group }, coordinates},
		{"all in one", (*Cluster).allInOne, func(c *Cluster, n *Node, group string) bool {
			return leads(c, n, group) && controls(c, n, group) && coordinates(c, n, group)
		}},
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
	c.moveEtcdLeader(node)
	for i := range 100 {
		if group = fmt.Sprintf("group-%d", i); c.Coordinator(group) == node {
			return node, group
		}
	}
	c.t.Fatalf("node %d coordinates none of 100 groups", node.ID)
	return nil, ""
}

func (c *Cluster) moveEtcdLeader(to *Node) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func() error {
		leader := c.EtcdLeader()
		if leader == to {
			return nil
		}
		client, err := c.etcd(leader)
		if err != nil {
			return err
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		defer cancel()
		status, err := client.Status(ctx, to.Etcd)
		if err != nil {
			return err
		}
		_, err = client.MoveLeader(ctx, status.Header.MemberId)
		return errors.Join(err, fmt.Errorf("node %d does not lead etcd yet", to.ID))
	})
}

// createLed creates a topic of one partition that a node leads, and all others follow, and
// waits until all nodes tell so: a client that asks too early asks again later.
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
	resp, err := leader.asked(req)
	if err == nil {
		err = kerr.ErrorForCode(resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	}
	if err != nil {
		c.t.Fatalf("create %s: %v", topic, err)
	}
	for _, n := range c.Nodes {
		eventually(c.t, 30*time.Second, func() error {
			d, err := described(c.t, n.Kafka, topic)
			if err == nil && d.Partitions[0].Leader != int32(leader.ID) {
				err = fmt.Errorf("node %d tells that %d leads %s", n.ID, d.Partitions[0].Leader, topic)
			}
			return err
		})
	}
}

// committing commits offsets of a group with a client's own settings.
type committing struct {
	cancel    context.CancelFunc
	done      chan struct{}
	mu        sync.Mutex // guards what follows
	last      time.Time  // success
	longest   time.Duration
	successes int
}

func keepCommitting(c *Cluster, group, topic string) *committing {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	k := &committing{cancel: cancel, done: make(chan struct{}), last: time.Now()}
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
		defer close(k.done)
		defer admin.Close()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for at := int64(2); ctx.Err() == nil; at++ {
			if commit(at) == nil {
				k.succeeded()
			}
			<-tick.C
		}
	}()
	return k
}

func (k *committing) succeeded() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.longest, k.last, k.successes = max(k.longest, now.Sub(k.last)), now, k.successes+1
}

// begin forgets how long nothing succeeded before.
func (k *committing) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.longest, k.successes = 0, 0
}

// end waits for a few successes since begin, and returns the longest time without one.
func (k *committing) end(t *testing.T) time.Duration {
	t.Helper()
	eventually(t, time.Minute, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.successes < 10 {
			return fmt.Errorf("%d commits succeeded", k.successes)
		}
		return nil
	})
	k.cancel()
	<-k.done
	return k.longest
}

// producer starts to write to a topic with a client's own settings; end waits until all is
// written, and checks that no error was met and nothing is lost or twice.
type producer struct {
	name    string
	records int64 // that it writes; 0: until end
	start   func(t *testing.T, servers, topic string) (end func())
}

// franzGo asks for metadata at most every 5 s: a leader that ends earlier is, for the writer,
// one that ended twice. asked is when it last did.
func franzGo(asked *lastMetadata) producer {
	return producer{"franz-go", 0, func(t *testing.T, servers, topic string) (end func()) {
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
	for _, r := range roles() {
		t.Run("kill -9 of "+r.name, func(t *testing.T) { newFailover(t, r, others).rounds(t, rounds(1, 50), (*Node).Kill9) })
	}
	all := roles()[4]
	t.Run("SIGTERM of "+all.name, func(t *testing.T) { newFailover(t, all, others).rounds(t, rounds(1, 20), func(n *Node) { n.Stop() }) })
}

// failover is a leader of one role, and who writes to it.
type failover struct {
	c         *Cluster
	producers []producer
	asked     lastMetadata // by franz-go
	role      role
}

func newFailover(t *testing.T, r role, others []producer) *failover {
	t.Helper()
	f := &failover{c: StartCluster(t, 3), role: r}
	f.c.Coordinator("group-0") // has __consumer_offsets created
	// franz-go is last: it must not have asked for 5 s, and the others write for so long.
	f.producers = append(slices.Clone(others), franzGo(&f.asked))
	return f
}

func (f *failover) rounds(t *testing.T, count int, end func(*Node)) {
	t.Helper()
	gaps := make([][]time.Duration, len(f.producers)+1)
	for again := 0; len(gaps[0]) < count; again++ {
		for i, gap := range f.round(t, end) {
			gaps[i] = append(gaps[i], gap)
		}
		if t.Failed() || again > 10+2*count {
			t.Fatalf("round %d", len(gaps[0]))
		}
	}
	for i, of := range gaps {
		name := "commits of a group"
		if i < len(f.producers) {
			name = f.producers[i].name
		}
		slices.Sort(of)
		t.Logf("%s, %d rounds: longest time without success: p50 %v, max %v",
			name, len(of), of[len(of)/2].Round(time.Millisecond), of[len(of)-1].Round(time.Millisecond))
	}
}

// round returns for each producer the longest time in which the high watermark of its
// topic stood still, and that without a commit; nothing when it is to be done once more.
func (f *failover) round(t *testing.T, end func(*Node)) (gaps []time.Duration) {
	t.Helper()
	f.c.WaitFullISR("__consumer_offsets")
	victim, group := f.role.find(f.c)
	var topics []string
	var ends []func()
	var watched []*highWatermark
	for _, p := range f.producers { // the next one when this one writes: some take long to start
		topic := topicName(t, p.name)
		createLed(f.c, topic, victim)
		topics, ends = append(topics, topic), append(ends, p.start(t, f.c.Bootstrap(), topic))
		watched = append(watched, watchHighWatermark(t, f.c, topic))
		watched[len(watched)-1].waitFor(100)
	}
	k := keepCommitting(f.c, group, topics[0])
	f.asked.old()
	unfit := ""
	if !f.role.holds(f.c, victim, group) {
		unfit = "the role has moved"
	}
	var enough []int64
	for i, h := range watched {
		h.begin()
		enough = append(enough, h.now()+1500)
		if all := f.producers[i].records; all > 0 && enough[i] > all {
			unfit = f.producers[i].name + " has nearly ended"
		}
	}
	if unfit != "" {
		t.Logf("once more: %s", unfit)
		for _, h := range watched {
			h.end()
		}
		k.end(t)
		for _, finish := range ends {
			finish()
		}
		return nil
	}
	k.begin()
	end(victim)
	for i, h := range watched {
		h.waitFor(enough[i])
		gaps = append(gaps, h.end())
	}
	gaps = append(gaps, k.end(t))
	victim.Start()
	for _, finish := range ends {
		finish()
	}
	victim.WaitReady()
	for _, topic := range topics {
		f.c.WaitFullISR(topic)
		f.c.CheckAlike(topic)
	}
	if longest := slices.Max(gaps); longest > 20*time.Second {
		t.Errorf("nothing succeeded for %v", longest)
	}
	return gaps
}
