package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/wire/batch"
)

// A record without a key has no place in a compacted topic: the batch is refused, and the record named.
func TestKeylessRecordIsNamed(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	cl := client(t, b)
	topic, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": new("compact")}, "table")
	if err != nil {
		t.Fatal(err)
	}
	build := batch.NewBuilder(batch.Zstd)
	for i, key := range [][]byte{[]byte("a"), []byte("b"), nil, {}} {
		build.Add(int64(i), key, []byte("value"))
	}
	made, err := build.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = made
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID, rt.Partitions = "table", topic.ID, append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	resp, err := cl.Broker(1).Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); !errors.Is(err, kerr.InvalidRecord) || len(got.ErrorRecords) != 1 || got.ErrorRecords[0].RelativeOffset != 2 {
		t.Errorf("%v, records %+v", err, got.ErrorRecords)
	}
}

// A topic that becomes a compacted one is compacted at once, while it runs; records without a key go.
func TestTopicBecomesCompacted(t *testing.T) {
	b, _ := started(t, t.TempDir(), map[string]string{"log.cleaner.backoff.ms": "20"})
	cl := client(t, b, kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	adm := kadm.NewClient(cl)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"segment.bytes": new("1048576")}, "t"); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		r := kgo.KeyStringRecord(fmt.Sprint("key", i%10), string(make([]byte, 10_000)))
		if i%3 == 0 {
			r.Key = nil
		}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.store.Compactions().Runs; n != 0 {
		t.Fatalf("%d compactions of a topic that is not compacted", n)
	}
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: new("compact")}}
	if _, err := adm.AlterTopicConfigs(ctx, change, "t"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if st := b.store.Compactions(); st.Runs == 0 {
			return fmt.Errorf("not compacted: %+v", st)
		}
		return nil
	})
	keyless, lasts := 0, map[string]int64{}
	for _, r := range consumeAll(t, b, "t", 10) {
		if lasts[string(r.Key)] = r.Offset; r.Key == nil && r.Offset < 200 {
			keyless++
		}
	}
	if keyless > 0 || len(lasts) < 10 {
		t.Errorf("%d records without a key, %d keys; %+v", keyless, len(lasts), b.store.Compactions())
	}
}
