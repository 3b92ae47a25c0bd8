package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// full says whether the counts are those of make rounds.
func full() bool { return os.Getenv("CHRONIK_ROUNDS") == "full" }

// Committed offsets are what a consumer finds again after the broker was killed.
func TestGroupResumesAfterKill(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	rounds, records := 3, 2000
	if full() {
		rounds = 20
	}
	seen := make([]int, rounds*records)
	for round := range rounds {
		produce(t, n.Kafka, topic, records, plainRecord)
		cl := newClient(t, n.Kafka, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.InstanceID("one"))
		committed := consumeSome(t, cl, records/2, seen)
		n.Kill9()
		n.Start()
		n.WaitReady()
		if first := consumeAfter(t, cl, committed, (round+1)*records, seen); first > committed {
			t.Fatalf("round %d: went on at %d, committed was %d", round, first, committed)
		}
		cl.Close()
		got, err := newAdmin(t, n.Kafka).FetchOffsets(t.Context(), "readers")
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := got.Lookup(topic, 0); o.At != int64((round+1)*records) {
			t.Fatalf("round %d: committed %d, want %d", round, o.At, (round+1)*records)
		}
	}
	for offset, times := range seen {
		if times == 0 {
			t.Fatalf("offset %d was never consumed", offset)
		}
	}
}

// consumeSome consumes at least n records, commits and returns the committed offset.
func consumeSome(t *testing.T, cl *kgo.Client, n int, seen []int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	last := 0
	for got := 0; got < n; {
		fs := cl.PollRecords(ctx, n-got)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", got, n, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			seen[r.Offset]++
			got, last = got+1, int(r.Offset)+1
		})
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	return last
}

// consumeAfter consumes up to end, commits and returns the first offset that came.
func consumeAfter(t *testing.T, cl *kgo.Client, committed, end int, seen []int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	first := -1
	for next := committed; next < end; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("at %d of %d: %v", next, end, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			seen[r.Offset]++
			if next = int(r.Offset) + 1; first < 0 {
				first = int(r.Offset)
			}
		})
	}
	for ctx.Err() == nil { // a rebalance may come between
		if err := cl.CommitUncommittedOffsets(ctx); err == nil {
			return first
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("not committed")
	return first
}

// commits sends OffsetCommit requests, each of the group that it names and for the partitions
// 0..n-1, and keeps a few in flight.
func commits(t *testing.T, addr, topic string, partitions, requests int, group func(i int) string) {
	t.Helper()
	c := dialRaw(t, addr)
	send := func(i int) {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 8, group(i), -1
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic = topic
		for p := range partitions {
			rp := kmsg.NewOffsetCommitRequestTopicPartition()
			rp.Partition, rp.Offset = int32(p), int64(i)
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		c.send(c.frame(req))
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version = 8
	const inFlight = 8
	for i := range requests + inFlight {
		if i < requests {
			send(i)
		}
		if i < inFlight {
			continue
		}
		p, err := c.readFrame(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := decode(req, int32(i-inFlight+1), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, rp := range resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions {
			if rp.ErrorCode != 0 {
				t.Fatalf("commit %d: %v", i-inFlight, kerr.ErrorForCode(rp.ErrorCode))
			}
		}
	}
}

// A million commits in one partition of __consumer_offsets are read back at once: those of
// one group, and those of a thousand groups, which are as many offsets.
func TestMillionCommitsLoad(t *testing.T) {
	for name, group := range map[string]func(int) string{
		"one group":   func(int) string { return "committer" },
		"many groups": func(i int) string { return fmt.Sprintf("committer-%d", i) },
	} {
		t.Run(name, func(t *testing.T) { millionCommits(t, group) })
	}
}

func millionCommits(t *testing.T, group func(int) string) {
	n := StartNode(t, NodeConfig{Args: []string{"--set", "offsets.topic.num.partitions=1"}})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1000, nil)
	coordinated(t, n.Kafka, group(0))
	requests := 100
	if full() {
		requests = 1000
	}
	began := time.Now()
	commits(t, n.Kafka, topic, 1000, requests, group)
	t.Logf("%d commits took %v", requests*1000, time.Since(began).Round(time.Millisecond))
	n.Kill9()
	n.Start()
	n.WaitReady()
	began = time.Now()
	got, err := newAdmin(t, n.Kafka).FetchOffsets(t.Context(), group(requests-1))
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := got.Lookup(topic, 999); !ok || o.At != int64(requests-1) {
		t.Errorf("partition 999 has %+v, want %d", o, requests-1)
	}
	t.Logf("%d offset records: served %v after ready, memory %d MiB (%s)", requests*1000, time.Since(began).Round(time.Millisecond), rss(t, n)>>20, lastLine(n.Log(1<<16), "groups loaded"))
}

// lastLine is the last line that holds text.
func lastLine(log, text string) string {
	found := "not logged"
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			found = strings.TrimSpace(line)
		}
	}
	return found
}

// coordinated waits until a group has a coordinator.
func coordinated(t *testing.T, addr, group string) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		found := newAdmin(t, addr).FindGroupCoordinators(t.Context(), group)
		return errors.Join(found.Error(), found[group].Err)
	})
}

