package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// badBatches are record batches that a broker must refuse, each with its error.
func badBatches() map[string]struct {
	records []byte
	want    *kerr.Error
} {
	type bad = struct {
		records []byte
		want    *kerr.Error
	}
	// changed is a valid batch of three records after a change before its CRC is set.
	changed := func(change func(*kmsg.RecordBatch)) []byte {
		b := newBatch([]byte("a"), []byte("b"), []byte("c"))
		change(b)
		return seal(b)
	}
	good := changed(func(*kmsg.RecordBatch) {})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	wrongCRC := bytes.Clone(good)
	wrongCRC[17] ^= 1
	all := map[string]bad{
		"a flipped bit":                {flipped, kerr.CorruptMessage},
		"a wrong CRC":                  {wrongCRC, kerr.CorruptMessage},
		"null records":                 {nil, kerr.InvalidRecord},
		"no records":                   {[]byte{}, kerr.InvalidRecord},
		"two batches":                  {append(bytes.Clone(good), good...), kerr.InvalidRecord},
		"a count of 0":                 {changed(func(b *kmsg.RecordBatch) { b.NumRecords, b.Records = 0, nil }), kerr.InvalidRecord},
		"a negative count":             {changed(func(b *kmsg.RecordBatch) { b.NumRecords = -3 }), kerr.InvalidRecord},
		"a count too high":             {changed(func(b *kmsg.RecordBatch) { b.NumRecords = 4 }), kerr.InvalidRecord},
		"a count of 2^31-1":            {changed(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 1<<31-1, 1<<31-2 }), kerr.InvalidRecord},
		"a last offset delta too high": {changed(func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 3 }), kerr.InvalidRecord},
		"a negative last offset delta": {changed(func(b *kmsg.RecordBatch) { b.LastOffsetDelta = -1 }), kerr.InvalidRecord},
		"a control batch":              {changed(func(b *kmsg.RecordBatch) { b.Attributes |= 1 << 5 }), kerr.InvalidRecord},
		"codec 5":                      {changed(func(b *kmsg.RecordBatch) { b.Attributes |= 5 }), kerr.UnsupportedCompressionType},
		"codec 7":                      {changed(func(b *kmsg.RecordBatch) { b.Attributes |= 7 }), kerr.UnsupportedCompressionType},
		"too large":                    {seal(newBatch(make([]byte, 1_100_000))), kerr.MessageTooLarge},
	}
	for magic := range int8(4) {
		if magic != 2 {
			all[fmt.Sprint("magic ", magic)] = bad{changed(func(b *kmsg.RecordBatch) { b.Magic = magic }), kerr.InvalidRecord}
		}
	}
	return all
}

