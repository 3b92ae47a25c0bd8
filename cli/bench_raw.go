package cli

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/wire/batch"
)

// Versions that every Kafka since 2.3 serves, the last ones without tags.
const (
	rawProduceVersion = 7
	rawFetchVersion   = 11
)

// rawDeadline bounds one wait for an answer.
const rawDeadline = 60 * time.Second

// rawFrame encodes a request as it goes over the wire.
func rawFrame(req kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("chronik-bench")).AppendRequest(nil, req, 0)
}

// rawBatch is a batch of about the asked size, and how many records it has.
func rawBatch(cfg *benchConfig) (batch.Batch, int, error) {
	codec := map[string]batch.Codec{"none": batch.None, "gzip": batch.Gzip, "snappy": batch.Snappy, "lz4": batch.LZ4, "zstd": batch.Zstd}
	c, ok := codec[cfg.compression]
	if !ok {
		return nil, 0, usagef("--compression %s: it is none, gzip, snappy, lz4 or zstd", cfg.compression)
	}
	value := make([]byte, cfg.size)
	payloads[cfg.payload](value)
	b := batch.NewBuilder(c)
	now := time.Now().UnixMilli()
	key := benchKey(cfg, 0, 0)
	// A record costs about 12 bytes beside its key and value.
	for b.Len() == 0 || batch.HeaderLen+(b.Len()+1)*(len(key)+cfg.size+12) <= cfg.batchSize {
		b.Add(now, key, value)
		key = benchKey(cfg, 0, b.Len())
	}
	built, err := b.Build(nil)
	return built, b.Len(), err
}

// rawProduceFrame is a whole Produce request for one partition.
func rawProduceFrame(cfg *benchConfig, records batch.Batch, partition int32) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.TimeoutMillis = rawProduceVersion, 30_000
	req.Acks = map[string]int16{"all": -1, "-1": -1, "1": 1, "0": 0}[cfg.acks]
	t := kmsg.NewProduceRequestTopic()
	t.Topic = cfg.topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return rawFrame(req)
}

// rawProduce has every connection send the same batch to one partition.
func rawProduce(ctx context.Context, cfg *benchConfig, rec *recorder) error {
	if cfg.acks == "0" {
		return usagef("--raw needs answers: --acks is 1 or all")
	}
	if cfg.rate > 0 {
		return usagef("--raw sends as fast as answers come: no --rate-limit")
	}
	records, n, err := rawBatch(cfg)
	if err != nil {
		return err
	}
	return rawWorkers(ctx, cfg, rec, func(ctx context.Context, nc net.Conn, worker int) error {
		frame := rawProduceFrame(cfg, records, int32(worker%cfg.partitions))
		p := &rawProducer{cfg: cfg, rec: rec, lane: rec.lane(), nc: nc, in: bufio.NewReaderSize(nc, 64<<10), frame: frame, records: n}
		return p.run(ctx)
	})
}

// rawWorkers runs a worker on each of its own connections to the partition's leader.
func rawWorkers(ctx context.Context, cfg *benchConfig, rec *recorder, work func(context.Context, net.Conn, int) error) error {
	leaders, err := rawLeaders(ctx, cfg)
	if err != nil {
		return err
	}
	var workers sync.WaitGroup
	for w := range cfg.workers {
		workers.Go(func() {
			nc, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", leaders[w%len(leaders)])
			if err == nil {
				err = errors.Join(work(ctx, nc, w), nc.Close())
			}
			if err != nil && ctx.Err() == nil {
				rec.fail(err)
			}
		})
	}
	workers.Wait()
	return nil
}

// rawLeaders are the addresses of the leaders, by partition.
func rawLeaders(ctx context.Context, cfg *benchConfig) ([]string, error) {
	client, err := benchClient(cfg)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	m, err := kadm.NewClient(client).Metadata(ctx, cfg.topic)
	if err != nil {
		return nil, err
	}
	addr := map[int32]string{}
	for _, b := range m.Brokers {
		addr[b.NodeID] = net.JoinHostPort(b.Host, fmt.Sprint(b.Port))
	}
	var leaders []string
	for _, p := range m.Topics[cfg.topic].Partitions.Sorted() {
		if p.Err != nil {
			return nil, fmt.Errorf("partition %d of %s: %w", p.Partition, cfg.topic, said(p.Err, ""))
		}
		leaders = append(leaders, addr[p.Leader])
	}
	if len(leaders) == 0 {
		return nil, fmt.Errorf("topic %s does not exist: --create-topic creates it", cfg.topic)
	}
	return leaders, nil
}

// rawProducer keeps a number of requests under way on one connection.
type rawProducer struct {
	cfg     *benchConfig
	rec     *recorder
	lane    *lane
	nc      net.Conn
	in      *bufio.Reader
	frame   []byte
	records int
	sent    []time.Time // of the requests under way, the oldest first
	answer  []byte
}

func (p *rawProducer) run(ctx context.Context) error {
	if err := p.send(p.cfg.inFlight); err != nil {
		return err
	}
	for len(p.sent) > 0 {
		answered, err := p.receive()
		if err != nil {
			return err
		}
		if now := time.Now(); ctx.Err() == nil && !p.rec.over(now) {
			if err := p.send(answered); err != nil {
				return err
			}
		}
	}
	return nil
}

