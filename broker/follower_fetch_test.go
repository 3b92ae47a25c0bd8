package broker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"chronik/logstore"
)

// fetchAs fetches partition 0 of topic t from its leader.
func fetchAs(ns *nodes, change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) (*kmsg.FetchResponse, error) {
	ns.t.Helper()
	leader := ns.leaderOf("t")
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionEpoch = 17, 1<<20, -1
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rt.TopicID = "t", leader.snap().Topic("t").ID
	rp.PartitionMaxBytes, rp.CurrentLeaderEpoch, rp.LastFetchedEpoch = 1<<20, -1, -1
	change(req, &rp)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	opts := []kgo.Opt{kgo.RequestRetries(0)}
	if req.Version < 17 { // the client chooses the version
		opts = append(opts, kgo.MaxVersions(kversion.V2_8_0()))
	}
	cl := client(ns.t, leader, opts...)
	defer cl.Close()
	resp, err := cl.Broker(int(leader.cfg.NodeID)).Request(ns.t.Context(), req)
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.FetchResponse), nil
}

// Only a replica, in its present life and the leader's epoch, reads what is not
// committed, and counts for what is.
func TestFollowerFetchRules(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"replica.lag.time.max.ms": "60000"})
	ns.created("t", nil, 1, 2)
	produceAll(t, ns.client(), "t", 10)
	defer ns.held(2, "t")()
	go func() { _ = produceOne(ns, "t", "not committed", 1) }()
	p, err := ns.node(1).partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if p.log.Acked() != 11 {
			return fmt.Errorf("the log ends at %d", p.log.End())
		}
		return nil
	})
	epoch := func(id int32) int64 { e, _ := ns.node(1).snap().Live(id); return e }
	for name, c := range map[string]struct {
		change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)
		whole  error
		err    error
		bytes  bool
	}{
		"a consumer at the high watermark": {func(_ *kmsg.FetchRequest, rp *kmsg.FetchRequestTopicPartition) { rp.FetchOffset = 10 }, nil, nil, false},
		"a consumer below it":              {func(_ *kmsg.FetchRequest, rp *kmsg.FetchRequestTopicPartition) { rp.FetchOffset = 5 }, nil, nil, true},
		"a replica of another life": {func(req *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
			req.ReplicaState.ID, req.ReplicaState.Epoch = 2, epoch(2)-1
		}, kerr.StaleBrokerEpoch, nil, false},
		"a replica without a life": {func(req *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { req.ReplicaState.ID = 2 }, kerr.StaleBrokerEpoch, nil, false},
		"a broker that is no replica": {func(req *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
			req.ReplicaState.ID, req.ReplicaState.Epoch = 3, epoch(3)
		}, nil, kerr.ReplicaNotAvailable, false},
		"the leader itself": {func(req *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
			req.ReplicaState.ID, req.ReplicaState.Epoch = 1, epoch(1)
		}, nil, kerr.ReplicaNotAvailable, false},
		"a leader epoch to come": {func(_ *kmsg.FetchRequest, rp *kmsg.FetchRequestTopicPartition) { rp.CurrentLeaderEpoch = 7 }, nil, kerr.UnknownLeaderEpoch, false},
		"a replica, without its flushed end": {func(req *kmsg.FetchRequest, rp *kmsg.FetchRequestTopicPartition) {
			req.ReplicaState.ID, req.ReplicaState.Epoch, rp.FetchOffset, rp.LastFetchedEpoch = 2, epoch(2), 10, 0
		}, nil, nil, true},
	} {
		resp, err := fetchAs(ns, c.change)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := kerr.ErrorForCode(resp.ErrorCode); got != c.whole {
			t.Errorf("%s: %v, want %v", name, got, c.whole)
		}
		if c.whole != nil {
			continue
		}
		rp := resp.Topics[0].Partitions[0]
		if got := kerr.ErrorForCode(rp.ErrorCode); got != c.err || (len(rp.RecordBatches) > 0) != c.bytes {
			t.Errorf("%s: %v and %d bytes, want %v", name, got, len(rp.RecordBatches), c.err)
		}
	}
	if hw := p.hw(); hw != 10 {
		t.Errorf("high watermark %d: a follower that told no flushed end counted", hw)
	}
	if _, err := fetchAs(ns, func(req *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { req.Version, req.ReplicaID = 12, 2 }); err == nil {
		t.Error("a follower's fetch of a version without broker epochs was answered")
	}
}

// A follower whose last record is of an epoch that left nothing here is told where the
// histories part.
func TestDivergence(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	produceAll(t, client(t, b, kgo.AllowAutoTopicCreation()), "t", 10)
	p, err := b.partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	later := &partition{topic: p.topic, epoch: 5, log: p.log, begin: p.log.End()}
	for _, c := range []struct {
		offset    int64
		lastEpoch int32
		epoch     int32
		end       int64
	}{
		{12, 3, 0, 10}, {10, 3, 0, 10}, {12, 0, 0, 10}, {12, 5, 5, 10},
	} {
		fp := &fetchPartition{offset: c.offset, lastEpoch: c.lastEpoch, replica: 2}
		d, ok := fp.checkHistory(later).(*diverged)
		if !ok || d.at.Epoch != c.epoch || d.at.Offset != c.end {
			t.Errorf("%+v: %+v", c, d)
		}
	}
	if err := (&fetchPartition{offset: 10, lastEpoch: 0, replica: 2}).checkHistory(later); err != nil {
		t.Error(err)
	}
	empty := &partition{topic: p.topic, epoch: 5, log: logOf(t, b)}
	for _, lastEpoch := range []int32{0, 3} {
		d, ok := (&fetchPartition{offset: 12, lastEpoch: lastEpoch, replica: 2}).checkHistory(empty).(*diverged)
		if !ok || d.at.Epoch != -1 || d.at.Offset != 0 {
			t.Errorf("an empty leader: %+v", d)
		}
	}
}

// A leader without any record that starts above 0, as all were deleted while it was down,
// agrees with who has those below its start.
func TestNoRecordsAboveTheStart(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	log, err := b.store.Restart(logstore.ID{Topic: [16]byte{9}}, 100, logstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &partition{epoch: 5, log: log, begin: log.End()}
	for _, replica := range []int32{-1, 2} {
		at := func(offset int64) error {
			return (&fetchPartition{offset: offset, lastEpoch: 3, replica: replica}).checkHistory(p)
		}
		if err := at(100); err != nil {
			t.Errorf("replica %d, at its start: %v", replica, err)
		}
		if err := at(50); !errors.Is(err, kerr.OffsetOutOfRange) {
			t.Errorf("replica %d, below it: %v", replica, err)
		}
		if d, ok := at(120).(*diverged); !ok || d.at.Epoch != 3 || d.at.Offset != 100 {
			t.Errorf("replica %d, above it: %v", replica, d)
		}
	}
}
