package broker

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	clientv3 "go.etcd.io/etcd/client/v3"

	"chronik/logstore"
)

func TestDistinct(t *testing.T) {
	var got []string
	for item, twice := range distinct([]string{"a", "b", "a", "c", "a"}, func(s *string) string { return *s }) {
		if *item == "a" != twice {
			t.Errorf("%s twice: %v", *item, twice)
		}
		got = append(got, *item)
	}
	if strings.Join(got, "") != "abc" {
		t.Errorf("%q", got)
	}
}

func TestTopicNames(t *testing.T) {
	long := strings.Repeat("x", 249)
	for _, name := range []string{"a", "A.b_c-9", "...", "_", long} {
		if err := checkTopicName(name); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{
		"": "the empty string is not allowed", ".": "'.' is not allowed", "..": "'..' is not allowed",
		"a b": "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
		"ä":   "other than ASCII", "a/b": "other than ASCII", "a\x00": "other than ASCII", "a\xff": "other than ASCII",
		long + "x": "is longer than the max allowed length 249",
	} {
		if err := checkTopicName(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{{"a.b", "a_b", true}, {"a.b", "a.b", true}, {"a.b", "a-b", false}, {"a.b", "axb", false}, {"a.b", "a.bc", false}, {"a._", "a_.", true}} {
		if got := collide(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}

func TestDeleteTopicsRefuses(t *testing.T) {
	b, cl := asked(t)
	id := mustCreate(t, cl, "kept", 1)
	ask := func(topics ...kmsg.DeleteTopicsRequestTopic) []kmsg.DeleteTopicsResponseTopic {
		t.Helper()
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Topics = topics
		return direct[*kmsg.DeleteTopicsResponse](t, cl, req).Topics
	}
	name := "kept"
	named, known := kmsg.DeleteTopicsRequestTopic{Topic: &name}, kmsg.DeleteTopicsRequestTopic{TopicID: id}
	for what, topics := range map[string][]kmsg.DeleteTopicsRequestTopic{
		"name and id":         {{Topic: &name, TopicID: id}},
		"neither":             {{}},
		"twice by name":       {named, named},
		"twice by id":         {known, known},
		"by id and by name":   {known, named},
		"by name and then id": {named, known},
	} {
		got := ask(topics...)
		if len(got) != 1 || got[0].ErrorMessage == nil {
			t.Errorf("%s: %+v", what, got)
			continue
		}
		code(t, what, got[0].ErrorCode, kerr.InvalidRequest)
	}
	if b.snap().Topic("kept") == nil {
		t.Fatal("a refused deletion deletes")
	}
	if got := ask(known); got[0].ErrorCode != 0 || got[0].Topic == nil || *got[0].Topic != "kept" || got[0].TopicID != id {
		t.Errorf("by id: %+v", got)
	}
	code(t, "gone", ask(known)[0].ErrorCode, kerr.UnknownTopicID)
}

func TestDeletionDisabled(t *testing.T) {
	b, _ := started(t, t.TempDir(), map[string]string{"delete.topic.enable": "false"})
	cl := client(t, b, kgo.MaxVersions(versionsWith(20, 2)))
	mustCreate(t, cl, "kept", 1)
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{"kept"}
	code(t, "version 2", direct[*kmsg.DeleteTopicsResponse](t, cl, req).Topics[0].ErrorCode, kerr.InvalidRequest)
	cl = client(t, b)
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: new("kept")}}
	code(t, "version 6", direct[*kmsg.DeleteTopicsResponse](t, cl, req).Topics[0].ErrorCode, kerr.TopicDeletionDisabled)
	if b.snap().Topic("kept") == nil {
		t.Error("the topic is gone")
	}
}

// A created topic is led when its creation is answered.
func TestCreatedTopicIsLed(t *testing.T) {
	b, cl := asked(t)
	mustCreate(t, cl, "wide", 300)
	for n := range int32(300) {
		if _, err := b.partition("wide", n); err != nil {
			t.Fatalf("partition %d: %v", n, err)
		}
	}
	more := kmsg.NewPtrCreatePartitionsRequest()
	more.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "wide", Count: 310}}
	code(t, "more", direct[*kmsg.CreatePartitionsResponse](t, cl, more).Topics[0].ErrorCode, nil)
	for n := range int32(310) {
		if _, err := b.partition("wide", n); err != nil {
			t.Fatalf("partition %d: %v", n, err)
		}
	}
}

func TestCreatePartitionsRefuses(t *testing.T) {
	_, cl := asked(t)
	mustCreate(t, cl, "two", 2)
	assigned := func(count int32, replicas ...[]int32) kmsg.CreatePartitionsRequestTopic {
		rt := kmsg.CreatePartitionsRequestTopic{Topic: "two", Count: count, Assignment: []kmsg.CreatePartitionsRequestTopicAssignment{}}
		for _, r := range replicas {
			rt.Assignment = append(rt.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: r})
		}
		return rt
	}
	for what, c := range map[string]struct {
		topics []kmsg.CreatePartitionsRequestTopic
		want   *kerr.Error
	}{
		"unknown":             {[]kmsg.CreatePartitionsRequestTopic{{Topic: "none", Count: 5}}, kerr.UnknownTopicOrPartition},
		"twice":               {[]kmsg.CreatePartitionsRequestTopic{{Topic: "two", Count: 5}, {Topic: "two", Count: 6}}, kerr.InvalidRequest},
		"too many":            {[]kmsg.CreatePartitionsRequestTopic{{Topic: "two", Count: 10_001}}, kerr.PolicyViolation},
		"negative":            {[]kmsg.CreatePartitionsRequestTopic{{Topic: "two", Count: -1}}, kerr.InvalidPartitions},
		"too few assigned":    {[]kmsg.CreatePartitionsRequestTopic{assigned(4, []int32{1})}, kerr.InvalidReplicaAssignment},
		"none assigned":       {[]kmsg.CreatePartitionsRequestTopic{assigned(3)}, kerr.InvalidReplicaAssignment},
		"to an unknown":       {[]kmsg.CreatePartitionsRequestTopic{assigned(3, []int32{9})}, kerr.InvalidReplicaAssignment},
		"to nobody":           {[]kmsg.CreatePartitionsRequestTopic{assigned(3, []int32{})}, kerr.InvalidReplicaAssignment},
		"to one broker twice": {[]kmsg.CreatePartitionsRequestTopic{assigned(3, []int32{1, 1})}, kerr.InvalidReplicaAssignment},
	} {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Topics = c.topics
		resp := direct[*kmsg.CreatePartitionsResponse](t, cl, req)
		if len(resp.Topics) != 1 {
			t.Errorf("%s: %+v", what, resp)
		}
		code(t, what, resp.Topics[0].ErrorCode, c.want)
	}
}

