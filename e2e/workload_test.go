package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// workload is a few idempotent writers with acks=all that write numbered values to one
// topic as fast as the broker takes them, and remember what was acknowledged.
type workload struct {
	t          *testing.T
	addr       string
	topic      string
	partitions int32
	writers    []*writer
	stopped    context.CancelFunc
	done       sync.WaitGroup
}

type writer struct {
	id     uint32
	client *kgo.Client
	mu     sync.Mutex // guards what follows
	acked  []int64    // by sequence: the offset, or notAcked
	count  int        // acknowledgements
	errs   []error
}

const notAcked = -1

// numbered is the value of one record: writer, sequence, filling, checksum.
func numbered(writer uint32, seq uint64) []byte {
	p := make([]byte, 100)
	binary.BigEndian.PutUint32(p, writer)
	binary.BigEndian.PutUint64(p[4:], seq)
	for i := 12; i < 96; i++ {
		p[i] = byte(seq) + byte(i)
	}
	binary.BigEndian.PutUint32(p[96:], crc32.ChecksumIEEE(p[:96]))
	return p
}

// startWorkload creates the topic and lets the writers go.
func startWorkload(t *testing.T, addr, topic string, partitions int32) *workload {
	t.Helper()
	createTopic(t, addr, topic, partitions, nil)
	ctx, cancel := context.WithCancel(t.Context())
	w := &workload{t: t, addr: addr, topic: topic, partitions: partitions, stopped: cancel}
	for id := range uint32(2) {
		one := &writer{id: id, client: newClient(t, addr,
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.StopProducerOnDataLossDetected(),
			kgo.RequestRetries(1_000_000), kgo.AlwaysRetryEOF(), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
			kgo.MetadataMinAge(100*time.Millisecond))}
		w.writers = append(w.writers, one)
		w.done.Go(func() { one.run(ctx, topic, partitions) })
	}
	return w
}

func (w *writer) run(ctx context.Context, topic string, partitions int32) {
	for seq := uint64(0); ctx.Err() == nil; seq++ {
		w.mu.Lock()
		w.acked = append(w.acked, notAcked)
		w.mu.Unlock()
		r := &kgo.Record{Topic: topic, Partition: int32(seq % uint64(partitions)), Value: numbered(w.id, seq)}
		w.client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if err != nil {
				w.errs = append(w.errs, fmt.Errorf("writer %d, record %d: %w", w.id, seq, err))
				return
			}
			w.acked[seq] = r.Offset
			w.count++
		})
	}
}

// count is the number of acknowledgements so far.
func (w *workload) count() int {
	n := 0
	for _, one := range w.writers {
		one.mu.Lock()
		n += one.count
		one.mu.Unlock()
	}
	return n
}

// failed is the first error that a writer was given.
func (w *workload) failed() error {
	for _, one := range w.writers {
		one.mu.Lock()
		defer one.mu.Unlock()
		if len(one.errs) > 0 {
			return one.errs[0]
		}
	}
	return nil
}

// waitFor waits until n records are acknowledged. When a writer was given an error, the
// test has failed; what check then finds tells why.
func (w *workload) waitFor(n int) {
	w.t.Helper()
	eventually(w.t, time.Minute, func() error {
		if err := w.failed(); err != nil {
			w.t.Error(err)
			w.stop()
			w.check()
			return errors.Join(errHopeless, err)
		}
		if got := w.count(); got < n {
			return fmt.Errorf("%d of %d records are acknowledged", got, n)
		}
		return nil
	})
}

// stop ends the writers when all they sent is answered.
func (w *workload) stop() {
	w.t.Helper()
	w.stopped()
	w.done.Wait()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for _, one := range w.writers {
		if err := one.client.Flush(ctx); err != nil {
			w.t.Errorf("writer %d: records without an answer: %v", one.id, err)
		}
		one.client.Close()
		if len(one.errs) > 0 {
			w.t.Errorf("%d records failed, the first: %v", len(one.errs), one.errs[0])
		}
	}
}

// contents is what a topic holds, to tell later whether it still does.
type contents struct {
	records int
	sum     uint32
}

// check reads the topic and proves: every acknowledged record is there, at the offset
// that was acknowledged; none is there twice; every writer's order is kept.
func (w *workload) check() contents {
	w.t.Helper()
	seen := make([][]bool, len(w.writers))
	for i, one := range w.writers {
		seen[i] = make([]bool, len(one.acked))
	}
	all := readNumbered(w.t, w.addr, w.topic, w.partitions, func(writer uint32, seq uint64, r *kgo.Record) error {
		if int(writer) >= len(w.writers) || seq >= uint64(len(seen[writer])) {
			return errors.New("nobody sent it")
		}
		if seen[writer][seq] {
			return errors.New("it is there twice")
		}
		seen[writer][seq] = true
		if at := w.writers[writer].acked[seq]; at != notAcked && at != r.Offset {
			return fmt.Errorf("offset %d was acknowledged", at)
		}
		return nil
	})
	for i, one := range w.writers {
		lost := 0
		for seq, at := range one.acked {
			if at != notAcked && !seen[i][seq] {
				lost++
				if lost <= 3 {
					w.t.Errorf("%s: writer %d, record %d was acknowledged at %d-%d and is lost", w.topic, i, seq, seq%int(w.partitions), at)
				}
			}
		}
		if lost > 0 {
			w.t.Errorf("%s: writer %d lost %d acknowledged records", w.topic, i, lost)
		}
	}
	return all
}

// readNumbered reads all partitions, checks offsets, values and order, and calls fn.
func readNumbered(t *testing.T, addr, topic string, partitions int32, fn func(writer uint32, seq uint64, r *kgo.Record) error) contents {
	t.Helper()
	var all contents
	bad := 0
	for p := range partitions {
		next, last := int64(0), map[uint32]uint64{}
		readPartition(t, addr, topic, p, func(r *kgo.Record) {
			writer, seq := binary.BigEndian.Uint32(r.Value), binary.BigEndian.Uint64(r.Value[4:])
			err := fn(writer, seq, r)
			before, known := last[writer]
			switch {
			case !slices.Equal(r.Value, numbered(writer, seq)):
				err = errors.New("the value is damaged")
			case r.Offset != next:
				err = fmt.Errorf("the offset before was %d", next-1)
			case known && seq <= before:
				err = fmt.Errorf("it comes after record %d", before)
			}
			if err != nil {
				if bad++; bad <= 5 {
					t.Errorf("%s-%d at %d, writer %d, record %d: %v", topic, p, r.Offset, writer, seq, err)
				}
			}
			next, last[writer] = r.Offset+1, seq
			all.records++
			all.sum = crc32.Update(all.sum, crc32.IEEETable, r.Value)
		})
	}
	return all
}
