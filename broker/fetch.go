package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/wire"
)

// maxPartitionRead is the most that one fetch reads of one partition, unless the
// first batch is larger. Smaller reads in more round trips measured no slower
// than large ones, and they bound what an answer holds in memory.
const maxPartitionRead = 1 << 20

// fetch answers at once when there is enough to read, and otherwise when there
// is or the client's patience ends. Sessions from version 7 (KIP-227), leader
// epochs from 9 (KIP-320), from 11 on consumers read from followers too, and one in
// their rack is named to them (KIP-392); topic ids from 13, who leads instead from 16 on.
// Followers fetch from 15 on, with their broker epoch (KIP-903), to the end of the log. Not done:
// read_committed differs from read_uncommitted in nothing until transactions exist.
func (c *conn) fetch(ctx context.Context, h wire.RequestHeader, body []byte) error {
	if err := c.commit(ctx); err != nil {
		return err
	}
	req := &c.fetchReq
	if err := req.Decode(h.Version, body); err != nil {
		return fmt.Errorf("%w: Fetch version %d: %w", errRequest, h.Version, err)
	}
	if err := c.b.checkFollower(h.Version, req); errors.Is(err, errRequest) {
		return err
	} else if err != nil {
		return c.submit(ctx, &fetchAnswer{c: c, h: h, full: true, err: err})
	}
	a := &fetchAnswer{
		c: c, h: h, replica: req.ReplicaID, consumer: consumer{req.IsolationLevel == 1, string(req.RackID)}, minBytes: req.MinBytes, maxBytes: c.b.fetchLimit(req.MaxBytes),
		until: c.in.last.Add(time.Duration(max(req.MaxWaitMs, 0)) * time.Millisecond),
	}
	a.full = req.SessionEpoch <= initialEpoch || h.Version < 7
	var err error
	if a.session, err = c.b.sessions.open(h.Version, req, c.in.last); err != nil {
		a.err = err
		return c.submit(ctx, a)
	}
	if a.session == nil {
		a.session = standalone(h.Version, req)
		a.noteFollower(req, a.session.parts)
		return c.submit(ctx, a)
	}
	if a.update(req) {
		c.b.sessions.remove(a.session.id)
		a.session, a.full = standalone(h.Version, req), true
	}
	return c.submit(ctx, a)
}

// update applies a request to its session, and reports whether everything was forgotten.
func (a *fetchAnswer) update(req *wire.FetchRequest) (empty bool) {
	f := a.session
	f.mu.Lock()
	defer f.mu.Unlock()
	f.update(req)
	a.request = f.requests
	a.noteFollower(req, f.due(a.c.b, a.c.in.last))
	return len(f.parts) == 0 && !a.full
}

// fetchLimit is the most bytes that one answer may have.
func (b *Broker) fetchLimit(asked int32) int {
	return min(int(fetchMaxBytes.of(b.brokerConfigs())), max(0, int(asked)))
}

// fetchAnswer is the answer of one fetch. It reads when it is written, so that
// an answer in the queue holds no records.
type fetchAnswer struct {
	c        *conn
	h        wire.RequestHeader
	err      error         // of the whole request
	session  *fetchSession // nil with err
	request  int64         // its number in the session
	replica  int32         // the follower that fetches, below 0 a consumer
	full     bool          // every partition is answered, changed or not
	minBytes int32
	maxBytes int
	consumer consumer
	waits    takeovers // at the last look, if there was reason to ask
	until    time.Time
	again    time.Time    // when to look again at what nobody wakes for; zero: at nothing
	hints    *leaderHints // nil: none to give
}

// consumer is what a consumer tells of itself.
type consumer struct {
	committed bool // reads committed records only
	rack      string
}

func (a *fetchAnswer) deadline() time.Time {
	if !a.again.IsZero() && a.again.Before(a.until) {
		return a.again
	}
	return a.until
}

func (a *fetchAnswer) drop() {
	switch {
	case a.session == nil:
	case a.session.id == 0:
		a.session.end()
	default:
		a.session.inbox.leave(a.c.queue)
	}
}

// settled reports whether there is enough to read, an error to tell, or no more
// time. If not, it has the partitions wake the connection when they grow.
func (a *fetchAnswer) settled(now time.Time) bool {
	a.waits = takeovers{}
	if a.err != nil || !now.Before(a.until) || a.c.b.stopping.Load() {
		return true
	}
	f := a.session
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inbox.wait(a.c.queue) // before anything is looked at
	a.again = time.Time{}
	f.refresh(a.c.b)
	if len(f.parts) == 0 || a.enough() || a.isSuperseded() {
		return true
	}
	a.rest()
	return a.enough() // what came between the look and the rest
}

// enough reports whether min bytes can be read or a partition has an error.
func (a *fetchAnswer) enough() bool {
	have := 0
	for _, fp := range a.session.hot {
		if fp.born > a.request {
			continue
		}
		p, err := a.c.b.fetched(a.h.Version, fp)
		if err != nil && a.awaits(fp, err) {
			continue
		} else if err != nil {
			return true
		}
		fp.awaited = time.Time{}
		if a.nearer(fp, p) >= 0 || fp.owesHighWatermark(p) {
			return true
		}
		end := fp.end(p)
		if end <= fp.offset || !a.mayGive(fp, p) {
			continue
		}
		if a.minBytes <= 1 {
			return true
		}
		have += p.log.SizeFrom(fp.offset, end, int(fp.maxBytes))
		if have >= int(a.minBytes) {
			return true
		}
	}
	return a.minBytes <= 0
}

