package broker

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/wire"
)

// answer is what a connection owes for one request. Answers leave in the order
// of their requests; one that is not settled holds back those behind it.
type answer interface {
	// settled reports whether the answer can be written now.
	settled(now time.Time) bool
	// deadline is when settled becomes true by itself; zero is never.
	deadline() time.Time
	// encode appends the whole frame to o.
	encode(ctx context.Context, o *outbox) error
	// drop gives up an answer that nobody will read.
	drop()
}

// maxInFlight bounds the answers that one connection owes: its reader waits
// while there are more. Any but those to producers may be large, and few clients
// send on without them.
const (
	maxInFlight      = 1024
	maxLargeInFlight = 16
)

// inFlightLimit is how many answers may wait before a.
func inFlightLimit(a answer) int {
	if _, small := a.(*produceAnswer); small {
		return maxInFlight
	}
	return maxLargeInFlight
}

// answers is the FIFO of a connection. The reader adds, the completer takes.
type answers struct {
	mu    sync.Mutex
	queue []answer // guarded by mu
	wake  nudge    // an answer came, or one may have settled
	room  nudge    // answers were written
}

func newAnswers() *answers { return &answers{wake: make(nudge, 1), room: make(nudge, 1)} }

// at returns the k-th answer, nil when there are fewer.
func (q *answers) at(k int) answer {
	q.mu.Lock()
	defer q.mu.Unlock()
	if k < len(q.queue) {
		return q.queue[k]
	}
	return nil
}

func (q *answers) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue)
}

func (q *answers) add(a answer) {
	q.mu.Lock()
	q.queue = append(q.queue, a)
	q.mu.Unlock()
	q.wake.nudge()
}

// written removes the first k answers.
func (q *answers) written(k int) {
	q.mu.Lock()
	n := copy(q.queue, q.queue[k:])
	clear(q.queue[n:])
	q.queue = q.queue[:n]
	q.mu.Unlock()
	q.room.nudge()
}

// drop gives up everything that is left.
func (q *answers) drop() {
	q.mu.Lock()
	left := q.queue
	q.queue = nil
	q.mu.Unlock()
	for _, a := range left {
		a.drop()
	}
}

// submit answers at once when nothing waits before a and a itself need not
// wait; else a joins the FIFO. Only the reader calls it.
func (c *conn) submit(ctx context.Context, a answer) error {
	if c.queue.len() == 0 && a.settled(c.in.last) {
		if err := a.encode(ctx, &c.out); err != nil {
			return err
		}
		if c.out.full() {
			return c.out.flush()
		}
		return nil
	}
	if err := c.out.flush(); err != nil { // older than a
		a.drop()
		return err
	}
	for c.queue.len() >= inFlightLimit(a) {
		select {
		case <-c.queue.room:
		case <-c.done:
			return context.Canceled
		case <-time.After(c.in.maxIdle): // nobody reads, so nobody notices that the client is gone
			return os.ErrDeadlineExceeded
		}
	}
	c.queue.add(a)
	if !c.completing {
		c.completing = true
		c.tasks.Go(func() { c.guard(ctx, c.complete) })
	}
	return nil
}

// complete writes the answers of the FIFO as they settle, until the connection
// ends.
func (c *conn) complete(ctx context.Context) error {
	out := newOutbox(c.b, c.nc)
	defer out.empty()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	ready := 0 // encoded, not yet written
	defer func() {
		if ready > 0 { // what was encoded may be an answer of another connection already: not to be dropped
			c.queue.written(ready)
		}
	}()
	for {
		a := c.queue.at(ready)
		if a != nil && a.settled(time.Now()) {
			if err := a.encode(ctx, &out); err != nil {
				return err
			}
			if ready++; !out.full() {
				continue
			}
		}
		if ready > 0 {
			if err := out.flush(); err != nil {
				return err
			}
			c.queue.written(ready)
			ready = 0
			continue
		}
		if a != nil && !a.deadline().IsZero() {
			timer.Reset(time.Until(a.deadline()))
		} else {
			timer.Stop()
		}
		select {
		case <-c.queue.wake:
		case <-timer.C:
		case <-c.done:
			return nil
		}
	}
}

// typedAnswer is the answer of a handler over kmsg: always settled.
type typedAnswer struct {
	h    wire.RequestHeader
	resp kmsg.Response
}

func (*typedAnswer) settled(time.Time) bool { return true }
func (*typedAnswer) deadline() time.Time    { return time.Time{} }
func (*typedAnswer) drop()                  {}

// laterAnswer is the answer of a handler over kmsg that may come later.
type laterAnswer struct {
	typedAnswer
	queue *answers
	ready atomic.Bool
	began time.Time
	took  prometheus.Observer
}

// done says that resp is filled.
func (a *laterAnswer) done() {
	a.took.Observe(time.Since(a.began).Seconds())
	a.ready.Store(true)
	a.queue.wake.nudge()
}

func (a *laterAnswer) settled(time.Time) bool { return a.ready.Load() }

// encode finds room for as much as the last answer took: a client that asks for all topics
// asks again.
func (a *typedAnswer) encode(_ context.Context, o *outbox) error {
	if o.typed > smallKept && o.typed > cap(o.buf)-len(o.buf) {
		o.grow(o.typed) // beside the budget: whoever decodes a request holds another one
	}
	start := len(o.buf)
	o.buf = append(o.buf, 0, 0, 0, 0)
	o.buf = wire.AppendResponseHeader(o.buf, a.h, a.resp.IsFlexible())
	o.buf = a.resp.AppendTo(o.buf)
	wire.FinishFrame(o.buf, start, 0)
	o.typed = len(o.buf) - start
	return nil
}