// A thousand members join one group, and join it again when one leaves.
func TestThousandMembers(t *testing.T) {
	for _, delay := range []string{"0", "3000"} {
		t.Run("delay "+delay, func(t *testing.T) { thousandMembers(t, delay) })
	}
}

func thousandMembers(t *testing.T, delay string) {
	n := StartNode(t, NodeConfig{Args: []string{"--set", "group.initial.rebalance.delay.ms=" + delay}})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	members := 100
	if full() {
		members = 1000
	}
	coordinated(t, n.Kafka, "crowd")
	g := &crowd{t: t, addr: n.Kafka, topic: topic, members: make([]*crowdMember, members)}
	for i := range g.members {
		g.members[i] = &crowdMember{conn: dialRaw(t, n.Kafka)}
	}
	before := rss(t, n)
	took := g.rebalance(g.members)
	t.Logf("%d members: stable after %v with %s ms of initial delay, memory %d → %d MiB", members, took.Round(time.Millisecond), delay, before>>20, rss(t, n)>>20)
	g.leave(g.members[0])
	t.Logf("one left: the next generation after %v", g.rebalance(g.members[1:]).Round(time.Millisecond))
}

// crowd is many members of one group, without a client's own timing.
type crowd struct {
	t           *testing.T
	addr, topic string
	members     []*crowdMember
	mu          sync.Mutex
	synced      map[string]int32 // by member, the generation that it has an assignment in
}

// settled tells whether n members have an assignment in one generation.
func (g *crowd) settled(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	generations := map[int32]bool{}
	for _, generation := range g.synced {
		generations[generation] = true
	}
	return len(g.synced) == n && len(generations) == 1
}

func (g *crowd) note(member string, generation int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if generation < 0 {
		delete(g.synced, member)
	} else {
		g.synced[member] = generation
	}
}

type crowdMember struct {
	conn *rawConn
	id   string
}

// rebalance has the members join and sync, and returns how long that took.
func (g *crowd) rebalance(members []*crowdMember) time.Duration {
	g.t.Helper()
	began := time.Now()
	g.synced = map[string]int32{}
	ctx, cancel := context.WithTimeoutCause(g.t.Context(), 2*time.Minute, errors.New("no stable generation in two minutes"))
	defer cancel()
	all, ctx := errgroup.WithContext(ctx) // the first error ends all: the others would wait for ever
	for _, m := range members {
		all.Go(func() error { return g.turn(ctx, m, len(members)) })
	}
	if err := all.Wait(); err != nil {
		g.t.Fatal(err)
	}
	return time.Since(began)
}

// turn joins and syncs one member, as often as another's coming makes it begin again, and
// stays until all n are settled: the others' rebalances wait for it.
func (g *crowd) turn(ctx context.Context, m *crowdMember, n int) error {
	for ctx.Err() == nil {
		generation, err := g.join(m)
		for err == nil && ctx.Err() == nil {
			if g.note(m.id, generation); g.settled(n) {
				return nil
			}
			time.Sleep(time.Duration(n) * 100 * time.Microsecond) // 10,000 heartbeats a second of all
			err = g.heartbeat(m, generation)
		}
		if g.note(m.id, -1); err != nil && !errors.Is(err, kerr.RebalanceInProgress) && !errors.Is(err, kerr.MemberIDRequired) {
			return err
		}
	}
	return context.Cause(ctx)
}

