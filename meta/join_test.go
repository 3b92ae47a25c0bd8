package meta

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// joiner is a new node that joins through the etcd listener of another.
func joiner(t *testing.T, id int32, through running) Config {
	t.Helper()
	cfg := testConfig(filepath.Join(t.TempDir(), fmt.Sprint(id)))
	cfg.NodeID, cfg.Join, cfg.PeerListen = id, []string{through.EtcdAddr()}, freeAddrs(t, 1)[0]
	cfg.Broker.Directory = fmt.Sprintf("dir-%d", id)
	return cfg
}

func (r running) isVoter() error {
	if r.node.etcd.Server.IsLearner() {
		return errors.New("it is a learner")
	}
	return nil
}

// A node joins, votes, and is a member at its next start; beyond the most voters it
// is a client of theirs and does all the same.
func TestJoin(t *testing.T) {
	configs := voterConfigs(t, t.TempDir(), 3)
	for i := range configs {
		configs[i].maxVoters = 4
	}
	nodes := beginAll(t, configs)
	fourth := joiner(t, 4, nodes[1])
	nodes = append(nodes, beginAll(t, []Config{fourth})...)
	eventually(t, patience, nodes[3].isVoter)
	eventually(t, patience, func() error {
		for _, member := range nodes[0].node.etcd.Server.Cluster().Members() {
			if member.IsLearner {
				return fmt.Errorf("to node 1 %s is a learner", member.Name)
			}
		}
		return nil
	})
	nodes[3].stop()
	fourth.Join = []string{"127.0.0.1:1"} // where nobody is: it needs nobody
	nodes[3] = beginAll(t, []Config{fourth})[0]
	if err := nodes[3].isVoter(); err != nil {
		t.Error(err)
	}

	fifth := joiner(t, 5, nodes[3])
	client := beginAll(t, []Config{fifth})[0]
	if client.node.etcd != nil {
		t.Error("the fifth node runs etcd")
	}
	rev, err := client.CreateTopic(t.Context(), NewTopic{Name: "by-a-client", ID: NewID(), Replicas: [][]int32{{5, 1}}})
	written(t, client, rev, err)
	sameSnapshots(t, append(nodes, client))
	// It goes on when voters go, the one that it joined through among them.
	session := client.Session()
	nodes[3].stop()
	rev, err = client.CreateTopic(t.Context(), NewTopic{Name: "later", ID: NewID(), Replicas: [][]int32{{5, 2}}})
	written(t, client, rev, err)
	written(t, nodes[0], rev, nil)
	sameSnapshots(t, []running{nodes[0], nodes[1], nodes[2], client})
	if client.Session() != session {
		t.Error("the client's session is another one")
	}
}

// A data directory of another cluster is refused, and changes nothing.
func TestJoinFromAnotherCluster(t *testing.T) {
	configs := voterConfigs(t, t.TempDir(), 3)
	nodes := beginAll(t, configs)
	nodes[2].stop()
	wiped := configs[2]
	wiped.Dir, wiped.ClusterID = t.TempDir(), "other"
	stranger := joiner(t, 4, nodes[0])
	stranger.ClusterID = "other"
	for _, cfg := range []Config{wiped, stranger} {
		ctx := timeout(t, patience)
		if err := New(cfg).Run(ctx); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "belongs to cluster other") {
			t.Errorf("node %d: %v", cfg.NodeID, err)
		}
	}
	sameSnapshots(t, append(nodes[:2], beginAll(t, configs[2:])...))
}

// Who asks to be let in must be who it says, where it says, and be gone from where it
// was before. Nothing changes otherwise.
func TestAdmissionRefusals(t *testing.T) {
	nodes := beginAll(t, voterConfigs(t, t.TempDir(), 3))
	member := nodes[0].cfg.Peers[1]
	list, err := nodes[0].client.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(list.Members)
	for _, tc := range []struct {
		a    admission
		says string
	}{
		{admission{Node: 9, Addr: "127.0.0.1:1", Process: "x"}, "not reached"},
		{admission{Node: 9, Addr: nodes[2].peerAddr(), Process: "x"}, "another node answers"},
		{admission{Node: 3, Addr: nodes[2].peerAddr(), Process: nodes[2].process}, "another node answers"},
		{admission{Node: 9, Addr: nodes[2].peerAddr(), Process: nodes[2].process, Cluster: "x"}, "belongs to cluster x"},
	} {
		if _, err := nodes[1].peers.admit(timeout(t, patience), member, tc.a); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%+v: %v", tc.a, err)
		}
	}
	twin := begin(t, joiner(t, 3, nodes[0]))
	waitsSaying(t, twin, "broker 3 is alive elsewhere")
	if list, err = nodes[0].client.MemberList(t.Context()); err != nil || fmt.Sprint(list.Members) != before {
		t.Errorf("members %v, before %v, %v", list.Members, before, err)
	}
	// When the first is gone the second takes its place.
	nodes[2].stop()
	if err := twin.SetState(timeout(t, patience), Active); err != nil {
		t.Fatalf("%v; it waits for %s", err, twin.Why())
	}
	sameSnapshots(t, []running{nodes[0], nodes[1], twin})
}

func TestJoinRefusals(t *testing.T) {
	alone := started(t, testConfig(t.TempDir()))
	m := begin(t, joiner(t, 2, alone))
	waitsSaying(t, m, "it runs alone; start it with --peers 1=HOST:PORT")
	for name, tc := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"peers and join": {func(c *Config) { c.Peers = Peers{2: "a:1"} }, "one of the two"},
		"open address":   {func(c *Config) { c.PeerListen, c.Insecure = "0.0.0.0:0", true }, "by which the other nodes reach"},
	} {
		cfg := joiner(t, 2, alone)
		tc.change(&cfg)
		ctx := timeout(t, patience)
		if err := New(cfg).Run(ctx); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A node alone that is restarted with its own address lets others in.
func TestGrowFromOne(t *testing.T) {
	cfg := testConfig(t.TempDir())
	alone := started(t, cfg)
	created(t, alone, "before", 1)
	alone.stop()
	addr := freeAddrs(t, 1)[0]
	cfg.PeerListen, cfg.Peers = "", Peers{1: addr}
	first := started(t, cfg)
	second := beginAll(t, []Config{joiner(t, 2, first)})[0]
	third := beginAll(t, []Config{joiner(t, 3, second)})[0]
	for _, m := range []running{second, third} {
		eventually(t, patience, m.isVoter)
	}
	sameSnapshots(t, []running{first, second, third})
	if third.Snapshot().Topic("before") == nil {
		t.Error("the third node lacks what the first had")
	}
}
