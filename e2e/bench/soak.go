package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The load of a soak: 50 MB/s to a topic that keeps about 1 GiB, so that segments are
// closed and deleted all the time.
const (
	soakTopic      = "soak"
	soakRate       = 50_000 // records a second
	soakSize       = 1000   // bytes of each
	soakPartitions = 4
	soakTick       = 5 * time.Millisecond
)

// soaking counts what was sent and what has come back. Records of a partition have
// consecutive numbers, so a lost one is seen by the next.
type soaking struct {
	sent, acked, read, failed atomic.Int64

	mu      sync.Mutex
	acks    *hdrhistogram.Histogram // microseconds of this interval; guarded by mu
	first   error                   // guarded by mu
	highest [soakPartitions]int64   // number of the last acknowledged record; guarded by mu
	seen    [soakPartitions]int64   // number of the last record that was read; guarded by mu
}

// soak is `make soak`, row 24.
func soak(ctx context.Context) (err error) {
	c, err := startCluster(ctx, chronikSystem(options.chronik), 1, "--set", "log.retention.check.interval.ms=5000")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.create(ctx, soakTopic, topic{partitions: soakPartitions, settings: map[string]string{
		"retention.bytes": fmt.Sprint(256 << 20), "segment.bytes": fmt.Sprint(16 << 20),
	}}); err != nil {
		return err
	}
	s := &soaking{acks: newHistogram()}
	for p := range soakPartitions {
		s.highest[p], s.seen[p] = -1, -1
	}
	fmt.Printf("%.0f MB/s for %v on %s, commit %s\n\n", float64(soakRate*soakSize)/1e6, options.soak, machine(), commit())
	err = s.work(ctx, c)
	return errors.Join(err, c.failed(c.nodes[0].life.gone()), c.end(syscall.SIGTERM))
}

// work runs producer, consumer and the printer of figures.
func (s *soaking) work(ctx context.Context, c *cluster) error {
	producer, err := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(soakTopic),
		kgo.MaxBufferedRecords(4*soakRate), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer producer.Close()
	consumer, err := c.client(kgo.ConsumeTopics(soakTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer consumer.Close()
	sending, enough := context.WithTimeout(ctx, options.soak)
	defer enough()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var sender, reader sync.WaitGroup
	sender.Go(func() { s.send(sending, ctx, producer) })
	reader.Go(func() { s.check(reading, consumer) })
	figures, err := s.watch(sending, c)
	enough()
	sender.Wait()
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	if flushErr := producer.Flush(ctx); flushErr != nil {
		return flushErr
	}
	caughtUp := c.until(ctx, 50*time.Millisecond, s.missing)
	kept, keptErr := c.kept(ctx)
	stop()
	reader.Wait()
	figures.print(kept)
	fmt.Printf("records              %d sent, %d acknowledged, %d read, %d failed\n", s.sent.Load(), s.acked.Load(), s.read.Load(), s.failed.Load())
	return errors.Join(s.firstError(), caughtUp, keptErr)
}

// send sends what is due each tick; latency runs from when it was due.
func (s *soaking) send(sending, ctx context.Context, client *kgo.Client) {
	began := time.Now()
	for n := int64(0); sending.Err() == nil; {
		due := int64(time.Since(began) / soakTick * soakTick * soakRate / time.Second)
		for ; n < due && sending.Err() == nil; n++ {
			at := began.Add(time.Duration(n) * time.Second / soakRate).Truncate(soakTick)
			value := make([]byte, soakSize)
			number := n / soakPartitions
			binary.BigEndian.PutUint64(value, uint64(number))
			s.sent.Add(1)
			client.Produce(ctx, &kgo.Record{Partition: int32(n % soakPartitions), Value: value}, func(r *kgo.Record, err error) {
				s.acknowledged(r.Partition, number, time.Since(at), err)
			})
		}
		pause(sending, soakTick)
	}
}

func (s *soaking) acknowledged(partition int32, number int64, took time.Duration, err error) {
	if err != nil {
		s.fail(fmt.Errorf("record %d of partition %d: %w", number, partition, err))
		return
	}
	s.acked.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.acks.RecordValue(min(max(took.Microseconds(), 1), s.acks.HighestTrackableValue())) // within the bounds, so it takes it
	s.highest[partition] = max(s.highest[partition], number)
}

// check reads all that is written, and refuses a number that is not the next.
func (s *soaking) check(ctx context.Context, client *kgo.Client) {
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if ctx.Err() == nil {
				s.fail(e.Err)
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			s.got(r.Partition, int64(binary.BigEndian.Uint64(r.Value)))
		})
	}
}

