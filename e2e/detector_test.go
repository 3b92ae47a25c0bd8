package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// lives are the beginnings and ends of brokers' lives in the metadata, as they come.
type lives struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	events []lifeEvent
}

type lifeEvent struct {
	key   string
	ended bool
	at    time.Time
}

// watchLives watches through the etcd of some nodes, from before it returns until stop.
func (c *Cluster) watchLives(through ...*Node) *lives {
	c.t.Helper()
	client, err := c.etcd(through...)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	l := &lives{cancel: cancel, done: make(chan struct{})}
	began := make(chan struct{})
	go func() {
		defer close(l.done)
		defer client.Close()
		first := sync.OnceFunc(func() { close(began) })
		for resp := range client.Watch(ctx, "/chronik/live/", clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
			if resp.Created {
				first()
			}
			l.mu.Lock()
			for _, e := range resp.Events {
				l.events = append(l.events, lifeEvent{string(e.Kv.Key), e.Type == clientv3.EventTypeDelete, time.Now()})
			}
			l.mu.Unlock()
		}
	}()
	select {
	case <-began:
	case <-time.After(10 * time.Second):
		c.t.Fatal("the watch of lives does not begin")
	}
	return l
}

// stop ends the watch and returns all that came.
func (l *lives) stop() []lifeEvent {
	l.cancel()
	<-l.done
	return l.events
}

// waitEnd waits until a life of a node ends.
func (l *lives) waitEnd(n *Node) (at time.Time) {
	n.t.Helper()
	eventually(n.t, 30*time.Second, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range l.events {
			if e.ended && e.key == fmt.Sprintf("/chronik/live/%d", n.ID) {
				at = e.at
				return nil
			}
		}
		return fmt.Errorf("node %d passes for alive", n.ID)
	})
	return at
}

// others are the nodes but one.
func (c *Cluster) others(n *Node) []*Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(o *Node) bool { return o == n })
}

// noLifeLost fails when a node had to register again: a life was ended that went on.
func (c *Cluster) noLifeLost() {
	c.t.Helper()
	for _, n := range c.Nodes {
		if lines := strings.Count(n.Log(1<<20), "session lost"); lines > 0 {
			c.t.Errorf("node %d lost its session %d times", n.ID, lines)
		}
	}
}

// A process that is killed is out of the metadata long before its lease is.
func TestClusterDetectsKill(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "")
	createReplicated(t, c.Node(1).Kafka, topic, 6, nil)
	took := map[string][]time.Duration{}
	for round := range rounds(6, 50) {
		victim, role := c.Node(round%3+1), "another"
		if c.EtcdLeader() == victim {
			role = "etcd leader"
		}
		l := c.watchLives(c.others(victim)...)
		killed := time.Now()
		victim.Kill9()
		c.leadersAfter(t, topic, victim)
		gone := l.waitEnd(victim).Sub(killed)
		l.stop()
		took[role] = append(took[role], gone)
		t.Logf("round %d: node %d, %s, gone %v after kill -9", round, victim.ID, role, gone.Round(time.Millisecond))
		if gone > 5*time.Second { // that was the lease
			t.Errorf("node %d was noticed after %v", victim.ID, gone)
		}
		victim.Start()
		c.WaitAllReady()
		c.WaitFullISR(topic)
	}
	for role, d := range took {
		slices.Sort(d)
		t.Logf("%s, %d rounds: gone after p50 %v, max %v", role, len(d), d[len(d)/2].Round(time.Millisecond), d[len(d)-1].Round(time.Millisecond))
	}
	c.noLifeLost()
}

// leadersAfter asks each survivor of a kill who leads a topic: the one answer that a
// client asks for then is right.
func (c *Cluster) leadersAfter(t *testing.T, topic string, victim *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var asking sync.WaitGroup
	for _, n := range c.others(victim) {
		client := newClient(t, n.Kafka)
		defer client.Close()
		asking.Go(func() {
			req := kmsg.NewPtrMetadataRequest()
			req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
			began := time.Now()
			resp, err := client.SeedBrokers()[0].Request(ctx, req)
			if err != nil {
				t.Errorf("metadata of node %d: %v", n.ID, err)
				return
			}
			m := resp.(*kmsg.MetadataResponse)
			if len(m.Brokers) != len(c.Nodes) {
				t.Errorf("node %d lists %d brokers: librdkafka loses what it has for one that is not listed", n.ID, len(m.Brokers))
			}
			leaders := map[int32]int{}
			for _, p := range m.Topics[0].Partitions {
				leaders[p.Leader]++
			}
			t.Logf("node %d names leaders %v after %v", n.ID, leaders, time.Since(began).Round(time.Millisecond))
			if leaders[int32(victim.ID)] > 0 {
				t.Errorf("node %d names node %d, which was killed, as leader", n.ID, victim.ID)
			}
		})
	}
	asking.Wait()
}