// send writes n requests in one write.
func (p *rawProducer) send(n int) error {
	bufs := make(net.Buffers, n)
	now := time.Now()
	for i := range bufs {
		bufs[i] = p.frame
		p.sent = append(p.sent, now)
	}
	if err := p.nc.SetDeadline(now.Add(rawDeadline)); err != nil {
		return err
	}
	_, err := bufs.WriteTo(p.nc)
	return err
}

// receive reads one answer, and those that came with it.
func (p *rawProducer) receive() (n int, err error) {
	for n == 0 || p.in.Buffered() >= 4 && p.whole() {
		if p.answer, err = readFrame(p.in, p.answer); err != nil {
			return n, err
		}
		now := time.Now()
		n++
		if code := p.errorCode(); code != 0 {
			p.rec.fail(kerr.ErrorForCode(code))
		} else {
			p.lane.done(p.sent[0], now, p.records, p.records*p.cfg.size)
		}
		p.sent = append(p.sent[:0], p.sent[1:]...)
	}
	return n, nil
}

// whole reports whether the next answer is in the buffer.
func (p *rawProducer) whole() bool {
	size, err := p.in.Peek(4)
	return err == nil && p.in.Buffered() >= 4+int(binary.BigEndian.Uint32(size))
}

// errorCode finds the error of the one partition: behind correlation id, topic
// count, name, partition count and partition.
func (p *rawProducer) errorCode() int16 {
	at := 4 + 4 + 2 + len(p.cfg.topic) + 4 + 4
	if len(p.answer) < at+2 {
		return kerr.CorruptMessage.Code
	}
	return int16(binary.BigEndian.Uint16(p.answer[at:]))
}

// readFrame reads an answer into buf, which grows as need be.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if n < 4 || n > 1<<30 {
		return buf, fmt.Errorf("an answer of %d bytes", n)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

// rawConsume has every connection read one partition from its beginning, again and again.
func rawConsume(ctx context.Context, cfg *benchConfig, rec *recorder) error {
	return rawWorkers(ctx, cfg, rec, func(ctx context.Context, nc net.Conn, worker int) error {
		f := &rawFetcher{cfg: cfg, rec: rec, lane: rec.lane(), nc: nc, partition: int32(worker % cfg.partitions)}
		return f.run(ctx)
	})
}

// rawFetcher reads one partition over one connection.
type rawFetcher struct {
	cfg       *benchConfig
	rec       *recorder
	lane      *lane
	nc        net.Conn
	partition int32
	offset    int64
	answer    []byte
}

func (f *rawFetcher) run(ctx context.Context) error {
	for {
		began := time.Now()
		if ctx.Err() != nil || f.rec.over(began) {
			return nil
		}
		if err := f.nc.SetDeadline(began.Add(rawDeadline)); err != nil {
			return err
		}
		if _, err := f.nc.Write(f.request()); err != nil {
			return err
		}
		var err error
		if f.answer, err = readFrame(f.nc, f.answer); err != nil {
			return err
		}
		records, bytes, err := f.take()
		if err != nil {
			return err
		}
		f.lane.done(began, time.Now(), records, bytes)
	}
}

func (f *rawFetcher) request() []byte {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = rawFetchVersion, 500, 1, 50<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = f.cfg.topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = f.partition, f.offset, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return rawFrame(req)
}

// take counts the records of the one partition in the answer and moves the
// offset on, back to the beginning at the end.
func (f *rawFetcher) take() (records, bytes int, err error) {
	// correlation id, throttle, error, session | topics, name, partitions | partition
	at := 4 + 4 + 2 + 4 + 4 + 2 + len(f.cfg.topic) + 4 + 4
	if len(f.answer) < at+2+8+8+8+4+4+4 {
		return 0, 0, fmt.Errorf("an answer of %d bytes is too short", len(f.answer))
	}
	if code := int16(binary.BigEndian.Uint16(f.answer[at:])); code != 0 {
		return 0, 0, kerr.ErrorForCode(code)
	}
	hw := int64(binary.BigEndian.Uint64(f.answer[at+2:]))
	at += 2 + 8 + 8 + 8
	if aborted := int32(binary.BigEndian.Uint32(f.answer[at:])); aborted > 0 {
		return 0, 0, errors.New("aborted transactions in a topic of a measurement")
	}
	at += 4 + 4 // preferred read replica
	if len(f.answer) < at+4 {
		return 0, 0, errors.New("an answer without records")
	}
	rest := f.answer[at+4:]
	for {
		b, more, err := batch.First(rest)
		if err != nil {
			break // the end, or a batch that is cut off
		}
		records += int(b.NumRecords())
		f.offset, rest = b.LastOffset()+1, more
		bytes += len(b)
	}
	if records == 0 && f.offset == 0 {
		return 0, 0, errors.New("the partition has no records: fill it with --mode produce")
	}
	if f.offset >= hw { // from the beginning again, instead of waiting for more
		f.offset = 0
	}
	return records, bytes, nil
}
