//go:build interop

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// spreadRecord is numbered record i of a topic, in turn over its partitions.
func spreadRecord(partitions int) func(string, int) *kgo.Record {
	return func(topic string, i int) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: int32(i % partitions), Value: fmt.Appendf(nil, "value-%d", i)}
	}
}

// groupResume consumes a part of a topic in a group, kills the node, and consumes the
// rest in the same group: every record comes exactly once. Then the group is listed, put
// back to the start and deleted.
func (f family) groupResume(t *testing.T, node *Node, addr string) {
	const partitions = 4
	topic, group := topicName(t, "t"), topicName(t, "g")
	createTopic(t, addr, topic, partitions, nil)
	record := spreadRecord(partitions)
	produce(t, addr, topic, 1000, record)
	taken := newLedger(topic)
	f.groupConsume(t, addr, taken, topic, group, 600)
	if node != nil {
		node.Kill9()
		node.Start()
		node.WaitReady()
	}
	produce(t, addr, topic, 200, func(topic string, i int) *kgo.Record { return record(topic, 1000+i) })
	f.groupConsume(t, addr, taken, topic, group, 600)
	for p := range int32(partitions) {
		if err := taken.whole(p, 300); err != nil {
			t.Error(err)
		}
	}
	if n := taken.total(); n != 1200 {
		t.Errorf("1200 records were consumed %d times", n)
	}
	checkCommitted(t, addr, topic, group, partitions, 300)
	checkEmpty(t, addr, group)
	if f.can("groups") {
		f.groupAdmin(t, addr, topic, group, partitions)
	}
}

