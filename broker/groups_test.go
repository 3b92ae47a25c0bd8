package broker

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// numbered produces n records to a topic, one after the other over its partitions.
func numbered(t *testing.T, b *Broker, topic string, from, n int) {
	t.Helper()
	cl := client(t, b, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Value: fmt.Append(nil, from+i)})
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// created makes a topic.
func created(t *testing.T, b *Broker, topic string, partitions int32) *kadm.Client {
	t.Helper()
	adm := kadm.NewClient(client(t, b))
	if _, err := adm.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	return adm
}

// member joins a group that reads a topic from its start.
func member(t *testing.T, b *Broker, group, topic string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return client(t, b, append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.SessionTimeout(6*time.Second))...)
}

// consumed polls n records and commits them.
func consumed(t *testing.T, cl *kgo.Client, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for len(got) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", len(got), n, err)
		}
		fs.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func TestGroupResumesAfterRestart(t *testing.T) {
	dir := t.TempDir()
	b, stop := started(t, dir, nil)
	created(t, b, "work", 4)
	numbered(t, b, "work", 1000, 100)
	cl := member(t, b, "readers", "work")
	if got := consumed(t, cl, 100); got[0] != "1000" || got[99] != "1099" {
		t.Errorf("consumed %v", got)
	}
	cl.Close()
	stop()
	b, _ = started(t, dir, nil)
	numbered(t, b, "work", 2000, 20)
	if got := consumed(t, member(t, b, "readers", "work"), 20); got[0] != "2000" || len(got) != 20 {
		t.Errorf("after the restart: %v", got)
	}
}

// Members share the partitions, and take over those of one that leaves.
func TestGroupShares(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	adm := created(t, b, "work", 4)
	first, second := member(t, b, "g", "work", kgo.InstanceID("one")), member(t, b, "g", "work")
	for _, cl := range []*kgo.Client{first, second} {
		go func() {
			for t.Context().Err() == nil {
				cl.PollFetches(t.Context())
			}
		}()
	}
	shares := func(want ...int) {
		t.Helper()
		var got []int
		var state string
		for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			groups, err := adm.DescribeGroups(t.Context(), "g")
			if err != nil {
				t.Fatal(err)
			}
			got, state = nil, groups["g"].State
			for _, m := range groups["g"].Members {
				n := 0
				if c, ok := m.Assigned.AsConsumer(); ok {
					for _, topic := range c.Topics {
						n += len(topic.Partitions)
					}
				}
				got = append(got, n)
			}
			if slices.Sort(got); state == "Stable" && slices.Equal(got, want) {
				return
			}
		}
		t.Fatalf("partitions of the members %v in state %s, want %v", got, state, want)
	}
	shares(2, 2)
	second.LeaveGroup()
	shares(4)
}

// A consumer without a group commits; offsets go with their topic, and with their group.
func TestCommittedOffsets(t *testing.T) {
	dir := t.TempDir()
	b, stop := started(t, dir, nil)
	adm := created(t, b, "a", 3)
	created(t, b, "b", 1)
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "a", Partition: 2, At: 17, LeaderEpoch: -1, Metadata: "some text"})
	offsets.Add(kadm.Offset{Topic: "b", Partition: 0, At: 5, LeaderEpoch: 3})
	if err := adm.CommitAllOffsets(t.Context(), "simple", offsets); err != nil {
		t.Fatal(err)
	}
	committed := func(adm *kadm.Client) string {
		t.Helper()
		got, err := adm.FetchOffsets(t.Context(), "simple")
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		got.Each(func(o kadm.OffsetResponse) {
			all = append(all, fmt.Sprintf("%s-%d %d %d %q", o.Topic, o.Partition, o.At, o.LeaderEpoch, o.Metadata))
		})
		slices.Sort(all)
		return fmt.Sprint(all)
	}
	if got, want := committed(adm), `[a-2 17 -1 "some text" b-0 5 3 ""]`; got != want {
		t.Errorf("committed %s, want %s", got, want)
	}
	stop()
	b, _ = started(t, dir, nil)
	adm = kadm.NewClient(client(t, b))
	if got, want := committed(adm), `[a-2 17 -1 "some text" b-0 5 3 ""]`; got != want {
		t.Errorf("after the restart %s, want %s", got, want)
	}
	if _, err := adm.DeleteTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got, want := committed(adm), `[b-0 5 3 ""]`; got != want {
			return fmt.Errorf("after the topic is deleted %s, want %s", got, want)
		}
		return nil
	})
	if _, err := adm.DeleteGroup(t.Context(), "simple"); err != nil {
		t.Fatal(err)
	}
	if got := committed(adm); got != "[]" {
		t.Errorf("after the group is deleted %s", got)
	}
}

// eventually polls until check says nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func TestGroupPartition(t *testing.T) {
	for id, want := range map[string]int{"": 0, "readers": 28, "grüße 🙂!": 5, "polygenelubricants": 0} {
		if got := groupPartition(id, 50); got != want {
			t.Errorf("group %q is in partition %d, want %d", id, got, want)
		}
	}
}
