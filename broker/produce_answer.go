package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
	"chronik/wire"
)

// produceAnswer is the answer of one produce request: settled when every
// partition's records are as durable as was asked for, or the request's time is up.
type produceAnswer struct {
	c      *conn
	h      wire.RequestHeader
	acks   int16
	until  time.Time
	resp   wire.ProduceResponse
	waits  []produceWait
	wanted atomic.Int32 // waits that have not been woken
}

// produceWait waits for the records of one partition.
type produceWait struct {
	logstore.Waiter
	mark             *logstore.Mark
	answer           *produceAnswer
	p                *partition
	topic, partition int
	err              error
	waiting          bool
}

var produceAnswers = sync.Pool{New: func() any { return new(produceAnswer) }}

func newProduceAnswer(c *conn, h wire.RequestHeader) *produceAnswer {
	a := produceAnswers.Get().(*produceAnswer)
	a.c, a.h = c, h
	a.resp.Reset()
	a.waits = a.waits[:0]
	return a
}

// await registers for every end that is not reached yet.
func (a *produceAnswer) await() {
	a.wanted.Store(1) // held until all are registered
	for i := range a.waits {
		w := &a.waits[i]
		w.mark, w.answer = w.p.ackedMark(a.acks), a
		if w.reached() {
			continue
		}
		w.Waker, w.waiting = w, true
		a.wanted.Add(1)
		w.mark.Wait(&w.Waiter)
		if a.acks == -1 && w.p.repl != nil && w.p.repl.below.Load() {
			w.p.repl.dismiss() // the others were before this one waited
		}
	}
	a.wanted.Add(-1)
}

// reached reports whether the records are as durable as they have to be: in this
// leadership. In the next one other records may stand at their offsets. Nothing is
// appended in the next before gone is set, so gone is looked at last.
func (w *produceWait) reached() bool { return w.mark.Load() >= w.At && !w.p.gone.Load() }

// Wake is called by the log. The answer may be gone as soon as wanted is zero.
func (w *produceWait) Wake(err error) {
	if err == nil && w.p.gone.Load() {
		err = kerr.NotLeaderForPartition
	}
	w.err = err
	queue := w.answer.c.queue
	if w.answer.wanted.Add(-1) == 0 {
		queue.wake.nudge()
	}
}

func (a *produceAnswer) settled(now time.Time) bool {
	return a.wanted.Load() == 0 || !now.Before(a.until)
}

func (a *produceAnswer) deadline() time.Time { return a.until }

// drop takes the waits back, so that the log forgets this connection.
func (a *produceAnswer) drop() {
	for i := range a.waits {
		if w := &a.waits[i]; w.waiting {
			w.mark.Cancel(&w.Waiter)
		}
	}
}

// encode writes the answer. What was appended but whose leadership or log ended
// meanwhile has an unknown outcome and says so.
func (a *produceAnswer) encode(ctx context.Context, o *outbox) error {
	late := a.wanted.Load() > 0
	if late {
		a.drop()
	}
	for i := range a.waits {
		w := &a.waits[i]
		if err := w.outcome(late); err != nil {
			fail(&a.resp.Topics[w.topic].Partitions[w.partition], err)
		}
	}
	a.nameLeaders()
	if err := o.reserve(ctx, a.resp.Size()); err != nil {
		return err
	}
	start := len(o.buf)
	o.buf = append(o.buf, 0, 0, 0, 0)
	o.buf = wire.AppendResponseHeader(o.buf, a.h, a.h.Version >= 9)
	o.buf = a.resp.Append(o.buf, a.h.Version)
	wire.FinishFrame(o.buf, start, 0)
	if !late { // a wake may still be on its way to a late one
		produceAnswers.Put(a)
	}
	return nil
}

// outcome is what became of the appended records of one partition: what its wake told,
// however long ago. A late answer does not look at that, it may be written right now.
// A leader that answers for itself alone must still be one when it does.
func (w *produceWait) outcome(late bool) error {
	switch {
	case !w.waiting, late && w.reached(), !late && w.err == nil:
		if w.answer.acks == 1 && w.p.repl != nil {
			return w.answer.c.b.mayAnswer(w.p)
		}
		return nil
	case w.p.gone.Load():
		return kerr.NotLeaderForPartition
	case late:
		return kerr.RequestTimedOut
	}
	return w.err
}

// failure is the first error of an answer that is not sent.
func (a *produceAnswer) failure() error {
	for _, t := range a.resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return kerr.ErrorForCode(p.ErrorCode)
			}
		}
	}
	return nil
}
