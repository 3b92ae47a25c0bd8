package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a voter does next, by what it is and what the others answer.
func TestDecide(t *testing.T) {
	const peers = "1=a:1,2=b:2,3=c:3"
	for _, tc := range []struct {
		me, second, third string // stages; "" is silent, "lost" is empty with a cluster's id
		next              step
		says              string
	}{
		{empty, empty, empty, mark, ""},
		{empty, empty, forming, mark, ""},
		{empty, forming, forming, mark, ""},
		{empty, "", forming, stay, "node 2 (b:2) does not answer"},
		{empty, "", "", stay, "node 2 (b:2), node 3 (c:3) do not answer"},
		{empty, inEtcd, "", rejoin, ""},
		{empty, inEtcd, forming, rejoin, ""},
		{empty, inEtcd, empty, rejoin, ""},
		{empty, "lost", empty, stay, "must not be formed again"},
		{empty, "strange", empty, stay, "--peers x"},
		{empty, "impostor", empty, stay, "says that it is node 7"},
		{empty, "strange etcd", empty, rejoin, ""},
		{"lost", empty, empty, stay, "belongs to cluster id"},
		{"lost", "", empty, stay, "belongs to cluster id"},
		{"lost", inEtcd, empty, rejoin, ""},
		{forming, forming, forming, found, ""},
		{forming, forming, empty, stay, "node 3 (c:3) has yet to note"},
		{forming, forming, "", stay, "node 3 (c:3) does not answer"},
		{forming, "", inEtcd, found, ""},
		{forming, empty, inEtcd, found, ""},
		{forming, "strange etcd", forming, stay, "--peers x"},
		{forming, "lost", forming, stay, "must not be formed again"},
	} {
		name := fmt.Sprintf("%s, %s, %s", tc.me, tc.second, tc.third)
		me := stand{Node: 1, Stage: tc.me, Peers: peers}
		if tc.me == "lost" {
			me.Stage, me.Cluster = empty, "id"
		}
		others := []heard{{2, "b:2", answerOf(2, tc.second, peers)}, {3, "c:3", answerOf(3, tc.third, peers)}}
		if next, why := decide(me, others); next != tc.next || !strings.Contains(why, tc.says) || (why == "") != (next != stay) {
			t.Errorf("%s: %v %q", name, next, why)
		}
	}
}

func answerOf(id int32, stage, peers string) *stand {
	s := &stand{Node: id, Stage: stage, Peers: peers}
	switch stage {
	case "":
		return nil
	case "lost":
		s.Stage, s.Cluster = empty, "id"
	case "strange":
		s.Stage, s.Peers = empty, "x"
	case "strange etcd":
		s.Stage, s.Peers = inEtcd, "x"
	case "impostor":
		s.Stage, s.Node = empty, 7
	}
	return s
}

// waitsSaying waits until a node says what it waits for.
func waitsSaying(t *testing.T, m running, says string) {
	t.Helper()
	eventually(t, patience, func() error {
		if why := m.Why(); !strings.Contains(why, says) {
			return fmt.Errorf("node %d waits for %q, not for %q", m.cfg.NodeID, why, says)
		}
		return nil
	})
}

// Two of three new voters do not begin a cluster; with the third they do.
func TestFormation(t *testing.T) {
	configs := voterConfigs(t, t.TempDir(), 3)
	one, two := begin(t, configs[0]), begin(t, configs[1])
	for _, m := range []running{one, two} {
		waitsSaying(t, m, "node 3 (")
		if stage, err := m.cfg.directory().look(); err != nil || stage != empty {
			t.Errorf("node %d is %s, %v", m.cfg.NodeID, stage, err)
		}
	}
	three := begin(t, configs[2])
	for _, m := range []running{one, two, three} {
		if !wait(timeout(t, patience), m.Registered()) {
			t.Fatalf("node %d waits for %s", m.cfg.NodeID, m.Why())
		}
		if stage, err := m.cfg.directory().look(); err != nil || stage != inEtcd {
			t.Errorf("node %d is %s, %v", m.cfg.NodeID, stage, err)
		}
		if _, err := os.Stat(m.cfg.directory().marker()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("node %d still notes that it enters: %v", m.cfg.NodeID, err)
		}
	}
	sameSnapshots(t, []running{one, two, three})
}

