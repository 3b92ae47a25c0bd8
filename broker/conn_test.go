package broker

import (
	"errors"
	"runtime"
	"testing"
	"time"
	"weak"

	"chronik/wire"
)

// What was encoded for a client that is gone leaves the queue: it may be the answer of another
// connection by then, and is not to be dropped.
func TestAnswersOfTheGone(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	nc, _ := ends(t)
	c, ctx := newConn(t.Context(), b, nc)
	defer c.close()
	nc.Close()
	for range 2 {
		c.queue.add(newProduceAnswer(c, wire.RequestHeader{Version: 9}))
	}
	if err := c.complete(ctx); err == nil {
		t.Error("answers were written to nobody")
	}
	if n := c.queue.len(); n > 0 {
		t.Errorf("%d answers are left", n)
	}
}

// A connection that is quiet for a while keeps nothing of a large request.
func TestQuietConnectionForgets(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	makeTopics(t, b, "t")
	nc, _ := ends(t)
	c, ctx := newConn(t.Context(), b, nc)
	defer c.close()
	buf := make([]byte, 1<<20)
	held := weak.Make(&buf[0])
	frame, _ := framed(oneRecord(t, "t"))
	c.in.buf, c.in.end = buf, copy(buf, frame)
	frame, err := c.in.next()
	if err != nil || len(frame) == 0 {
		t.Fatal(err)
	}
	buf, c.in.last = nil, time.Now()
	if err := c.serve(ctx, frame); err != nil {
		t.Fatal(err)
	}
	if err := c.settle(ctx); err != nil {
		t.Fatal(err)
	}
	if frame = nil; !c.in.mayWait() {
		t.Fatal("it ends")
	}
	eventually(t, func() error {
		if runtime.GC(); held.Value() != nil { // pools keep theirs for a while
			return errors.New("the buffer of the request is still held")
		}
		return nil
	})
}
