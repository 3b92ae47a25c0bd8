package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chronik/logstore"
	"chronik/meta"
)

// nodes are brokers of one cluster in this process; their ids count from 1.
type nodes struct {
	t        *testing.T
	dir      string
	peers    meta.Peers
	settings map[string]string
	racked   bool // node 1 is in rack r1, and so on
	brokers  []*Broker
	stops    []func()
}

// startNodes runs n brokers until the test ends.
func startNodes(t *testing.T, n int, settings map[string]string) *nodes {
	t.Helper()
	ns := &nodes{t: t, dir: t.TempDir(), peers: meta.Peers{}, settings: settings}
	ns.start(n)
	return ns
}

// startRacks runs n brokers in racks r1, r2, … until the test ends.
func startRacks(t *testing.T, n int, settings map[string]string) *nodes {
	t.Helper()
	ns := &nodes{t: t, dir: t.TempDir(), peers: meta.Peers{}, settings: settings, racked: true}
	ns.start(n)
	return ns
}

func (ns *nodes) start(n int) {
	t := ns.t
	t.Helper()
	for i := range n {
		ns.peers[int32(i+1)] = freeAddr(t)
		ns.brokers, ns.stops = append(ns.brokers, nil), append(ns.stops, nil)
	}
	for i := range n {
		ns.begin(i + 1)
	}
	for i := range n {
		ns.ready(i + 1)
	}
	ns.listed(n)
}

// freeAddr is an address that nothing uses, below the range of outgoing connections.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// begin begins a life of a node.
func (ns *nodes) begin(id int) *Broker {
	t := ns.t
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", id)
	}
	rack := ""
	if ns.racked {
		rack = fmt.Sprint("r", id)
	}
	b, err := New(Config{
		NodeID: int32(id), Rack: rack, DataDir: filepath.Join(ns.dir, fmt.Sprint(id)), Listen: "localhost:0",
		Etcd:     meta.Etcd{EtcdListen: "127.0.0.1:0", Peers: ns.peers},
		Settings: ns.settings, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("node %d: %v", id, err)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("node %d does not stop", id)
		}
	})
	t.Cleanup(stop)
	ns.brokers[id-1], ns.stops[id-1] = b, stop
	return b
}

// node is the broker with an id.
func (ns *nodes) node(id int32) *Broker { return ns.brokers[id-1] }

// stop ends a life of a node, cleanly.
func (ns *nodes) stop(id int32) { ns.stops[id-1]() }

func (ns *nodes) ready(id int) {
	ns.t.Helper()
	select {
	case <-ns.brokers[id-1].Ready():
	case <-time.After(30 * time.Second):
		ns.t.Fatalf("node %d is not ready: %s", id, ns.brokers[id-1].why())
	}
}

// listed waits until every node lists n brokers.
func (ns *nodes) listed(n int) {
	ns.t.Helper()
	eventually(ns.t, func() error {
		for _, b := range ns.brokers {
			if got := len(b.snap().Brokers()); got != n {
				return fmt.Errorf("node %d lists %d brokers", b.cfg.NodeID, got)
			}
		}
		return nil
	})
}

// client talks to all nodes.
func (ns *nodes) client(opts ...kgo.Opt) *kgo.Client {
	ns.t.Helper()
	var seeds []string
	for _, b := range ns.brokers {
		seeds = append(seeds, b.Addr())
	}
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds...))...)
	if err != nil {
		ns.t.Fatal(err)
	}
	ns.t.Cleanup(cl.Close)
	return cl
}

// dump is all that a node's log of a partition holds.
func (ns *nodes) dump(id int32, topic string, n int32) string {
	ns.t.Helper()
	b := ns.node(id)
	mt := b.snap().Topic(topic)
	if mt == nil {
		return "no topic"
	}
	l := b.store.Log(logstore.ID{Topic: mt.ID, Partition: n})
	if l == nil {
		return "no log"
	}
	var all strings.Builder
	for at := l.Start(); at < l.End(); {
		got, err := l.Read(nil, at, l.End(), 1<<20)
		if err != nil || len(got) == 0 {
			return fmt.Sprintf("%d bytes at offset %d: %v", len(got), at, err)
		}
		all.Write(got)
		for len(got) > 0 {
			first, rest, err := batchFirst(got)
			if err != nil {
				return err.Error()
			}
			at, got = first.LastOffset()+1, rest
		}
	}
	return all.String()
}

// alike waits until all replicas of a topic hold the same records, n of them in all.
func (ns *nodes) alike(topic string, n int64) {
	ns.t.Helper()
	eventually(ns.t, func() error {
		var have int64
		mt := ns.brokers[0].snap().Topic(topic)
		for num, p := range mt.Partitions {
			first := ns.dump(p.Replicas[0], topic, int32(num))
			for _, id := range p.Replicas[1:] {
				if other := ns.dump(id, topic, int32(num)); other != first {
					return fmt.Errorf("%s-%d: node %d has %d bytes, node %d %d", topic, num, p.Replicas[0], len(first), id, len(other))
				}
			}
			l := ns.node(p.Replicas[0]).store.Log(logstore.ID{Topic: mt.ID, Partition: int32(num)})
			have += l.End() - l.Start()
		}
		if have != n {
			return fmt.Errorf("%d records, want %d", have, n)
		}
		return nil
	})
}

// logOf is an empty log that belongs to no topic.
func logOf(t testing.TB, b *Broker) *logstore.Log {
	t.Helper()
	l, err := b.store.Take(logstore.ID{Topic: [16]byte{9}}, logstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
