package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A fresh start: topics come by being produced to, in every codec; what was read
// before a restart is read after it.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topics := map[string]string{}
	for codec, compress := range codecs {
		topics[codec] = topicName(t, codec)
		produce(t, n.Kafka, topics[codec], 10_000, plainRecord, kgo.ProducerBatchCompression(compress))
		checkRecords(t, n.Kafka, topics[codec], 10_000, plainRecord)
	}
	odd := topicName(t, "odd")
	produce(t, n.Kafka, odd, oddRecords, oddRecord)
	checkRecords(t, n.Kafka, odd, oddRecords, oddRecord)

	n.Restart()
	for _, topic := range topics {
		checkRecords(t, n.Kafka, topic, 10_000, plainRecord)
	}
	checkRecords(t, n.Kafka, odd, oddRecords, oddRecord)

	n.Kill9()
	n.Start()
	n.WaitReady()
	for _, topic := range topics {
		checkRecords(t, n.Kafka, topic, 10_000, plainRecord)
	}
	names, err := newAdmin(t, n.Kafka).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := append(slices.Collect(maps.Values(topics)), odd)
	slices.Sort(want)
	if got := names.Names(); !slices.Equal(got, want) {
		t.Errorf("topics %v, want %v", got, want)
	}
}

// Records of one key stay in one partition and in order, whatever the batching.
func TestKeyedPartitions(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "keyed")
	createTopic(t, n.Kafka, topic, 8, nil)
	client := newClient(t, n.Kafka, kgo.ProducerLinger(time.Millisecond))
	for i := range 10_000 {
		client.Produce(t.Context(), plainRecord(topic, i), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	partitionOf, last, seen := map[string]int32{}, map[string]int{}, 0
	for p := range int32(8) {
		readPartition(t, n.Kafka, topic, p, func(r *kgo.Record) {
			key := string(r.Key)
			i := 0
			if _, err := fmt.Sscanf(string(r.Value), "value-%d-", &i); err != nil {
				t.Fatal(err)
			}
			if other, ok := partitionOf[key]; ok && (other != p || last[key] >= i) {
				t.Fatalf("%s: record %d in partition %d after record %d in %d", key, i, p, last[key], other)
			}
			partitionOf[key], last[key] = p, i
			seen++
		})
	}
	if seen != 10_000 || len(partitionOf) != 100 {
		t.Errorf("%d records of %d keys, want 10000 of 100", seen, len(partitionOf))
	}
}

// The limit of a record is max.message.bytes, of the broker or of the topic.
func TestLargeRecords(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	usual, wide := topicName(t, "usual"), topicName(t, "wide")
	createTopic(t, n.Kafka, usual, 1, nil)
	createTopic(t, n.Kafka, wide, 1, map[string]*string{"max.message.bytes": new("20000000")})
	client := newClient(t, n.Kafka, kgo.ProducerBatchMaxBytes(30<<20), kgo.BrokerMaxWriteBytes(50<<20), kgo.BrokerMaxReadBytes(60<<20),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	send := func(topic string, size int) error {
		return client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(strings.Repeat("x", size))}).FirstErr()
	}
	for _, c := range []struct {
		topic string
		size  int
		want  error
	}{
		{usual, 1_000_000, nil},
		{usual, 1_100_000, kerr.MessageTooLarge},
		{wide, 19_000_000, nil},
		{wide, 21_000_000, kerr.MessageTooLarge},
	} {
		if err := send(c.topic, c.size); !errors.Is(err, c.want) {
			t.Errorf("%d bytes to %s: %v, want %v", c.size, c.topic, err, c.want)
		}
	}
	readPartition(t, n.Kafka, wide, 0, func(r *kgo.Record) {
		if len(r.Value) != 19_000_000 {
			t.Errorf("the record came back with %d bytes", len(r.Value))
		}
	})
}

// What an administrator does: describe, alter, add partitions, delete records, delete.
func TestAdmin(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "admin")
	createTopic(t, n.Kafka, topic, 2, map[string]*string{"retention.ms": new("86400000")})
	produce(t, n.Kafka, topic, 100, plainRecord)
	admin := newAdmin(t, n.Kafka)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	if _, err := admin.CreateTopic(ctx, 1, 1, nil, topic); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("create again: %v", err)
	}
	checkConfig(t, admin, topic, "retention.ms", "86400000")
	changed, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: new("3600000")}}, topic)
	if err != nil || changed[0].Err != nil {
		t.Fatal(err, changed)
	}
	checkConfig(t, admin, topic, "retention.ms", "3600000")
	if _, err := admin.CreatePartitions(ctx, 3, topic); err != nil {
		t.Fatal(err)
	}
	deleted, err := admin.DeleteRecords(ctx, kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 40}}})
	if err != nil || deleted.Error() != nil {
		t.Fatal(err, deleted.Error())
	}
	n.Restart()
	details, err := admin.ListTopics(ctx, topic)
	if err != nil || len(details[topic].Partitions) != 5 {
		t.Fatalf("%d partitions after 2 + 3 (%v)", len(details[topic].Partitions), err)
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	if start, _ := starts.Lookup(topic, 0); start.Offset != 40 {
		t.Errorf("log start offset %d (%v), want 40", start.Offset, start.Err)
	}
	first := int64(-1)
	readPartition(t, n.Kafka, topic, 0, func(r *kgo.Record) {
		if first < 0 {
			first = r.Offset
		}
	})
	if first != 40 {
		t.Errorf("the first record read is %d, want 40", first)
	}
	if _, err := admin.DeleteTopic(ctx, topic); err != nil {
		t.Fatal(err)
	}
	if left, err := admin.ListTopics(ctx); err != nil || len(left) != 0 {
		t.Errorf("left after the deletion: %v (%v)", left.Names(), err)
	}
}

func checkConfig(t *testing.T, admin *kadm.Client, topic, name, want string) {
	t.Helper()
	configs, err := admin.DescribeTopicConfigs(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == name {
			if got := c.MaybeValue(); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
			return
		}
	}
	t.Errorf("%s is not described", name)
}
