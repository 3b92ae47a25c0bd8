package meta

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// etcdctl is a client as a person uses it: over the port.
func etcdctl(t *testing.T, m running) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{m.EtcdAddr()}, DialTimeout: patience,
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// The keyspace as other builds and people know it: names of keys and of fields.
func TestEtcdctl(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Broker.Rack, cfg.Broker.Version = "r1", "v9"
	cfg.Broker.Listeners = map[string]string{"PLAINTEXT": "localhost:9092"}
	m := started(t, cfg)
	topic := created(t, m, "orders", 1)
	set := func(map[string]string) (map[string]string, error) {
		return map[string]string{"retention.ms": "5"}, nil
	}
	for _, what := range []struct {
		kind ConfigKind
		name string
	}{{TopicConfigs, "orders"}, {BrokerConfigs, "default"}, {GroupConfigs, "a/b"}} {
		rev, err := m.SetConfigs(t.Context(), what.kind, what.name, set)
		written(t, m, rev, err)
	}
	if _, _, err := m.ProducerIDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	resp, err := etcdctl(t, m).Get(timeout(t, patience), "/chronik/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"cluster":                 "features id schema",
		"controller":              "broker brokerEpoch",
		"brokers/1":               "directory host id incarnation listeners port rack state version",
		"live/1":                  "directory incarnation",
		"topics/orders":           "created id partitions replicationFactor",
		"topics/orders/0":         "elr isr lastKnown leader leaderBrokerEpoch leaderEpoch offline partitionEpoch replicas",
		"configs/topics/orders":   "retention.ms",
		"configs/brokers/default": "retention.ms",
		"configs/groups/a%2Fb":    "retention.ms",
		"producers":               "next",
	}
	for _, kv := range resp.Kvs {
		name := strings.TrimPrefix(string(kv.Key), "/chronik/")
		var value map[string]any
		if err := json.Unmarshal(kv.Value, &value); err != nil {
			t.Errorf("%s: %s: %v", name, kv.Value, err)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(value)), " "); got != want[name] {
			t.Errorf("%s has the fields %s", name, got)
		}
		if leased := name == "controller" || name == "live/1"; leased != (kv.Lease != 0) {
			t.Errorf("%s is under lease %x", name, kv.Lease)
		}
		t.Logf("%s %s", kv.Key, kv.Value)
		delete(want, name)
		switch name {
		case "topics/orders":
			if value["id"] != EncodeID(topic.ID) || len(EncodeID(topic.ID)) != 22 {
				t.Errorf("topic id %v", value["id"])
			}
		case "topics/orders/0":
			if !strings.Contains(string(kv.Value), `"replicas":[1],"leader":1,"leaderEpoch":0`) || !strings.Contains(string(kv.Value), `"elr":[]`) {
				t.Errorf("partition %s", kv.Value)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("there is no %v", slices.Sorted(maps.Keys(want)))
	}
}

// A person who watches does not hold up the stop.
func TestStopWithClients(t *testing.T) {
	t.Parallel()
	m := started(t, testConfig(t.TempDir()))
	c := etcdctl(t, m)
	events := c.Watch(t.Context(), "/chronik/", clientv3.WithPrefix(), clientv3.WithRev(1))
	<-events
	began := time.Now()
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.node.etcd.Server.StopNotify():
		t.Logf("stop with a watching client: %v", time.Since(began))
	case <-time.After(patience):
		t.Error("etcd still runs: its client is waited for")
	}
}

// Many entries: etcd takes snapshots and drops segments, and starts from them.
func TestManyEntries(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	m := started(t, cfg)
	value := `{"x":"` + strings.Repeat("x", 3000) + `"}`
	began := time.Now()
	ops := 0
	for range snapshotCount + snapshotCount/2 {
		if _, err := m.client.Put(t.Context(), configsKey(GroupConfigs, "g"), value); err != nil {
			t.Fatal(err)
		}
		ops++
	}
	t.Logf("%d entries in %v", ops, time.Since(began))
	m.stop()
	began = time.Now()
	m = started(t, cfg)
	t.Logf("start after them: %v", time.Since(began))
	if m.Snapshot().Configs(GroupConfigs, "g")["x"] == "" {
		t.Error("the last entry is gone")
	}
}