// groupConsume runs a member that ends after n records and enters them into the ledger.
func (f family) groupConsume(t *testing.T, addr string, l *ledger, topic, group string, n int) {
	t.Helper()
	out := f.tell(t, addr, "group-consume", topic, group, fmt.Sprint(n))
	m := l.member(f.name)
	for line := range strings.Lines(out) {
		if err := m.line(strings.TrimSpace(line)); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	if m.records != n {
		t.Errorf("%d records came, want %d", m.records, n)
	}
	for _, err := range l.faults {
		t.Error(err)
	}
}

func (f family) groupAdmin(t *testing.T, addr, topic, group string, partitions int) {
	t.Helper()
	if got := f.tell(t, addr, "groups"); !slices.Contains(strings.Fields(got), group) {
		t.Errorf("%s is not in the list %q", group, got)
	}
	if got := f.tell(t, addr, "group-state", group); !strings.EqualFold(got, "Empty") {
		t.Errorf("the group's state is %q, want Empty", got)
	}
	offsets := func(at int) string {
		var lines []string
		for p := range partitions {
			lines = append(lines, fmt.Sprint(p, at))
		}
		return strings.Join(lines, "\n")
	}
	if got, want := f.tell(t, addr, "group-offsets", group, topic), offsets(300); got != want {
		t.Errorf("committed offsets are %q, want %q", got, want)
	}
	f.tell(t, addr, "group-rewind", group, topic, fmt.Sprint(partitions))
	if got, want := f.tell(t, addr, "group-offsets", group, topic), offsets(0); got != want {
		t.Errorf("committed offsets after the rewind are %q, want %q", got, want)
	}
	again := newLedger(topic)
	f.groupConsume(t, addr, again, topic, group, 1200)
	for p := range int32(partitions) {
		if err := again.whole(p, 300); err != nil {
			t.Errorf("after the rewind: %v", err)
		}
	}
	if !f.can("group-delete") {
		return
	}
	f.tell(t, addr, "group-delete", group)
	if got := f.tell(t, addr, "groups"); slices.Contains(strings.Fields(got), group) {
		t.Errorf("%s is deleted and in the list %q", group, got)
	}
}

// groupOfThree has three members of the family share a topic that is written all the
// time; one leaves, and the others take over its partitions.
func (f family) groupOfThree(t *testing.T, addr string) {
	const partitions = 6
	topic, group := topicName(t, "t"), topicName(t, "g")
	createTopic(t, addr, topic, partitions, nil)
	w := startSpread(t, addr, topic, partitions)
	l := newLedger(topic)
	began := time.Now()
	members := make([]*process, 3)
	for i := range members {
		members[i] = startMember(t, f, l, addr, topic, group)
	}
	waitShared(t, addr, topic, group, 3, partitions)
	shared := time.Since(began)
	w.waitFor(300)
	if !f.can("leave") {
		waitCommitted(t, addr, topic, group, w.stop())
	}
	began = time.Now()
	members[1].leave()
	waitShared(t, addr, topic, group, 2, partitions)
	if !f.can("leave") {
		w = startSpread(t, addr, topic, partitions)
	}
	w.waitFor(300)
	t.Logf("three shared %d partitions after %v, two after %v", partitions, shared.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	ends := w.stop()
	waitCommitted(t, addr, topic, group, ends)
	members[0].leave()
	members[2].leave()
	l.check(t, ends)
	checkEmpty(t, addr, group)
}

// describe asks for a group's state and who has which partitions of the topic.
func describeGroup(t testing.TB, adm *kadm.Client, topic, group string) (state string, owned map[string][]int32, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	all, err := adm.DescribeGroups(ctx, group)
	if err != nil {
		return "", nil, err
	}
	g := all[group]
	owned = map[string][]int32{}
	for _, m := range g.Members {
		owned[m.MemberID] = nil
		if c, ok := m.Assigned.AsConsumer(); ok {
			for _, mine := range c.Topics {
				if mine.Topic == topic {
					owned[m.MemberID] = mine.Partitions
				}
			}
		}
	}
	return g.State, owned, g.Err
}

// waitShared waits until the group is stable and its members, so many, have all
// partitions of the topic, each of them some.
func waitShared(t testing.TB, addr, topic, group string, members, partitions int) {
	t.Helper()
	adm := newAdmin(t, addr)
	defer adm.Close()
	eventually(t, time.Minute, func() error {
		state, owned, err := describeGroup(t, adm, topic, group)
		if err != nil {
			return err
		}
		if state != "Stable" || len(owned) != members {
			return fmt.Errorf("the group is %s with %d members, not Stable with %d", state, len(owned), members)
		}
		owner := map[int32]string{}
		for id, mine := range owned {
			if len(mine) == 0 {
				return fmt.Errorf("%s has no partition", id)
			}
			for _, p := range mine {
				if other, ok := owner[p]; ok {
					t.Errorf("partition %d belongs to %s and %s", p, id, other)
				}
				owner[p] = id
			}
		}
		if len(owner) != partitions {
			return fmt.Errorf("%d of %d partitions are assigned", len(owner), partitions)
		}
		return nil
	})
}

// checkEmpty fails unless the last member has left, and not only stopped.
func checkEmpty(t testing.TB, addr, group string) {
	t.Helper()
	adm := newAdmin(t, addr)
	defer adm.Close()
	state, owned, err := describeGroup(t, adm, "", group)
	if err != nil || state != "Empty" {
		t.Errorf("after all members left the group is %s with %d members (%v), want Empty", state, len(owned), err)
	}
}

func committed(t testing.TB, adm *kadm.Client, topic, group string) (map[int32]int64, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answer, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for p, o := range answer[topic] {
		if o.Err != nil {
			return nil, o.Err
		}
		offsets[p] = o.At
	}
	return offsets, nil
}

func checkCommitted(t testing.TB, addr, topic, group string, partitions int32, want int64) {
	t.Helper()
	adm := newAdmin(t, addr)
	defer adm.Close()
	got, err := committed(t, adm, topic, group)
	if err != nil {
		t.Fatal(err)
	}
	for p := range partitions {
		if at, ok := got[p]; !ok || at != want {
			t.Errorf("partition %d: committed offset %d (%v), want %d", p, at, ok, want)
		}
	}
}

// waitCommitted waits until the group has committed all of the topic.
func waitCommitted(t testing.TB, addr, topic, group string, ends map[int32]int64) {
	t.Helper()
	adm := newAdmin(t, addr)
	defer adm.Close()
	eventually(t, time.Minute, func() error {
		got, err := committed(t, adm, topic, group)
		if err == nil && !maps.Equal(got, ends) {
			err = fmt.Errorf("committed %v, the ends are %v", got, ends)
		}
		return err
	})
}
