package e2e

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/e2e/chaos"
)

// consumer records the sessions of one client.
type consumer struct {
	w       *workload
	name    string
	group   string
	client  *kgo.Client
	current map[int32]*chaos.Session
}

// begin opens a session for each partition that was taken up.
func (c *consumer) begin(partitions []int32, from int64) {
	for _, p := range partitions {
		c.current[p] = &chaos.Session{Consumer: c.name, Group: c.group, Partition: p, From: from, Begin: c.w.rec.now()}
	}
}

// end closes sessions and puts them into the history.
func (c *consumer) end(partitions []int32) {
	c.w.rec.mu.Lock()
	defer c.w.rec.mu.Unlock()
	for _, p := range partitions {
		if s := c.current[p]; s != nil {
			s.End = c.w.rec.now()
			c.w.rec.h.Sessions = append(c.w.rec.h.Sessions, *s)
			delete(c.current, p)
		}
	}
}

// all are the partitions of the topic.
func (l *load) all() (partitions []int32) {
	for p := range l.partitions {
		partitions = append(partitions, p)
	}
	return partitions
}

// take records what a poll brought, and the high watermarks that came with it.
func (c *consumer) take(fetches kgo.Fetches) {
	now := c.w.rec.now()
	var ends []chaos.End
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		if len(f.Records) == 0 {
			return
		}
		s := c.current[f.Partition]
		if s == nil {
			c.w.rec.refused(fmt.Errorf("%s was given records of partition %d, which it does not have", c.name, f.Partition))
			return
		}
		for _, r := range f.Records {
			v, whole := chaos.Decode(r.Value)
			s.Reads = append(s.Reads, chaos.Read{Offset: r.Offset, Value: v, Damaged: !whole, At: now})
		}
		last := f.Records[len(f.Records)-1].Offset
		ends = append(ends, chaos.End{Source: c.name, Partition: f.Partition, Offset: f.HighWatermark, Epoch: -1, Read: last, Begin: now, At: now})
	})
	c.w.rec.mu.Lock()
	defer c.w.rec.mu.Unlock()
	c.w.rec.h.Ends = append(c.w.rec.h.Ends, ends...)
}

// consume starts a consumer that was assigned every partition by hand.
func (w *workload) consume(ctx context.Context, name string) {
	start := map[int32]kgo.Offset{}
	for _, p := range w.all() {
		start[p] = kgo.NewOffset().At(0)
	}
	c := &consumer{w: w, name: name, current: map[int32]*chaos.Session{}, client: w.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.topic: start}), kgo.FetchMaxWait(500*time.Millisecond))}
	c.begin(w.all(), 0)
	w.done.Go(func() {
		for ctx.Err() == nil {
			fetches := c.client.PollFetches(ctx)
			c.take(fetches)
			w.noteErrors(name, fetches)
		}
		c.client.Close()
		c.end(w.all())
	})
}

func groupOf(topic string) string { return topic + "-group" }

// join starts a member of the workload's group: one life after the other, each of
// another length, so that the members do not all leave at once.
func (w *workload) join(ctx context.Context, i int) {
	w.done.Go(func() {
		for life := 0; ctx.Err() == nil; life++ {
			lifetime, cancel := context.WithTimeout(ctx, time.Duration(7+6*i)*time.Second)
			w.member(lifetime, fmt.Sprintf("member-%d.%d", i, life))
			cancel()
		}
	})
}

// member is one life: it commits what it read before it lets go of a partition.
func (w *workload) member(ctx context.Context, name string) {
	c := &consumer{w: w, name: name, group: groupOf(w.topic), current: map[int32]*chaos.Session{}}
	ended := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { c.end(lost[w.topic]) }
	c.client = w.client(
		kgo.ConsumerGroup(c.group), kgo.ConsumeTopics(w.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(15*time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) { c.begin(got[w.topic], -1) }),
		kgo.OnPartitionsRevoked(ended), kgo.OnPartitionsLost(ended))
	for ctx.Err() == nil {
		fetches := c.client.PollFetches(ctx)
		c.take(fetches)
		w.noteErrors(name, fetches)
		if fetches.NumRecords() > 0 {
			c.commit(ctx)
		}
		c.client.AllowRebalance()
	}
	c.client.CloseAllowingRebalance()
	c.end(w.all())
}

// commit commits all that was polled and records what was confirmed.
func (c *consumer) commit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c.client.CommitOffsetsSync(ctx, c.client.UncommittedOffsets(), func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			c.w.rec.note("%s: commit: %v", c.name, err)
			return
		}
		c.committed(req, resp)
	})
}

func (c *consumer) committed(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) {
	asked := map[int32]int64{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			asked[p.Partition] = p.Offset
		}
	}
	c.w.rec.mu.Lock()
	defer c.w.rec.mu.Unlock()
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				c.w.rec.h.Commits = append(c.w.rec.h.Commits, chaos.Commit{Group: c.group, Partition: p.Partition, Offset: asked[p.Partition], At: c.w.rec.now()})
			}
		}
	}
}