// A bad batch is refused with its error, nothing of it is written, the connection goes on.
func TestBadBatches(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	written := int64(0)
	for name, bad := range badBatches() {
		t.Run(name, func(t *testing.T) {
			for _, version := range []int16{3, 7, 8, 9, 12} {
				c := dialRaw(t, n.Kafka)
				answer := c.ask(produceRequest(version, topic, 0, bad.records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
				if answer.ErrorCode != bad.want.Code {
					t.Errorf("v%d: %v (%s), want %v", version, kerr.ErrorForCode(answer.ErrorCode), deref(answer.ErrorMessage), bad.want)
				}
				if answer.BaseOffset != -1 {
					t.Errorf("v%d: base offset %d beside an error", version, answer.BaseOffset)
				}
				after := c.ask(produceRequest(version, topic, 0, seal(newBatch([]byte("good"))))).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
				if after.ErrorCode != 0 || after.BaseOffset != written {
					t.Errorf("v%d: the good batch after it is answered %v at offset %d, want %d", version, kerr.ErrorForCode(after.ErrorCode), after.BaseOffset, written)
				}
				written++
			}
		})
	}
	noPanics(t, n)
}

// Wrong things asked of a good topic, by Produce.
func TestBadProduce(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	good := seal(newBatch([]byte("v")))
	c := dialRaw(t, n.Kafka)
	for name, bad := range map[string]struct {
		req  *kmsg.ProduceRequest
		want *kerr.Error
	}{
		"unknown topic":     {produceRequest(9, "no-such-topic", 0, good), kerr.UnknownTopicOrPartition},
		"unknown partition": {produceRequest(9, topic, 1, good), kerr.UnknownTopicOrPartition},
		"partition -1":      {produceRequest(9, topic, -1, good), kerr.UnknownTopicOrPartition},
		"unknown topic id":  {produceRequest(13, "", 0, good), kerr.UnknownTopicID},
	} {
		got := c.ask(bad.req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if got.ErrorCode != bad.want.Code || got.BaseOffset != -1 {
			t.Errorf("%s: %v at offset %d, want %v at -1", name, kerr.ErrorForCode(got.ErrorCode), got.BaseOffset, bad.want)
		}
	}
	for _, acks := range []int16{2, -2, 100} {
		req := produceRequest(9, topic, 0, good)
		req.Acks = acks
		if got := c.ask(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; got.ErrorCode != kerr.InvalidRequiredAcks.Code {
			t.Errorf("acks %d: %v", acks, kerr.ErrorForCode(got.ErrorCode))
		}
	}
	// acks=0 has no answer at all; the next one is that of the next request.
	quiet := produceRequest(9, topic, 0, good)
	quiet.Acks = 0
	c.send(c.frame(quiet))
	if err := c.open(); err != nil {
		t.Errorf("after acks=0: %v", err)
	}
	eventually(t, 10*time.Second, func() error { // nobody was told when it can be read
		records := 0
		readPartition(t, n.Kafka, topic, 0, func(*kgo.Record) { records++ })
		if records != 1 {
			return fmt.Errorf("%d records are written, want that of acks=0 alone", records)
		}
		return nil
	})
	noPanics(t, n)
}

// The producer window: duplicates get their first answer, gaps and old epochs an error,
// and all of it after a kill -9 too.
func TestProducerWindow(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	start := kmsg.NewPtrInitProducerIDRequest()
	start.Version, start.TransactionTimeoutMillis, start.ProducerID, start.ProducerEpoch = 4, 60_000, -1, -1
	id := dialRaw(t, n.Kafka).ask(start).(*kmsg.InitProducerIDResponse)
	if id.ErrorCode != 0 || id.ProducerID < 0 {
		t.Fatalf("InitProducerId: %v, id %d", kerr.ErrorForCode(id.ErrorCode), id.ProducerID)
	}
	send := func(sequence int32, epoch int16) (int64, error) {
		b := newBatch([]byte("a"), []byte("b"))
		b.ProducerID, b.ProducerEpoch, b.FirstSequence = id.ProducerID, epoch, sequence
		got := produceRaw(t, n.Kafka, topic, 0, seal(b))
		return got.BaseOffset, kerr.ErrorForCode(got.ErrorCode)
	}
	expect := func(what string, sequence int32, epoch int16, offset int64, want error) {
		t.Helper()
		if got, err := send(sequence, epoch); got != offset || !errors.Is(err, want) {
			t.Errorf("%s: offset %d, %v; want %d, %v", what, got, err, offset, want)
		}
	}
	for i := range int32(5) {
		expect("in order", 2*i, 1, int64(2*i), nil)
	}
	for range 2 {
		expect("the last again", 8, 1, 8, nil)
		expect("the fifth last again", 0, 1, 0, nil)
		expect("a gap", 14, 1, -1, kerr.OutOfOrderSequenceNumber)
		expect("an old epoch", 10, 0, -1, kerr.InvalidProducerEpoch)
		n.Kill9()
		n.Start()
		n.WaitReady()
	}
	expect("the next", 10, 1, 10, nil)
	expect("a new epoch", 0, 2, 12, nil)
	expect("a new epoch from the middle", 4, 3, -1, kerr.OutOfOrderSequenceNumber)
	expect("the epoch before", 12, 1, -1, kerr.InvalidProducerEpoch)

	named := kmsg.NewPtrInitProducerIDRequest()
	named.Version, named.TransactionalID, named.TransactionTimeoutMillis, named.ProducerID, named.ProducerEpoch = 4, new("tx"), 60_000, -1, -1
	refused := dialRaw(t, n.Kafka).ask(named).(*kmsg.InitProducerIDResponse)
	if err := kerr.ErrorForCode(refused.ErrorCode); err == nil || kerr.IsRetriable(err) {
		t.Errorf("a transactional id, before there are transactions: %v, want an error that clients do not retry", err)
	}
}

// Wrong topics: names, counts, configs; by CreateTopics and by auto-create.
func TestBadTopics(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	c := dialRaw(t, n.Kafka)
	create := func(name string, partitions int32, replication int16, configs ...string) (says string, err error) {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.TimeoutMillis = 7, 10_000
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, replication
		for i := 0; i < len(configs); i += 2 {
			rt.Configs = append(rt.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
		}
		req.Topics = append(req.Topics, rt)
		got := c.ask(req).(*kmsg.CreateTopicsResponse).Topics[0]
		return deref(got.ErrorMessage), kerr.ErrorForCode(got.ErrorCode)
	}
	for _, name := range []string{"", ".", "..", "a b", "a/b", "a:b", "ä", "a\x00b", strings.Repeat("x", 250)} {
		if _, err := create(name, 1, 1); !errors.Is(err, kerr.InvalidTopicException) {
			t.Errorf("create %q: %v", name, err)
		}
		auto := kmsg.NewPtrMetadataRequest()
		auto.Version, auto.AllowAutoTopicCreation = 8, true
		auto.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
		if got := c.ask(auto).(*kmsg.MetadataResponse).Topics[0]; got.ErrorCode != kerr.InvalidTopicException.Code {
			t.Errorf("auto-create %q: %v", name, kerr.ErrorForCode(got.ErrorCode))
		}
	}
	for _, bad := range []struct {
		partitions  int32
		replication int16
		configs     []string
		want        *kerr.Error
		says        string
	}{
		{1, 2, nil, kerr.InvalidReplicationFactor, ""},
		{1, 0, nil, kerr.InvalidReplicationFactor, ""},
		{0, 1, nil, kerr.InvalidPartitions, ""},
		{-2, 1, nil, kerr.InvalidPartitions, ""},
		{1<<31 - 1, 1, nil, kerr.PolicyViolation, ""},
		{1, 1, []string{"no.such.config", "1"}, kerr.InvalidConfig, "no.such.config"},
		{1, 1, []string{"retention.ms", "soon"}, kerr.InvalidConfig, "retention.ms"},
		{1, 1, []string{"retention.ms", "-2"}, kerr.InvalidConfig, "retention.ms"},
		{1, 1, []string{"segment.bytes", "-1"}, kerr.InvalidConfig, "segment.bytes"},
		{1, 1, []string{"compression.type", "brotli"}, kerr.InvalidConfig, "compression.type"},
		{1, 1, []string{"cleanup.policy", "burn"}, kerr.InvalidConfig, "cleanup.policy"},
	} {
		says, err := create("bad", bad.partitions, bad.replication, bad.configs...)
		if !errors.Is(err, bad.want) || !strings.Contains(says, bad.says) {
			t.Errorf("create with %d partitions, factor %d, %v: %v %q, want %v naming %q", bad.partitions, bad.replication, bad.configs, err, says, bad.want, bad.says)
		}
	}
	topics, err := newAdmin(t, n.Kafka).ListTopics(t.Context())
	if err != nil || len(topics) > 0 {
		t.Errorf("left behind: %v (%v)", topics.Names(), err)
	}
	if says, err := create("good_Name-1.x", 1, 1); err != nil {
		t.Errorf("a good name: %v %s", err, says)
	}
	noPanics(t, n)
}
