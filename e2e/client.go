package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// codecs are all that Kafka knows, by the names that clients use.
var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

// newClient is a franz-go client, of one server or more, that ends with the test.
func newClient(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts = append([]kgo.Opt{kgo.SeedBrokers(strings.Split(addr, ",")...), kgo.ClientID("e2e")}, opts...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func newAdmin(t testing.TB, addr string) *kadm.Client {
	t.Helper()
	return kadm.NewClient(newClient(t, addr))
}

// topicName is a name that no other test uses, on a shared broker either.
func topicName(t testing.TB, what string) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r) {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("e2e-%s-%s-%08x", name, what, rand.Uint32())
}

// createTopic makes a topic with one replica.
func createTopic(t testing.TB, addr, topic string, partitions int32, configs map[string]*string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := newAdmin(t, addr).CreateTopic(ctx, partitions, 1, configs, topic); err != nil {
		t.Fatalf("create %s: %v", topic, err)
	}
}

// plainRecord and oddRecord are the records of clients/README.md, for partition 0.
func plainRecord(topic string, i int) *kgo.Record {
	return &kgo.Record{
		Topic: topic,
		Key:   fmt.Appendf(nil, "key-%d", i%100),
		Value: fmt.Appendf(nil, "value-%d-%s", i, strings.Repeat("x", 80)),
	}
}

const oddRecords = 10

func oddRecord(topic string, i int) *kgo.Record {
	r := &kgo.Record{Topic: topic, Headers: []kgo.RecordHeader{{Key: "h1", Value: []byte("one")}, {Key: "h2", Value: []byte("two")}}}
	if i%5 != 0 {
		r.Key = fmt.Appendf(nil, "k%d", i)
	}
	if i%3 != 1 {
		r.Value = fmt.Appendf(nil, "v%d", i)
	}
	return r
}

// produce writes n records to partition 0 and waits for all acknowledgements.
func produce(t testing.TB, addr, topic string, n int, nth func(string, int) *kgo.Record, opts ...kgo.Opt) {
	t.Helper()
	opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(50))
	client := newClient(t, addr, opts...)
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = nth(topic, i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("produce to %s: %v", topic, err)
	}
}

// readPartition calls fn with every record of a partition, from its start to the end
// that it has now.
func readPartition(t testing.TB, addr, topic string, partition int32, fn func(*kgo.Record)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var end kadm.ListedOffset
	eventually(t, 30*time.Second, func() error { // a new leader does not know it at once
		ends, err := newAdmin(t, addr).ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		if end, _ = ends.Lookup(topic, partition); end.Err != nil {
			return fmt.Errorf("end of %s-%d: %w", topic, partition, end.Err)
		}
		return nil
	})
	start := map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}
	client := newClient(t, addr, kgo.ConsumePartitions(start), kgo.FetchMaxWait(500*time.Millisecond))
	defer client.Close()
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("read %s-%d at %d of %d: %v", topic, partition, next, end.Offset, err)
		}
		fetches.EachError(func(_ string, _ int32, err error) {
			t.Fatalf("read %s-%d at %d of %d: %v", topic, partition, next, end.Offset, err)
		})
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			fn(r)
		})
	}
}

// checkRecords reads partition 0 and fails unless it holds exactly nth(0) … nth(n-1).
func checkRecords(t testing.TB, addr, topic string, n int, nth func(string, int) *kgo.Record) {
	t.Helper()
	i := 0
	readPartition(t, addr, topic, 0, func(r *kgo.Record) {
		want := nth(topic, i)
		if r.Offset != int64(i) || !sameRecord(r, want) {
			t.Fatalf("%s: offset %d holds %s, want %s at %d", topic, r.Offset, show(r), show(want), i)
		}
		i++
	})
	if i != n {
		t.Fatalf("%s holds %d records, want %d", topic, i, n)
	}
}

func sameRecord(a, b *kgo.Record) bool {
	same := func(x, y []byte) bool { return bytes.Equal(x, y) && (x == nil) == (y == nil) }
	if !same(a.Key, b.Key) || !same(a.Value, b.Value) || len(a.Headers) != len(b.Headers) {
		return false
	}
	for i, h := range a.Headers {
		if h.Key != b.Headers[i].Key || !same(h.Value, b.Headers[i].Value) {
			return false
		}
	}
	return true
}

func show(r *kgo.Record) string {
	value := r.Value
	if len(value) > 40 {
		value = value[:40]
	}
	return fmt.Sprintf("key %q, value %q, %d headers", r.Key, value, len(r.Headers))
}
