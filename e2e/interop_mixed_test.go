//go:build interop

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// One group whose members are franz-go, kafka-python, Java and librdkafka shares a topic
// that is written all the time, while members leave, are killed and come back, and the
// broker is killed.
func TestInteropMixedGroup(t *testing.T) {
	const partitions = 12
	python, java, rdkafka := familyNamed(t, "kafka-python"), familyNamed(t, "java"), familyNamed(t, "confluent-kafka")
	for _, f := range []family{python, java, rdkafka} {
		f.installed(t)
	}
	node, addr := nodeOrKafka(t)
	topic, group := topicName(t, "t"), topicName(t, "g")
	createTopic(t, addr, topic, partitions, nil)
	w, l := startSpread(t, addr, topic, partitions), newLedger(topic)
	start := func(f family) *process { return startMember(t, f, l, addr, topic, group) }
	step := steps(t, addr, topic, group, partitions)

	franz := joinFranz(t, l, addr, topic, group)
	others := []*process{start(python), start(java), start(rdkafka)}
	all := []*ledgerMember{franz.ledgerMember, others[0].ledgerMember, others[1].ledgerMember, others[2].ledgerMember}
	step("four members share", 4)
	waitGoOn(t, all)
	others[1].leave()
	step("after java left", 3)
	others[2].kill9()
	step("after librdkafka was killed", 2)
	others[1], others[2] = start(java), start(rdkafka)
	all[2], all[3] = others[1].ledgerMember, others[2].ledgerMember
	step("both came back", 4)
	waitGoOn(t, all)
	if node != nil {
		node.Kill9()
		node.Start()
		node.WaitReady()
		step("after the broker was killed", 4)
	}
	waitGoOn(t, all)
	ends := w.stop()
	waitCommitted(t, addr, topic, group, ends)
	franz.leave()
	for _, p := range others {
		p.leave()
	}
	l.check(t, ends)
	checkEmpty(t, addr, group)
}

func familyNamed(t *testing.T, name string) family {
	t.Helper()
	all := families(t)
	i := slices.IndexFunc(all, func(f family) bool { return f.name == name })
	if i < 0 {
		t.Fatalf("no family %s", name)
	}
	return all[i]
}

// nodeOrKafka is a new node, or the broker that the environment names.
func nodeOrKafka(t *testing.T) (*Node, string) {
	t.Helper()
	if addr := os.Getenv("KAFKA"); addr != "" {
		return nil, addr
	}
	node := StartNode(t, NodeConfig{})
	return node, node.Kafka
}

// steps returns a function that waits until so many members share the topic, and prints
// how long that took.
func steps(t *testing.T, addr, topic, group string, partitions int) func(what string, members int) {
	return func(what string, members int) {
		t.Helper()
		began := time.Now()
		waitShared(t, addr, topic, group, members, partitions)
		t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond))
	}
}

// waitGoOn waits until every member has consumed more than it had.
func waitGoOn(t *testing.T, members []*ledgerMember) {
	t.Helper()
	for _, m := range members {
		had := m.count()
		eventually(t, time.Minute, func() error {
			if m.count() < had+20 {
				return fmt.Errorf("%s had %d records and has %d", m.name, had, m.count())
			}
			return nil
		})
	}
}

// franzMember is a member in this process.
type franzMember struct {
	*ledgerMember
	t       *testing.T
	client  *kgo.Client
	stopped context.CancelFunc
	ended   chan struct{}
}

func joinFranz(t *testing.T, l *ledger, addr, topic, group string) *franzMember {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	m := &franzMember{ledgerMember: l.member("franz-go"), t: t, stopped: cancel, ended: make(chan struct{})}
	m.client = newClient(t, addr, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(kgo.RangeBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, parts map[string][]int32) {
			_, generation := cl.GroupMetadata()
			m.assigned(generation, parts[topic])
		}),
		kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) { m.revoked() }),
		kgo.OnPartitionsLost(func(context.Context, *kgo.Client, map[string][]int32) { m.revoked() }))
	go m.run(ctx)
	return m
}

func (m *franzMember) run(ctx context.Context) {
	defer close(m.ended)
	for ctx.Err() == nil {
		fetches := m.client.PollRecords(ctx, 500)
		last := map[int32]int64{}
		fetches.EachRecord(func(r *kgo.Record) {
			m.record(r.Partition, r.Offset, string(r.Value))
			last[r.Partition] = r.Offset + 1
		})
		if len(last) > 0 {
			if err := m.client.CommitUncommittedOffsets(ctx); err == nil {
				for p, offset := range last {
					m.commit(p, offset)
				}
			}
		}
		m.client.AllowRebalance()
	}
}

func (m *franzMember) leave() {
	m.t.Helper()
	m.stopped()
	<-m.ended
	if err := m.client.LeaveGroupContext(m.t.Context()); err != nil {
		m.t.Errorf("franz-go leaves: %v", err)
	}
}
