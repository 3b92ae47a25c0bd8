package e2e

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik/e2e/chaos"
)

// load says who writes to a topic and who reads it. Values are unique, acks=all.
type load struct {
	servers    string // comma-separated
	topic      string
	partitions int32
	replicas   int16 // 0: the topic is there

	usual   int        // writers with a client's own settings
	hooks   []kgo.Hook // of those
	patient int        // idempotent writers that retry until they have an answer
	hasty   int        // idempotent writers that give up after a second: unknown outcomes
	plain   int        // one request of one record at a time, never repeated
	rate    int        // records a second of each writer; 0: as fast as they are taken

	hand    int // consumers of all partitions, assigned by hand
	members int // of one consumer group; one after the other leaves and comes back
}

// workload is the clients of one topic and what they remember.
type workload struct {
	*load
	t       *testing.T
	rec     *recorder
	clients []*kgo.Client
	stopped context.CancelFunc
	done    sync.WaitGroup
}

// recorder writes a history that many clients see parts of.
type recorder struct {
	acked atomic.Int64
	mu    sync.Mutex // guards what follows
	h     *chaos.History
	first error    // that a patient writer was given
	notes []string // errors that clients met and went on from
}

func (r *recorder) now() time.Duration { return time.Since(r.h.Began) }

// begin notes that a value is being sent and returns its place.
func (r *recorder) begin(v chaos.Value, partition int32) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Operations = append(r.h.Operations, chaos.Operation{Value: v, Partition: partition, Begin: r.now()})
	return len(r.h.Operations) - 1
}

// end notes what became of it.
func (r *recorder) end(i int, offset int64, outcome chaos.Outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.h.Operations[i]
	o.Offset, o.Outcome, o.End = offset, outcome, r.now()
	if err != nil {
		o.Err = err.Error()
	}
	if outcome == chaos.Acknowledged {
		r.acked.Add(1)
	}
}

// note keeps an error that is no finding by itself.
func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.notes) < 200 {
		r.notes = append(r.notes, fmt.Sprintf("%.3fs ", r.now().Seconds())+fmt.Sprintf(format, args...))
	}
}

// startWorkload lets two writers write to a new topic at full speed.
func startWorkload(t *testing.T, addr, topic string, partitions int32) *workload {
	t.Helper()
	createTopic(t, addr, topic, partitions, nil)
	return letWrite(t, addr, topic, partitions)
}

// letWrite lets the writers go on a topic that is there.
func letWrite(t *testing.T, addr, topic string, partitions int32) *workload {
	t.Helper()
	return startLoad(t, load{servers: addr, topic: topic, partitions: partitions, patient: 2})
}

// startLoad creates the topic and lets the clients go.
func startLoad(t *testing.T, l load) *workload {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &workload{load: &l, t: t, stopped: cancel, rec: &recorder{h: &chaos.History{Topic: l.topic, Partitions: l.partitions, Began: time.Now()}}}
	if l.replicas > 0 {
		if _, err := kadm.NewClient(w.client()).CreateTopic(ctx, l.partitions, l.replicas, nil, l.topic); err != nil {
			t.Fatalf("create %s: %v", l.topic, err)
		}
	}
	id := uint32(0)
	for range l.usual {
		w.write(ctx, id, newClient(t, w.servers, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.WithHooks(l.hooks...)))
		id++
	}
	for range l.patient {
		w.write(ctx, id, w.client(retries(kgo.StopProducerOnDataLossDetected())...))
		id++
	}
	for range l.hasty {
		w.write(ctx, id, w.client(retries(kgo.RecordDeliveryTimeout(time.Second), kgo.AllowIdempotentProduceCancellation(),
			kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))...))
		id++
	}
	for range l.plain {
		p := &plainWriter{w: w, id: id, client: w.client()}
		w.done.Go(func() { p.run(ctx) })
		id++
	}
	for i := range l.hand {
		w.consume(ctx, fmt.Sprint("hand-", i))
	}
	for i := range l.members {
		w.join(ctx, i)
	}
	return w
}

// client is a client of the load's servers.
func (w *workload) client(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	opts = append([]kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.DialTimeout(2 * time.Second),
	}, opts...)
	return newClient(w.t, w.servers, opts...)
}

