package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// TestScale prints times; it fails only when something is missing.
func TestScale(t *testing.T) {
	dir := t.TempDir()
	m := started(t, testConfig(dir))
	began := time.Now()
	wide := created(t, m, "wide", 2000)
	t.Logf("a topic of 2,000 partitions in one transaction: %v", time.Since(began))

	var each []time.Duration
	for i := range 1000 {
		began := time.Now()
		created(t, m, fmt.Sprint("topic-", i), 1)
		each = append(each, time.Since(began))
	}
	slices.Sort(each)
	t.Logf("1,000 topics one after another: p50 %v, p99 %v, max %v", each[500], each[990], each[999])

	for i := range 7 {
		created(t, m, fmt.Sprint("more-", i), 1000)
	}
	began = time.Now()
	c := another(t, m, slog.New(slog.DiscardHandler))
	t.Logf("a list of %d partitions of %d topics: %v", c.snapshot().NumPartitions(), c.snapshot().NumTopics(), time.Since(began))
	if c.snapshot().NumPartitions() != 10_000 {
		t.Errorf("%d partitions", c.snapshot().NumPartitions())
	}
	began = time.Now()
	if err := c.load(t.Context(), m.client); err != nil {
		t.Fatal(err)
	}
	t.Logf("the same again, as a difference: %v", time.Since(began))

	began = time.Now()
	rev, err := m.Elect(t.Context(), elections(wide))
	written(t, m, rev, err)
	t.Logf("2,000 elections: %v", time.Since(began))

	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	m = begin(t, testConfig(dir))
	<-m.Registered()
	t.Logf("start with %d partitions to registered: %v", m.Snapshot().NumPartitions(), time.Since(began))
	began = time.Now()
	rev, err = m.DeleteTopic(t.Context(), "wide", wide.ID)
	written(t, m, rev, err)
	t.Logf("the deletion of 2,000 partitions: %v", time.Since(began))
	if n := m.Snapshot().NumPartitions(); n != 8_000 {
		t.Errorf("%d partitions", n)
	}
}

// wideSnapshot has so many topics of one partition.
func wideSnapshot(topics int) *Snapshot {
	d := newDraft(nil, slog.New(slog.DiscardHandler))
	put := func(key, value string) {
		if err := d.put(&mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: 1}); err != nil {
			panic(err)
		}
	}
	for i := range topics {
		name := fmt.Sprintf("topic-%06d", i)
		put(topicKey(name), fmt.Sprintf(`{"id":%q,"partitions":1,"replicationFactor":1,"created":"2026-01-02T03:04:05Z"}`,
			EncodeID([16]byte{byte(i >> 16), byte(i >> 8), byte(i)})))
		put(partitionKey(name, 0), partitionOf(5))
	}
	d.endRevision()
	return d.finish(1)
}

func partitionOf(epoch int) string {
	return fmt.Sprintf(`{"replicas":[1,2,3],"leader":1,"leaderEpoch":%d,"leaderBrokerEpoch":412,"isr":[1,2,3],`+
		`"elr":[],"lastKnown":[],"offline":[],"partitionEpoch":9}`, epoch)
}

func BenchmarkChange(b *testing.B) {
	s := wideSnapshot(10_000)
	name := "topic-005000"
	rev := int64(1)
	for b.Loop() {
		rev++
		d := newDraft(s, slog.New(slog.DiscardHandler))
		kv := &mvccpb.KeyValue{Key: []byte(partitionKey(name, 0)), Value: []byte(partitionOf(6)), ModRevision: rev}
		if err := d.put(kv); err != nil {
			b.Fatal(err)
		}
		d.endRevision()
		s = d.finish(rev)
	}
}

// BenchmarkLookup finds a topic among many and looks at its partition, as each request does.
func BenchmarkLookup(b *testing.B) {
	s := wideSnapshot(10_000)
	id := s.Topic("topic-005000").ID
	for name, find := range map[string]func() *Topic{
		"name": func() *Topic { return s.Topic("topic-005000") },
		"id":   func() *Topic { return s.TopicByID(id) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if t := find(); t == nil || t.Partitions[0].Leader != 1 {
					b.Fatalf("%+v", t)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if wideSnapshot(10_000).NumPartitions() != 10_000 {
			b.Fatal(errors.New("incomplete"))
		}
	}
	runtime.GC()
}
