package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/e2e/chaos"
)

// The nodes reach each other's Kafka ports and no etcd but their own: metadata stands
// still, and records go on, by producers, consumers and a group, beyond every lease.
// Changes of metadata are refused soon. All resumes by itself.
func TestClusterQuorumLostRecordsGoOn(t *testing.T) {
	f := field{nodes: 3, network: true}
	n, servers := startField(t, f, 1)
	length := time.Duration(rounds(9, 60)) * time.Second // the leases last for 6 s
	w := startLoad(t, load{
		servers: servers, topic: topicName(t, ""), partitions: 6, replicas: 3, patient: 2, plain: 1, rate: 500, hand: 1, members: 2,
	})
	n.c.WaitFullISR(w.topic)
	w.waitFor(1_000)
	g, before, began := watchGap(w), w.count(), w.rec.now()
	n.partEtcd()
	n.waitNoQuorum()
	lost := w.rec.now()
	n.refusesChanges()
	n.quiet(length - (w.rec.now() - lost))
	end := w.rec.now()
	for _, node := range n.c.Nodes {
		n.net.heal(node)
	}
	healed := time.Now()
	acked := w.count() - before
	n.c.WaitAllReady()
	createReplicated(t, n.c.Node(2).Kafka, topicName(t, "later"), 3, nil)
	t.Logf("ready, and a topic created, %v after the healing", time.Since(healed).Round(time.Millisecond))
	w.waitFor(w.count() + 1_000)
	longest := g.end()
	n.c.WaitFullISR(w.topic)
	w.stop()
	w.check()
	n.c.CheckAlike(w.topic)
	t.Logf("no quorum for %v: %d records acknowledged; longest time without an acknowledgement %v", (end - began).Round(time.Millisecond), acked, longest.Round(time.Millisecond))
	wentOn(t, w.history(), began, end)
}

// partEtcd keeps the etcds of all nodes from each other.
func (n *nemesis) partEtcd() {
	n.t.Helper()
	for i, node := range n.c.Nodes {
		n.net.block(node, n.c.Nodes[i+1:], bothWays, func(n *Node) string { return n.Peer })
	}
}

// waitNoQuorum waits until every node says that there is none.
func (n *nemesis) waitNoQuorum() {
	n.t.Helper()
	for _, node := range n.c.Nodes {
		eventually(n.t, 20*time.Second, func() error {
			code, text, err := node.Get("/readyz")
			if err == nil && (code != http.StatusServiceUnavailable || !strings.Contains(text, "no leader")) {
				err = fmt.Errorf("/readyz of node %d: %d %s", node.ID, code, text)
			}
			return node.alive(err)
		})
	}
}

// refusesChanges asks each node for a topic, and is refused soon and in words.
func (n *nemesis) refusesChanges() {
	n.t.Helper()
	for _, node := range n.c.Nodes {
		began := time.Now()
		err := node.tryCreate(topicName(n.t, "refused"))
		took := time.Since(began)
		if ke, ok := errors.AsType[*kerr.Error](err); !ok || !ke.Retriable || strings.HasSuffix(err.Error(), ": ") || took > 10*time.Second {
			n.t.Errorf("node %d, asked for a topic without quorum: %v after %v", node.ID, err, took)
			continue
		}
		n.t.Logf("node %d, asked for a topic without quorum: %v after %v", node.ID, err, took.Round(10*time.Millisecond))
	}
}

// wentOn fails unless consumers and the group read and committed throughout.
func wentOn(t *testing.T, h *chaos.History, began, end time.Duration) {
	t.Helper()
	took := map[string][]time.Duration{}
	for _, s := range h.Sessions {
		who := "a consumer"
		if s.Group != "" {
			who = "a group"
		}
		for _, r := range s.Reads {
			took[who] = append(took[who], r.At)
		}
	}
	for _, c := range h.Commits {
		took["commits"] = append(took["commits"], c.At)
	}
	for _, who := range []string{"a consumer", "a group", "commits"} {
		longest := longestBetween(took[who], began, end)
		t.Logf("%s: longest time without one %v", who, longest.Round(time.Millisecond))
		if longest > 10*time.Second {
			t.Errorf("%s: nothing for %v", who, longest)
		}
	}
}

// longestBetween is the longest time without an event from began to end.
func longestBetween(events []time.Duration, began, end time.Duration) (longest time.Duration) {
	slices.Sort(events)
	last := began
	for _, at := range events {
		if at > began && at < end {
			longest = max(longest, at-last)
			last = at
		}
	}
	return max(longest, end-last)
}
