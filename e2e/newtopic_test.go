package e2e

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Many producers begin at once with a topic that does not exist, and know one node of
// three: whichever that is, no record is refused and none is there twice.
func TestClusterProducersToNewTopic(t *testing.T) {
	c := StartCluster(t, 3)
	for _, n := range c.Nodes {
		topic := topicName(t, "")
		all := newProducers(t, n, 128)
		took := all.produce(topic, rounds(200, 5_000))
		records := int(all.acked.Load())
		t.Logf("through node %d: %d producers, %d records of 256 bytes in %v: %.0f a second",
			n.ID, len(all.clients), records, took.Round(time.Millisecond), float64(records)/took.Seconds())
		if errs := all.errs; len(errs) > 0 {
			t.Errorf("through node %d: %d records failed, the first: %v", n.ID, len(errs), errs[0])
		}
		if held := endOf(t, c, topic); held != int64(records) {
			t.Errorf("%s holds %d records, %d were acknowledged", topic, held, records)
		}
		c.CheckAlike(topic)
	}
}

// producers are franz-go producers that each have a client of their own.
type producers struct {
	clients []*kgo.Client
	acked   atomic.Int64
	mu      sync.Mutex
	errs    []error
}

func newProducers(t *testing.T, n *Node, size int) *producers {
	t.Helper()
	c := &producers{}
	for range size {
		c.clients = append(c.clients, newClient(t, n.Kafka, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression())))
	}
	return c
}

// produce has each send so many records and waits for all the answers.
func (c *producers) produce(topic string, each int) time.Duration {
	value := bytes.Repeat([]byte("v"), 256)
	began := time.Now()
	var producing sync.WaitGroup
	for _, client := range c.clients {
		producing.Go(func() {
			for range each {
				client.Produce(context.Background(), &kgo.Record{Topic: topic, Value: value}, c.answered)
			}
			if err := client.Flush(context.Background()); err != nil {
				c.answered(nil, err)
			}
			client.Close()
		})
	}
	producing.Wait()
	return time.Since(began)
}

func (c *producers) answered(_ *kgo.Record, err error) {
	if err == nil {
		c.acked.Add(1)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

// endOf is how many offsets a topic has in all its partitions.
func endOf(t *testing.T, c *Cluster, topic string) (records int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ends, err := newAdmin(t, c.Bootstrap()).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ends.Offsets()[topic] {
		records += p.At
	}
	return records
}
