package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"chronik/wire"
)

// conn is one client connection. Its reading goroutine serves requests and owns
// every field but queue and done; a second one, started with the first answer
// that has to wait, completes answers.
type conn struct {
	b          *Broker
	nc         net.Conn
	in         frames
	out        outbox
	staged     stage
	produceReq wire.ProduceRequest
	fetchReq   wire.FetchRequest
	clientID   string // of the request that is served
	queue      *answers
	completing bool
	endsFirst  bool // when the process is killed
	tasks      sync.WaitGroup
	done       <-chan struct{} // closed when the connection ends
	cancel     context.CancelFunc
	end        sync.Once
}

// newConn returns a connection and the context of its requests, which ends with it.
func newConn(ctx context.Context, b *Broker, nc net.Conn) (*conn, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	static := b.settings.effective()
	c := &conn{
		b: b, nc: nc, queue: newAnswers(), done: ctx.Done(), cancel: cancel,
		in: frames{
			nc: nc, stopping: &b.stopping, budget: b.limits.frames, buf: make([]byte, bufferSmall),
			limit:   int(socketRequestMaxBytes.of(static)),
			maxIdle: lasting(connectionsMaxIdleMs.of(static), time.Millisecond),
		},
		out: newOutbox(b, nc),
	}
	c.in.forget = c.forget
	return c, ctx
}

// forget drops what the last requests left that lies in the read buffer. Nothing is staged when that is
// filled.
func (c *conn) forget() {
	c.produceReq, c.fetchReq, c.staged = wire.ProduceRequest{}, wire.FetchRequest{}, stage{}
}

// run serves the connection until it ends, and cleans up behind it.
func (c *conn) run(ctx context.Context) {
	c.guard(ctx, c.read)
	c.drain()
	c.close()
	c.tasks.Wait()
	c.queue.drop()
	c.in.release()
	c.out.empty()
}

// errStopping ends the reading of a connection whose broker stops; what is answered may
// still leave.
var errStopping = errors.New("the broker stops")

// guard runs one of the connection's goroutines: an error or a panic ends this
// connection and nothing else.
func (c *conn) guard(ctx context.Context, f func(context.Context) error) {
	defer func() {
		if p := recover(); p != nil {
			c.b.metrics.panics.Inc()
			c.b.log.Error("panic while serving a connection", "client", c.nc.RemoteAddr(), "panic", p, "stack", string(debug.Stack()))
			c.close()
		}
	}()
	if err := f(ctx); err != nil && !errors.Is(err, errStopping) {
		c.b.logConnEnd(c, err)
		c.close()
	}
}

// read serves every complete frame of each read, then reads again.
func (c *conn) read(ctx context.Context) error {
	for {
		for {
			frame, err := c.in.next()
			if err != nil {
				return err
			}
			if frame == nil {
				break
			}
			if err := c.serve(ctx, frame); err != nil {
				return errors.Join(err, c.settle(ctx))
			}
		}
		if err := c.settle(ctx); err != nil {
			return err
		}
		if err := c.in.fill(ctx); err != nil {
			return err
		}
	}
}

// settle appends what is staged and writes what is answered.
func (c *conn) settle(ctx context.Context) error {
	if err := c.commit(ctx); err != nil {
		return err
	}
	return c.out.flush()
}

// drain lets answers to appended records leave when the broker stops while the
// connection is healthy.
func (c *conn) drain() {
	patience := time.After(time.Second)
	for c.b.stopping.Load() && c.queue.len() > 0 {
		c.queue.wake.nudge()
		select {
		case <-c.queue.room:
		case <-c.done:
			return
		case <-patience:
			return
		}
	}
}

// close ends the connection and what its request waits for; both goroutines notice.
func (c *conn) close() {
	c.end.Do(func() {
		c.cancel()
		c.nc.Close() // nothing is owed on it any more
	})
}

// logConnEnd says why a connection ended, where that is news: a client that
// goes away is not.
func (b *Broker) logConnEnd(c *conn, err error) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), b.stopping.Load():
		return
	case errors.Is(err, errFrame), errors.Is(err, errRequest):
		b.server.hints.log(b.log, c.nc.RemoteAddr(), err)
	default:
		b.log.Log(context.Background(), slog.LevelDebug, "connection ended", "client", c.nc.RemoteAddr(), "err", err)
	}
}
