//go:build interop

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A topic that a client makes by producing through one node is there for clients of all.
func TestInteropClusterTopics(t *testing.T) {
	python := familyNamed(t, "kafka-python")
	python.installed(t)
	c := StartCluster(t, 3)
	var topics []string
	for _, n := range c.Nodes {
		topics = append(topics, topicName(t, ""))
		python.tell(t, n.Kafka, "produce", topics[len(topics)-1], "none", "1000")
	}
	slices.Sort(topics)
	for _, n := range c.Nodes {
		listed := strings.Fields(python.tell(t, n.Kafka, "list"))
		slices.Sort(listed)
		if !slices.Equal(listed, topics) {
			t.Errorf("node %d lists %v, not %v", n.ID, listed, topics)
		}
		for _, topic := range topics {
			python.tell(t, n.Kafka, "consume", topic, "1000")
		}
	}
}

// The leader of what foreign producers write is killed in each of its roles, or stopped in
// order.
func TestInteropClusterFailover(t *testing.T) {
	var producers []producer
	for _, name := range []string{"java", "confluent-kafka", "kcat"} {
		f := familyNamed(t, name)
		f.installed(t)
		producers = append(producers, f.producer())
	}
	failovers(t, producers...)
}

// producer is the family's idempotent producer.
func (f family) producer() producer {
	const records, seconds = 15_000, 10
	return producer{f.name, records, func(t *testing.T, servers, topic string) (end func()) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := f.command(ctx, servers, "idempotent", topic, fmt.Sprint(records), fmt.Sprint(seconds))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			cancel()
			t.Fatal(err)
		}
		return func() {
			defer cancel()
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v\n%s", f.name, err, tail(out.String()))
			}
			checkRecords(t, servers, topic, records, plainRecord)
		}
	}}
}
