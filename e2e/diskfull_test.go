package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Disk nearly full: producers are told at once and in words, everything else goes on,
// and it is over when space is back.
func TestDiskFullSoft(t *testing.T) {
	d := newDisk(t, 1200)
	n := StartNode(t, NodeConfig{Dir: filepath.Join(d.mount, "data")})
	topic := topicName(t, "t")
	produce(t, n.Kafka, topic, 1000, plainRecord)

	d.fill(200 << 20)
	began := time.Now()
	eventually(t, 20*time.Second, func() error {
		got := produceRaw(t, n.Kafka, topic, 0, seal(newBatch([]byte("until it is noticed"))))
		if got.ErrorCode != kerr.PolicyViolation.Code {
			return fmt.Errorf("produce to a nearly full disk: %v", kerr.ErrorForCode(got.ErrorCode))
		}
		if got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, "disk nearly full on broker 1") {
			t.Fatalf("the error message is %q", deref(got.ErrorMessage))
		}
		t.Logf("refused %v after the disk ran low: %s", time.Since(began).Round(time.Millisecond), *got.ErrorMessage)
		return nil
	})
	client := newClient(t, n.Kafka)
	began = time.Now()
	err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("refused")}).FirstErr()
	if !errors.Is(err, kerr.PolicyViolation) || time.Since(began) > 10*time.Second {
		t.Errorf("a client is told %v after %v", err, time.Since(began))
	}
	code, text, err := n.Get("/readyz")
	if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(text, "disk nearly full") {
		t.Errorf("/readyz: %d %q (%v)", code, text, err)
	}
	other := topicName(t, "other") // administration goes on
	createTopic(t, n.Kafka, other, 1, nil)
	if _, err := newAdmin(t, n.Kafka).DeleteTopic(t.Context(), other); err != nil {
		t.Error(err)
	}

	d.empty()
	began = time.Now()
	eventually(t, 20*time.Second, func() error {
		return kerr.ErrorForCode(produceRaw(t, n.Kafka, topic, 0, seal(newBatch([]byte("back")))).ErrorCode)
	})
	t.Logf("accepted again %v after space was back", time.Since(began).Round(time.Millisecond))
	n.WaitReady()
	records := 0
	readPartition(t, n.Kafka, topic, 0, func(r *kgo.Record) {
		if string(r.Value) == "refused" {
			t.Errorf("a refused record is at offset %d", r.Offset)
		}
		records++
	})
	if records < 1001 {
		t.Errorf("%d records, want the 1000 before and those after", records)
	}
}

// Not a byte left: the log stops, the process does not; when space is back the writers
// go on, with nothing lost, nothing twice.
func TestDiskFullHard(t *testing.T) {
	d := newDisk(t, 1200)
	n := StartNode(t, NodeConfig{Dir: filepath.Join(d.mount, "data"), Args: []string{"--set", "disk.min.free.bytes=1"}})
	probe, quiet := topicName(t, "probe"), topicName(t, "quiet")
	produce(t, n.Kafka, probe, 1, plainRecord)
	produce(t, n.Kafka, quiet, 1000, plainRecord)
	for round := range rounds(1, 5) {
		topic := topicName(t, fmt.Sprint("round", round))
		w := startWorkload(t, n.Kafka, topic, 4)
		w.waitFor(5_000)
		d.fill(4 << 20)
		eventually(t, time.Minute, func() error {
			if d.free() > 1<<20 {
				d.fill(1 << 20)
			}
			got := produceRaw(t, n.Kafka, probe, 0, seal(newBatch(make([]byte, 100_000))))
			if got.ErrorCode != kerr.KafkaStorageError.Code {
				return n.alive(fmt.Errorf("produce to a full disk: %v", kerr.ErrorForCode(got.ErrorCode)))
			}
			return nil
		})
		atFull := w.count()
		code, text, err := n.Get("/readyz")
		t.Logf("full: %d records acknowledged; /readyz: %d %q (%v)", atFull, code, text, err)
		checkRecords(t, n.Kafka, quiet, 1000, plainRecord) // a log that nobody wrote to is still read
		time.Sleep(2 * time.Second)                        // long enough for the metadata to feel it too
		if err := n.alive(nil); err != nil {
			t.Fatal(err)
		}

		d.empty()
		began := time.Now()
		w.waitFor(w.count() + 20_000)
		t.Logf("writers went on %v after space was back", time.Since(began).Round(time.Millisecond))
		n.WaitReady()
		w.stop()
		w.check()
	}
	n.Restart()
}

func deref(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// One of three nodes has not a byte left while others hand partitions to it: it stays up,
// and serves them when space is back.
func TestDiskFullOfOneNode(t *testing.T) {
	d := newDisk(t, 1200)
	c := &Cluster{t: t}
	for id := 1; id <= 3; id++ {
		cfg := NodeConfig{ID: id, Args: []string{"--set", "disk.min.free.bytes=1"}}
		if id == 2 {
			cfg.Dir = filepath.Join(d.mount, "data")
		}
		c.Nodes = append(c.Nodes, NewNode(t, cfg))
	}
	for _, n := range c.Nodes {
		n.args = append(n.args, "--peers", c.Peers())
	}
	c.Start()
	c.WaitAllReady()
	d.fill(0)
	topic := topicName(t, "t")
	if _, err := newAdmin(t, c.Node(1).Kafka).CreateTopic(t.Context(), 30, 3, nil, topic); err != nil {
		t.Fatal(err)
	}
	c.Node(1).Kill9()
	time.Sleep(3 * time.Second) // long enough for it to be noticed and acted on
	if err := c.Node(2).alive(nil); err != nil {
		t.Fatalf("%v\n%s", err, c.Node(2).Log(2000))
	}
	d.empty()
	c.Node(1).Start()
	c.WaitAllReady()
	produce(t, c.Bootstrap(), topic, 3000, func(topic string, i int) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: int32(i % 30), Value: fmt.Append(nil, i)}
	})
	eventually(t, 20*time.Second, func() error {
		for p := range 30 {
			var key struct{ Replicas, ISR []int }
			if err := c.Get(fmt.Sprintf("topics/%s/%d", topic, p), &key); err != nil {
				return err
			}
			if len(key.ISR) < 3 {
				return fmt.Errorf("partition %d: in sync are %v", p, key.ISR)
			}
		}
		return nil
	})
}
