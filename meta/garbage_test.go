package meta

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A value that a person typed must not take the node down, nor what was there before.
func TestGarbage(t *testing.T) {
	var lines logLines
	cfg := testConfig(t.TempDir())
	cfg.Logger = lines.logger()
	m := started(t, cfg)
	topic := created(t, m, "good", 2)
	rev, err := m.SetConfigs(t.Context(), TopicConfigs, "good", func(map[string]string) (map[string]string, error) {
		return map[string]string{"retention.ms": "5"}, nil
	})
	written(t, m, rev, err)
	id := EncodeID(topic.ID)
	garbage := [][2]string{
		{"topics/x", "garbage"},
		{"topics/good", `{"id":"short"}`},
		{"topics/good", `{"id":"` + id + `","partitions":-3}`},
		{"topics/good", `{"id":"` + id + `","partitions":2000000000}`},
		{"topics/good", `{"id":"` + id + `","partitions":2,"creating":{"replicas":[[1]]}}`},
		{"topics/twin", `{"id":"` + id + `","partitions":2}`},
		{"topics/good/0", "garbage"},
		{"topics/good/0", `{"replicas":"all of them"}`},
		{"topics/good/1", `{"replicas":[]}`},
		{"topics/good/1", `{"replicas":[1],"leader":2}`},
		{"topics/good/1", `{"replicas":[1,1],"leader":1}`},
		{"topics/good/1", `{"replicas":[1],"leader":1,"isr":[2]}`},
		{"topics/good/1", `{"replicas":[1],"leaderEpoch":-1}`},
		{"topics/good/99999999999", `{}`},
		{"topics/good/10000", `{"replicas":[1]}`},
		{"topics/good/-1", `{}`},
		{"topics/good/00", `{"replicas":[1]}`},
		{"topics//", `[]`},
		{"topics/..", `{}`},
		{"topics/bad name!", `{}`},
		{"topics/" + strings.Repeat("x", 300), `{}`},
		{"topics/good/1/2", `{}`},
		{"brokers/one", `{}`},
		{"brokers/7", `{"id":8}`},
		{"brokers/7", `{"id":7,"port":70000,"state":"active"}`},
		{"brokers/7", `{"id":7,"port":1,"state":"well"}`},
		{"live/x", `{}`},
		{"configs/topics/good", `[1]`},
		{"configs/topics/good", `null`},
		{"configs/topics/%zz", `{}`},
		{"configs/topics/", `{}`},
		{"cluster", `{}`},
		{"cluster", `{"id":"x","schema":2}`},
	}
	unread := map[string]bool{}
	for _, kv := range garbage {
		etcdPut(t, m, prefix+kv[0], kv[1])
		unread[prefix+kv[0]] = true
	}
	for _, kv := range [][2]string{ // harmless
		{"topics/lonely/7", `{"replicas":[1],"leader":-1}`},
		{"topics/good/5", `{"replicas":[1],"leader":1}`},
		{"nobody/knows", "this"},
		{"configs/pets/cat", "meow"},
	} {
		etcdPut(t, m, prefix+kv[0], kv[1])
	}

	check := func(when string, m running, leaderEpoch int32) {
		t.Helper()
		snap := m.Snapshot()
		got := snap.Topic("good")
		if got == nil || got.ID != topic.ID || len(got.Partitions) != 2 || got.Configs["retention.ms"] != "5" {
			t.Fatalf("%s: %+v", when, got)
		}
		for n, p := range got.Partitions {
			if p.Leader != 1 || p.LeaderEpoch != leaderEpoch || !slices.Equal(p.Replicas, []int32{1}) {
				t.Errorf("%s: partition %d is %+v", when, n, p)
			}
		}
		if snap.NumTopics() != 1 || snap.Cluster().Schema != 1 {
			t.Errorf("%s: %d topics, cluster %+v", when, snap.NumTopics(), snap.Cluster())
		}
	}
	check("after garbage", m, 0)
	if got := m.Snapshot().Unreadable(); len(got) != len(unread) {
		t.Errorf("unreadable: %v", got)
	}
	if n := strings.Count(lines.String(), "cannot be read"); n != len(garbage) {
		t.Errorf("%d lines for %d bad values:\n%s", n, len(garbage), lines.String())
	}

	// A list tells nothing new and logs nothing again.
	if err := m.cache.load(t.Context(), m.client); err != nil {
		t.Fatal(err)
	}
	check("after a list", m, 0)
	if n := strings.Count(lines.String(), "cannot be read"); n != len(garbage) {
		t.Errorf("%d lines for %d bad values after a list", n, len(garbage))
	}

	// A node that starts looks into the history; the cluster key it mends only
	// when it is garbage, a newer schema it refuses.
	etcdPut(t, m, clusterKey, "garbage")
	cfg = copyStopped(t, m, func() {})
	m = started(t, cfg)
	check("after a restart", m, 0)

	// The next change of a key replaces the garbage.
	rev, err = m.Elect(t.Context(), elections(m.Snapshot().Topic("good")))
	written(t, m, rev, err)
	check("after an election", m, 1)
	rev, err = m.SetConfigs(t.Context(), TopicConfigs, "good", func(c map[string]string) (map[string]string, error) {
		c["again"] = "yes"
		return c, nil
	})
	written(t, m, rev, err)
	rev, err = m.AddPartitions(t.Context(), "good", 2, here(1))
	written(t, m, rev, err)
	for _, k := range m.Snapshot().Unreadable() {
		if strings.HasPrefix(k, topicKey("good")) && !strings.Contains(k, "good/0") && !strings.Contains(k, "good/-") &&
			!strings.Contains(k, "good/9") && !strings.Contains(k, "good/1/") && !strings.Contains(k, "good/10000") {
			t.Errorf("%s is still unreadable", k)
		}
	}
	rev, err = m.DeleteTopic(t.Context(), "good", topic.ID)
	written(t, m, rev, err)
	if m.Snapshot().Topic("good") != nil {
		t.Error("a topic with garbage cannot be deleted")
	}
}