// garbled has a value of the metadata be one that cannot be read, and nothing remember
// what was there before.
func garbled(t *testing.T, b *Broker, key string) {
	t.Helper()
	cl, err := clientv3.New(clientv3.Config{Endpoints: []string{b.EtcdAddr()}})
	if err != nil {
		t.Fatal(err)
	}
	put, err := cl.Put(t.Context(), "/chronik/"+key, "a typo")
	if err == nil {
		_, err = cl.Compact(t.Context(), put.Header.Revision)
	}
	if err := errors.Join(err, cl.Close()); err != nil {
		t.Fatal(err)
	}
}

// A topic whose key cannot be read is not taken for deleted: its records stay in place.
func TestUnreadableTopicKeepsItsLogs(t *testing.T) {
	dir := t.TempDir()
	b, stop := started(t, dir, nil)
	produceAll(t, client(t, b, kgo.AllowAutoTopicCreation()), "t", 10)
	id := logstore.ID{Topic: b.snap().Topic("t").ID}
	garbled(t, b, "topics/t")
	stop()
	b, _ = started(t, dir, nil)
	if l := b.store.Log(id); l == nil || l.End() != 10 {
		t.Errorf("the log is out of service: %+v", l)
	}
}

// A partition whose key cannot be read has nobody lead it. The other topics go on.
func TestUnreadablePartition(t *testing.T) {
	dir := t.TempDir()
	b, stop := started(t, dir, nil)
	cl := client(t, b, kgo.AllowAutoTopicCreation())
	produceAll(t, cl, "t", 10)
	produceAll(t, cl, "other", 10)
	garbled(t, b, "topics/t/0")
	stop()
	b, _ = started(t, dir, nil)
	if err := b.balance(t.Context()); err != nil {
		t.Error(err)
	}
	consumeAll(t, b, "other", 10)
	req := kmsg.NewPtrCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = "t", 2
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), client(t, b))
	if err != nil || resp.Topics[0].ErrorCode == 0 {
		t.Errorf("how many replicas are to be added to those that cannot be read? %v %+v", err, resp)
	}
}
