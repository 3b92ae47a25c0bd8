package e2e

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// relay stands between a node and all who reach it at its advertised address.
type relay struct {
	t      *testing.T
	addr   string
	target string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	pass     chan struct{} // closed while bytes pass
	fetches  bool          // of connections for fetches alone nothing passes
}

func startRelay(t *testing.T, target string) *relay {
	r := &relay{t: t, addr: freePorts(t, 1)[0], target: target, pass: make(chan struct{})}
	close(r.pass)
	r.open()
	t.Cleanup(r.refuse)
	return r
}

// open begins to listen.
func (r *relay) open() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", r.target)
			if err != nil {
				in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			go r.carry(in, out)
			go r.carry(out, in)
		}
	}()
}

// carry copies bytes from one connection to another while they pass.
func (r *relay) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		isFetch := n > 6 && buf[4] == 0 && buf[5] == byte(kmsg.Fetch) // every frame is one write
		r.mu.Lock()
		pass, eaten := r.pass, r.fetches && isFetch
		r.mu.Unlock()
		if <-pass; eaten {
			continue
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// stall has nothing pass any more: silence.
func (r *relay) stall() {
	r.mu.Lock()
	r.pass = make(chan struct{})
	r.mu.Unlock()
}

// eatFetches has fetches vanish, and all else pass.
func (r *relay) eatFetches(eat bool) {
	r.mu.Lock()
	r.fetches = eat
	r.mu.Unlock()
}

// refuse ends all connections, and nobody listens any more.
func (r *relay) refuse() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener.Close()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
	r.release()
}

func (r *relay) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release()
}

func (r *relay) release() {
	select {
	case <-r.pass:
	default:
		close(r.pass)
	}
}

// relayed is a cluster of three that is reached through relays alone, with a topic.
func relayed(t *testing.T) (c *Cluster, relays []*relay, topic string) {
	t.Helper()
	c = NewCluster(t, 3)
	for _, n := range c.Nodes {
		r := startRelay(t, n.Kafka)
		n.args = append(n.args, "--advertise", r.addr, "--set", "replica.lag.time.max.ms=30000")
		relays = append(relays, r)
	}
	c.Start()
	c.WaitAllReady()
	topic = topicName(t, "")
	createReplicated(t, c.Node(1).Kafka, topic, 3, nil)
	c.WaitFullISR(topic)
	return c, relays, topic
}

// A leader that the others cannot reach, though it is alive in the metadata, gives way;
// so does one that answers all but fetches, and the controller, who takes the reports.
func TestClusterUnreachableLeader(t *testing.T) {
	c, relays, topic := relayed(t)
	for what, harm := range map[string]func(c *Cluster) (victim *Node, heal func()){
		"not reached": func(c *Cluster) (*Node, func()) {
			victim := c.Node(c.Controller().ID%3 + 1)
			relays[victim.ID-1].stall()
			return victim, relays[victim.ID-1].resume
		},
		"not fetched from": func(c *Cluster) (*Node, func()) {
			victim := c.Node(c.Controller().ID%3 + 1)
			relays[victim.ID-1].eatFetches(true)
			return victim, func() { relays[victim.ID-1].eatFetches(false) }
		},
		"controller": func(c *Cluster) (*Node, func()) {
			victim := c.Controller()
			relays[victim.ID-1].stall()
			return victim, relays[victim.ID-1].resume
		},
	} {
		t.Run(what, func(t *testing.T) {
			partition := c.partitionOf(topic)
			l := c.watchLives(c.Nodes...)
			began := time.Now()
			victim, heal := harm(c)
			c.gaveWay(topic, partition[victim], victim)
			t.Logf("led by another than node %d after %v", victim.ID, time.Since(began).Round(time.Millisecond))
			if what == "controller" && c.Controller() == victim {
				t.Error("the controller is the same")
			}
			heal()
			c.WaitFullISR(topic)
			if events := l.stop(); len(events) > 0 {
				t.Errorf("silence ended lives: %+v", events)
			}
			c.noLifeLost()
		})
	}
}

// partitionOf waits until every node leads a partition of a topic.
func (c *Cluster) partitionOf(topic string) map[*Node]int {
	c.t.Helper()
	led := map[*Node]int{}
	eventually(c.t, 30*time.Second, func() error {
		clear(led)
		for p := range c.Nodes {
			led[c.Leader(topic, p)] = p
		}
		if len(led) < len(c.Nodes) {
			return fmt.Errorf("led by %d nodes", len(led))
		}
		return nil
	})
	return led
}

// gaveWay waits until another node leads, less long than a follower may lag.
func (c *Cluster) gaveWay(topic string, partition int, old *Node) {
	c.t.Helper()
	eventually(c.t, 25*time.Second, func() error {
		var key struct{ Leader int }
		if err := c.Get(fmt.Sprintf("topics/%s/%d", topic, partition), &key); err != nil {
			return err
		}
		if key.Leader < 1 || key.Leader == old.ID {
			return fmt.Errorf("node %d leads", key.Leader)
		}
		return nil
	})
}

// A broker whose address refuses though it lives loses its life once to each observer
// at most, and is back when it is reached.
func TestClusterRefusedThoughAlive(t *testing.T) {
	c, relays, topic := relayed(t)
	victim := c.Node(c.Controller().ID%3 + 1)
	l := c.watchLives(c.Nodes...)
	relays[victim.ID-1].refuse()
	l.waitEnd(victim)
	time.Sleep(3 * time.Second) // in which it is refused on and on
	relays[victim.ID-1].open()
	c.WaitAllReady()
	c.WaitFullISR(topic)
	l.stop()
	lost := strings.Count(victim.Log(1<<20), "session lost")
	t.Logf("node %d lost %d lives", victim.ID, lost)
	if lost < 1 || lost > 2 {
		t.Errorf("%d lives lost to two observers", lost)
	}
	for _, n := range c.others(victim) {
		if strings.Contains(n.Log(1<<20), "session lost") {
			t.Errorf("node %d lost its life", n.ID)
		}
	}
}