// The next change of a key replaces garbage, on a node that saw it come.
func TestGarbageReplaced(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	topic := created(t, m, "t", 2)
	for _, k := range []string{topicKey("t"), partitionKey("t", 0), partitionKey("t", 1), configsKey(TopicConfigs, "t"), configsKey(GroupConfigs, "g")} {
		etcdPut(t, m, k, "garbage")
	}
	rev, err := m.Elect(t.Context(), elections(m.Snapshot().Topic("t")))
	written(t, m, rev, err)
	for kind, name := range map[ConfigKind]string{TopicConfigs: "t", GroupConfigs: "g"} {
		rev, err = m.SetConfigs(t.Context(), kind, name, func(map[string]string) (map[string]string, error) {
			return map[string]string{"a": "b"}, nil
		})
		written(t, m, rev, err)
	}
	rev, err = m.AddPartitions(t.Context(), "t", 2, here(1))
	written(t, m, rev, err)
	snap := m.Snapshot()
	if got := snap.Topic("t"); len(snap.Unreadable()) > 0 || got.ID != topic.ID || len(got.Partitions) != 3 || got.Partitions[1].LeaderEpoch != 1 || got.Configs["a"] != "b" {
		t.Errorf("unreadable %v, topic %+v", snap.Unreadable(), got)
	}
	etcdPut(t, m, topicKey("t"), "garbage")
	rev, err = m.DeleteTopic(t.Context(), "t", topic.ID)
	written(t, m, rev, err)
	if m.Snapshot().topics.size != 0 || len(m.Snapshot().Unreadable()) > 0 {
		t.Errorf("%d topics are left, unreadable %v", m.Snapshot().topics.size, m.Snapshot().Unreadable())
	}
}

// Garbage in the keys of this life ends it, and a new one begins.
func TestGarbageAlive(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	for _, kv := range [][2]string{
		{liveKey(1), "garbage"},
		{liveKey(1), `{"incarnation":"other","directory":"dir-2"}`}, // without a lease: nobody's life
		{controllerKey, `"me"`},
		{controllerKey, `{"broker":7,"brokerEpoch":1}`},
		{brokerKey(1), "garbage"},
		{brokerKey(1), `{"id":1,"state":"fenced"}`},
	} {
		etcdPut(t, m, kv[0], kv[1])
		eventually(t, patience, func() error {
			snap := m.Snapshot()
			b := snap.Broker(1)
			if id, ok := snap.Controller(); !ok || id != 1 || !snap.IsActive(1) || b.Host != "localhost" || len(snap.Unreadable()) > 0 {
				return fmt.Errorf("%s %s: controller %d %v, broker %+v, unreadable %v", kv[0], kv[1], id, ok, b, snap.Unreadable())
			}
			return nil
		})
	}
}

// A partition's key that a person deleted does not take the partition with it.
func TestDeletedByHand(t *testing.T) {
	var lines logLines
	cfg := testConfig(t.TempDir())
	cfg.Logger = lines.logger()
	m := started(t, cfg)
	before := created(t, m, "t", 3)
	etcdDelete(t, m, partitionKey("t", 1))
	etcdDelete(t, m, partitionKey("t", 2))
	after := m.Snapshot().Topic("t")
	if after == nil || len(after.Partitions) != 3 || after.Partitions[1].Leader != 1 || after.Partitions[2].Leader != 1 {
		t.Fatalf("topic %+v", after)
	}
	if after.Partitions[0] != before.Partitions[0] {
		t.Error("the partition that stayed is another")
	}
	if n := strings.Count(lines.String(), "key was deleted"); n != 2 {
		t.Errorf("%d lines:\n%s", n, lines.String())
	}
	rev, err := m.Elect(t.Context(), elections(after)[1:2])
	written(t, m, rev, err)
	m.stop()
	m = started(t, cfg)
	got := m.Snapshot().Topic("t")
	if got == nil || got.Partitions[1].LeaderEpoch != 1 || got.Partitions[2] != missing {
		t.Fatalf("after a restart: %+v", got)
	}
	if got.Partitions[2].Leader != -1 {
		t.Error("a partition of which nothing is known has a leader")
	}
}

// A cluster key without a past is mended from the data directory.
func TestClusterKeyMended(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	id := m.Snapshot().Cluster().ID
	etcdDelete(t, m, clusterKey)
	etcdPut(t, m, clusterKey, "garbage")
	cfg := copyStopped(t, m, func() {})
	if err := New(cfg).Run(timeout(t, patience)); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("starts without knowing its cluster: %v", err)
	}
	cfg.ClusterID = id
	m = started(t, cfg)
	if got := m.Snapshot().Cluster(); got.ID != id || len(m.Snapshot().Unreadable()) > 0 {
		t.Errorf("cluster %+v, unreadable %v", got, m.Snapshot().Unreadable())
	}
}
