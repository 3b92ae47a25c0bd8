package e2e

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Thousands of connections that asked once and idle: each is answered again afterwards. Ten
// thousand of them take at most 200 MB; what they cost is printed.
func TestIdleConnections(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	n.WaitReady()
	count, before := rounds(1000, 10_000), rss(t, n)
	conns := make([]*rawConn, count)
	req := kmsg.NewPtrApiVersionsRequest()
	for i := range conns {
		conns[i] = dialRaw(t, n.Kafka)
		conns[i].ask(req)
	}
	idle := rss(t, n) - before
	cpu := cpuTime(t, n)
	const pause = 2 * time.Second
	time.Sleep(pause) // of nothing, to see what that costs
	cpu = cpuTime(t, n) - cpu
	for _, c := range conns {
		c.ask(req)
	}
	if each := idle / int64(count); each > 20_000 {
		t.Errorf("an idle connection takes %d bytes", each)
	}
	t.Logf("%d idle connections: %d MiB, %d KiB each; %.1f %% of a core", count, idle>>20, idle>>10/int64(count), 100*cpu.Seconds()/pause.Seconds())
}

// Clients that send most of a huge frame and stop, and clients that ask for much and do not read,
// hold no more than the budgets of a node whose memory is small; it serves others meanwhile.
func TestMemoryIsBounded(t *testing.T) {
	n := StartNode(t, NodeConfig{Env: []string{"GOMEMLIMIT=1GiB"}})
	n.WaitReady()
	const topic = "much"
	createTopic(t, n.Kafka, topic, 8, nil)
	cl := newClient(t, n.Kafka, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	value := make([]byte, 900_000)
	for range 160 { // in batches of 0.9 MB and, so that they are copied, of 5 KB
		cl.Produce(t.Context(), &kgo.Record{Value: value}, nil)
		cl.Produce(t.Context(), &kgo.Record{Value: value[:5000]}, nil)
		if err := cl.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := rss(t, n)
	var halves sync.WaitGroup
	const many, size = 40, 60 << 20
	for range many {
		c := dialRaw(t, n.Kafka)
		if err := c.SetWriteDeadline(time.Now().Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		halves.Go(func() {
			part := make([]byte, 1<<20)
			binary.BigEndian.PutUint32(part, size)
			for range 50 { // the deadline ends those that find no room
				if _, err := c.Write(part); err != nil {
					return
				}
				clear(part[:4])
			}
		})
		deaf := dialRaw(t, n.Kafka)
		for range 4 {
			deaf.send(deaf.frame(asksForAll(topic, 8)))
		}
	}
	most := int64(0)
	for stop := time.Now().Add(4 * time.Second); time.Now().Before(stop); time.Sleep(50 * time.Millisecond) {
		most = max(most, rss(t, n))
	}
	halves.Wait()
	dialRaw(t, n.Kafka).ask(kmsg.NewPtrMetadataRequest())
	if took := most - before; took > 1<<30 {
		t.Errorf("%d frames of which 50 MB came, and %d clients that do not read, take %d MB", many, many, took>>20)
	}
	t.Logf("%d MiB before, at most %d MiB; %d MB were sent, and as much was asked for", before>>20, most>>20, many*50)
}

// asksForAll asks for 50 MB of all partitions.
func asksForAll(topic string, partitions int32) kmsg.Request {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MinBytes, req.MaxBytes, req.SessionEpoch = 11, 1, 50<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	for i := range partitions {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes = i, 50<<20
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	return req
}
