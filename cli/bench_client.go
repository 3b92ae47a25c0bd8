package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

// payloads fill a value.
var payloads = map[string]func([]byte){
	"zero": func([]byte) {},
	"random": func(p []byte) {
		for i := range p {
			p[i] = byte(rand.Uint32())
		}
	},
	"text": func(p []byte) {
		const words = "the quick brown fox jumps over the lazy dog "
		for i := range p {
			p[i] = words[i%len(words)]
		}
	},
}

// pace says when the i-th record of a worker is due.
type pace struct {
	start    time.Time
	interval time.Duration // 0: at once
	i        int64
}

// newPace shares the rate among the workers, their beginnings spread over one interval.
func newPace(cfg *benchConfig, worker int) *pace {
	p := &pace{start: time.Now()}
	if cfg.rate > 0 {
		p.interval = time.Duration(float64(time.Second) * float64(cfg.workers) / cfg.rate)
		p.start = p.start.Add(p.interval * time.Duration(worker) / time.Duration(cfg.workers))
	}
	return p
}

// next waits until the next record is due, and returns when that was: a worker
// that is late does not wait, and its lateness counts.
func (p *pace) next(ctx context.Context) time.Time {
	if p.interval == 0 {
		return time.Now()
	}
	due := p.start.Add(time.Duration(p.i) * p.interval)
	p.i++
	sleepExactly(ctx, due)
	return due
}

// sleepExactly waits by the system's clock at the end: the runtime's timers may be a
// millisecond late where nothing else happens, and that would be taken for the broker's time.
func sleepExactly(ctx context.Context, at time.Time) {
	const coarse = 2 * time.Millisecond
	if time.Until(at) > coarse && !sleepUntil(ctx, at.Add(-coarse)) {
		return
	}
	for wait := time.Until(at); wait > 0; wait = time.Until(at) {
		ts := unix.NsecToTimespec(int64(wait))
		_ = unix.Nanosleep(&ts, nil) // a signal ends it early
	}
}

// benchProduce sends records through a client that the workers share.
func benchProduce(ctx context.Context, cfg *benchConfig, rec *recorder) error {
	client, err := benchClient(cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	var workers sync.WaitGroup
	for w := range cfg.workers {
		workers.Go(func() { produceWorker(ctx, cfg, rec, client, w) })
	}
	workers.Wait()
	return client.Flush(ctx)
}

func produceWorker(ctx context.Context, cfg *benchConfig, rec *recorder, client *kgo.Client, worker int) {
	lane, when := rec.lane(), newPace(cfg, worker)
	free := make(chan struct{}, cfg.inFlight)
	value := make([]byte, cfg.size)
	payloads[cfg.payload](value)
	for n := 0; ; n++ {
		due := when.next(ctx)
		if ctx.Err() != nil || rec.over(due) {
			break
		}
		free <- struct{}{}
		r := &kgo.Record{Key: benchKey(cfg, worker, n), Value: value}
		client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			<-free
			if err != nil {
				if ctx.Err() == nil {
					rec.fail(err)
				}
				return
			}
			lane.done(due, time.Now(), 1, cfg.size)
		})
	}
	for range cfg.inFlight {
		free <- struct{}{}
	}
}

func benchKey(cfg *benchConfig, worker, n int) []byte {
	switch cfg.keyPattern {
	case "sequence":
		return strconv.AppendInt(nil, int64(n*cfg.workers+worker), 10)
	case "random":
		return binary.BigEndian.AppendUint64(nil, rand.Uint64())
	}
	return nil
}

// benchConsume reads the topic from its beginning, again and again, with one client each worker.
func benchConsume(ctx context.Context, cfg *benchConfig, rec *recorder) error {
	ctx, cancel := context.WithDeadline(ctx, time.Unix(0, rec.end.Load()))
	defer cancel()
	var workers sync.WaitGroup
	for range cfg.workers {
		workers.Go(func() {
			for ctx.Err() == nil {
				if err := consumeOnce(ctx, cfg, rec); err != nil && ctx.Err() == nil {
					rec.fail(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return nil
}

// consumeOnce reads the topic to its present end.
func consumeOnce(ctx context.Context, cfg *benchConfig, rec *recorder) error {
	client, err := benchClient(cfg, kgo.ConsumeTopics(cfg.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	ends, err := partitionEnds(ctx, client, cfg.topic, -1)
	if err != nil {
		return err
	}
	if len(ends) == 0 {
		return errors.New("the topic has no records: fill it with --mode produce")
	}
	lane := rec.lane()
	for len(ends) > 0 {
		began := time.Now()
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		records, bytes := 0, 0
		fetches.EachRecord(func(r *kgo.Record) {
			records++
			bytes += len(r.Value)
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
		})
		lane.done(began, time.Now(), records, bytes)
	}
	return nil
}

// benchRoundTrip measures from when a record was due to when a consumer has it.
func benchRoundTrip(ctx context.Context, cfg *benchConfig, rec *recorder) error {
	if cfg.size < 8 {
		return usagef("--message-size %d: round-trip needs 8 bytes for the time", cfg.size)
	}
	client, err := benchClient(cfg, kgo.ConsumeTopics(cfg.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var reader, workers sync.WaitGroup
	reader.Go(func() { readTimes(reading, cfg, rec, client) })
	for w := range cfg.workers {
		workers.Go(func() { sendTimes(ctx, cfg, rec, client, w) })
	}
	workers.Wait()
	if err := client.Flush(ctx); err != nil {
		return err
	}
	sleepUntil(ctx, time.Now().Add(500*time.Millisecond)) // the last ones are on their way
	stop()
	reader.Wait()
	return nil
}

func sendTimes(ctx context.Context, cfg *benchConfig, rec *recorder, client *kgo.Client, worker int) {
	when := newPace(cfg, worker)
	for {
		due := when.next(ctx)
		if ctx.Err() != nil || rec.over(due) {
			return
		}
		value := make([]byte, cfg.size)
		binary.BigEndian.PutUint64(value, uint64(due.UnixNano()))
		send := func(_ *kgo.Record, err error) {
			if err != nil && ctx.Err() == nil {
				rec.fail(err)
			}
		}
		if cfg.rate > 0 {
			client.Produce(ctx, &kgo.Record{Value: value}, send)
			continue
		}
		send(nil, client.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr())
	}
}

func readTimes(ctx context.Context, cfg *benchConfig, rec *recorder, client *kgo.Client) {
	lane := rec.lane()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		now := time.Now()
		for _, e := range fetches.Errors() {
			if ctx.Err() == nil {
				rec.fail(e.Err)
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			lane.done(time.Unix(0, int64(binary.BigEndian.Uint64(r.Value))), now, 1, cfg.size)
		})
	}
}

// benchMetadata asks for all topics.
func benchMetadata(ctx context.Context, cfg *benchConfig, rec *recorder) error {
	client, err := benchClient(cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	var workers sync.WaitGroup
	for w := range cfg.workers {
		workers.Go(func() {
			lane, when := rec.lane(), newPace(cfg, w)
			for {
				due := when.next(ctx)
				if ctx.Err() != nil || rec.over(due) {
					return
				}
				resp, err := client.SeedBrokers()[0].Request(ctx, kmsg.NewPtrMetadataRequest())
				if err != nil {
					rec.fail(err)
					return
				}
				lane.done(due, time.Now(), len(resp.(*kmsg.MetadataResponse).Topics), 0)
			}
		})
	}
	workers.Wait()
	return nil
}
