package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partitionKey is what the metadata holds of a partition.
type partitionKey struct {
	Leader, LeaderEpoch    int
	Replicas, ISR, Offline []int
}

func (c *Cluster) partition(topic string) (p partitionKey, err error) {
	return p, c.Get("topics/"+topic+"/0", &p)
}

// firstSegment is the first file of a node's log of partition 0.
func (c *Cluster) firstSegment(n *Node, topic string) string {
	c.t.Helper()
	d, err := described(c.t, n.Kafka, topic)
	if err != nil {
		c.t.Fatal(err)
	}
	return filepath.Join(n.Dir, "logs", logName(d.ID, 0), fmt.Sprintf("%020d", 1))
}

// flipBit flips a bit in the middle of a file that is in use.
func flipBit(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], st.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], st.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// readValues reads a partition up to n records and compares them with what was written.
func readValues(t testing.TB, servers, topic string, n int) error {
	cl := newClient(t, servers, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.FetchMaxWait(500*time.Millisecond))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for got := 0; got < n; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("after %d of %d records: %w", got, n, err)
		}
		for r := range fetches.RecordsAll() {
			if want := value(got); r.Offset != int64(got) || string(r.Value) != want {
				return fmt.Errorf("offset %d: %.20q, want offset %d: %.20q", r.Offset, r.Value, got, want)
			}
			got++
		}
	}
	return nil
}

func value(i int) string { return strings.Repeat(fmt.Sprintf("value %d ", i), 20) }

// writeValues writes n records in small batches.
func writeValues(t testing.TB, servers, topic string, n int) {
	t.Helper()
	cl := newClient(t, servers, kgo.ProducerBatchMaxBytes(2000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	for i := range n {
		cl.Produce(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value(i))}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What a node says when it meets damage, and when it gets rid of it.
const (
	damageMet = "records of a log are damaged"
	builtAnew = "a damaged log is built anew"
)

// count is how often a node has said something.
func (n *Node) count(what string) int { return strings.Count(n.Log(16<<20), what) }

// untilRebuilt reads all of a topic until the log of a node is met as damaged and built anew from
// another's, and every replica holds the same.
func (c *Cluster) untilRebuilt(topic string, damaged *Node, n int) {
	c.t.Helper()
	eventually(c.t, 60*time.Second, func() error {
		if err := readValues(c.t, c.Bootstrap(), topic, n); err != nil {
			return err // what was written a moment ago is checked a moment later
		}
		p, err := c.partition(topic)
		if err == nil && (damaged.count(builtAnew) == 0 || len(p.Offline) > 0) {
			err = fmt.Errorf("not built anew: %+v", p)
		}
		return err
	})
	c.WaitFullISR(topic)
	c.CheckAlike(topic)
	for _, node := range c.Nodes {
		want := 0
		if node == damaged {
			want = 1
		}
		if met, anew := node.count(damageMet), node.count(builtAnew); met != want || anew != want {
			c.t.Errorf("node %d tells of damage %d times and of a new log %d times, want %d", node.ID, met, anew, want)
		}
	}
	if err := readValues(c.t, c.Bootstrap(), topic, n); err != nil {
		c.t.Error(err)
	}
}

// A bit flips in the log of the leader while it serves: who reads it gets the record from
// another replica, and the log is built anew.
func TestClusterDamagedLeader(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "leader")
	createReplicated(t, c.Bootstrap(), topic, 1, nil)
	writeValues(t, c.Bootstrap(), topic, 2000)
	leader := c.Leader(topic, 0)
	flipBit(t, c.firstSegment(leader, topic))
	c.untilRebuilt(topic, leader, 2000)
}

// A bit flips in the log of a follower: nobody reads it before that leads.
func TestClusterDamagedFollower(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "follower")
	createReplicated(t, c.Bootstrap(), topic, 1, nil)
	writeValues(t, c.Bootstrap(), topic, 2000)
	p, err := c.partition(topic)
	if err != nil || p.Leader != p.Replicas[0] {
		t.Fatalf("%+v %v", p, err)
	}
	follower := c.Node(p.Replicas[1]) // leads next
	flipBit(t, c.firstSegment(follower, topic))
	leader := c.Node(p.Leader)
	leader.Kill9()
	c.waitDead(leader)
	eventually(t, 30*time.Second, func() error {
		if err := readValues(t, c.Bootstrap(), topic, 2000); err != nil {
			return err
		}
		if p, err := c.partition(topic); err != nil || p.Leader != p.Replicas[2] {
			return fmt.Errorf("not given away: %+v %w", p, err)
		}
		return nil
	})
	leader.Start()
	leader.WaitReady()
	c.untilRebuilt(topic, follower, 2000)
}

// A bit flips in a log while the partition is written to: nothing that was acknowledged is lost.
func TestClusterDamageWhileWriting(t *testing.T) {
	c := StartCluster(t, 3)
	var damaged *Node
	clusterRounds(t, c, rounds(1, 10), func(topic string) {
		damaged = c.Leader(topic, 0)
		before := damaged.count(builtAnew)
		flipBit(t, c.firstSegment(damaged, topic))
		eventually(t, 60*time.Second, func() error {
			reader := newClient(t, c.Bootstrap(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
			defer reader.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for ctx.Err() == nil {
				reader.PollFetches(ctx)
			}
			if damaged.count(builtAnew) == before {
				return fmt.Errorf("node %d has not met the damage", damaged.ID)
			}
			return nil
		})
	}, func() {})
}
