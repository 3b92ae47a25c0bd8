package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
	"chronik/wire/batch"
)

// BenchmarkDispatch is a request from its frame to its encoded answer, without a socket.
func BenchmarkDispatch(b *testing.B) {
	br, _ := started(b, b.TempDir(), nil)
	makeTopics(b, br, "t")
	for i := range 999 {
		if err := br.createTopic(b.Context(), meta.NewTopic{Name: fmt.Sprintf("topic-%03d", i), ID: meta.NewID(), Replicas: [][]int32{{1}}}); err != nil {
			b.Fatal(err)
		}
	}
	here, there := net.Pipe()
	defer there.Close()
	c, ctx := newConn(context.Background(), br, here)
	defer c.close()
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 3, "x", "1"
	one, all := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrMetadataRequest()
	one.Version, all.Version = 12, 12
	one.Topics = []kmsg.MetadataRequestTopic{{Topic: new("t")}}
	for name, req := range map[string]kmsg.Request{"ApiVersions": versions, "Metadata/one of 1000 topics": one, "Metadata/all of 1000 topics": all} {
		frame, _ := framed(req)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.serve(ctx, frame[4:]); err != nil || len(c.out.buf) == 0 {
					b.Fatal(len(c.out.buf), err)
				}
				c.out.empty()
			}
		})
	}
}

// BenchmarkExchange is a request and its answer over a connection, one after the other, of
// a topic that is not flushed. Retention keeps the log small.
func BenchmarkExchange(b *testing.B) {
	br, _ := started(b, b.TempDir(), map[string]string{
		"log.flush.interval.messages": "9223372036854775807", "log.retention.bytes": "1073741824", "log.retention.check.interval.ms": "1000",
	})
	makeTopics(b, br, "t")
	c := wired(b, br)
	defer c.Close()
	small, _ := framed(oneRecord(b, "t"))
	mega := kmsg.NewPtrProduceRequest()
	mega.Version, mega.Acks, mega.TimeoutMillis = 9, -1, 1000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rt.Topic, rp.Records = "t", largeBatch(b)
	rt.Partitions = append(rt.Partitions, rp)
	mega.Topics = append(mega.Topics, rt)
	large, _ := framed(mega)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version, fetch.MinBytes, fetch.MaxBytes, fetch.SessionEpoch = 11, 1, 1<<20, -1
	ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	ft.Topic, fp.PartitionMaxBytes, fp.CurrentLeaderEpoch = "t", 1<<20, -1
	ft.Partitions = append(ft.Partitions, fp)
	fetch.Topics = append(fetch.Topics, ft)
	hot, _ := framed(fetch)
	for _, m := range []struct {
		name  string
		frame []byte
		bytes int
	}{{"Produce/one", small, 0}, {"Produce/1MiB", large, len(large)}, {"Fetch/1MiB", hot, 1 << 20}} {
		b.Run(m.name, func(b *testing.B) {
			if err := c.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(m.bytes))
			for b.Loop() {
				if _, err := c.Write(m.frame); err != nil {
					b.Fatal(err)
				}
				skipAnswer(b, c)
			}
		})
		if p, err := br.partition("t", 0); err != nil || p.hw() == 0 {
			b.Fatalf("%s: nothing was appended, %v", m.name, err)
		}
	}
}

// skipAnswer reads an answer away.
func skipAnswer(b *testing.B, c wireConn) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		b.Fatal(err)
	}
	n := int64(size[0])<<24 | int64(size[1])<<16 | int64(size[2])<<8 | int64(size[3])
	if _, err := io.CopyN(io.Discard, c, n); err != nil {
		b.Fatal(err)
	}
}

// largeBatch is a batch of nearly 1 MiB, of records of 1 KiB.
func largeBatch(b *testing.B) batch.Batch {
	builder := batch.NewBuilder(batch.None)
	for range 1000 {
		builder.Add(time.Now().UnixMilli(), nil, bytes.Repeat([]byte("v"), 1024))
	}
	made, err := builder.Build(nil)
	if err != nil {
		b.Fatal(err)
	}
	return made
}

// BenchmarkHighWatermark is what a leader does for each fetch of a follower: note it, move
// the high watermark, look whether the ISR is right.
func BenchmarkHighWatermark(b *testing.B) {
	s := three(2, 1, 2, 3)
	view := isrView{now: t0, lag: 10 * time.Second, active: allActive}
	b.ReportAllocs()
	for end := int64(20); b.Loop(); end++ {
		for _, id := range []int32{2, 3} {
			s.fetched(followerFetch{id: id, brokerEpoch: int64(100 + id), end: end}, end, t0)
			if hw, ok := s.highWatermark(end); ok {
				view.hw = hw
			}
			if p := s.propose(view); p != nil {
				b.Fatalf("%+v", p)
			}
		}
		if view.hw != end {
			b.Fatalf("high watermark %d, want %d", view.hw, end)
		}
	}
}