// retries are the options of a writer that goes on through restarts.
func retries(opts ...kgo.Opt) []kgo.Opt {
	return append(opts, kgo.RequestRetries(1_000_000), kgo.AlwaysRetryEOF(), kgo.MaxBufferedRecords(5_000),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
}

// pace waits until it is time for the n-th record, and says whether there is to be one.
func (l *load) pace(ctx context.Context, began time.Time, n uint32) bool {
	if l.rate > 0 {
		due := time.Duration(n) * time.Second / time.Duration(l.rate)
		if early := due - time.Since(began); early > 5*time.Millisecond {
			select {
			case <-ctx.Done():
			case <-time.After(early):
			}
		}
	}
	return ctx.Err() == nil
}

// write starts a writer that pipelines.
func (w *workload) write(ctx context.Context, id uint32, client *kgo.Client) {
	w.clients = append(w.clients, client)
	patient := int(id) < w.usual+w.patient
	w.done.Go(func() {
		began := time.Now()
		for seq := uint32(0); w.pace(ctx, began, seq); seq++ {
			v, p := chaos.Value{Writer: id, Seq: seq}, int32(seq%uint32(w.partitions))
			i := w.rec.begin(v, p)
			r := &kgo.Record{Topic: w.topic, Partition: p, Value: v.Encode()}
			client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
				w.rec.end(i, r.Offset, outcomeOf(err, false), err)
				if err != nil && patient {
					w.rec.refused(fmt.Errorf("writer %d, record %d: %w", id, seq, err))
				}
			})
		}
	})
}

// refused keeps the first error that no writer should see.
func (r *recorder) refused(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == nil {
		r.first = err
	}
}

func (w *workload) failed() error {
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	return w.rec.first
}

// count is the number of acknowledgements so far.
func (w *workload) count() int { return int(w.rec.acked.Load()) }

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

// stop ends all clients, the writers when all they sent is answered.
func (w *workload) stop() {
	w.t.Helper()
	w.quit()
	if err := w.failed(); err != nil {
		w.t.Error(err)
	}
}

// quit is stop that has no opinion on what the clients were told.
func (w *workload) quit() {
	w.t.Helper()
	w.stopped()
	w.done.Wait()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for i, client := range w.clients {
		if err := client.Flush(ctx); err != nil {
			w.t.Errorf("writer %d: records without an answer: %v", i, err)
		}
		client.Close()
	}
}

// history is what the clients did, with a final read of the topic. Only after stop.
func (w *workload) history() *chaos.History {
	w.t.Helper()
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	if w.rec.h.Final == nil {
		w.rec.h.Final = readFinal(w.t, w.servers, w.rec.h)
	}
	return w.rec.h
}

// check reads the topic and holds all that the clients saw against it.
func (w *workload) check() contents {
	w.t.Helper()
	h := w.history()
	judge(w.t, h)
	return contentsOf(h.Final)
}

// judge fails the test for every violation, and keeps the history then.
func judge(t *testing.T, h *chaos.History) {
	t.Helper()
	found := chaos.Check(h)
	for _, v := range found {
		t.Errorf("%s: %s", h.Topic, v)
	}
	if len(found) == 0 {
		return
	}
	dir := filepath.Join(root(t), "bin", "histories")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Error(err)
		return
	}
	path := filepath.Join(dir, h.Topic+".json")
	if err := h.Save(path); err != nil {
		t.Error(err)
		return
	}
	t.Logf("the history is in %s", path)
}

// readFinal reads every partition from its start to its end.
func readFinal(t *testing.T, servers string, h *chaos.History) []chaos.Session {
	t.Helper()
	final := make([]chaos.Session, h.Partitions)
	for p := range h.Partitions {
		s := &final[p]
		s.Consumer, s.Partition, s.Begin = "final", p, time.Since(h.Began)
		readPartition(t, servers, h.Topic, p, func(r *kgo.Record) {
			v, whole := chaos.Decode(r.Value)
			s.Reads = append(s.Reads, chaos.Read{Offset: r.Offset, Value: v, Damaged: !whole, At: time.Since(h.Began)})
		})
		s.End = time.Since(h.Began)
	}
	return final
}

// contents is what a topic holds, to tell later whether it still does.
type contents struct {
	records int
	sum     uint32
}

func contentsOf(final []chaos.Session) (all contents) {
	for _, s := range final {
		for _, r := range s.Reads {
			all.records++
			line := strconv.AppendInt(nil, r.Offset, 10)
			all.sum = crc32.Update(all.sum, crc32.IEEETable, append(line, r.Value.Encode()...))
		}
	}
	return all
}

// noteErrors keeps what a consumer was told beside records.
func (w *workload) noteErrors(who string, fetches kgo.Fetches) {
	for _, e := range fetches.Errors() {
		if !slices.ContainsFunc([]error{context.Canceled, context.DeadlineExceeded, kgo.ErrClientClosed}, func(x error) bool { return errors.Is(e.Err, x) }) {
			w.rec.note("%s: partition %d: %v", who, e.Partition, e.Err)
		}
	}
}
