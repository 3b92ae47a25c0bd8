package e2e

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"chronik/e2e/chaos"
)

// chaosPlan is what `make chaos` sets, and what a test run without it does.
type chaosPlan struct {
	duration time.Duration
	faults   string
	nodes    int
	replicas int
	seed     uint64
}

func planOf(t *testing.T) chaosPlan {
	t.Helper()
	p := chaosPlan{seed: uint64(time.Now().UnixNano())}
	var err error
	if p.duration, err = time.ParseDuration(cmp.Or(os.Getenv("CHAOS_DURATION"), "40s")); err != nil {
		t.Fatalf("CHAOS_DURATION: %v", err)
	}
	p.faults = cmp.Or(os.Getenv("CHAOS_FAULTS"), "kill,stop,pause5,cut,latency,mute,refuse")
	if p.nodes, err = strconv.Atoi(cmp.Or(os.Getenv("CHAOS_NODES"), "1")); err != nil {
		t.Fatalf("CHAOS_NODES: %v", err)
	}
	replicas := "1"
	if p.nodes >= 3 {
		replicas = "3"
	}
	if p.replicas, err = strconv.Atoi(cmp.Or(os.Getenv("CHAOS_REPLICAS"), replicas)); err != nil {
		t.Fatalf("CHAOS_REPLICAS: %v", err)
	}
	if s := os.Getenv("CHAOS_SEED"); s != "" {
		if p.seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	return p
}

// Three nodes or more have three replicas unless others are asked for.
func TestChaosPlanReplicas(t *testing.T) {
	for _, c := range []struct {
		nodes, replicas string
		want            int
	}{{"", "", 1}, {"1", "", 1}, {"2", "", 1}, {"3", "", 3}, {"5", "", 3}, {"3", "2", 2}} {
		t.Setenv("CHAOS_NODES", c.nodes)
		t.Setenv("CHAOS_REPLICAS", c.replicas)
		if got := planOf(t).replicas; got != c.want {
			t.Errorf("%q nodes, %q replicas asked for: %d", c.nodes, c.replicas, got)
		}
	}
}

// roundLength bounds a history: each round has a topic of its own.
const roundLength = time.Minute

// Writers and consumers go on while one fault after the other strikes; then everything
// that they saw is held against what the topic holds.
func TestChaos(t *testing.T) { planOf(t).run(t) }

// Three nodes, three replicas and the faults that need no tool, for a short while.
func TestClusterChaos(t *testing.T) {
	chaosPlan{
		duration: 30 * time.Second, nodes: 3, replicas: 3, seed: uint64(time.Now().UnixNano()),
		faults: "kill-leader,kill-etcd,kill-controller,kill-coordinator,kill-all,pause-leader5,stop,cut,mute-kill",
	}.run(t)
}

func (p chaosPlan) run(t *testing.T) {
	t.Helper()
	t.Logf("seed %d, faults %s, %v on %d nodes, %d replicas", p.seed, p.faults, p.duration, p.nodes, p.replicas)
	n, servers := startField(t, fieldFor(p), p.seed)
	n.choose(p.faults)
	var gaps []chaos.Gap
	operations, acked := 0, 0
	end := time.Now().Add(p.duration)
	for round := 0; time.Now().Before(end) && !t.Failed(); round++ {
		l := load{
			servers: servers, topic: topicName(t, strconv.Itoa(round)), partitions: 4, replicas: int16(p.replicas),
			patient: 4, hasty: 3, plain: 2, rate: 300, hand: 1, members: 3,
		}
		h := n.round(l, min(roundLength, time.Until(end)))
		gaps = append(gaps, chaos.Gaps(h)...)
		operations += len(h.Operations)
		for _, o := range h.Operations {
			if o.Outcome == chaos.Acknowledged {
				acked++
			}
		}
	}
	verdict := "no violation"
	if t.Failed() {
		verdict = "VIOLATIONS"
	}
	t.Logf("seed %d: %d operations, %d acknowledged, %s\n%s", p.seed, operations, acked, verdict, chaos.DescribeGaps(gaps))
}

// round is one topic's time under faults, and the verdict.
func (n *nemesis) round(l load, length time.Duration) *chaos.History {
	n.t.Helper()
	w := startChaos(n.t, n, l)
	n.run(w, time.Now().Add(length))
	for _, node := range n.c.Nodes {
		node.WaitReady()
	}
	n.inSync(l.partitions)
	w.stop()
	if len(n.c.Nodes) > 1 {
		w.dumpReplicas(n.c)
	}
	h := w.history()
	judge(n.t, h)
	n.t.Logf("%s: %s", h.Topic, chaos.Describe(h))
	if n.t.Failed() {
		n.t.Logf("what the clients met:\n%s", strings.Join(w.rec.notes, "\n"))
	}
	return h
}

// fieldFor is the field that the named faults need; "all" takes proxies and disks.
func fieldFor(p chaosPlan) field {
	f := field{nodes: p.nodes, disks: p.faults == "all" && os.Getuid() == 0}
	f.args = []string{"--set", fmt.Sprint("offsets.topic.replication.factor=", p.replicas)}
	for name := range strings.SplitSeq(p.faults, ",") {
		for _, one := range faults {
			if name != "all" && one.is(name) {
				f.network = f.network || one.needs == "network"
				f.disks = f.disks || one.needs == "disk"
			}
		}
	}
	return f
}
