package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"chronik/e2e/chaos"
)

// nemesis does harm to the nodes of a cluster, one fault after the other, and undoes it.
type nemesis struct {
	t       *testing.T
	c       *Cluster
	rng     *rand.Rand
	proxies []*proxy // in front of the Kafka ports, by node; none on a network
	net     *network // nil: all nodes are on the loopback
	disks   []*disk  // by node; nil: plain directories
	topic   string   // whose leaders are meant
	deck    []fault  // what is still to come before all come again
	faults  []fault
}

// fault is one kind of harm. strike does it and says to whom; heal undoes it.
type fault struct {
	name   string
	nodes  int           // it needs at least so many
	needs  string        // a proxy, a network, a disk
	least  time.Duration // how long it lasts
	most   time.Duration
	strike func(n *nemesis) (target string, heal func())
}

// faults are all that can be named.
var faults = []fault{
	{"kill", 1, "", 0, 3 * time.Second, killing((*nemesis).any)},
	{"stop", 1, "", 0, 2 * time.Second, (*nemesis).stopOne},
	{"pause5", 1, "", 5 * time.Second, 5 * time.Second, pausing((*nemesis).any)},
	{"pause15", 1, "", 15 * time.Second, 15 * time.Second, pausing((*nemesis).any)},
	{"cut", 1, "proxy", 2 * time.Second, 4 * time.Second, ruling(rules{cutAfter: 50_000})},
	{"latency", 1, "proxy", 2 * time.Second, 4 * time.Second, ruling(rules{latency: 150 * time.Millisecond})},
	{"slow", 1, "proxy", 2 * time.Second, 4 * time.Second, ruling(rules{rate: 100_000})},
	{"deaf", 1, "proxy", 3 * time.Second, 6 * time.Second, ruling(rules{stallTo: true})},
	{"mute", 1, "proxy", 3 * time.Second, 6 * time.Second, ruling(rules{stallFrom: true})},
	{"refuse", 1, "proxy", 2 * time.Second, 4 * time.Second, ruling(rules{refusesNew: true, cutAfter: 1})},
	{"mute-kill", 1, "proxy", 0, 2 * time.Second, (*nemesis).muteAndKill},
	{"power", 1, "disk", 0, 3 * time.Second, func(n *nemesis) (string, func()) { return n.cutPower(n.any()) }},
	{"power-all", 2, "disk", 0, 3 * time.Second, func(n *nemesis) (string, func()) { return n.cutPower(n.c.Nodes...) }},
	{"kill-leader", 2, "", 0, 5 * time.Second, killing((*nemesis).leader)},
	{"kill-etcd", 2, "", 0, 5 * time.Second, killing(func(n *nemesis) *Node { return n.c.EtcdLeader() })},
	{"kill-controller", 2, "", 0, 5 * time.Second, killing(func(n *nemesis) *Node { return n.c.Controller() })},
	{"kill-coordinator", 2, "", 0, 5 * time.Second, killing((*nemesis).coordinator)},
	{"kill-long", 2, "", 20 * time.Second, 30 * time.Second, killing((*nemesis).leader)},
	{"kill-all", 2, "", 0, 3 * time.Second, (*nemesis).killAll},
	{"pause-leader5", 2, "", 5 * time.Second, 5 * time.Second, pausing((*nemesis).leader)},
	{"pause-leader15", 2, "", 15 * time.Second, 15 * time.Second, pausing((*nemesis).leader)},
	{"isolate", 3, "network", 5 * time.Second, 20 * time.Second, parting(bothWays, nil)},
	{"isolate-in", 3, "network", 5 * time.Second, 20 * time.Second, parting(inbound, nil)},
	{"isolate-out", 3, "network", 5 * time.Second, 20 * time.Second, parting(outbound, nil)},
	{"part-etcd", 3, "network", 5 * time.Second, 20 * time.Second, parting(bothWays, func(n *Node) string { return n.Peer })},
	{"part-kafka", 3, "network", 5 * time.Second, 20 * time.Second, parting(bothWays, func(n *Node) string { return n.Kafka })},
	{"bridge", 3, "network", 5 * time.Second, 20 * time.Second, (*nemesis).bridge},
}

// is tells whether a name means the fault: its own, "all", "plain" for those that need
// neither root nor tools, "network" for those that need a network.
func (f fault) is(name string) bool {
	switch name {
	case "all", f.name:
		return true
	case "plain":
		return f.needs == "" || f.needs == "proxy"
	case "network":
		return f.needs == "network"
	}
	return false
}

// choose resolves names; of those that mean several it takes what this cluster can suffer.
func (n *nemesis) choose(names string) {
	n.t.Helper()
	for name := range strings.SplitSeq(names, ",") {
		found := false
		for _, f := range faults {
			if !f.is(name) {
				continue
			}
			found = true
			switch why := n.lacks(f); {
			case why == "":
				n.faults = append(n.faults, f)
			case name == f.name:
				n.t.Fatalf("fault %s: %s", name, why)
			}
		}
		if !found {
			n.t.Fatalf("no fault is called %q", name)
		}
	}
}

