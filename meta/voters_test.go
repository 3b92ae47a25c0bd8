package meta

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// freeAddrs finds addresses that nothing uses, below the range of outgoing
// connections.
func freeAddrs(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for len(addrs) < n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// voterConfigs are n nodes that are each other's peers, in directories under dir.
func voterConfigs(t *testing.T, dir string, n int) (configs []Config) {
	t.Helper()
	peers := Peers{}
	for i, addr := range freeAddrs(t, n) {
		peers[int32(i+1)] = addr
	}
	for i := range n {
		cfg := testConfig(filepath.Join(dir, fmt.Sprint(i+1)))
		cfg.NodeID, cfg.Peers, cfg.PeerListen = int32(i+1), peers, ""
		cfg.Broker.Directory = fmt.Sprintf("dir-%d", i+1)
		configs = append(configs, cfg)
	}
	return configs
}

// beginAll runs nodes and waits until each is active.
func beginAll(t *testing.T, configs []Config) (nodes []running) {
	t.Helper()
	for _, cfg := range configs {
		nodes = append(nodes, begin(t, cfg))
	}
	for _, m := range nodes {
		if err := m.SetState(timeout(t, patience), Active); err != nil {
			t.Fatalf("%v; node %d says %q", err, m.cfg.NodeID, m.Why())
		}
	}
	return nodes
}

// sameSnapshots waits until all nodes show the same.
func sameSnapshots(t *testing.T, nodes []running) {
	t.Helper()
	eventually(t, patience, func() error {
		for _, m := range nodes {
			if m.Snapshot() == nil {
				return fmt.Errorf("node %d has none, it waits for %s", m.cfg.NodeID, m.Why())
			}
		}
		first := shown(nodes[0].Snapshot())
		for _, m := range nodes[1:] {
			if other := shown(m.Snapshot()); first != other {
				return fmt.Errorf("node 1 shows %v, node %d %v", first, m.cfg.NodeID, other)
			}
		}
		return nil
	})
}

func TestVoters(t *testing.T) {
	configs := voterConfigs(t, t.TempDir(), 3)
	nodes := beginAll(t, configs)
	id := nodes[0].Snapshot().Cluster().ID
	last := int64(0)
	for i, m := range nodes {
		rev, err := m.CreateTopic(t.Context(), NewTopic{Name: fmt.Sprintf("by-%d", i+1), ID: NewID(), Replicas: [][]int32{{1, 2, 3}, {2, 3, 1}}})
		if err != nil {
			t.Errorf("create by node %d: %v", i+1, err)
		}
		last = max(last, rev)
	}
	for _, m := range nodes {
		written(t, m, last, nil)
	}
	sameSnapshots(t, nodes)
	for _, m := range nodes {
		s := m.Snapshot()
		if len(s.Brokers()) != 3 || s.NumTopics() != 3 || s.Cluster().ID != id {
			t.Errorf("node %d shows %d brokers, %d topics, cluster %s", m.cfg.NodeID, len(s.Brokers()), s.NumTopics(), s.Cluster().ID)
		}
	}
	// A node goes and comes back, in another life of the same cluster.
	epoch := nodes[2].Session().BrokerEpoch()
	if err := nodes[2].stop(); err != nil {
		t.Error(err)
	}
	eventually(t, patience, func() error {
		if b := nodes[0].Snapshot().Brokers(); len(b) != 2 {
			return fmt.Errorf("%d brokers", len(b))
		}
		return nil
	})
	configs[2].ClusterID = id
	nodes[2] = beginAll(t, configs[2:])[0]
	if nodes[2].Session().BrokerEpoch() <= epoch {
		t.Errorf("broker epoch %d after %d", nodes[2].Session().BrokerEpoch(), epoch)
	}
	sameSnapshots(t, nodes)
}

func TestParsePeers(t *testing.T) {
	peers, err := ParsePeers("2=b:2380, 1=a:2380,3=[::1]:2380")
	if err != nil || peers.String() != "1=a:2380,2=b:2380,3=[::1]:2380" || !slices.Equal(peers.ids(), []int32{1, 2, 3}) {
		t.Errorf("%v, %v", peers, err)
	}
	for text, says := range map[string]string{
		"":                       "ID=HOST:PORT",
		"a:2380":                 "ID=HOST:PORT",
		"0=a:2380":               "ID=HOST:PORT",
		"1=a":                    "host:port",
		"1=a:0":                  "no port",
		"1=:2380":                "nobody can connect",
		"1=0.0.0.0:2380":         "nobody can connect",
		"1=[::]:2380":            "nobody can connect",
		"1=a:1,1=b:1":            "twice",
		"1=a:1,2=a:1":            "same address",
		"1=a:1,2=b:1,":           "ID=HOST:PORT",
		strings.Join(eight, ","): "at most 7",
	} {
		if _, err := ParsePeers(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestEvenVoters(t *testing.T) {
	for n, warned := range []bool{1: false, 2: true, 3: false, 4: true} {
		if n == 0 {
			continue
		}
		var lines logLines
		cfg := voterConfigs(t, t.TempDir(), n)[0]
		cfg.Logger = lines.logger()
		if err := cfg.check(); err != nil || strings.Contains(lines.String(), "even number") != warned {
			t.Errorf("%d voters: %v, %s", n, err, lines.String())
		}
	}
}

var eight = []string{"1=a:1", "2=a:2", "3=a:3", "4=a:4", "5=a:5", "6=a:6", "7=a:7", "8=a:8"}

// A broker that is reported dead is gone at once, with its office; its next life is
// not touched by a report of an earlier one.
func TestReportDead(t *testing.T) {
	nodes := beginAll(t, voterConfigs(t, t.TempDir(), 3))
	var controller, observer running
	eventually(t, patience, func() error {
		id, ok := nodes[0].Snapshot().Controller()
		if !ok {
			return errors.New("no controller")
		}
		controller, observer = nodes[id-1], nodes[id%3]
		return nil
	})
	id, session := controller.cfg.NodeID, controller.Session()
	eventually(t, patience, func() error {
		if epoch, _ := observer.Snapshot().Live(id); epoch != session.BrokerEpoch() {
			return fmt.Errorf("node %d sees epoch %d", observer.cfg.NodeID, epoch)
		}
		return nil
	})
	alive := func(epoch int64) {
		t.Helper()
		if err := observer.ReportDead(t.Context(), id, epoch); err != nil {
			t.Error(err)
		}
		if now, ok := observer.Snapshot().Live(id); !ok || now == epoch {
			t.Errorf("a report of life %d ended life %d", epoch, now)
		}
	}
	alive(session.BrokerEpoch() - 1)
	if err := observer.ReportDead(t.Context(), id, session.BrokerEpoch()); err != nil {
		t.Error(err)
	}
	// It was alive: it notices, and begins another life.
	if !wait(timeout(t, patience), session.Done()) {
		t.Fatal("the session goes on")
	}
	eventually(t, patience, func() error {
		epoch, _ := observer.Snapshot().Live(id)
		if epoch <= session.BrokerEpoch() {
			return fmt.Errorf("epoch %d after %d", epoch, session.BrokerEpoch())
		}
		return nil
	})
	alive(session.BrokerEpoch())
	eventually(t, patience, func() error {
		if _, ok := observer.Snapshot().Controller(); !ok {
			return errors.New("nobody is controller any more")
		}
		return nil
	})
}
