package broker

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
	"chronik/wire"
	"chronik/wire/batch"
)

// maxPartitionRead is the most that one fetch reads of one partition, unless the
// first batch is larger. Smaller reads in more round trips measured no slower
// than large ones, and they bound what an answer holds in memory.
const maxPartitionRead = 1 << 20

// fetch answers at once when there is enough to read, and otherwise when there
// is or the client's patience ends. Sessions from version 7 (KIP-227), leader
// epochs from 9 (KIP-320), topic ids from 13. Not done: follower fetches (there
// is one replica), read_committed differs from read_uncommitted in nothing until
// transactions exist.
func (c *conn) fetch(ctx context.Context, h wire.RequestHeader, body []byte) error {
	if err := c.commit(ctx); err != nil {
		return err
	}
	req := &c.fetchReq
	if err := req.Decode(h.Version, body); err != nil {
		return fmt.Errorf("%w: Fetch version %d: %w", errRequest, h.Version, err)
	}
	a := &fetchAnswer{
		c: c, h: h, committed: req.IsolationLevel == 1, minBytes: req.MinBytes, maxBytes: c.b.fetchLimit(req.MaxBytes),
		until: c.in.last.Add(time.Duration(max(req.MaxWaitMs, 0)) * time.Millisecond),
	}
	a.full = req.SessionEpoch <= initialEpoch || h.Version < 7
	var err error
	if a.session, err = c.b.sessions.open(h.Version, req, c.in.last); err != nil {
		a.err = err
		return c.submit(ctx, a)
	}
	if a.session == nil {
		a.parts = standalone(h.Version, req)
		return c.submit(ctx, a)
	}
	a.session.mu.Lock()
	a.session.update(req)
	a.parts = append(a.parts, a.session.parts...)
	a.session.mu.Unlock()
	if len(a.parts) == 0 { // everything was forgotten
		c.b.sessions.remove(a.session.id)
		a.session = nil
	}
	return c.submit(ctx, a)
}

// fetchLimit is the most bytes that one answer may have.
func (b *Broker) fetchLimit(asked int32) int {
	limit := int(fetchMaxBytes.of(b.brokerConfigs()))
	if asked > 0 {
		limit = min(limit, int(asked))
	}
	return limit
}

// standalone lists the partitions of a request that has no session.
func standalone(version int16, req *wire.FetchRequest) []*fetchPartition {
	all := make([]fetchPartition, countPartitions(req))
	parts := make([]*fetchPartition, 0, len(all))
	for i := range req.Topics {
		t := &req.Topics[i]
		var name []byte
		if version < 13 {
			name = append(name, t.Name...)
		}
		for j := range t.Partitions {
			fp := &all[len(parts)]
			fp.nameBytes, fp.id, fp.num = name, t.ID, t.Partitions[j].Index
			fp.want(&t.Partitions[j])
			parts = append(parts, fp)
		}
	}
	return parts
}

// fetchAnswer is the answer of one fetch. It reads when it is written, so that
// an answer in the queue holds no records.
type fetchAnswer struct {
	c         *conn
	h         wire.RequestHeader
	err       error // of the whole request
	session   *fetchSession
	full      bool // every partition is answered, changed or not
	parts     []*fetchPartition
	minBytes  int32
	maxBytes  int
	committed bool // read_committed
	until     time.Time
	waits     []fetchWait
}

// fetchWait waits for one partition to grow.
type fetchWait struct {
	logstore.Waiter
	queue *answers
	mark  *logstore.Mark
}

// Wake makes the completer look again; whether it is enough is decided there.
func (w *fetchWait) Wake(error) { w.queue.wake.nudge() }

func (a *fetchAnswer) deadline() time.Time { return a.until }

func (a *fetchAnswer) drop() {
	for i := range a.waits {
		a.waits[i].mark.Cancel(&a.waits[i].Waiter)
	}
	a.waits = nil
}

// settled reports whether there is enough to read, an error to tell, or no more
// time. If not, it has the partitions wake the connection when they grow.
func (a *fetchAnswer) settled(now time.Time) bool {
	if a.err != nil || len(a.parts) == 0 || !now.Before(a.until) || a.c.b.stopping.Load() {
		return true
	}
	if a.session != nil {
		a.session.mu.Lock()
		defer a.session.mu.Unlock()
	}
	if a.enough() {
		return true
	}
	a.drop()
	a.watch()
	return a.enough() // what came between the look and the watch
}

// enough reports whether min bytes can be read or a partition has an error.
func (a *fetchAnswer) enough() bool {
	have := 0
	for _, fp := range a.parts {
		p, err := a.c.b.fetched(a.h.Version, fp)
		if err != nil {
			return true
		}
		hw := p.hw()
		if hw <= fp.offset {
			continue
		}
		if a.minBytes <= 1 {
			return true
		}
		have += p.log.SizeFrom(fp.offset, hw, int(fp.maxBytes))
		if have >= int(a.minBytes) {
			return true
		}
	}
	return a.minBytes <= 0
}

// watch registers with every partition for its next growth.
func (a *fetchAnswer) watch() {
	a.waits = make([]fetchWait, len(a.parts))
	n := 0
	for _, fp := range a.parts {
		p, err := a.c.b.fetched(a.h.Version, fp)
		if err != nil {
			continue
		}
		w := &a.waits[n]
		n++
		w.queue, w.mark = a.c.queue, p.hwMark()
		w.At, w.Waker = max(p.hw(), fp.offset)+1, w
		w.mark.Wait(&w.Waiter)
	}
	a.waits = a.waits[:n]
}

