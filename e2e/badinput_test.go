package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

// sized puts a size in front of bytes that are no proper request.
func sized(p []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...) }

// header is a request header of the old form, without a tag section.
func header(key, version int16) []byte {
	p := binary.BigEndian.AppendUint16(nil, uint16(key))
	p = binary.BigEndian.AppendUint16(p, uint16(version))
	p = binary.BigEndian.AppendUint32(p, 7)
	return append(p, 0, 1, 'x') // client id
}

// What is not a request that can be answered closes the connection, and only that one.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	batch := seal(newBatch([]byte("v")))
	formatter := kmsg.NewRequestFormatter()
	cut := func(req kmsg.Request, by int) []byte {
		p := formatter.AppendRequest(nil, req, 1)
		return sized(p[4 : len(p)-by])
	}
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version, metadata.Topics = 8, []kmsg.MetadataRequestTopic{{Topic: &topic}}
	unknownVersion := kmsg.NewPtrMetadataRequest()
	unknownVersion.Version = 99
	silent := produceRequest(9, "no-such-topic", 0, batch)
	silent.Acks = 0
	old := produceRequest(2, topic, 0, batch)
	old.Acks = 0
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version, fetch.Topics = 12, []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{{Partition: 0}}}}
	listed := kmsg.NewPtrListOffsetsRequest()
	listed.Version = 6
	listed.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1}}}}

	for name, p := range map[string][]byte{
		"negative size":             binary.BigEndian.AppendUint32(nil, 0x80000000),
		"size 0":                    {0, 0, 0, 0},
		"size above the limit":      binary.BigEndian.AppendUint32(nil, 101<<20),
		"size of 2 GiB":             binary.BigEndian.AppendUint32(nil, 1<<31-1),
		"HTTP":                      []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"TLS":                       append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, bytes.Repeat([]byte{7}, 600)...),
		"one byte":                  sized([]byte{0}),
		"half a header":             sized([]byte{0, 3, 0, 1, 0}),
		"client id beyond the end":  sized([]byte{0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff}),
		"client id of length -2":    sized([]byte{0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xfe}),
		"tag section beyond":        sized(append([]byte{0, 3, 0, 12, 0, 0, 0, 1, 0, 1, 'x'}, 0xff, 0xff, 0xff, 0xff, 0xf)),
		"unknown key":               sized(header(9999, 0)),
		"key -1":                    sized(header(-1, 0)),
		"a removed key":             sized(header(4, 0)), // LeaderAndIsr
		"unknown version":           formatter.AppendRequest(nil, unknownVersion, 1),
		"version -1":                sized(header(3, -1)),
		"Metadata cut":              cut(metadata, 3),
		"Produce cut":               cut(produceRequest(9, topic, 0, batch), 5),
		"Produce cut in the batch":  cut(produceRequest(9, topic, 0, batch), 40),
		"Fetch cut":                 cut(fetch, 6),
		"ListOffsets cut":           cut(listed, 6),
		"Metadata of 2^31-1 topics": sized(append(header(3, 4), 0x7f, 0xff, 0xff, 0xff)),
		"Metadata of -5 topics":     sized(append(header(3, 4), 0xff, 0xff, 0xff, 0xfb)),
		"Metadata of 9 MiB":         sized(append(header(3, 4), make([]byte, 9<<20)...)),
		"Produce of 2^31-1 topics":  sized(append(header(0, 3), 0xff, 0xff, 0, 1, 0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff)),
		"acks=0 to no topic":        formatter.AppendRequest(nil, silent, 1),
		"acks=0 in version 2":       formatter.AppendRequest(nil, old, 1),
	} {
		t.Run(name, func(t *testing.T) {
			bystander := dialRaw(t, n.Kafka)
			c := dialRaw(t, n.Kafka)
			// The node may close before it has read everything: what counts is that it does.
			if _, err := c.Write(p); err == nil {
				err = c.closedWithin(5 * time.Second)
				if err != nil {
					t.Error(err)
				}
			}
			if err := bystander.open(); err != nil {
				t.Errorf("another connection: %v", err)
			}
		})
	}
	noPanics(t, n)
}

// Whoever points a browser or a TLS client at the Kafka port finds out from the log, in
// which nobody can write more than a line a second.
func TestLogOfBadFrames(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	for hint, p := range map[string]string{"HTTP": "GET / HTTP/1.1\r\n\r\n", "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		began := time.Now()
		for tries := 0; tries < 200 || !strings.Contains(n.Log(1<<20), hint); tries++ {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("the log does not say that %s came to the Kafka port", hint)
			}
			c := dialRaw(t, n.Kafka)
			c.send([]byte(p))
			if err := c.closedWithin(5 * time.Second); err != nil {
				t.Fatal(err)
			}
		}
		lines := strings.Count(n.Log(1<<20), hint)
		if most := 2 + int(time.Since(began)/time.Second); lines > most {
			t.Errorf("%d lines about %s in %v", lines, hint, time.Since(began))
		}
	}
}

// noPanics asks the metrics whether a request ended in a recovered panic.
func noPanics(t *testing.T, n *Node) {
	t.Helper()
	if got := metric(t, n, "chronik_panics_total"); got != 0 {
		t.Errorf("%v requests ended in a panic:\n%s", got, n.Log(16<<10))
	}
}