func (s *soaking) got(partition int32, number int64) {
	s.read.Add(1)
	s.mu.Lock()
	last := s.seen[partition]
	s.seen[partition] = number
	s.mu.Unlock()
	if number != last+1 {
		s.fail(fmt.Errorf("partition %d: record %d is followed by %d", partition, last, number))
	}
}

func (s *soaking) fail(err error) {
	s.failed.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = err
	}
}

func (s *soaking) firstError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != nil {
		return fmt.Errorf("%d failed, the first: %w", s.failed.Load(), s.first)
	}
	return nil
}

// missing is an error while acknowledged records have not been read.
func (s *soaking) missing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, n := range s.highest {
		if s.seen[p] < n {
			return fmt.Errorf("partition %d: record %d was acknowledged, the last one that was read is %d", p, n, s.seen[p])
		}
	}
	return nil
}

// soakFigures are what each interval has shown.
type soakFigures struct {
	p99, memory []float64
	interval    time.Duration
}

// watch prints a line each minute, more often in a short soak.
func (s *soaking) watch(ctx context.Context, c *cluster) (*soakFigures, error) {
	f := &soakFigures{interval: min(time.Minute, options.soak/4)}
	fmt.Printf("%8s %10s %10s %10s %10s %12s %12s\n", "time", "MB/s", "p50 ms", "p99 ms", "max ms", "memory MB", "disk MB")
	began, before := time.Now(), int64(0)
	for i := time.Duration(1); i*f.interval <= options.soak; i++ {
		pause(context.WithoutCancel(ctx), time.Until(began.Add(i*f.interval)))
		if err := c.nodes[0].life.gone(); err != nil {
			return f, err
		}
		mb, err := residentMB(c.nodes[0].life.pid())
		if err != nil {
			return f, err
		}
		s.mu.Lock()
		h := s.acks
		s.acks = newHistogram()
		s.mu.Unlock()
		ms := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
		acked := s.acked.Load()
		fmt.Printf("%8v %10.1f %10.2f %10.2f %10.2f %12.0f %12.0f\n", i*f.interval, float64((acked-before)*soakSize)/f.interval.Seconds()/1e6,
			ms(50), ms(99), float64(h.Max())/1000, mb, float64(c.logBytes())/1e6)
		before = acked
		f.p99, f.memory = append(f.p99, ms(99)), append(f.memory, mb)
	}
	return f, nil
}

// print compares the first quarter with the last one.
func (f *soakFigures) print(onDisk float64) {
	quarter := max(1, len(f.p99)/4)
	ends := func(v []float64) (first, last float64) { return median(v[:quarter]), median(v[len(v)-quarter:]) }
	firstP99, lastP99 := ends(f.p99)
	firstMB, lastMB := ends(f.memory)
	fmt.Printf("\np99                  %.2f ms in the first quarter, %.2f ms in the last: drift %+.2f ms\n", firstP99, lastP99, lastP99-firstP99)
	fmt.Printf("memory               %.0f MB in the first quarter, %.0f MB in the last: growth %+.0f MB\n", firstMB, lastMB, lastMB-firstMB)
	fmt.Printf("bytes on disk        %.3f per byte of values that is kept\n", onDisk)
}

// kept is how many bytes on disk there are for each byte of values that can be read, once nothing changes
// any more: a log start moves a moment before the files below it go.
func (c *cluster) kept(ctx context.Context) (ratio float64, err error) {
	err = c.admin(func(adm *kadm.Client) error {
		var disk, values int64
		return c.until(ctx, time.Second, func() error {
			n, err := keptRecords(ctx, adm)
			if err != nil {
				return err
			}
			wasDisk, wasValues := disk, values
			disk, values = c.logBytes(), max(n, 1)*soakSize
			ratio = float64(disk) / float64(values)
			if disk != wasDisk || values != wasValues {
				return fmt.Errorf("what is kept changes: %d bytes on disk for %d bytes of values, a second before %d for %d", disk, values, wasDisk, wasValues)
			}
			return nil
		})
	})
	return ratio, err
}

// keptRecords is how many records can be read.
func keptRecords(ctx context.Context, adm *kadm.Client) (n int64, err error) {
	starts, err := adm.ListStartOffsets(ctx, soakTopic)
	if err != nil {
		return 0, err
	}
	ends, err := adm.ListEndOffsets(ctx, soakTopic)
	if err = errors.Join(err, starts.Error(), ends.Error()); err != nil {
		return 0, err
	}
	for p, end := range ends[soakTopic] {
		n += end.Offset - starts[soakTopic][p].Offset
	}
	return n, nil
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)
}
