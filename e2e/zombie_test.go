package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// askCoordinator asks one node for what only a group's coordinator answers.
type askCoordinator struct {
	conn  *rawConn
	group string
	topic string
}

func (a askCoordinator) commit(offset int64) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 8, a.group, -1
	rt, rp := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	rt.Topic, rp.Offset, rp.LeaderEpoch = a.topic, offset, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := a.conn.exchange(req, 10*time.Second)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
}

func (a askCoordinator) request() *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = 7, a.group
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: a.topic, Partitions: []int32{0}}}
	return req
}

func fetchedOffset(resp kmsg.Response, err error) (int64, error) {
	if err != nil {
		return -1, err
	}
	r := resp.(*kmsg.OffsetFetchResponse)
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return -1, err
	}
	return r.Topics[0].Partitions[0].Offset, kerr.ErrorForCode(r.Topics[0].Partitions[0].ErrorCode)
}

func (a askCoordinator) offset() (int64, error) {
	return fetchedOffset(a.conn.exchange(a.request(), 10*time.Second))
}

// A coordinator that was paused for longer than its lease does not tell what it still has
// in memory: others have taken over, and newer offsets are committed.
func TestClusterPausedCoordinator(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "read")
	createReplicated(t, c.Bootstrap(), topic, 1, nil)
	n := &nemesis{t: t, c: c, topic: topic}
	paused := n.coordinator()
	old := askCoordinator{dialRaw(t, paused.Kafka), groupOf(topic), topic}
	eventually(t, 20*time.Second, func() error { return old.commit(100) })
	if offset, err := old.offset(); offset != 100 || err != nil {
		t.Fatalf("offset %d, %v", offset, err)
	}
	paused.Freeze()
	began := time.Now()
	late := old.request()
	old.conn.send(old.conn.frame(late))
	heart := dialRaw(t, paused.Kafka)
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Version, beat.Group, beat.MemberID, beat.Generation = 4, groupOf(topic), "nobody", 1
	heart.send(heart.frame(beat))
	c.waitDead(paused)
	eventually(t, 30*time.Second, func() error {
		next := n.coordinator()
		if next == paused {
			return fmt.Errorf("node %d passes for the coordinator", paused.ID)
		}
		return askCoordinator{dialRaw(t, next.Kafka), groupOf(topic), topic}.commit(200)
	})
	n.quiet(time.Until(began.Add(15 * time.Second)))
	paused.Thaw()
	p, err := old.conn.readFrame(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	offset, err := fetchedOffset(decode(late, old.conn.cor, p))
	if err == nil || !kerr.IsRetriable(err) {
		t.Errorf("the old coordinator tells offset %d, error %v, after 200 was committed elsewhere", offset, err)
	}
	p, err = heart.readFrame(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := decode(beat, heart.cor, p)
	if err != nil {
		t.Fatal(err)
	}
	if code := resp.(*kmsg.HeartbeatResponse).ErrorCode; code != kerr.NotCoordinator.Code {
		t.Errorf("the old coordinator answers a heartbeat with %v", kerr.ErrorForCode(code))
	}
	paused.WaitReady()
	c.WaitFullISR("__consumer_offsets")
}

// A leader that was paused does not tell a consumer that it is past the end: others lead,
// and their log goes on. Nor that the epoch in which they do is none.
func TestClusterPausedLeaderRange(t *testing.T) {
	c := StartCluster(t, 3, "--lease-ttl", "4s")
	topic := topicName(t, "read")
	createReplicated(t, c.Bootstrap(), topic, 1, nil)
	leader := c.Leader(topic, 0)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version, fetch.MaxBytes, fetch.SessionEpoch = 11, 1000, -1
	ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	ft.Topic, fp.FetchOffset, fp.PartitionMaxBytes, fp.CurrentLeaderEpoch = topic, 100, 1000, -1
	ft.Partitions = append(ft.Partitions, fp)
	fetch.Topics = append(fetch.Topics, ft)
	ends := kmsg.NewPtrOffsetForLeaderEpochRequest()
	ends.Version, ends.ReplicaID = 4, -1
	et, ep := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	et.Topic, ep.LeaderEpoch, ep.CurrentLeaderEpoch = topic, 7, -1
	et.Partitions = append(et.Partitions, ep)
	ends.Topics = append(ends.Topics, et)
	a, b := dialRaw(t, leader.Kafka), dialRaw(t, leader.Kafka)
	eventually(t, 10*time.Second, func() error { // the topic is on its way to the leader
		if code := a.ask(fetch).(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode; code != kerr.OffsetOutOfRange.Code {
			return fmt.Errorf("past the end: error %v", kerr.ErrorForCode(code))
		}
		return nil
	})
	leader.Freeze()
	a.send(a.frame(fetch))
	b.send(b.frame(ends))
	c.waitDead(leader)
	leader.Thaw()
	answer := func(conn *rawConn, req kmsg.Request) kmsg.Response {
		t.Helper()
		p, err := conn.readFrame(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := decode(req, conn.cor, p)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if code := answer(a, fetch).(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode; code != kerr.NotLeaderForPartition.Code {
		t.Errorf("past the end of a leader that was replaced: error %v", kerr.ErrorForCode(code))
	}
	switch code := answer(b, ends).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0].ErrorCode; code {
	case kerr.NotLeaderForPartition.Code, kerr.UnknownLeaderEpoch.Code:
	default:
		t.Errorf("the end of a later epoch, of a leader that was replaced: error %v", kerr.ErrorForCode(code))
	}
}

// Without a quorum of etcd nobody renews a lease, and groups go on all the same: what a
// coordinator answers is proved by a record that the in-sync replicas fetch.
func TestClusterCoordinatorWithoutQuorum(t *testing.T) {
	n, servers := startField(t, field{nodes: 3, network: true}, 1)
	topic := topicName(t, "read")
	createReplicated(t, servers, topic, 1, nil)
	n.topic = topic
	at := askCoordinator{dialRaw(t, n.coordinator().Kafka), groupOf(topic), topic}
	eventually(t, 20*time.Second, func() error { return at.commit(1) })
	for i, node := range n.c.Nodes {
		n.net.block(node, n.c.Nodes[i+1:], bothWays, func(n *Node) string { return n.Peer })
	}
	began, slowest := time.Now(), time.Duration(0)
	for next := int64(2); time.Since(began) < 9*time.Second; next++ {
		asked := time.Now()
		if err := at.commit(next); err != nil {
			t.Fatalf("commit of %d, %v without a quorum: %v", next, time.Since(began), err)
		}
		if offset, err := at.offset(); offset != next || err != nil {
			t.Fatalf("committed %d, %v without a quorum, read %d: %v", next, time.Since(began), offset, err)
		}
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Version, beat.Group, beat.MemberID, beat.Generation = 4, groupOf(topic), "nobody", 1
		resp, err := at.conn.exchange(beat, 10*time.Second)
		if err != nil || resp.(*kmsg.HeartbeatResponse).ErrorCode != kerr.UnknownMemberID.Code {
			t.Fatalf("heartbeat %v without a quorum: %v %v", time.Since(began), resp, err)
		}
		slowest = max(slowest, time.Since(asked))
		n.quiet(100 * time.Millisecond)
	}
	t.Logf("a commit, its fetch and a heartbeat took at most %v", slowest.Round(time.Millisecond))
	for _, node := range n.c.Nodes {
		n.net.heal(node)
	}
	n.c.WaitAllReady()
}

// A leader that was cut off from all others, and is not any more, tells nobody that it
// leads from when it knows that its life is over, long as it may take to learn who does.
func TestClusterIsolatedLeaderReturns(t *testing.T) {
	n, servers := startField(t, field{nodes: 3, network: true}, 1)
	topic := topicName(t, "read")
	createReplicated(t, servers, topic, 1, nil)
	old := n.c.Leader(topic, 0)
	epoch := func() (leader, epoch int32) {
		d, err := described(t, old.Kafka, topic)
		if err != nil {
			return -1, -1
		}
		return d.Partitions[0].Leader, d.Partitions[0].LeaderEpoch
	}
	_, was := epoch()
	n.net.block(old, n.c.others(old), bothWays, nil)
	n.quiet(12 * time.Second)
	n.net.heal(old)
	healed := time.Now()
	eventually(t, 30*time.Second, func() error {
		over := strings.Contains(old.Log(1<<20), "session lost")
		leader, now := epoch()
		if over && now == was && leader == int32(old.ID) {
			return fmt.Errorf("%w: node %d names itself leader of epoch %d after its life was over", errHopeless, old.ID, now)
		}
		if leader < 1 || now == was {
			return fmt.Errorf("leader %d in epoch %d", leader, now)
		}
		return nil
	})
	t.Logf("it tells who leads now %v after it is reached again", time.Since(healed).Round(time.Millisecond))
	n.c.WaitAllReady()
	t.Logf("and is back after %v", time.Since(healed).Round(time.Millisecond))
}
