package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// askedCoordinator asks for the coordinator of a group.
func askedCoordinator(t *testing.T, cl *kgo.Client) error {
	t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g"}
	found := direct[*kmsg.FindCoordinatorResponse](t, cl, req).Coordinators[0]
	if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
		return fmt.Errorf("%w: %s", err, *found.ErrorMessage)
	}
	return nil
}

// __consumer_offsets gets the replicas that are wanted, or is not made yet.
func TestOffsetsTopicWaits(t *testing.T) {
	b, _ := started(t, t.TempDir(), map[string]string{"offsets.topic.replication.factor": "2"})
	if err := askedCoordinator(t, client(t, b)); err == nil || !strings.Contains(err.Error(), "1 are registered") || !strings.HasPrefix(err.Error(), "COORDINATOR_NOT_AVAILABLE") {
		t.Errorf("one broker for two replicas: %v", err)
	}
	if b.snap().Topic(offsetsTopic) != nil {
		t.Error("the topic is there")
	}
	b, _ = started(t, t.TempDir(), nil)
	eventually(t, func() error { return askedCoordinator(t, client(t, b)) })
}

// A broker that may coordinate a group in a moment says that it loads: another may have named it
// already, and a client that is sent away asks around.
func TestNewCoordinatorLoads(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": "false"})
	err := ns.node(1).createTopic(t.Context(), meta.NewTopic{Name: offsetsTopic, ID: meta.NewID(), Replicas: [][]int32{{1, 2}}})
	if err != nil {
		t.Fatal(err)
	}
	ns.known(offsetsTopic)
	b := ns.node(2)
	commit := func() error {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group = 8, "g"
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.Partitions = offsetsTopic, append(rt.Partitions, kmsg.NewOffsetCommitRequestTopicPartition())
		req.Topics = append(req.Topics, rt)
		resp, err := ns.ask(2, req.Version, req)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
	}
	life, lose := ns.losing(2, 1)
	lose(time.Now().Add(time.Minute))
	if err := commit(); !errors.Is(err, kerr.CoordinatorLoadInProgress) {
		t.Errorf("the coordinator is dead: %v", err)
	}
	b.peers.note(1, func(o *observed) { o.answered(life.epoch, false, time.Now()) })
	if err := commit(); !errors.Is(err, kerr.NotCoordinator) {
		t.Errorf("the coordinator lives: %v", err)
	}

	b.topics.mu.Lock()
	taken := sync.OnceFunc(b.topics.mu.Unlock)
	defer taken() // before the nodes stop
	ns.elected(offsetsTopic, 2)
	if err := commit(); !errors.Is(err, kerr.CoordinatorLoadInProgress) {
		t.Errorf("won, and not taken up: %v", err)
	}
	assign := kmsg.NewPtrSyncGroupRequest()
	assign.Group, assign.MemberID = "g", "m"
	resp, err := ns.ask(2, 5, assign)
	if err != nil || resp.(*kmsg.SyncGroupResponse).ErrorCode != kerr.RebalanceInProgress.Code {
		t.Errorf("an assignment meanwhile: %+v, %v", resp, err)
	}
	taken()
	eventually(t, commit)
}
