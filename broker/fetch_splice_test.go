package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
)

// large is a broker with a topic of four partitions whose batches are of all sizes, the first ones large,
// and the values of the records in them. Its pipes are of these sizes.
func large(t *testing.T, sizes ...int) (b *Broker, values [4][][]byte) {
	t.Helper()
	b, _ = started(t, t.TempDir(), map[string]string{"num.partitions": "4"})
	b.limits.pipes.sizes = sizes
	makeTopics(t, b, "t")
	cl := client(t, b, kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range 400 {
		size := []int{10, 5_000, 17_000, 100_000, 900_000}[rand.IntN(5)]
		n := i % len(values)
		if i < len(values) {
			size = 100_000
		}
		value := bytes.Repeat(fmt.Appendf(nil, "%d of %d ", len(values[n]), n), size/10)
		values[n] = append(values[n], value)
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Partition: int32(n), Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return b, values
}

// idle waits until all pipes that were made are free, and returns how many they are.
func (p *pipes) idle(t *testing.T) (n int) {
	t.Helper()
	eventually(t, func() error {
		n = int(p.made.Load())
		if free := len(p.free); free != n {
			return fmt.Errorf("of %d pipes %d are free", n, free)
		}
		return nil
	})
	return n
}

// Consumers of several partitions get every record as it was written, whether pages are handed on
// or copied; pipes are given back.
func TestFetchOfLargeBatches(t *testing.T) {
	t.Run("whole", func(t *testing.T) { readLarge(t, 1<<20) })
	t.Run("small pipes", func(t *testing.T) { readLarge(t, 64<<10) })
	t.Run("no pipes", func(t *testing.T) { readLarge(t) })
}

func readLarge(t *testing.T, sizes ...int) {
	b, values := large(t, sizes...)
	for round := range 3 { // the second and third find what the first one checked
		next := [4]int{}
		for i, r := range consumeAll(t, b, "t", 400) {
			n := next[r.Partition]
			if int(r.Offset) != n || !bytes.Equal(r.Value, values[r.Partition][n]) {
				t.Fatalf("round %d, record %d: offset %d of partition %d is another", round, i, r.Offset, r.Partition)
			}
			next[r.Partition]++
		}
		if round == 0 {
			time.Sleep(2 * time.Second) // from now on it is to be checked
		}
	}
	if n := b.limits.pipes.idle(t); (n == 0) != (len(sizes) == 0) {
		t.Errorf("%d pipes", n)
	}
}

// Clients that ask for much and do not read keep pipes until they go; others are served meanwhile, by
// copies when no pipe is left.
func TestFetchWithoutReading(t *testing.T) {
	b, _ := large(t, 1<<20)
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 12, 100, 1, 50<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = "t"
	for n := range 4 {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes = int32(n), 8<<20
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	frame, _ := framed(req)
	time.Sleep(2 * time.Second) // from now on it is to be checked, or is copied
	consumeAll(t, b, "t", 400)
	var taken []*logstore.Pipe // by other clients
	for len(taken) < mostPipes-8 {
		taken = append(taken, b.limits.pipes.get())
	}
	var deaf []wireConn
	ask := func(clients int) {
		for range clients {
			c := wired(t, b)
			for range 8 { // more than sockets hold
				if _, err := c.Write(frame); err != nil {
					t.Fatal(err)
				}
			}
			deaf = append(deaf, c)
		}
	}
	ask(2) // alone, for copies that are not read take the memory that others wait for
	eventually(t, func() error {
		if made := b.limits.pipes.made.Load(); made < mostPipes || len(b.limits.pipes.free) > 0 {
			return fmt.Errorf("%d pipes, %d of them free", made, len(b.limits.pipes.free))
		}
		return nil
	})
	ask(18)
	consumeAll(t, b, "t", 400)
	answer, err := wired(t, b).exchange(frame)
	if err != nil {
		t.Fatal(err)
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 12
	if err := resp.ReadFrom(answer[5:]); err != nil || binary.BigEndian.Uint32(answer) != 7 {
		t.Fatalf("answer %x: %v", answer[:8], err)
	}
	for _, c := range deaf {
		c.Close()
	}
	for _, p := range taken {
		b.limits.pipes.put(p)
	}
	b.limits.pipes.idle(t)
}

// A client that stops reading in the middle of an answer gets what fits in its time, and nothing
// more once that is over: not the answer again, nor another one.
func TestFlushFails(t *testing.T) {
	nc, reader := ends(t)
	b, _ := started(t, t.TempDir(), nil)
	o := newOutbox(b, nc)
	o.stall = 100 * time.Millisecond
	sent := make([]byte, 16<<20)
	for i := 0; i < len(sent); i += 4 {
		binary.BigEndian.PutUint32(sent[i:], uint32(i))
	}
	o.buf = append(o.buf, sent...)
	if err := o.flush(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("nobody reads: %v", err)
	}
	o.buf = append(o.buf, "another answer"...)
	if err := o.flush(); !errors.Is(err, os.ErrDeadlineExceeded) || len(o.buf) > 0 {
		t.Fatalf("after it failed: %v", err)
	}
	nc.Close()
	if got, err := io.ReadAll(reader); err != nil || len(got) == 0 || !bytes.HasPrefix(sent, got) {
		t.Errorf("%d bytes, %v: they are not the beginning of what was sent", len(got), err)
	}
}