// A voter that was forming goes on with that after a restart, also when the others
// are in etcd already.
func TestFormingAfterRestart(t *testing.T) {
	configs := voterConfigs(t, t.TempDir(), 3)
	for _, cfg := range configs {
		if err := cfg.directory().mark(forming); err != nil {
			t.Fatal(err)
		}
	}
	one := begin(t, configs[0])
	waitsSaying(t, one, "do not answer")
	if one.node.etcd != nil {
		t.Fatal("etcd runs on one of three")
	}
	// What a start that did not get as far as a log left is no obstacle.
	leftOver := filepath.Join(configs[2].Dir, "member", "snap", "db")
	if err := os.MkdirAll(filepath.Dir(leftOver), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(leftOver, []byte("half a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := begin(t, configs[1])
	waitsSaying(t, two, "node 3 (")
	sameSnapshots(t, append([]running{one, two}, beginAll(t, configs[2:])...))
}

// A wiped voter and one that missed what the others committed are no quorum.
func TestWipedVoterAndStaleOne(t *testing.T) {
	configs := voterConfigs(t, t.TempDir(), 3)
	nodes := beginAll(t, configs)
	nodes[2].stop() // misses what follows
	rev, err := nodes[0].CreateTopic(t.Context(), NewTopic{Name: "committed", ID: NewID(), Replicas: here(1)})
	written(t, nodes[0], rev, err)
	nodes[0].stop()
	nodes[1].stop()
	if err := os.RemoveAll(configs[0].Dir); err != nil {
		t.Fatal(err)
	}
	for keeps := range 2 {
		if keeps == 1 { // the wiped directory was all of the node, or etcd's alone
			configs[0].ClusterID = nodes[1].Snapshot().Cluster().ID
		}
		wiped, stale := begin(t, configs[0]), begin(t, configs[2])
		waitsSaying(t, wiped, "does not let this node in")
		waitsSaying(t, stale, "quorum")
		if wiped.node.etcd != nil || stale.Snapshot() != nil {
			t.Fatal("a wiped voter and a stale one began to serve")
		}
		wiped.stop()
		stale.stop()
	}
	// With the one that has it the stale one serves what was committed, and the wiped
	// one may rejoin.
	again := beginAll(t, configs[1:])
	if again[1].Snapshot().Topic("committed") == nil {
		t.Error("a committed topic is lost")
	}
	wiped := beginAll(t, configs[:1])[0]
	sameSnapshots(t, append(again, wiped))
	if wiped.Snapshot().Topic("committed") == nil {
		t.Error("a committed topic is lost on the node that rejoined")
	}
}

func TestFormationRefusals(t *testing.T) {
	alone := testConfig(t.TempDir())
	started(t, alone).stop()
	configs := voterConfigs(t, t.TempDir(), 3)
	began := configs[0]
	began.Dir = alone.Dir
	lostLog := configs[1]
	if err := os.MkdirAll(filepath.Join(lostLog.Dir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(lostLog.Dir, "member", "snap", "db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unnamed := configs[2]
	unnamed.NodeID = 4
	for name, tc := range map[string]struct {
		cfg  Config
		says string
	}{
		"of a node alone":        {began, "then let others in"},
		"a database without log": {lostLog, "not its log"},
		"not among the peers":    {unnamed, "does not name this node"},
	} {
		ctx := timeout(t, patience)
		if err := New(tc.cfg).Run(ctx); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	nodes := beginAll(t, voterConfigs(t, t.TempDir(), 3))
	cfg := nodes[0].cfg
	for _, m := range nodes {
		m.stop()
	}
	cfg.Peers, cfg.PeerListen = nil, "127.0.0.1:0"
	ctx := timeout(t, patience)
	if err := New(cfg).Run(ctx); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "with 3 members") {
		t.Errorf("a voter without --peers: %v", err)
	}
}
