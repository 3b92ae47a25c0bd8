package broker

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"chronik/logstore"
)

// outbox gathers encoded answers and writes them in one go. Records of large batches go from the
// page cache to the socket through pipes; the memory of other large answers is pooled and taken
// from the node's budget until it is written. State: one goroutine, the connection's reader or its
// completer.
type outbox struct {
	nc       net.Conn
	socket   syscall.RawConn // of nc
	budget   *budget
	pipes    *pipes
	buf      []byte
	spliced  []spliced // in order
	typed    int       // bytes of the last answer over kmsg
	taken    int64
	deadline time.Time
	stall    time.Duration // that a client may take for a chunk
	failed   error         // of writing
}

// spliced are bytes of answers that stand in a pipe; they belong at a place in buf.
type spliced struct {
	at   int
	pipe *logstore.Pipe
}

func newOutbox(b *Broker, nc net.Conn) outbox {
	o := outbox{nc: nc, stall: writeStall, budget: b.limits.answers, pipes: b.limits.pipes}
	if c, ok := nc.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			o.socket = raw
		}
	}
	return o
}

const (
	outboxFull = 256 << 10 // written before more is added
	writeChunk = 1 << 20   // for which the stall limit holds
	writeStall = 30 * time.Second
	smallKept  = 16 << 10 // buffer that a connection keeps between answers
)

// reserve makes room for n more bytes.
func (o *outbox) reserve(ctx context.Context, n int) error {
	if cap(o.buf)-len(o.buf) >= n {
		return nil
	}
	need := len(o.buf) + n
	if need > smallKept {
		o.budget.give(o.taken) // first, so that nobody waits with something in hand
		o.taken = 0
		taken, err := o.budget.take(ctx, int64(need))
		if err != nil {
			return err
		}
		o.taken = taken
	}
	o.grow(n)
	return nil
}

// grow makes room for n more bytes.
func (o *outbox) grow(n int) {
	grown := append(getBuffer(len(o.buf)+n), o.buf...)
	putBuffer(o.buf)
	o.buf = grown
}

// full reports whether it is to be written before more is added: much, or what keeps a pipe.
func (o *outbox) full() bool { return len(o.buf) >= outboxFull || len(o.spliced) > 0 }

// flush writes what is there. After an error nothing is written any more: the client has a part of an
// answer.
func (o *outbox) flush() error {
	if o.failed == nil {
		o.failed = o.write()
	}
	o.empty()
	return o.failed
}

func (o *outbox) write() error {
	at := 0
	for i, s := range o.spliced {
		if err := o.send(o.buf[at:s.at], s.pipe, s.at < len(o.buf) || i+1 < len(o.spliced)); err != nil {
			return err
		}
		at = s.at
	}
	rest := o.buf[at:]
	for len(rest) > 0 {
		if err := o.arm(); err != nil {
			return err
		}
		n, err := o.nc.Write(rest[:min(len(rest), writeChunk)])
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// arm gives the next write its time.
func (o *outbox) arm() error {
	now := time.Now()
	if o.deadline.Sub(now) >= o.stall*5/6 {
		return nil
	}
	o.deadline = now.Add(o.stall)
	return o.nc.SetWriteDeadline(o.deadline)
}

// send writes bytes and then what a pipe has, so that the client gets them as one. more says that
// others follow at once.
func (o *outbox) send(head []byte, p *logstore.Pipe, more bool) error {
	for chunk := 0; len(head) > 0 || p.Held() > 0; {
		if chunk <= 0 {
			if err := o.arm(); err != nil {
				return err
			}
			chunk = writeChunk
		}
		var n int
		var failed error
		err := o.socket.Write(func(fd uintptr) bool {
			if len(head) > 0 {
				n, failed = unix.SendmsgN(int(fd), head, nil, nil, unix.MSG_MORE|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
				n = max(n, 0)
				head = head[n:]
			} else {
				n, failed = p.Send(fd, chunk, more)
			}
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err == nil && !errors.Is(failed, unix.EINTR) {
			err = failed
		}
		if err != nil {
			return err
		}
		chunk -= n
	}
	return nil
}

// empty drops what is there and gives large memory back.
func (o *outbox) empty() {
	for _, s := range o.spliced {
		o.pipes.put(s.pipe)
	}
	o.spliced = o.spliced[:0]
	if cap(o.buf) > smallKept {
		putBuffer(o.buf)
		o.buf = nil
	}
	o.buf = o.buf[:0]
	if o.taken > 0 {
		o.budget.give(o.taken)
		o.taken = 0
	}
}

// The classes of pooled buffers: a few answers, one read of a log with its
// surroundings, the largest fetch.
var bufferClasses = [...]struct {
	size int
	pool sync.Pool
}{{size: 64 << 10}, {size: 320 << 10}, {size: 1<<20 + 64<<10}, {size: 9 << 20}}

// getBuffer returns an empty buffer that can hold n bytes.
func getBuffer(n int) []byte {
	for i := range bufferClasses {
		c := &bufferClasses[i]
		if n > c.size {
			continue
		}
		if p, ok := c.pool.Get().(*[]byte); ok {
			return (*p)[:0]
		}
		return make([]byte, 0, c.size)
	}
	return make([]byte, 0, n)
}

// putBuffer gives a buffer back; one of no class is left to the collector.
func putBuffer(b []byte) {
	for i := range bufferClasses {
		if cap(b) == bufferClasses[i].size {
			bufferClasses[i].pool.Put(&b)
			return
		}
	}
}