// join joins and syncs, once.
func (g *crowd) join(m *crowdMember) (generation int32, err error) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 5, "crowd", m.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 60_000, 60_000
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{g.topic}
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
	resp, err := m.conn.exchange(req, time.Minute)
	if err != nil {
		return -1, err
	}
	joined := resp.(*kmsg.JoinGroupResponse)
	m.id = joined.MemberID
	if err := kerr.ErrorForCode(joined.ErrorCode); err != nil {
		return -1, fmt.Errorf("join: %w", err)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 3, "crowd", m.id, joined.Generation
	for _, other := range joined.Members {
		sync.GroupAssignment = append(sync.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: other.MemberID, MemberAssignment: []byte("yours")})
	}
	if resp, err = m.conn.exchange(sync, time.Minute); err != nil {
		return -1, err
	}
	synced := resp.(*kmsg.SyncGroupResponse)
	if err := kerr.ErrorForCode(synced.ErrorCode); err != nil {
		return -1, fmt.Errorf("sync: %w", err)
	}
	if string(synced.MemberAssignment) != "yours" {
		return -1, fmt.Errorf("assigned %q", synced.MemberAssignment)
	}
	return joined.Generation, nil
}

func (g *crowd) heartbeat(m *crowdMember, generation int32) error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 3, "crowd", m.id, generation
	resp, err := m.conn.exchange(req, time.Minute)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.(*kmsg.HeartbeatResponse).ErrorCode); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

func (g *crowd) leave(m *crowdMember) {
	g.t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 3, "crowd"
	req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: m.id}}
	if got := m.conn.ask(req).(*kmsg.LeaveGroupResponse); got.ErrorCode != 0 || got.Members[0].ErrorCode != 0 {
		g.t.Fatalf("leave: %+v", got)
	}
}

// Ten thousand groups with a member and an offset each cost little memory, and are
// loaded and listed, stable as they were.
func TestManyGroups(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	coordinated(t, n.Kafka, "g")
	groups := 500
	if full() {
		groups = 10_000
	}
	before, began := rss(t, n), time.Now()
	const conns = 8
	var all sync.WaitGroup
	errs := make([]error, conns)
	for i := range conns {
		c := dialRaw(t, n.Kafka)
		all.Go(func() {
			for g := i; g < groups && errs[i] == nil; g += conns {
				errs[i] = settle(c, topic, fmt.Sprintf("group-%05d", g), int64(g))
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d groups in %v; memory %d → %d MiB", groups, time.Since(began).Round(time.Millisecond), before>>20, rss(t, n)>>20)
	n.Stop()
	n.Start()
	n.WaitReady()
	var listed kadm.ListedGroups
	eventually(t, 10*time.Second, func() (err error) {
		listed, err = newAdmin(t, n.Kafka).ListGroups(t.Context(), "Stable")
		return err
	})
	names := listed.Groups()
	if slices.Sort(names); len(names) != groups || names[0] != "group-00000" {
		t.Errorf("%d groups are listed, want %d", len(names), groups)
	}
	t.Logf("after a restart: memory %d MiB", rss(t, n)>>20)
}

// settle makes a group of one member that has committed an offset.
func settle(c *rawConn, topic, group string, offset int64) error {
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.ProtocolType = 3, group, "consumer"
	join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 600_000, 60_000
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{topic}
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
	resp, err := c.exchange(join, time.Minute)
	if err != nil {
		return err
	}
	joined := resp.(*kmsg.JoinGroupResponse)
	if err := kerr.ErrorForCode(joined.ErrorCode); err != nil {
		return fmt.Errorf("join %s: %w", group, err)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 3, group, joined.MemberID, joined.Generation
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID, MemberAssignment: []byte("yours")}}
	if resp, err = c.exchange(sync, time.Minute); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.(*kmsg.SyncGroupResponse).ErrorCode); err != nil {
		return fmt.Errorf("sync %s: %w", group, err)
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.MemberID, commit.Generation = 8, group, joined.MemberID, joined.Generation
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Offset = offset
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	commit.Topics = append(commit.Topics, rt)
	if resp, err = c.exchange(commit, time.Minute); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode); err != nil {
		return fmt.Errorf("commit %s: %w", group, err)
	}
	return nil
}
