package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// compactedTopic is a topic of one partition that is compacted as soon as it can be.
func compactedTopic(t *testing.T, n *Node, what string) string {
	t.Helper()
	topic := topicName(t, what)
	createTopic(t, n.Kafka, topic, 1, map[string]*string{
		"cleanup.policy": new("compact"), "segment.bytes": new("1048576"),
		"min.cleanable.dirty.ratio": new("0.01"), "delete.retention.ms": new("0"), "segment.ms": new("300"),
	})
	return topic
}

// setTopic changes a setting of a topic that is in use.
func setTopic(t *testing.T, n *Node, topic, name, value string) {
	t.Helper()
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}
	if changed, err := newAdmin(t, n.Kafka).AlterTopicConfigs(t.Context(), change, topic); err != nil || changed[0].Err != nil {
		t.Fatalf("set %s of %s: %+v, %v", name, topic, changed, err)
	}
}

func compactingNode(t *testing.T) *Node {
	t.Helper()
	return StartNode(t, NodeConfig{Args: []string{"--set", "log.cleaner.backoff.ms=100"}})
}

// update writes each key so many times, and returns the last value of each.
func update(t *testing.T, n *Node, topic string, keys, updates, from int, opts ...kgo.Opt) {
	t.Helper()
	cl := newClient(t, n.Kafka, append(opts, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(100_000))...)
	defer cl.Close()
	for i := range updates {
		r := kgo.KeySliceRecord(fmt.Appendf(nil, "key-%d", i%keys), padded(from+i))
		cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// padded is the i-th value: its name, and bytes that no codec makes shorter.
func padded(i int) []byte {
	noise := rand.NewPCG(uint64(i), 1)
	value := fmt.Appendf(make([]byte, 0, 120), "value-%d ", i)
	for len(value) < 100 {
		value = binary.BigEndian.AppendUint64(value, noise.Uint64())
	}
	return value
}

// lastValues reads the partition: how many records there are, and what each key has at
// last. Offsets must grow.
func lastValues(t *testing.T, n *Node, topic string) (records int, last map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	adm := newAdmin(t, n.Kafka)
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	// The last record may be gone, and no record says so: one more marks the end.
	mark := newClient(t, n.Kafka, kgo.DefaultProduceTopic(topic))
	if err := mark.ProduceSync(ctx, kgo.KeyStringRecord("mark", "end")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	last = map[string]string{}
	cl := newClient(t, n.Kafka, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	for next := int64(0); next <= end.Offset; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("at %d of %d: %v", next, end.Offset, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset < next {
				t.Fatalf("offset %d after %d", r.Offset, next)
			}
			next = r.Offset + 1
			if string(r.Key) != "mark" {
				records++
				name, _, _ := strings.Cut(string(r.Value), " ")
				last[string(r.Key)] = name
			}
		})
	}
	return records, last
}

// checkLast fails unless every key has the value of its last update.
func checkLast(t *testing.T, last map[string]string, keys, updates, from int) {
	t.Helper()
	if len(last) != keys {
		t.Fatalf("%d keys are there, want %d", len(last), keys)
	}
	for i := updates - keys; i < updates; i++ {
		key, want := fmt.Sprintf("key-%d", i%keys), fmt.Sprintf("value-%d", from+i)
		if last[key] != want {
			t.Fatalf("%s is %q, want %q", key, last[key], want)
		}
	}
}

// Many updates of few keys end as one record for each key, with every codec; each key has its last
// value before, while it is compacted, and after.
func TestCompaction(t *testing.T) {
	keys, updates := 2000, 100_000
	if full() {
		keys, updates = 10_000, 1_000_000
	}
	n := compactingNode(t)
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			topic := compactedTopic(t, n, name)
			setTopic(t, n, topic, "min.compaction.lag.ms", "3600000")
			update(t, n, topic, keys, updates, 0, kgo.ProducerBatchCompression(codec))
			records, last := lastValues(t, n, topic)
			checkLast(t, last, keys, updates, 0)
			if records != updates {
				t.Fatalf("%d records of %d before any compaction", records, updates)
			}
			setTopic(t, n, topic, "min.compaction.lag.ms", "0")
			began, between := time.Now(), 0
			eventually(t, 2*time.Minute, func() error {
				records, last = lastValues(t, n, topic)
				checkLast(t, last, keys, updates, 0)
				if records > keys+keys/100 {
					if records < updates {
						between++
					}
					return fmt.Errorf("%d records of %d keys", records, keys)
				}
				return nil
			})
			t.Logf("%d updates of %d keys: %d records after %v, looked at %d times in between", updates, keys, records, time.Since(began).Round(time.Millisecond), between)
		})
	}
}

// The broker is killed while it compacts: the last values are there after each restart.
func TestCompactionSurvivesKill(t *testing.T) {
	rounds, keys, updates := 3, 1000, 30_000
	if full() {
		rounds = 20
	}
	n := compactingNode(t)
	topic := compactedTopic(t, n, "t")
	for round := range rounds {
		part := updates / len(codecs)
		for i, codec := range slices.Sorted(maps.Keys(codecs)) {
			update(t, n, topic, keys, part, round*updates+i*part, kgo.ProducerBatchCompression(codecs[codec]))
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) // somewhere in a compaction
		n.Kill9()
		n.Start()
		n.WaitReady()
		_, last := lastValues(t, n, topic)
		checkLast(t, last, keys, updates, round*updates)
	}
	records, last := 0, map[string]string{}
	eventually(t, 2*time.Minute, func() error {
		if records, last = lastValues(t, n, topic); records > keys+keys/100 {
			return fmt.Errorf("%d records of %d keys", records, keys)
		}
		return nil
	})
	checkLast(t, last, keys, updates, (rounds-1)*updates)
	t.Logf("%d rounds, %d updates: %d records at the end; compaction: %s", rounds, rounds*updates, records, lastLine(n.Log(1<<16), "compacted"))
}

// Tombstones delete, and are deleted.
func TestCompactionOfTombstones(t *testing.T) {
	n := compactingNode(t)
	topic := compactedTopic(t, n, "t")
	update(t, n, topic, 100, 1000, 0)
	cl := newClient(t, n.Kafka, kgo.DefaultProduceTopic(topic))
	for i := range 50 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Key: fmt.Appendf(nil, "key-%d", i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 2*time.Minute, func() error {
		update(t, n, topic, 1, 20_000, 1000) // key-0 again, so that segments are sealed
		_, last := lastValues(t, n, topic)
		for i := range 100 {
			value, there := last[fmt.Sprintf("key-%d", i)]
			if i >= 50 && value != fmt.Sprintf("value-%d", 900+i) {
				t.Fatalf("key-%d is %q", i, value)
			}
			if i > 0 && i < 50 && there {
				return fmt.Errorf("the tombstone of key-%d is still there", i)
			}
		}
		return nil
	})
}
