package broker

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// asked is a new broker and a client of it that does not retry.
func asked(t *testing.T) (*Broker, *kgo.Client) {
	t.Helper()
	b, _ := started(t, t.TempDir(), nil)
	return b, client(t, b, kgo.RequestRetries(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
}

func code(t *testing.T, what string, got int16, want *kerr.Error) {
	t.Helper()
	wanted := int16(0)
	if want != nil {
		wanted = want.Code
	}
	if got != wanted {
		t.Errorf("%s: error %d (%v), want %d", what, got, kerr.ErrorForCode(got), wanted)
	}
}

// creating asks for one topic.
func creating(name string, partitions int32, change func(*kmsg.CreateTopicsRequestTopic)) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, 1
	if change != nil {
		change(&rt)
	}
	req.Topics = append(req.Topics, rt)
	return req
}

func mustCreate(t *testing.T, cl *kgo.Client, name string, partitions int32) [16]byte {
	t.Helper()
	resp, err := creating(name, partitions, nil).RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	code(t, "create "+name, resp.Topics[0].ErrorCode, nil)
	return resp.Topics[0].TopicID
}

func TestCreateTopicsRefuses(t *testing.T) {
	_, cl := asked(t)
	mustCreate(t, cl, "there.is", 1)
	config := func(name, value string) func(*kmsg.CreateTopicsRequestTopic) {
		return func(rt *kmsg.CreateTopicsRequestTopic) {
			rt.Configs = append(rt.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: &value})
		}
	}
	assign := func(partition int32, brokers ...int32) func(*kmsg.CreateTopicsRequestTopic) {
		return func(rt *kmsg.CreateTopicsRequestTopic) {
			rt.NumPartitions, rt.ReplicationFactor = -1, -1
			rt.ReplicaAssignment = append(rt.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: partition, Replicas: brokers})
		}
	}
	for name, c := range map[string]struct {
		req  *kmsg.CreateTopicsRequest
		want *kerr.Error
	}{
		"exists":                {creating("there.is", 1, nil), kerr.TopicAlreadyExists},
		"collides":              {creating("there_is", 1, nil), kerr.InvalidTopicException},
		"bad name":              {creating("no spaces", 1, nil), kerr.InvalidTopicException},
		"long name":             {creating(strings.Repeat("x", 250), 1, nil), kerr.InvalidTopicException},
		"no partitions":         {creating("a", 0, nil), kerr.InvalidPartitions},
		"too many":              {creating("a", 10_001, nil), kerr.PolicyViolation},
		"two replicas":          {creating("a", 1, func(rt *kmsg.CreateTopicsRequestTopic) { rt.ReplicationFactor = 2 }), kerr.InvalidReplicationFactor},
		"no replicas":           {creating("a", 1, func(rt *kmsg.CreateTopicsRequestTopic) { rt.ReplicationFactor = 0 }), kerr.InvalidReplicationFactor},
		"unknown setting":       {creating("a", 1, config("no.such", "1")), kerr.InvalidConfig},
		"bad setting":           {creating("a", 1, config("retention.ms", "soon")), kerr.InvalidConfig},
		"cleanup":               {creating("a", 1, config("cleanup.policy", "shred")), kerr.InvalidConfig},
		"assignment with a gap": {creating("a", 1, assign(1, 1)), kerr.InvalidReplicaAssignment},
		"unknown broker":        {creating("a", 1, assign(0, 9)), kerr.InvalidReplicaAssignment},
		"broker twice":          {creating("a", 1, assign(0, 1, 1)), kerr.InvalidReplicaAssignment},
	} {
		resp, err := c.req.RequestWith(t.Context(), cl)
		if err != nil {
			t.Fatal(err)
		}
		code(t, name, resp.Topics[0].ErrorCode, c.want)
		if m := resp.Topics[0].ErrorMessage; m == nil || *m == "" {
			t.Errorf("%s: no words", name)
		}
	}
	twice := creating("b", 1, nil)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	if resp, err := twice.RequestWith(t.Context(), cl); err != nil || len(resp.Topics) != 1 {
		t.Errorf("%+v, %v", resp, err)
	} else {
		code(t, "named twice", resp.Topics[0].ErrorCode, kerr.InvalidRequest)
	}
}

