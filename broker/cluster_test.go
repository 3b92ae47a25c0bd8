package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// versionsWith bounds the version of one request.
func versionsWith(key, version int16) *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(key, version)
	return v
}

func TestDescribeTopicPartitionsPages(t *testing.T) {
	_, cl := asked(t)
	mustCreate(t, cl, "a", 3)
	mustCreate(t, cl, "b", 2)
	mustCreate(t, cl, "c", 1)
	type cursor = kmsg.DescribeTopicPartitionsRequestCursor
	ask := func(limit int32, from *cursor, names ...string) string {
		t.Helper()
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = limit, from
		for _, name := range names {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
		resp := direct[*kmsg.DescribeTopicPartitionsResponse](t, cl, req)
		var text []string
		for _, rt := range resp.Topics {
			var line strings.Builder
			line.WriteString(*rt.Topic)
			if rt.ErrorCode != 0 {
				line.WriteString(" " + kerr.ErrorForCode(rt.ErrorCode).(*kerr.Error).Message)
			}
			for _, rp := range rt.Partitions {
				line.WriteString(fmt.Sprint(" ", rp.Partition))
			}
			text = append(text, line.String())
		}
		if next := resp.NextCursor; next != nil {
			text = append(text, fmt.Sprintf("then %s %d", next.Topic, next.Partition))
		}
		return strings.Join(text, ", ")
	}
	for _, c := range []struct{ what, got, want string }{
		{"all", ask(100, nil), "a 0 1 2, b 0 1, c 0"},
		{"sorted, once", ask(100, nil, "c", "a", "c"), "a 0 1 2, c 0"},
		{"a page", ask(2, nil, "a", "b", "c"), "a 0 1, then a 2"},
		{"a page that ends a topic", ask(3, nil, "a", "b", "c"), "a 0 1 2, then b 0"},
		{"the second page", ask(2, &cursor{Topic: "a", Partition: 2}, "a", "b", "c"), "a 2, b 0, then b 1"},
		{"no limit", ask(-1, nil, "a"), "a 0, then a 1"},
		{"a page of all", ask(3, &cursor{Topic: "aa", Partition: 7}), "b 0 1, c 0"},
		{"past the end of a topic", ask(2, &cursor{Topic: "b", Partition: 9}, "b", "c"), "b, c 0"},
		{"past the end", ask(2, &cursor{Topic: "zz"}), ""},
		{"a cursor that is not asked for", ask(2, &cursor{Topic: "b"}, "a", "c"), "a INVALID_REQUEST, c INVALID_REQUEST"},
		{"a negative cursor", ask(2, &cursor{Topic: "a", Partition: -1}, "a"), "a INVALID_REQUEST"},
		{"unknown and wrong", ask(9, nil, "a b", "no"), "a b INVALID_TOPIC_EXCEPTION, no UNKNOWN_TOPIC_OR_PARTITION"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
}

func TestDescribeLogDirsOfSome(t *testing.T) {
	_, cl := asked(t)
	mustCreate(t, cl, "a", 3)
	mustCreate(t, cl, "b", 1)
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "b", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ask := func(topics ...kmsg.DescribeLogDirsRequestTopic) string {
		t.Helper()
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Topics = topics
		resp := direct[*kmsg.DescribeLogDirsResponse](t, cl, req)
		d := resp.Dirs[0]
		if len(resp.Dirs) != 1 || !strings.HasPrefix(d.Dir, "/") || d.UsableBytes <= 0 || d.TotalBytes < d.UsableBytes {
			t.Errorf("%+v", d)
		}
		var text []string
		for _, dt := range d.Topics {
			for _, dp := range dt.Partitions {
				text = append(text, fmt.Sprintf("%s-%d %v", dt.Topic, dp.Partition, dp.Size > 0))
			}
		}
		return strings.Join(text, ", ")
	}
	some := func(topic string, partitions ...int32) kmsg.DescribeLogDirsRequestTopic {
		return kmsg.DescribeLogDirsRequestTopic{Topic: topic, Partitions: partitions}
	}
	for _, c := range []struct{ what, got, want string }{
		{"all", ask(), "a-0 false, a-1 false, a-2 false, b-0 true"},
		{"two of one", ask(some("a", 2, 0, 9)), "a-0 false, a-2 false"},
		{"a topic twice", ask(some("a", 2), some("a", 1), some("none", 0)), "a-1 false, a-2 false"},
		{"no partition", ask(some("a")), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
}

func TestDescribeCluster(t *testing.T) {
	b, cl := asked(t)
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeClusterAuthorizedOperations, req.IncludeFencedBrokers = true, true
	resp := direct[*kmsg.DescribeClusterResponse](t, cl, req)
	if resp.ErrorCode != 0 || resp.ClusterID != b.snap().Cluster().ID || resp.ControllerID != 1 || len(resp.Brokers) != 1 ||
		resp.Brokers[0].IsFenced || resp.ClusterAuthorizedOperations != 8096 {
		t.Errorf("%+v", resp)
	}
	req.EndpointType = 2
	code(t, "controllers", direct[*kmsg.DescribeClusterResponse](t, cl, req).ErrorCode, kerr.MismatchedEndpointType)
	req.EndpointType = 3
	code(t, "what is that", direct[*kmsg.DescribeClusterResponse](t, cl, req).ErrorCode, kerr.UnsupportedEndpointType)
}

func TestMetadataByID(t *testing.T) {
	b, cl := asked(t)
	id := mustCreate(t, cl, "known", 2)
	other := "other"
	ask := func(cl *kgo.Client, topics ...kmsg.MetadataRequestTopic) []kmsg.MetadataResponseTopic {
		t.Helper()
		req := kmsg.NewPtrMetadataRequest()
		req.Topics, req.IncludeTopicAuthorizedOperations = topics, true
		resp := direct[*kmsg.MetadataResponse](t, cl, req)
		if len(resp.Brokers) != 1 || resp.ControllerID != 1 {
			t.Errorf("%+v", resp)
		}
		return resp.Topics
	}
	got := ask(cl, kmsg.MetadataRequestTopic{TopicID: id}, kmsg.MetadataRequestTopic{TopicID: id})
	if len(got) != 1 || got[0].Topic == nil || *got[0].Topic != "known" || len(got[0].Partitions) != 2 || got[0].AuthorizedOperations != 3576 {
		t.Errorf("%+v", got)
	}
	if got := ask(cl, kmsg.MetadataRequestTopic{TopicID: id, Topic: &other}); got[0].Topic == nil || *got[0].Topic != "known" {
		t.Errorf("the id rules: %+v", got)
	}
	unknown := ask(cl, kmsg.MetadataRequestTopic{TopicID: [16]byte{1}})
	code(t, "unknown", unknown[0].ErrorCode, kerr.UnknownTopicID)
	if unknown[0].Topic != nil || unknown[0].TopicID != [16]byte{1} {
		t.Errorf("%+v", unknown)
	}
	old := client(t, b, kgo.MaxVersions(versionsWith(3, 10)))
	code(t, "version 10", ask(old, kmsg.MetadataRequestTopic{TopicID: id, Topic: &other})[0].ErrorCode, kerr.InvalidRequest)
}

// A name that only differs in '.' and '_' is refused however a topic is made.
func TestAutoCreateRefusesCollision(t *testing.T) {
	b, cl := asked(t)
	mustCreate(t, cl, "a.b", 1)
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = true
	name := "a_b"
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	code(t, "collision", direct[*kmsg.MetadataResponse](t, cl, req).Topics[0].ErrorCode, kerr.InvalidTopicException)
	if b.snap().Topic("a_b") != nil {
		t.Error("it is there")
	}
}

func TestOffsetsNamedTwice(t *testing.T) {
	_, cl := asked(t)
	mustCreate(t, cl, "t", 2)
	for range 5 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: 0, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	list := kmsg.NewPtrListOffsetsRequest()
	list.ReplicaID = -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = latestTimestamp
	other := p
	other.Partition = 1
	list.Topics = []kmsg.ListOffsetsRequestTopic{
		{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p, other, p}},
		{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}},
	}
	got := direct[*kmsg.ListOffsetsResponse](t, cl, list).Topics
	if len(got) != 1 || len(got[0].Partitions) != 2 {
		t.Fatalf("%+v", got)
	}
	code(t, "twice", got[0].Partitions[0].ErrorCode, kerr.InvalidRequest)
	code(t, "once", got[0].Partitions[1].ErrorCode, nil)
}