// lacks says why a fault cannot be had here.
func (n *nemesis) lacks(f fault) string {
	switch {
	case len(n.c.Nodes) < f.nodes:
		return fmt.Sprintf("needs %d nodes", f.nodes)
	case f.needs == "proxy" && n.proxies == nil:
		return "needs proxies in front of the nodes"
	case f.needs == "network" && n.net == nil:
		return "needs a network of namespaces"
	case f.needs == "disk" && n.disks == nil:
		return "needs a disk for each node"
	}
	return ""
}

// next draws a fault: each comes once before any comes again.
func (n *nemesis) next() fault {
	if len(n.deck) == 0 {
		n.deck = slices.Clone(n.faults)
		n.rng.Shuffle(len(n.deck), func(i, j int) { n.deck[i], n.deck[j] = n.deck[j], n.deck[i] })
	}
	f := n.deck[0]
	n.deck = n.deck[1:]
	return f
}

// between is a time of at least least and at most most.
func (n *nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.rng.Int64N(int64(most-least)+1))
}

// run strikes until the time is up. After each fault every partition has to make progress.
func (n *nemesis) run(w *workload, until time.Time) {
	n.t.Helper()
	n.topic = w.topic
	n.quiet(time.Second)
	for time.Now().Before(until) && !n.t.Failed() {
		f := n.next()
		length := n.between(f.least, f.most)
		began := w.rec.now()
		target, heal := f.strike(n)
		n.quiet(length)
		heal()
		healed := w.rec.now()
		w.rec.fault(chaos.Fault{Name: f.name, Target: target, Begin: began, Healed: healed})
		n.t.Logf("%8.3fs %-16s %-12s healed after %v", began.Seconds(), f.name, target, (healed - began).Round(time.Millisecond))
		n.t.Logf("          all partitions go on %v later", n.progress(w).Round(time.Millisecond))
		n.quiet(n.between(500*time.Millisecond, 1500*time.Millisecond))
	}
}

// quiet lets time pass.
func (n *nemesis) quiet(d time.Duration) {
	select {
	case <-n.t.Context().Done():
	case <-time.After(d):
	}
}

func (r *recorder) fault(f chaos.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Faults = append(r.h.Faults, f)
}

// progress waits until every partition has acknowledged something that was sent from
// now on, which all have to within 30 s of a healed fault, and no node has given up.
func (n *nemesis) progress(w *workload) time.Duration {
	n.t.Helper()
	began := w.rec.now()
	w.rec.mu.Lock()
	from := len(w.rec.h.Operations)
	w.rec.mu.Unlock()
	waiting := map[int32]bool{}
	for _, p := range w.all() {
		waiting[p] = true
	}
	eventually(n.t, 30*time.Second, func() error {
		for _, node := range n.c.Nodes {
			if err := node.alive(nil); err != nil {
				return err
			}
		}
		w.rec.mu.Lock()
		defer w.rec.mu.Unlock()
		for i := from; i < len(w.rec.h.Operations); i++ {
			if o := &w.rec.h.Operations[i]; o.Outcome == chaos.Acknowledged {
				delete(waiting, o.Partition)
			}
		}
		if len(waiting) > 0 {
			return fmt.Errorf("partitions without progress: %v; %v", waiting, w.rec.notes[max(0, len(w.rec.notes)-3):])
		}
		return nil
	})
	return w.rec.now() - began
}

// any is a node.
func (n *nemesis) any() *Node { return n.c.Nodes[n.rng.IntN(len(n.c.Nodes))] }

// leader leads partition 0 of the workload's topic.
func (n *nemesis) leader() *Node { return n.c.Leader(n.topic, 0) }

// coordinator keeps the workload's group.
func (n *nemesis) coordinator() *Node { return n.c.Coordinator(groupOf(n.topic)) }

// inSync waits until every replica of the topic is in the ISR, which all have to be within
// 30 s of the last fault.
func (n *nemesis) inSync(partitions int32) {
	n.t.Helper()
	eventually(n.t, 30*time.Second, func() error {
		for p := range partitions {
			var key struct{ Replicas, ISR []int }
			if err := n.c.Get(fmt.Sprintf("topics/%s/%d", n.topic, p), &key); err != nil {
				return err
			}
			if len(key.ISR) < len(key.Replicas) {
				return fmt.Errorf("partition %d: in sync are %v of %v", p, key.ISR, key.Replicas)
			}
		}
		return nil
	})
}

func named(nodes ...*Node) string {
	var ids []string
	for _, n := range nodes {
		ids = append(ids, strconv.Itoa(n.ID))
	}
	return "node " + strings.Join(ids, ",")
}

// killing is kill -9 of a node, and its restart.
func killing(who func(*nemesis) *Node) func(*nemesis) (string, func()) {
	return func(n *nemesis) (string, func()) {
		node := who(n)
		node.Kill9()
		return named(node), node.Start
	}
}

