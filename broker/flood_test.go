package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
	"chronik/wire/batch"
)

// oneRecord asks for an append of one record to partition 0.
func oneRecord(t testing.TB, topic string) kmsg.Request {
	t.Helper()
	builder := batch.NewBuilder(batch.None)
	builder.Add(time.Now().UnixMilli(), []byte("key"), []byte("value"))
	records, err := builder.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, 1, 1000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rt.Topic, rp.Records = topic, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// longPoll waits a minute for a record of partition 0.
func longPoll(topic string) kmsg.Request {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 4, 60_000, 1, 1<<20
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rp.PartitionMaxBytes = topic, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// asksForTopics makes the topics that it names.
func asksForTopics(names ...string) kmsg.Request {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = 4, true
	for _, name := range names {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = new(name)
		req.Topics = append(req.Topics, rt)
	}
	return req
}

func makeTopics(t testing.TB, b *Broker, names ...string) {
	t.Helper()
	c := wired(t, b)
	defer c.Close()
	frame, _ := framed(asksForTopics(names...))
	if _, err := c.exchange(frame); err != nil {
		t.Fatal(err)
	}
}

// Answers leave in the order of the requests, also where one is refused for its version
// behind one that was read with it and is not appended yet.
func TestRefusedVersionKeepsOrder(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	makeTopics(t, b, "t")
	c := wired(t, b)
	defer c.Close()
	both := kmsg.NewRequestFormatter().AppendRequest(nil, oneRecord(t, "t"), 1)
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.Version = 4
	newer := kmsg.NewRequestFormatter().AppendRequest(nil, versions, 2)
	binary.BigEndian.PutUint16(newer[6:], 99)
	p, err := c.exchange(append(both, newer...))
	if err != nil {
		t.Fatal(err)
	}
	if first := binary.BigEndian.Uint32(p); first != 1 {
		t.Errorf("request %d is answered first", first)
	}
}

// A client that sends on behind a long poll is not read without bound: its answers would
// wait in memory. It does not keep the broker from stopping either.
func TestAnswersBehindALongPoll(t *testing.T) {
	b, stop := started(t, t.TempDir(), nil)
	makeTopics(t, b, "quiet")
	c := wired(t, b)
	defer c.Close()
	flood, _ := framed(longPoll("quiet"))
	all, _ := framed(kmsg.NewPtrMetadataRequest())
	for range 200 {
		flood = append(flood, all...)
	}
	flood = append(flood, flood...)
	if _, err := c.Write(flood); err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		for c := range b.server.conns {
			n = max(n, c.queue.len())
		}
		return n
	}
	eventually(t, func() error {
		if n := waiting(); n < maxLargeInFlight {
			return fmt.Errorf("%d answers wait", n)
		}
		return nil
	})
	began := time.Now()
	for time.Since(began) < 200*time.Millisecond { // as long as all of them take
		if n := waiting(); n > maxLargeInFlight {
			t.Fatalf("%d answers wait in memory", n)
		}
	}
	began = time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopped after %v", took)
	}
}

// A client that is gone is noticed in time, also while its connection is not read because
// of what waits behind a long poll.
func TestGoneBehindALongPoll(t *testing.T) {
	b, _ := started(t, t.TempDir(), map[string]string{"connections.max.idle.ms": "1000"})
	makeTopics(t, b, "quiet")
	c := wired(t, b)
	flood, _ := framed(longPoll("quiet"))
	all, _ := framed(kmsg.NewPtrMetadataRequest())
	for range 2 * maxLargeInFlight {
		flood = append(flood, all...)
	}
	if _, err := c.Write(flood); err != nil {
		t.Fatal(err)
	}
	c.Close()
	eventually(t, func() error {
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		if n := len(b.server.conns); n > 0 {
			return fmt.Errorf("%d connections are left", n)
		}
		return nil
	})
}

// Sizes that clients only claim do not take the room of those who send.
func TestClaimedFramesDoNotBlockOthers(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	for range 1 + b.limits.frames.size/(100<<20) {
		c := wired(t, b)
		defer c.Close()
		if _, err := c.Write([]byte{0x06, 0x40, 0, 0}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		if n := len(b.server.conns); int64(n) < 1+b.limits.frames.size/(100<<20) {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	names := make([]string, 500) // a frame above the small size
	for i := range names {
		names[i] = fmt.Sprintf("%0100d.", i)
	}
	req := asksForTopics(names...).(*kmsg.MetadataRequest)
	req.AllowAutoTopicCreation = false
	frame, _ := framed(req)
	c := wired(t, b)
	defer c.Close()
	if _, err := c.exchange(frame); err != nil {
		t.Errorf("beside frames that are claimed: %v", err)
	}
}

// A request that goes on for long does not keep the broker from stopping.
func TestStopDuringALongRequest(t *testing.T) {
	b, stop := started(t, t.TempDir(), nil)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 5, 60_000
	for i := range 30_000 {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = fmt.Sprint("topic-", i), 1, 1
		req.Topics = append(req.Topics, rt)
	}
	c := wired(t, b)
	defer c.Close()
	frame, _ := framed(req)
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if b.snap().NumTopics() == 0 {
			return errors.New("no topic is created")
		}
		return nil
	})
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopped after %v", took)
	}
}

// A client that waits for a broker which is not ready does not keep it from stopping.
func TestStopBeforeReady(t *testing.T) {
	b, err := New(Config{
		DataDir: t.TempDir(), Listen: "localhost:0", Etcd: meta.Etcd{PeerListen: "127.0.0.1:0", EtcdListen: "127.0.0.1:0"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.store.Close()
	defer b.meta.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.server.run(ctx, b) }()
	c := wired(t, b)
	defer c.Close()
	frame, _ := framed(asksForTopics("t"))
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		families, err := b.metrics.registry.Gather()
		if err != nil {
			return err
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "chronik_requests_total" && m.GetCounter().GetValue() > 0 {
					return nil
				}
			}
		}
		return errors.New("no request has come")
	})
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*stopPatience {
		t.Errorf("stopped after %v", took)
	}
}
