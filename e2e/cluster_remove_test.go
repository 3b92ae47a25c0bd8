package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A node is taken out while it leads and follows under load: no record is refused or lost,
// another node has its replicas, and its process ends.
func TestClusterRemoveNode(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	fourth := NewNode(t, NodeConfig{ID: 4, Args: []string{"--join", c.Node(1).Etcd}})
	c.Nodes = append(c.Nodes, fourth)
	fourth.Start()
	c.WaitAllReady()
	eventually(t, 30*time.Second, func() error {
		if members := c.Members(); members != "voter voter voter voter" {
			return fmt.Errorf("members of etcd: %s", members)
		}
		return fourth.alive(nil)
	})
	others := strings.Join([]string{c.Node(1).Kafka, c.Node(2).Kafka, c.Node(3).Kafka}, ",")
	adm, topic := newAdmin(t, others), topicName(t, "t")
	if _, err := adm.CreateTopic(t.Context(), 8, 3, nil, topic); err != nil {
		t.Fatal(err)
	}
	cl := newClient(t, others)
	var acked, sent atomic.Int64
	load := func(until func() bool) {
		for i := 0; !until(); i++ {
			sent.Add(1)
			cl.Produce(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("record %d: %v", i, err)
					return
				}
				acked.Add(1)
			})
			if i%100 == 99 {
				if err := cl.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	}
	removed, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		load(func() bool { return len(removed) > 0 && acked.Load() > 2000 })
	}()
	eventually(t, 30*time.Second, func() error {
		if acked.Load() < 500 {
			return fmt.Errorf("%d records acknowledged", acked.Load())
		}
		return nil
	})
	r := chronik(t, "", "cluster", "remove-node", "4", "--etcd", c.Node(1).Etcd)
	removed <- r.out + r.err
	<-ended
	t.Logf("%s, %d of %d records acknowledged", strings.TrimSpace(r.out+r.err), acked.Load(), sent.Load())
	if r.code != 0 || !strings.Contains(r.out, "removed node 4; 6 partitions have a replica on another node instead") {
		t.Errorf("remove-node ends with %d: %s%s", r.code, r.out, r.err)
	}
	fourth.awaitExit("removed from the cluster")
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		topics, err := adm.ListTopics(t.Context(), topic)
		if err != nil {
			return err
		}
		for _, p := range topics[topic].Partitions {
			if len(p.Replicas) != 3 || len(p.ISR) != 3 || slices.Contains(p.Replicas, 4) {
				return fmt.Errorf("partition %d: replicas %v, in sync %v", p.Partition, p.Replicas, p.ISR)
			}
		}
		return nil
	})
	read := int64(0)
	for n := range int32(8) {
		readPartition(t, others, topic, n, func(*kgo.Record) { read++ })
	}
	if read != acked.Load() {
		t.Errorf("%d records are there, %d were acknowledged", read, acked.Load())
	}
	must(t, "", "cluster", "status", "-b", others, "--etcd", c.Node(1).Etcd)
}