func TestTopicLife(t *testing.T) {
	b, cl := asked(t)
	validate := creating("life", 3, nil)
	validate.ValidateOnly = true
	if resp, err := validate.RequestWith(t.Context(), cl); err != nil || resp.Topics[0].ErrorCode != 0 || b.snap().Topic("life") != nil {
		t.Errorf("validate only: %+v, %v", resp, err)
	}
	id := mustCreate(t, cl, "life", 3)
	more := kmsg.NewPtrCreatePartitionsRequest()
	for _, c := range []struct {
		count int32
		want  *kerr.Error
	}{{3, kerr.InvalidPartitions}, {2, kerr.InvalidPartitions}, {5, nil}} {
		more.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "life", Count: c.count}}
		resp, err := more.RequestWith(t.Context(), cl)
		if err != nil {
			t.Fatal(err)
		}
		code(t, fmt.Sprint("to ", c.count), resp.Topics[0].ErrorCode, c.want)
	}
	if n := len(b.snap().Topic("life").Partitions); n != 5 {
		t.Errorf("%d partitions", n)
	}
	gone := kmsg.NewPtrDeleteTopicsRequest()
	gone.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: id}, {Topic: new("never")}, {TopicID: [16]byte{1}}}
	resp, err := gone.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []*kerr.Error{nil, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID} {
		code(t, fmt.Sprint("deletion ", i), resp.Topics[i].ErrorCode, want)
	}
	if b.snap().Topic("life") != nil || b.topics.named([]byte("life")) != nil {
		t.Error("the topic is there after its deletion was answered")
	}
}

func TestAutoCreate(t *testing.T) {
	b, cl := asked(t)
	ask := func(name string, allow bool) kmsg.MetadataResponseTopic {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = allow
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
		resp, err := req.RequestWith(t.Context(), cl)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ControllerID != 1 || len(resp.Brokers) != 1 || fmt.Sprintf("%s:%d", resp.Brokers[0].Host, resp.Brokers[0].Port) != b.Addr() {
			t.Errorf("brokers %+v, controller %d", resp.Brokers, resp.ControllerID)
		}
		return resp.Topics[0]
	}
	code(t, "not allowed", ask("auto", false).ErrorCode, kerr.UnknownTopicOrPartition)
	code(t, "bad name", ask("a/b", true).ErrorCode, kerr.InvalidTopicException)
	code(t, "internal", ask("__consumer_offsets", true).ErrorCode, kerr.InvalidTopicException)
	var wg sync.WaitGroup
	for range 8 { // one creation, whoever is first
		wg.Go(func() {
			rt := ask("auto", true)
			code(t, "auto", rt.ErrorCode, nil)
			if len(rt.Partitions) != 1 || rt.Partitions[0].Leader != 1 || rt.Partitions[0].ErrorCode != 0 {
				t.Errorf("the answer has no leader: %+v", rt)
			}
		})
	}
	wg.Wait()
}

func TestConfigsChangeAtOnce(t *testing.T) {
	b, cl := asked(t)
	mustCreate(t, cl, "tuned", 1)
	set := func(op kmsg.IncrementalAlterConfigOp, kind kmsg.ConfigResourceType, resource, name, value string) int16 {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kind, resource
		r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Op: op, Value: &value}}
		req.Resources = append(req.Resources, r)
		resp, err := cl.Broker(1).Request(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode
	}
	topic, broker := kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	produce := func() error {
		return cl.ProduceSync(t.Context(), &kgo.Record{Topic: "tuned", Value: make([]byte, 2000)}).FirstErr()
	}
	if err := produce(); err != nil {
		t.Fatal(err)
	}
	code(t, "set", set(0, topic, "tuned", "max.message.bytes", "1000"), nil)
	if err := produce(); err == nil || !strings.Contains(err.Error(), "MESSAGE_TOO_LARGE") {
		t.Errorf("a large record: %v", err)
	}
	code(t, "delete", set(1, topic, "tuned", "max.message.bytes", ""), nil)
	code(t, "for the broker", set(0, broker, "1", "message.max.bytes", "1500"), nil)
	if err := produce(); err == nil {
		t.Error("a broker's limit does not hold for a topic without its own")
	}
	code(t, "back", set(1, broker, "1", "message.max.bytes", ""), nil)
	if err := produce(); err != nil {
		t.Error(err)
	}
	code(t, "unknown", set(0, topic, "tuned", "no.such", "1"), kerr.InvalidConfig)
	code(t, "bad value", set(0, topic, "tuned", "retention.ms", "x"), kerr.InvalidConfig)
	code(t, "append to a number", set(2, topic, "tuned", "retention.ms", "5"), kerr.InvalidConfig)
	code(t, "unknown topic", set(0, topic, "nope", "retention.ms", "5"), kerr.UnknownTopicOrPartition)
	code(t, "read-only", set(0, broker, "1", "num.partitions", "5"), kerr.InvalidRequest)
	code(t, "another broker", set(0, broker, "9", "message.max.bytes", "5"), kerr.InvalidRequest)
	code(t, "flush.messages", set(0, topic, "tuned", "flush.messages", "100"), nil)
	if p, err := b.partition("tuned", 0); err != nil || p.log.Options().FlushMessages != 100 {
		t.Errorf("a setting does not reach the log: %v", err)
	}
	described := kmsg.NewPtrDescribeConfigsRequest()
	described.IncludeSynonyms, described.IncludeDocumentation = true, true
	described.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: topic, ResourceName: "tuned", ConfigNames: []string{"flush.messages", "retention.ms"}}}
	resp, err := described.RequestWith(t.Context(), cl)
	if err != nil || len(resp.Resources[0].Configs) != 2 {
		t.Fatalf("%+v, %v", resp, err)
	}
	c := resp.Resources[0].Configs[0]
	if *c.Value != "100" || c.Source != kmsg.ConfigSourceDynamicTopicConfig || len(c.ConfigSynonyms) != 2 || c.Documentation == nil {
		t.Errorf("%+v", c)
	}
}

