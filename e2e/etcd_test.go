package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func dialEtcd(t *testing.T, n *Node) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{n.Etcd}, DialTimeout: 5 * time.Second, Context: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// Any etcd client sees the cluster as readable JSON.
func TestEtcdIsReadable(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 2, map[string]*string{"retention.ms": new("86400000")})
	produce(t, n.Kafka, topic, 1, plainRecord)
	all, err := dialEtcd(t, n).Get(t.Context(), "/chronik/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string][]string{
		"cluster":                 {"id", "schema"},
		"controller":              {"broker", "brokerEpoch"},
		"brokers/1":               {"id", "host", "port", "directory", "incarnation", "state", "version"},
		"live/1":                  {"incarnation", "directory"},
		"topics/" + topic:         {"id", "partitions", "replicationFactor", "created"},
		"topics/" + topic + "/0":  {"replicas", "leader", "leaderEpoch", "leaderBrokerEpoch", "isr", "partitionEpoch"},
		"topics/" + topic + "/1":  {"replicas", "leader"},
		"configs/topics/" + topic: {"retention.ms"},
		"producers":               {"next"},
	}
	for _, kv := range all.Kvs {
		key := strings.TrimPrefix(string(kv.Key), "/chronik/")
		var value map[string]any
		if err := json.Unmarshal(kv.Value, &value); err != nil {
			t.Errorf("%s: %q: %v", key, kv.Value, err)
		}
		for _, name := range fields[key] {
			if _, ok := value[name]; !ok {
				t.Errorf("%s has no field %s: %s", key, name, kv.Value)
			}
		}
		delete(fields, key)
	}
	for key := range fields {
		t.Errorf("no key %s", key)
	}
}

// Garbage that a person puts into etcd does not take the node down, running or at its
// next start, and hurts nothing but what it names.
func TestEtcdGarbage(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	good, hurt := topicName(t, "good"), topicName(t, "hurt")
	for _, topic := range []string{good, hurt} {
		createTopic(t, n.Kafka, topic, 1, nil)
		produce(t, n.Kafka, topic, 100, plainRecord)
	}
	etcd := dialEtcd(t, n)
	keys := []string{
		"topics/" + hurt, "topics/" + hurt + "/0", "topics/" + hurt + "/1", "topics/" + hurt + "/x", "topics/nothing", "topics/nothing/0", "topics//0", "topics/",
		"configs/topics/" + hurt, "configs/topics/nothing", "configs/brokers/x", "configs/brokers/1", "configs/nothing", "configs/",
		"brokers/99", "brokers/x", "live/99", "live/x", "what/is/this", "",
	}
	values := []string{
		"", "garbage", "{", "null", "[]", "17", `"text"`, `{"leader":"one"}`, `{"leader":99999999999}`, `{"partitions":-1}`,
		`{"partitions":2147483647,"replicationFactor":1}`, `{"replicas":[1],"leader":77,"leaderEpoch":-3,"isr":[77]}`, `{"retention.ms":"soon"}`, `{"id":1e99}`,
		strings.Repeat("[", 10_000), "\x00\xff\xfe",
	}
	alive := func(when string) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			code, text, err := n.Get("/livez")
			if err == nil && code != 200 {
				err = fmt.Errorf("/livez: %d %s", code, text)
			}
			return n.alive(err)
		})
		checkRecords(t, n.Kafka, good, 100, plainRecord)
		topics, err := newAdmin(t, n.Kafka).ListTopics(t.Context())
		if err != nil || !topics.Has(good) {
			t.Fatalf("%s: topics %v (%v)", when, topics.Names(), err)
		}
	}
	for _, value := range values {
		for _, key := range keys {
			if _, err := etcd.Put(t.Context(), "/chronik/"+key, value); err != nil {
				t.Fatal(err)
			}
		}
		alive(fmt.Sprintf("after garbage %.20q", value))
	}
	// What is not hurt can still be changed, after a restart too.
	for _, value := range []string{"garbage", `{"replicas":[1],"leader":77}`, "{}"} {
		for _, key := range keys {
			if _, err := etcd.Put(t.Context(), "/chronik/"+key, value); err != nil {
				t.Fatal(err)
			}
		}
		n.Kill9()
		n.Start()
		n.WaitReady()
		alive(fmt.Sprintf("started with garbage %.20q", value))
		other := topicName(t, "other")
		createTopic(t, n.Kafka, other, 3, nil)
		produce(t, n.Kafka, other, 100, plainRecord)
	}
	set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: new("3600000")}}
	if changed, err := newAdmin(t, n.Kafka).AlterTopicConfigs(t.Context(), set, good); err != nil || changed[0].Err != nil {
		t.Errorf("alter the config of an unhurt topic: %v %v", err, changed)
	}
	if !strings.Contains(n.Log(1<<20), "topics/"+hurt) {
		t.Error("the log does not name the key that holds garbage")
	}
	noPanics(t, n)
}

// Producer ids are given once, whatever a person does to the counter.
func TestEtcdProducerIDs(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	etcd := dialEtcd(t, n)
	largest := int64(-1)
	next := func(when string) {
		t.Helper()
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 4, 60_000, -1, -1
		for range 3 {
			resp := dialRaw(t, n.Kafka).ask(req).(*kmsg.InitProducerIDResponse)
			if resp.ErrorCode != 0 || resp.ProducerID <= largest {
				t.Fatalf("%s: id %d after %d, %v", when, resp.ProducerID, largest, kerr.ErrorForCode(resp.ErrorCode))
			}
			largest = resp.ProducerID
		}
	}
	next("on a new node")
	for _, value := range []string{"garbage", "{}", "null", `{"next":"x"}`, `{"next":-5}`, `{"next":1e99}`} {
		if _, err := etcd.Put(t.Context(), "/chronik/producers", value); err != nil {
			t.Fatal(err)
		}
		next("after " + value)
		n.Kill9()
		n.Start()
		n.WaitReady()
		next("restarted after " + value)
	}
}
