package broker

import (
	"context"
	"net"
	"sync"
	"time"
)

// outbox gathers encoded answers and writes them in one go. The memory of large
// answers is pooled and taken from the node's budget until it is written. State:
// one goroutine, the connection's reader or its completer.
type outbox struct {
	nc       net.Conn
	budget   *budget
	buf      []byte
	taken    int64
	deadline time.Time
}

const (
	outboxFull = 256 << 10 // written before more is added
	writeChunk = 1 << 20   // one write, for which the stall limit holds
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
	grown := append(getBuffer(need), o.buf...)
	putBuffer(o.buf)
	o.buf = grown
	return nil
}

// flush writes what is there.
func (o *outbox) flush() error {
	rest := o.buf
	for len(rest) > 0 {
		if now := time.Now(); o.deadline.Sub(now) < writeStall*5/6 {
			o.deadline = now.Add(writeStall)
			if err := o.nc.SetWriteDeadline(o.deadline); err != nil {
				return err
			}
		}
		n, err := o.nc.Write(rest[:min(len(rest), writeChunk)])
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	o.empty()
	return nil
}

// empty drops what is there and gives large memory back.
func (o *outbox) empty() {
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