// fetched finds the partition that a client wants to read and checks what it
// believes of it.
func (b *Broker) fetched(version int16, fp *fetchPartition) (*partition, error) {
	var t *topic
	if version >= 13 {
		if t = b.topics.withID(fp.id); t == nil {
			return nil, kerr.UnknownTopicID
		}
	} else if t = b.topics.named(fp.nameBytes); t == nil {
		return nil, kerr.UnknownTopicOrPartition
	}
	p, err := t.leading(fp.num)
	if err != nil {
		return nil, err
	}
	if err := p.checkEpoch(fp.leaderEpoch); err != nil {
		return nil, err
	}
	if fp.offset < p.log.Start() || fp.offset > p.log.End() {
		return nil, kerr.OffsetOutOfRange
	}
	return p, nil
}

// encode reads the partitions and writes the answer.
func (a *fetchAnswer) encode(ctx context.Context, o *outbox) error {
	a.drop()
	if a.session != nil {
		a.session.mu.Lock()
		defer a.session.mu.Unlock()
	}
	if err := o.reserve(ctx, a.estimate()); err != nil {
		return err
	}
	start := len(o.buf)
	o.buf = append(o.buf, 0, 0, 0, 0)
	o.buf = wire.AppendResponseHeader(o.buf, a.h, a.h.Version >= 12)
	var id int32
	if a.session != nil {
		id = a.session.id
	}
	var w wire.FetchWriter
	w.Begin(o.buf, a.h.Version, errorCode(a.err), id)
	gave, err := a.write(&w)
	if err != nil {
		return err
	}
	o.buf = w.Finish()
	wire.FinishFrame(o.buf, start)
	if a.session != nil {
		a.session.served(gave)
	}
	return nil
}

// estimate is the room that the answer will need, roughly.
func (a *fetchAnswer) estimate() int {
	size := 128
	for _, fp := range a.parts {
		size += 96 + len(fp.nameBytes)
		if p, err := a.c.b.fetched(a.h.Version, fp); err == nil {
			size += p.log.SizeFrom(fp.offset, p.hw(), min(int(fp.maxBytes), maxPartitionRead))
		}
	}
	return min(size, a.maxBytes+128+len(a.parts)*96+maxPartitionRead)
}

// write puts the partitions into the answer: all of them, or in an incremental
// answer those of which the client does not know everything. It returns those
// that gave records.
func (a *fetchAnswer) write(w *wire.FetchWriter) (gave []*fetchPartition, err error) {
	left := a.maxBytes
	var last *fetchPartition
	for _, fp := range a.parts {
		r := a.look(fp, left, len(gave) == 0)
		if !a.full && !r.news(fp) {
			continue
		}
		if last == nil || last.id != fp.id || string(last.nameBytes) != string(fp.nameBytes) {
			w.Topic(fp.nameBytes, fp.id)
			last = fp
		}
		r.header.Committed = a.committed && r.header.ErrorCode == 0
		n, err := w.Partition(r.header, r.read)
		if err != nil { // the log start passed the offset meanwhile, or a batch is bad
			r = failedFetch(fp, err)
			if _, err := w.Partition(r.header, nil); err != nil {
				return nil, err
			}
		}
		if n > 0 {
			left -= n
			a.c.b.metrics.bytesOut.Add(float64(n))
			gave = append(gave, fp)
		}
		fp.hw, fp.start = r.header.HighWatermark, r.header.LogStartOffset
		if r.header.ErrorCode != 0 {
			fp.hw = math.MinInt64 // told again when it is over
		}
	}
	return gave, nil
}

// fetchResult is what is told of one partition; read appends its records.
type fetchResult struct {
	header wire.FetchPartitionHeader
	read   func([]byte) ([]byte, error)
}

// news reports whether an incremental answer must name the partition.
func (r *fetchResult) news(fp *fetchPartition) bool {
	return r.read != nil || r.header.ErrorCode != 0 ||
		r.header.HighWatermark != fp.hw || r.header.LogStartOffset != fp.start
}

func failedFetch(fp *fetchPartition, err error) fetchResult {
	r := fetchResult{header: wire.NewFetchPartitionHeader(fp.num)}
	r.header.ErrorCode = errorCode(err)
	return r
}

// look decides what to tell of one partition when left bytes remain. The first
// batch of the answer is given whole even when it is larger.
func (a *fetchAnswer) look(fp *fetchPartition, left int, first bool) fetchResult {
	r := fetchResult{header: wire.NewFetchPartitionHeader(fp.num)}
	p, err := a.c.b.fetched(a.h.Version, fp)
	if err != nil {
		return failedFetch(fp, err)
	}
	hw := p.hw()
	r.header.HighWatermark, r.header.LastStableOffset, r.header.LogStartOffset = hw, hw, p.log.Start()
	limit := min(int(fp.maxBytes), left, maxPartitionRead)
	if hw <= fp.offset || limit <= 0 && !first {
		return r
	}
	r.header.SizeHint = p.log.SizeFrom(fp.offset, hw, max(limit, 1))
	r.read = func(dst []byte) ([]byte, error) {
		before := len(dst)
		dst, err := p.log.Read(dst, fp.offset, hw, max(limit, 1))
		if err == nil && !first && len(dst)-before > limit {
			dst = dst[:before]
		}
		if err == nil && a.h.Version < zstdFetch && hasZstd(dst[before:]) {
			err = kerr.UnsupportedCompressionType
		}
		return dst, err
	}
	return r
}

// zstdFetch is the first version whose clients know zstd (KIP-110).
const zstdFetch = 10

func hasZstd(records []byte) bool {
	for {
		b, rest, err := batch.First(records)
		if err != nil {
			return false
		}
		if b.Codec() == batch.Zstd {
			return true
		}
		records = rest
	}
}
