package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// started runs a node until the test ends. A directory can be run again.
func started(t *testing.T, dir string, change func(*Config)) (m *Meta, stop func()) {
	t.Helper()
	cfg := Config{
		NodeID: 1, Dir: dir, PeerListen: "127.0.0.1:0", EtcdListen: "127.0.0.1:0",
		Broker: Broker{Host: "localhost", Port: 9092, Directory: "dir-1"}, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	m = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-m.Registered():
	case <-time.After(10 * time.Second):
		t.Fatalf("not registered: %s", m.Why())
	}
	return m, stop
}

// eventually polls until f is content, and tells the last reason if it never is.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func created(t *testing.T, m *Meta, name string, partitions int) *Topic {
	t.Helper()
	replicas := make([][]int32, partitions)
	for i := range replicas {
		replicas[i] = []int32{1}
	}
	rev, err := m.CreateTopic(t.Context(), NewTopic{Name: name, ID: NewID(), Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WaitRevision(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	topic := m.Snapshot().Topic(name)
	if topic == nil || len(topic.Partitions) != partitions {
		t.Fatalf("topic %s at revision %d: %+v", name, rev, topic)
	}
	return topic
}

func TestLives(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	m, stop := started(t, dir, nil)
	t.Logf("cold start to registered: %v", time.Since(began))
	id, epoch := m.Snapshot().Cluster().ID, m.Session().BrokerEpoch()
	if len(m.Snapshot().Brokers()) != 0 {
		t.Error("a fenced broker is listed")
	}
	if err := m.SetState(t.Context(), Active); err != nil {
		t.Fatal(err)
	}
	if c, ok := m.Snapshot().Controller(); !ok || c != 1 || len(m.Snapshot().Brokers()) != 1 {
		t.Errorf("controller %d %v, brokers %v", c, ok, m.Snapshot().Brokers())
	}
	topic := created(t, m, "kept", 3)
	stop()

	began = time.Now()
	m, _ = started(t, dir, func(c *Config) { c.ClusterID = id })
	t.Logf("warm start to registered: %v", time.Since(began))
	if m.Session().BrokerEpoch() <= epoch {
		t.Errorf("broker epoch %d after %d", m.Session().BrokerEpoch(), epoch)
	}
	again := m.Snapshot().TopicByID(topic.ID)
	if again == nil || again.Name != "kept" || len(again.Partitions) != 3 {
		t.Fatalf("topic after a restart: %+v", again)
	}
	var elections []Election
	for n, p := range again.Partitions {
		elections = append(elections, Election{Topic: "kept", Partition: int32(n), Leader: 1, Base: p})
	}
	rev, err := m.Elect(t.Context(), elections)
	if err != nil || m.WaitRevision(t.Context(), rev) != nil {
		t.Fatal(err)
	}
	if p := m.Snapshot().Topic("kept").Partitions[2]; p.LeaderEpoch != 1 || p.LeaderBrokerEpoch != m.Session().BrokerEpoch() {
		t.Errorf("after an election: %+v", p)
	}
	if _, err := m.Elect(t.Context(), elections); !errors.Is(err, ErrConflict) {
		t.Errorf("an election from an old base: %v", err)
	}
}

func TestRacingCreators(t *testing.T) {
	m, _ := started(t, t.TempDir(), nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 8 {
		wg.Go(func() {
			_, err := m.CreateTopic(t.Context(), NewTopic{Name: "race", ID: NewID(), Replicas: [][]int32{{1}}})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d creators won", won)
	}
}

func TestTopicsLive(t *testing.T) {
	m, _ := started(t, t.TempDir(), nil)
	a := created(t, m, "a", 1)
	created(t, m, "a-b", 2)
	created(t, m, "a.b", 2)
	rev, err := m.AddPartitions(t.Context(), "a", 1, [][]int32{{1}, {1}})
	if err != nil || m.WaitRevision(t.Context(), rev) != nil || len(m.Snapshot().Topic("a").Partitions) != 3 {
		t.Fatalf("add partitions: %v, %+v", err, m.Snapshot().Topic("a"))
	}
	if _, err := m.AddPartitions(t.Context(), "a", 1, [][]int32{{1}}); !errors.Is(err, ErrConflict) {
		t.Errorf("added on a wrong count: %v", err)
	}
	set := func(old map[string]string) (map[string]string, error) {
		return map[string]string{"retention.ms": "5", "was": old["retention.ms"]}, nil
	}
	for range 2 {
		if rev, err = m.SetConfigs(t.Context(), TopicConfigs, "a", set); err != nil || m.WaitRevision(t.Context(), rev) != nil {
			t.Fatal(err)
		}
	}
	if c := m.Snapshot().Topic("a").Configs; c["was"] != "5" {
		t.Errorf("configs %v", c)
	}
	if _, err := m.DeleteTopic(t.Context(), "a", NewID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted by a wrong id: %v", err)
	}
	if rev, err = m.DeleteTopic(t.Context(), "a", a.ID); err != nil || m.WaitRevision(t.Context(), rev) != nil {
		t.Fatal(err)
	}
	snap := m.Snapshot()
	if snap.Topic("a") != nil || snap.TopicByID(a.ID) != nil || snap.Topic("a-b") == nil || snap.Topic("a.b") == nil || snap.NumTopics() != 2 {
		t.Errorf("after the deletion of a: %d topics", snap.NumTopics())
	}
	if again := created(t, m, "a", 1); again.Configs != nil {
		t.Errorf("a new topic has old settings: %v", again.Configs)
	}
}

func TestProducerBlocks(t *testing.T) {
	m, _ := started(t, t.TempDir(), nil)
	seen := map[int64]bool{}
	for range 3 {
		first, count, err := m.ProducerIDs(t.Context())
		if err != nil || count != producerBlock || seen[first] {
			t.Fatalf("block at %d of %d: %v", first, count, err)
		}
		seen[first] = true
	}
}

// A value that a person typed must not take the node down, nor what was there before.
func TestGarbage(t *testing.T) {
	var logged bytes.Buffer
	m, stop := started(t, t.TempDir(), func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
	topic := created(t, m, "good", 2)
	for _, kv := range [][2]string{
		{"topics/x", "garbage"},
		{"topics/good", `{"id":"short"}`},
		{"topics/good", `{"id":"` + EncodeID(topic.ID) + `","partitions":-3}`},
		{"topics/good/0", "garbage"},
		{"topics/good/1", `{"replicas":[]}`},
		{"topics/good/99999999999", `{}`},
		{"topics/good/-1", `{}`},
		{"topics//", `[]`},
		{"topics/lonely/7", `{"replicas":[1]}`},
		{"brokers/one", `{}`},
		{"brokers/1", `[]`},
		{"brokers/7", `{"id":8}`},
		{"live/x", `{}`},
		{"configs/topics/good", `[1]`},
		{"configs/topics/%zz", `{}`},
		{"controller", `"me"`},
		{"nobody/knows", "this"},
	} {
		resp, err := m.client.Put(t.Context(), prefix+kv[0], kv[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := m.WaitRevision(t.Context(), resp.Header.Revision); err != nil {
			t.Fatalf("%s: %v", kv[0], err)
		}
	}
	check := func(when string) {
		got := m.Snapshot().Topic("good")
		if got == nil || len(got.Partitions) != 2 || got.Partitions[0].Leader != 1 || got.Partitions[1].Leader != 1 || m.Snapshot().NumTopics() != 1 {
			t.Errorf("%s: %+v", when, got)
		}
	}
	check("after garbage")
	created(t, m, "after", 1)
	stop()
	if n := bytes.Count(logged.Bytes(), []byte("cannot be read")); n < 10 {
		t.Errorf("%d lines about bad values:\n%s", n, logged.String())
	}
}

func TestSessionLost(t *testing.T) {
	m, _ := started(t, t.TempDir(), nil)
	if err := m.SetState(t.Context(), Active); err != nil {
		t.Fatal(err)
	}
	old := m.Session()
	if _, err := m.client.Revoke(t.Context(), old.lease); err != nil {
		t.Fatal(err)
	}
	<-old.Done()
	eventually(t, 5*time.Second, func() error {
		if s := m.Session(); s == old || len(m.Snapshot().Brokers()) != 1 {
			return fmt.Errorf("session %+v, brokers %v", s, m.Snapshot().Brokers())
		}
		if c, ok := m.Snapshot().Controller(); !ok {
			return fmt.Errorf("controller %d is gone", c)
		}
		return nil
	})
}

func TestListAfterCompaction(t *testing.T) {
	m, _ := started(t, t.TempDir(), nil)
	created(t, m, "a", 1)
	if _, err := m.client.Compact(t.Context(), m.Snapshot().Revision()); err != nil {
		t.Fatal(err)
	}
	if err := m.cache.load(t.Context(), m.client); err != nil {
		t.Fatal(err)
	}
	created(t, m, "b", 1)
	if m.Snapshot().NumTopics() != 2 {
		t.Errorf("%d topics", m.Snapshot().NumTopics())
	}
}

func TestRefusals(t *testing.T) {
	newer := t.TempDir()
	old, stop := started(t, newer, nil)
	if _, err := old.client.Put(t.Context(), clusterKey, `{"id":"x","schema":2}`); err != nil {
		t.Fatal(err)
	}
	created(t, old, "goes-on", 1)
	stop()
	m, _ := started(t, t.TempDir(), nil)
	for name, cfg := range map[string]Config{
		"foreign cluster": {NodeID: 1, Dir: t.TempDir(), ClusterID: "other", PeerListen: "127.0.0.1:0", EtcdListen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)},
		"newer schema":    {NodeID: 1, Dir: newer, PeerListen: "127.0.0.1:0", EtcdListen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)},
		"port taken":      {NodeID: 1, Dir: t.TempDir(), PeerListen: "127.0.0.1:0", EtcdListen: m.EtcdAddr(), Logger: slog.New(slog.DiscardHandler)},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := New(cfg).Run(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("%s: started, err %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
		cancel()
	}
}

func TestScale(t *testing.T) {
	m, _ := started(t, t.TempDir(), nil)
	began := time.Now()
	created(t, m, "wide", 2000)
	t.Logf("a topic of 2,000 partitions: %v", time.Since(began))
	began = time.Now()
	for i := range 300 {
		created(t, m, fmt.Sprintf("topic-%d", i), 1)
	}
	t.Logf("300 topics one by one: %v", time.Since(began))
	began = time.Now()
	if err := m.cache.load(t.Context(), m.client); err != nil {
		t.Fatal(err)
	}
	t.Logf("list of %d partitions: %v", m.Snapshot().NumPartitions(), time.Since(began))
	if n := m.Snapshot().NumPartitions(); n != 2300 {
		t.Errorf("%d partitions", n)
	}
	resp, err := m.client.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || resp.Count < 2601 {
		t.Errorf("%d keys: %v", resp.Count, err)
	}
}
