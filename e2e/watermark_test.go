package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// highWatermark follows that of partition 0 of a topic, as the nodes themselves tell it.
type highWatermark struct {
	t       *testing.T
	stop    context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex // guards what follows
	at      int64
	since   time.Time
	longest time.Duration
	errs    map[int]error // the last of each node
}

func watchHighWatermark(t *testing.T, c *Cluster, topic string) *highWatermark {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &highWatermark{t: t, stop: cancel, since: time.Now(), errs: map[int]error{}}
	for _, n := range c.Nodes {
		client := newClient(t, n.Kafka, kgo.RequestRetries(0))
		h.done.Go(func() {
			defer client.Close()
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				at, err := toldBy(ctx, client, topic)
				h.told(n.ID, at, err)
				<-tick.C
			}
		})
	}
	return h
}

// toldBy asks the node that a client was given for the end of partition 0.
func toldBy(ctx context.Context, client *kgo.Client, topic string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	rp.Timestamp = -1
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := client.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return 0, err
	}
	got := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	return got.Offset, kerr.ErrorForCode(got.ErrorCode)
}

func (h *highWatermark) told(node int, at int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.errs[node] = err
	if err == nil && at > h.at {
		h.at, h.since = at, now
	}
	h.longest = max(h.longest, now.Sub(h.since))
}

// begin forgets how long it stood still before.
func (h *highWatermark) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.longest = 0
}

func (h *highWatermark) waitFor(at int64) {
	h.t.Helper()
	eventually(h.t, time.Minute, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.at < at {
			return fmt.Errorf("the high watermark is %d, not %d: %v", h.at, at, h.errs)
		}
		return nil
	})
}

// now is what it is.
func (h *highWatermark) now() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

// end returns the longest time in which it stood still since begin.
func (h *highWatermark) end() time.Duration {
	h.stop()
	h.done.Wait()
	return h.longest
}