// metric is one figure of /metrics.
func metric(t testing.TB, n *Node, name string) float64 {
	t.Helper()
	_, text, err := n.Get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// An unsupported version of ApiVersions is answered in version 0 with one entry, and an
// unsupported version of Produce in each partition.
func TestUnsupportedVersions(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	c := dialRaw(t, n.Kafka)
	c.send(sized(append([]byte{0, 18, 0, 99, 0, 0, 0, 5, 0, 1, 'x', 0}, "body that nobody knows"...)))
	p, err := c.readFrame(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	v0 := kmsg.NewPtrApiVersionsRequest()
	resp, err := decode(v0, 5, p)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.(*kmsg.ApiVersionsResponse)
	if got.ErrorCode != kerr.UnsupportedVersion.Code || len(got.ApiKeys) != 1 || got.ApiKeys[0].ApiKey != 18 || got.ApiKeys[0].MaxVersion < 4 {
		t.Errorf("ApiVersions v99 is answered with %+v", got)
	}
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	for version := range int16(3) {
		answer := c.ask(produceRequest(version, topic, 0, seal(newBatch([]byte("v"))))).(*kmsg.ProduceResponse)
		if code := answer.Topics[0].Partitions[0].ErrorCode; code != kerr.UnsupportedVersion.Code {
			t.Errorf("Produce v%d: %v", version, kerr.ErrorForCode(code))
		}
	}
	// Bytes after a whole body are ignored, as Kafka does.
	trailing := c.frame(kmsg.NewPtrApiVersionsRequest())
	trailing = append(trailing, "more"...)
	binary.BigEndian.PutUint32(trailing, uint32(len(trailing)-4))
	c.send(trailing)
	if _, err := c.readFrame(5 * time.Second); err != nil {
		t.Errorf("a request with bytes after its body: %v", err)
	}
	if err := c.open(); err != nil {
		t.Error(err)
	}
	noPanics(t, n)
}

// A frame that trickles, a client that does not read: both lose their connection and
// cost nothing meanwhile.
func TestSlowPeers(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	createTopic(t, n.Kafka, topic, 1, nil)
	big := seal(newBatch(bytes.Repeat([]byte{1}, 1_000_000)))
	for range 8 {
		if code := produceRaw(t, n.Kafka, topic, 0, big).ErrorCode; code != 0 {
			t.Fatal(kerr.ErrorForCode(code))
		}
	}
	before := rss(t, n)

	trickle := dialRaw(t, n.Kafka)
	trickle.send([]byte{0, 0, 1, 0, 0})
	began := time.Now()

	deaf := dialRaw(t, n.Kafka)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version, fetch.MaxBytes = 11, 8<<20
	fetch.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{{PartitionMaxBytes: 8 << 20, CurrentLeaderEpoch: -1}}}}
	go func() {
		for range 500 { // blocks when the node no longer reads, fails when it has closed
			if _, err := deaf.Write(deaf.frame(fetch)); err != nil {
				return
			}
		}
	}()

	if err := trickle.closedWithin(50 * time.Second); err != nil {
		t.Errorf("a frame that trickles: %v", err)
	}
	if took := time.Since(began); took < 20*time.Second {
		t.Errorf("a frame that trickles was given %v only", took)
	}
	eventually(t, 60*time.Second, func() error {
		if open := metric(t, n, "chronik_connections"); open > 0 {
			return fmt.Errorf("%v connections are open: a client that does not read keeps its own", open)
		}
		return nil
	})
	grown := rss(t, n) - before
	t.Logf("a client that asked for 4 GB and read nothing cost %d MiB", grown>>20)
	if grown > 300<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	noPanics(t, n)
}

// Too many connections: the newest is closed.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"max.connections=4", "max.connections.per.ip=4"} {
		t.Run(setting, func(t *testing.T) {
			n := StartNode(t, NodeConfig{Args: []string{"--set", setting}})
			var held []*rawConn
			for range 4 {
				c := dialRaw(t, n.Kafka)
				if err := c.open(); err != nil {
					t.Fatal(err)
				}
				held = append(held, c)
			}
			fifth := dialRaw(t, n.Kafka)
			if err := fifth.closedWithin(5 * time.Second); err != nil {
				t.Errorf("the fifth connection: %v", err)
			}
			for i, c := range held {
				if err := c.open(); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
			held[0].Close()
			eventually(t, 5*time.Second, func() error {
				again, err := net.Dial("tcp", n.Kafka)
				if err != nil {
					return err
				}
				defer again.Close()
				return (&rawConn{Conn: again, t: t}).open()
			})
		})
	}
}

// Many large claims at once: memory stays bounded, honest clients are served.
func TestLargeClaims(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	honest := dialRaw(t, n.Kafka)
	const senders = 16
	body := make([]byte, 7<<20) // so many topics with empty names
	binary.BigEndian.PutUint32(body, uint32(len(body)-4)/2)
	frame := sized(append(header(3, 4), body...))
	ended := make(chan error, senders)
	for range senders {
		c := dialRaw(t, n.Kafka)
		go func() {
			if _, err := c.Write(frame); err != nil {
				ended <- nil // closed on the way: as good
				return
			}
			_, err := c.readFrame(2 * time.Minute)
			if nerr, ok := errors.AsType[net.Error](err); ok && nerr.Timeout() {
				ended <- fmt.Errorf("no answer and not closed: %w", err)
				return
			}
			ended <- nil
		}()
	}
	largest := int64(0)
	for left := senders; left > 0; {
		select {
		case err := <-ended:
			left--
			if err != nil {
				t.Error(err)
			}
		case <-time.After(100 * time.Millisecond):
			largest = max(largest, rss(t, n))
			if err := honest.open(); err != nil {
				t.Fatalf("an honest client: %v", err)
			}
		}
	}
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests of 7 MiB at once: memory at most %d MiB", senders, largest>>20)
	if largest > max(2<<30, int64(machine.Totalram)*int64(machine.Unit)/4) {
		t.Errorf("memory grew to %d MiB", largest>>20)
	}
	noPanics(t, n)
}