// rest has every partition wake the connection when its log grows.
func (a *fetchAnswer) rest() {
	f := a.session
	f.hot = slices.DeleteFunc(f.hot, func(fp *fetchPartition) bool {
		p, err := a.c.b.fetched(a.h.Version, fp)
		if err != nil || f.ended {
			return false
		}
		if !a.full && f.cool(fp, p) { // what is told of all has to look at all
			return true
		}
		mark := fp.watched(p)
		fp.arm(mark, mark.Load())
		return false
	})
}

// fetched finds the partition that a client wants to read and checks what it
// believes of it.
func (b *Broker) fetched(version int16, fp *fetchPartition) (*partition, error) {
	t := b.topicOf(version, fp)
	if t == nil && (version < 13 || fp.found) { // found: deleted meanwhile
		return nil, kerr.UnknownTopicOrPartition
	} else if t == nil {
		return nil, kerr.UnknownTopicID
	}
	fp.found = true
	find := t.leading
	if version >= readReplicaFetch && fp.replica < 0 {
		find = t.readable
	}
	p, err := find(fp.num)
	if err != nil {
		return nil, err
	}
	if err := p.checkEpoch(fp.leaderEpoch); err != nil {
		return nil, err
	}
	if fp.replica >= 0 && (p.repl == nil || !p.repl.has(fp.replica)) {
		return nil, kerr.ReplicaNotAvailable
	}
	return b.inRange(p, fp)
}

// encode reads the partitions and writes the answer.
func (a *fetchAnswer) encode(ctx context.Context, o *outbox) error {
	defer a.drop()
	if a.session != nil {
		a.session.mu.Lock()
		defer a.session.mu.Unlock()
		a.session.refresh(a.c.b)
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
	w := fetchWriter{out: o}
	defer w.discard()
	w.Begin(o.buf, a.h.Version, errorCode(a.err), id)
	if err := a.write(&w); err != nil {
		return err
	}
	o.buf = w.Finish(a.hints.named())
	wire.FinishFrame(o.buf, start, w.splice())
	return nil
}

// estimate is the room that the answer will need, roughly.
func (a *fetchAnswer) estimate() int {
	size, n := 128, 0
	if a.session != nil {
		n = len(a.session.hot)
		for _, fp := range a.session.hot {
			size += 96 + len(fp.nameBytes)
			if p, err := a.c.b.fetched(a.h.Version, fp); err == nil {
				size += p.log.SizeFrom(fp.offset, fp.end(p), min(int(fp.maxBytes), maxPartitionRead))
			}
		}
	}
	return min(size, a.maxBytes+128+n*96+maxPartitionRead)
}

// write puts the partitions into the answer: all of them, or in an incremental
// answer those of which the client does not know everything. Those that gave records
// are behind the others next time, so that a full answer does not starve these.
func (a *fetchAnswer) write(w *fetchWriter) error {
	f := a.session
	if f == nil {
		return nil
	}
	left := a.maxBytes
	var last *fetchPartition
	var kept, gave []*fetchPartition
	for _, fp := range f.hot {
		if fp.born > a.request {
			kept = append(kept, fp)
			continue
		}
		r := a.look(w, fp, left, len(gave) == 0)
		if a.full || r.news(fp) {
			if last == nil || last.id != fp.id || string(last.nameBytes) != string(fp.nameBytes) {
				w.Topic(fp.nameBytes, fp.id)
				last = fp
			}
			n, err := a.tell(w, fp, &r)
			if err != nil {
				return err
			}
			if n > 0 {
				left -= n
				gave = append(gave, fp)
				continue
			}
		}
		if r.p == nil || f.id == 0 || r.header.PreferredReplica >= 0 || !f.cool(fp, r.p) {
			kept = append(kept, fp)
		}
	}
	f.hot = append(kept, gave...)
	return nil
}

// tell writes one partition and returns how many bytes of records it gave.
func (a *fetchAnswer) tell(w *fetchWriter, fp *fetchPartition, r *fetchResult) (int, error) {
	r.header.Committed = r.header.Committed || a.consumer.committed && r.header.ErrorCode == 0
	n, err := w.Partition(r.header, r.read)
	if err != nil { // the log start passed the offset meanwhile, or a batch is bad
		a.c.b.unmeant(err)
		*r = a.failed(fp, err)
		if _, err := w.Partition(r.header, nil); err != nil {
			return 0, err
		}
	}
	a.c.b.metrics.bytesOut.Add(float64(n))
	fp.hw, fp.start = r.header.HighWatermark, r.header.LogStartOffset
	if fp.replica >= 0 && r.p != nil {
		r.p.repl.told(fp.replica, fp.hw)
		a.gave(fp, r.p, n)
	}
	if r.header.ErrorCode != 0 {
		fp.hw = math.MinInt64 // told again when it is over
	}
	return n, nil
}