func TestOffsetsByTime(t *testing.T) {
	_, cl := asked(t)
	mustCreate(t, cl, "times", 1)
	now := time.Now().Truncate(time.Millisecond)
	for i := range 10 {
		r := &kgo.Record{Topic: "times", Value: []byte("x"), Timestamp: now.Add(time.Duration(i) * time.Second)}
		if i == 4 {
			r.Timestamp = now.Add(time.Minute)
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	list := func(ts int64, partition int32) kmsg.ListOffsetsResponseTopicPartition {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, ts
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "times", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
		resp, err := cl.Broker(1).Request(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	}
	remove := kmsg.NewPtrDeleteRecordsRequest()
	remove.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "times", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 2}}}}
	if resp, err := cl.Broker(1).Request(t.Context(), remove); err != nil || resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].LowWatermark != 2 {
		t.Errorf("delete records: %+v, %v", resp, err)
	}
	for _, c := range []struct {
		ts, offset, at int64
	}{
		{-1, 10, -1},
		{-2, 2, -1},
		{-3, 4, now.Add(time.Minute).UnixMilli()},
		{-4, 2, -1},
		{-5, -1, -1},
		{now.UnixMilli(), 2, now.Add(2 * time.Second).UnixMilli()},
		{now.Add(3500 * time.Millisecond).UnixMilli(), 4, now.Add(time.Minute).UnixMilli()},
		{now.Add(time.Hour).UnixMilli(), -1, -1},
	} {
		p := list(c.ts, 0)
		if p.ErrorCode != 0 || p.Offset != c.offset || p.Timestamp != c.at {
			t.Errorf("timestamp %d: %+v, want offset %d at %d", c.ts, p, c.offset, c.at)
		}
	}
	code(t, "a timestamp that means nothing", list(-9, 0).ErrorCode, kerr.UnsupportedVersion)
	code(t, "no such partition", list(-1, 5).ErrorCode, kerr.UnknownTopicOrPartition)
}

func TestProducerIDsDiffer(t *testing.T) {
	_, cl := asked(t)
	seen := map[int64]bool{}
	for range 20 {
		resp, err := kmsg.NewPtrInitProducerIDRequest().RequestWith(t.Context(), cl)
		if err != nil || resp.ErrorCode != 0 || seen[resp.ProducerID] {
			t.Fatalf("%+v, %v", resp, err)
		}
		seen[resp.ProducerID] = true
	}
	tx := kmsg.NewPtrInitProducerIDRequest()
	tx.TransactionalID = new("t")
	resp, err := cl.Broker(1).Request(t.Context(), tx) // past the client's search for a coordinator
	if err != nil {
		t.Fatal(err)
	}
	code(t, "transactions", resp.(*kmsg.InitProducerIDResponse).ErrorCode, kerr.TransactionalIDAuthorizationFailed)
}
