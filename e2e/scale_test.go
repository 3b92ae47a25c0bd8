package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A thousand topics, one after the other, by auto-create: the answer that creates a
// topic, or the one right after it, names its leader.
func TestThousandTopicsByAutoCreate(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	c := dialRaw(t, n.Kafka)
	began, before, late := time.Now(), rss(t, n), 0
	for i := range 1000 {
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.AllowAutoTopicCreation = 12, true
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: new(fmt.Sprintf("auto-%04d", i))}}
		led := func() error {
			got := c.ask(req).(*kmsg.MetadataResponse).Topics[0]
			if got.ErrorCode != 0 || len(got.Partitions) != 1 || got.Partitions[0].Leader != 1 {
				return fmt.Errorf("topic %d: %v, partitions %+v", i, kerr.ErrorForCode(got.ErrorCode), got.Partitions)
			}
			return nil
		}
		if led() != nil {
			late++
			if err := led(); err != nil {
				t.Fatalf("not led in the second answer: %v", err)
			}
		}
	}
	t.Logf("1000 topics by Metadata: %v, %d were led in the second answer only; memory %d → %d MiB",
		time.Since(began).Round(time.Millisecond), late, before>>20, rss(t, n)>>20)
	restartWith(t, n, 1000)
}

// The same by CreateTopics, each written to at once.
func TestThousandTopicsByCreateTopics(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	c := dialRaw(t, n.Kafka)
	began, before := time.Now(), rss(t, n)
	for i := range 1000 {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.TimeoutMillis = 7, 10_000
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = fmt.Sprintf("created-%04d", i), 1, 1
		req.Topics = append(req.Topics, topic)
		if got := c.ask(req).(*kmsg.CreateTopicsResponse).Topics[0]; got.ErrorCode != 0 {
			t.Fatalf("topic %d: %v %s", i, kerr.ErrorForCode(got.ErrorCode), deref(got.ErrorMessage))
		}
	}
	t.Logf("1000 topics by CreateTopics: %v; memory %d → %d MiB", time.Since(began).Round(time.Millisecond), before>>20, rss(t, n)>>20)

	began = time.Now()
	batch := seal(newBatch([]byte("v")))
	for i := range 1000 {
		got := c.ask(produceRequest(9, fmt.Sprintf("created-%04d", i), 0, batch)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if got.ErrorCode != 0 {
			t.Fatalf("produce to topic %d: %v", i, kerr.ErrorForCode(got.ErrorCode))
		}
	}
	t.Logf("one record to each: %v", time.Since(began).Round(time.Millisecond))
	restartWith(t, n, 1000)
}

// restartWith prints how long a node with so many partitions takes to serve again.
func restartWith(t *testing.T, n *Node, partitions int) {
	t.Helper()
	for _, how := range []string{"a clean stop", "kill -9"} {
		if how == "kill -9" {
			n.Kill9()
		} else {
			t.Logf("SIGTERM to exit with %d partitions: %v", partitions, n.Stop().Round(time.Millisecond))
		}
		began := time.Now()
		n.Start()
		answer := n.WaitAnswer(began)
		n.WaitReady()
		t.Logf("after %s with %d partitions: first answer %v, ready %v", how, partitions, answer.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	topics, err := newAdmin(t, n.Kafka).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	led := 0
	topics.EachPartition(func(p kadm.PartitionDetail) {
		if p.Err == nil && p.Leader == 1 {
			led++
		}
	})
	if led != partitions {
		t.Errorf("%d of %d partitions are led after the restarts", led, partitions)
	}
}

// A topic with 2,000 partitions in one request. Idle partitions cost memory, no goroutine.
func TestManyPartitions(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	newAdmin(t, n.Kafka) // so that its connection is counted before as well
	goroutines, memory := metric(t, n, "go_goroutines"), rss(t, n)
	topic := topicName(t, "t")
	began := time.Now()
	createTopic(t, n.Kafka, topic, 2000, nil)
	created := time.Since(began)
	eventually(t, 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ends, err := newAdmin(t, n.Kafka).ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		return errors.Join(ends.Error())
	})
	t.Logf("2000 partitions: created in %v, all usable after %v; memory %d → %d MiB, goroutines %v → %v", created.Round(time.Millisecond),
		time.Since(began).Round(time.Millisecond), memory>>20, rss(t, n)>>20, goroutines, metric(t, n, "go_goroutines"))
	eventually(t, 10*time.Second, func() error {
		if more := metric(t, n, "go_goroutines") - goroutines; more > 100 {
			return fmt.Errorf("2000 idle partitions cost %v goroutines", more)
		}
		return nil
	})
	cpu, began := cpuTime(t, n), time.Now()
	time.Sleep(3 * time.Second) // what is measured is doing nothing
	t.Logf("idle with 2000 partitions: %.2f %% of a core", 100*float64(cpuTime(t, n)-cpu)/float64(time.Since(began)))
	restartWith(t, n, 2000)

	began = time.Now()
	if _, err := newAdmin(t, n.Kafka).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	t.Logf("deleted in %v", time.Since(began).Round(time.Millisecond))
}