// Whoever loses its connection to a broker that is killed may ask another one in that
// moment: it knows.
func TestClusterKnowsBeforeClients(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "")
	createReplicated(t, c.Node(1).Kafka, topic, 6, nil)
	for round := range rounds(3, 20) {
		victim := c.Node(round%3 + 1)
		eventually(t, 10*time.Second, victim.isProbed)
		var asking sync.WaitGroup
		for i := range 30 {
			lost, other := dialRaw(t, victim.Kafka), dialRaw(t, c.others(victim)[i%2].Kafka)
			asking.Go(func() {
				if err := lost.closedWithin(time.Minute); err != nil {
					t.Error(err)
				}
				if err := other.namesOther(topic, victim); err != nil {
					t.Error(err)
				}
			})
		}
		victim.Kill9()
		asking.Wait()
		victim.Start()
		c.WaitAllReady()
		c.WaitFullISR(topic)
	}
}

// isProbed is an error unless both others probe the node: their connections and its listener
// have file numbers far above all others.
func (n *Node) isProbed() error {
	var most unix.Rlimit
	if err := unix.Prlimit(n.Pid(), unix.RLIMIT_NOFILE, nil, &most); err != nil {
		return err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Pid()))
	if err != nil {
		return err
	}
	high := 0
	for _, f := range files {
		if number, _ := strconv.ParseUint(f.Name(), 10, 64); number+256 >= min(most.Cur, 1<<16) {
			high++
		}
	}
	if high < 3 {
		return fmt.Errorf("node %d has %d files of high numbers", n.ID, high)
	}
	return nil
}

// namesOther is an error if the node names a leader of a topic that was killed.
func (c *rawConn) namesOther(topic string, killed *Node) error {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.Topics = 12, []kmsg.MetadataRequestTopic{{Topic: &topic}}
	resp, err := c.exchange(req, 20*time.Second)
	if err != nil {
		return err
	}
	for _, p := range resp.(*kmsg.MetadataResponse).Topics[0].Partitions {
		if p.Leader == int32(killed.ID) {
			return fmt.Errorf("%s leads for node %d, which was killed", c.RemoteAddr(), killed.ID)
		}
	}
	return nil
}

// Silence proves nothing: a process that pauses keeps its life.
func TestClusterPauseIsNoDeath(t *testing.T) {
	c := StartCluster(t, 3)
	for _, n := range c.Nodes {
		l := c.watchLives(c.others(n)...)
		n.Freeze()
		time.Sleep(3 * time.Second) // the pause itself
		n.signal(syscall.SIGCONT)
		n.WaitReady()
		c.WaitAllReady()
		if events := l.stop(); len(events) > 0 {
			t.Errorf("node %d paused, and lives changed: %+v", n.ID, events)
		}
	}
	c.noLifeLost()
}

// A node that is killed and started at once has a life that nobody ends, and one that
// stops in order is not reported dead.
func TestClusterQuickRestart(t *testing.T) {
	c := StartCluster(t, 3)
	for range rounds(2, 20) {
		for _, n := range c.Nodes {
			n.Kill9()
			n.Start()
			c.WaitAllReady()
		}
	}
	killed := make([]int, len(c.Nodes)+1)
	for range 20 {
		n := c.Nodes[rand.IntN(len(c.Nodes))]
		n.Kill9()
		killed[n.ID]++
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) // it comes back at any moment
		n.Start()
		time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond) // the next dies at any moment
	}
	c.WaitAllReady()
	t.Logf("killed and started again: %v", killed[1:])
	before := c.goneLines()
	for _, n := range c.Nodes {
		n.Stop()
		n.Start()
		c.WaitAllReady()
	}
	if after := c.goneLines(); after != before {
		t.Errorf("%d lines say that a broker is gone after all stopped in order, %d before", after, before)
	}
	c.noLifeLost()
}

// goneLines counts how often a node found another gone.
func (c *Cluster) goneLines() (n int) {
	for _, node := range c.Nodes {
		n += strings.Count(node.Log(1<<20), "broker is gone")
	}
	return n
}