// muteAndKill is kill -9 of a node that has done work whose answers nobody got: what is
// sent again then is there already.
func (n *nemesis) muteAndKill() (string, func()) {
	i := n.rng.IntN(len(n.proxies))
	node, p := n.c.Nodes[i], n.proxies[i]
	p.set(rules{stallFrom: true})
	n.quiet(200 * time.Millisecond)
	node.Kill9()
	p.drop()
	p.set(rules{})
	return named(node), node.Start
}

func (n *nemesis) stopOne() (string, func()) {
	node := n.any()
	node.Stop()
	return named(node), node.Start
}

func (n *nemesis) killAll() (string, func()) {
	for _, node := range n.c.Nodes {
		node.Kill9()
	}
	return named(n.c.Nodes...), n.c.Start
}

// pausing is SIGSTOP, and SIGCONT.
func pausing(who func(*nemesis) *Node) func(*nemesis) (string, func()) {
	return func(n *nemesis) (string, func()) {
		node := who(n)
		node.Freeze()
		return named(node), node.Thaw
	}
}

// ruling is harm to the connections of a node's Kafka port.
func ruling(r rules) func(*nemesis) (string, func()) {
	return func(n *nemesis) (string, func()) {
		i := n.rng.IntN(len(n.proxies))
		n.proxies[i].set(r)
		return named(n.c.Nodes[i]), func() { n.proxies[i].set(rules{}) }
	}
}

// cutPower takes the power from nodes: what they had not synced is gone.
func (n *nemesis) cutPower(nodes ...*Node) (string, func()) {
	for _, node := range nodes {
		node.Freeze() // or a sync that is under way returns success and has written nothing
	}
	for _, node := range nodes {
		n.disks[node.ID-1].cut()
		node.Kill9()
		n.disks[node.ID-1].remount()
	}
	return named(nodes...), func() {
		for _, node := range nodes {
			node.Start()
		}
	}
}

// parting keeps a node from all others; port: only that one of each.
func parting(way direction, port func(*Node) string) func(*nemesis) (string, func()) {
	return func(n *nemesis) (string, func()) {
		node := n.leader()
		var others []*Node
		for _, other := range n.c.Nodes {
			if other != node {
				others = append(others, other)
			}
		}
		n.net.block(node, others, way, port)
		return named(node), func() { n.net.heal(node) }
	}
}

// bridge keeps two nodes from each other that both reach the third.
func (n *nemesis) bridge() (string, func()) {
	order := n.rng.Perm(len(n.c.Nodes))
	a, b := n.c.Nodes[order[0]], n.c.Nodes[order[1]]
	n.net.block(a, []*Node{b}, bothWays, nil)
	return named(a, b), func() { n.net.heal(a) }
}

// field is where a cluster stands: what its faults need.
type field struct {
	nodes   int
	network bool
	disks   bool
	command []string // what the nodes run; default: the built chronik
	args    []string
	env     []string
}

// startField starts a cluster and returns who can harm it, and the servers for clients.
func startField(t *testing.T, f field, seed uint64) (*nemesis, string) {
	t.Helper()
	n := &nemesis{t: t, c: &Cluster{t: t}, rng: rand.New(rand.NewPCG(seed, 0))}
	if f.network {
		n.net = newNetwork(t, f.nodes)
	}
	if len(f.command) == 0 {
		f.command = []string{chronikBin(t)}
	}
	var servers []string
	for id := 1; id <= f.nodes; id++ {
		cfg := NodeConfig{ID: id, Command: f.command, Args: f.args, Env: f.env}
		if f.disks {
			d := newDisk(t, 2048)
			n.disks = append(n.disks, d)
			cfg.Dir = filepath.Join(d.mount, "data")
		}
		if n.net != nil {
			cfg.Host, cfg.Command = n.net.host(id), n.net.command(id, f.command)
		}
		node := NewNode(t, cfg)
		n.c.Nodes = append(n.c.Nodes, node)
		server := node.Kafka
		if n.net == nil {
			p := startProxy(t, node.Kafka, seed+uint64(id))
			n.proxies = append(n.proxies, p)
			node.args, server = append(node.args, "--advertise", p.addr), p.addr
		}
		servers = append(servers, server)
	}
	for _, node := range n.c.Nodes {
		if f.nodes > 1 {
			node.args = append(node.args, "--peers", n.c.Peers())
		}
		if n.net != nil {
			node.args = append(node.args, "--insecure") // addresses that are not the loopback's
		}
	}
	n.c.Start()
	n.c.WaitAllReady()
	return n, strings.Join(servers, ",")
}

// startChaos is a load that is watched from all sides.
func startChaos(t *testing.T, n *nemesis, l load) *workload {
	t.Helper()
	w := startLoad(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	stop := w.stopped
	w.stopped = func() { stop(); cancel() }
	w.watchEnds(ctx)
	w.watchLeaders(ctx, n.c)
	return w
}
