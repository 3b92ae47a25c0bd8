package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// frames reads the frames of one connection. Its buffer is small while the
// connection is quiet, grows to bufferBusy under load and up to a frame's size for
// a larger one, and shrinks when nothing came for bufferIdle. Bytes above the
// small size are taken from the node's budget. State: the connection's reading
// goroutine alone.
type frames struct {
	nc       net.Conn
	budget   *budget
	limit    int // largest frame
	stopping *atomic.Bool
	maxIdle  time.Duration
	buf      []byte
	start    int // first byte not yet handed out
	end      int // end of what was read
	taken    int64
	deadline time.Time // the read deadline that is set
	reading  time.Time // when the last read began
	last     time.Time // when it brought something
	began    time.Time // when the frame at start began to arrive, zero between frames
	fills    int       // reads in a row that filled the buffer
	forget   func()    // has those who look into the buffer let it go
}

const (
	bufferSmall = 4 << 10
	bufferBusy  = 256 << 10
	bufferClaim = 64 << 10 // for a frame of which little has come
	bufferIdle  = 10 * time.Second

	// A frame must be complete within frameGrace plus its length at frameRate.
	frameGrace = 30 * time.Second
	frameRate  = 64 << 10
)

var errFrame = errors.New("not a Kafka frame")

// frameError says what came instead of a frame; hint is for the log.
type frameError struct{ hint string }

func (e *frameError) Error() string { return e.hint }
func (e *frameError) Unwrap() error { return errFrame }

// next hands out the next complete frame without its size, or nil when more
// bytes have to be read. It is valid until fill is called.
func (f *frames) next() ([]byte, error) {
	have := f.buf[f.start:f.end]
	if len(have) < 4 {
		return nil, nil
	}
	size := int32(binary.BigEndian.Uint32(have))
	if size <= 0 || int(size) > f.limit {
		return nil, f.refuse(have, size)
	}
	if len(have) < 4+int(size) {
		return nil, nil
	}
	f.start += 4 + int(size)
	return have[4 : 4+size : 4+size], nil
}

// refuse explains a size that cannot be a frame's.
func (f *frames) refuse(have []byte, size int32) error {
	switch {
	case string(have[:4]) == "GET " || string(have[:4]) == "POST" || string(have[:4]) == "HEAD":
		return &frameError{"an HTTP request came to the Kafka port"}
	case have[0] == 0x16 && have[1] == 0x03:
		return &frameError{"a TLS hello came to a plaintext port"}
	case size <= 0:
		return &frameError{fmt.Sprintf("a frame of size %d", size)}
	default:
		return &frameError{fmt.Sprintf("a frame of %d bytes, above socket.request.max.bytes=%d", size, f.limit)}
	}
}

// fill reads more bytes: at least one, as many as fit. io.EOF is a clean end
// between frames.
func (f *frames) fill(ctx context.Context) error {
	f.reading = time.Now()
	if err := f.makeRoom(ctx); err != nil {
		return err
	}
	f.reading = time.Now() // that may have waited for memory
	for {
		if err := f.arm(); err != nil {
			return err
		}
		if f.stopping.Load() { // seen after the deadline was set: a stop's own deadline is not lost
			return errStopping
		}
		n, err := f.nc.Read(f.buf[f.end:])
		if n > 0 {
			f.read(n)
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && f.mayWait() {
			continue
		}
		if errors.Is(err, io.EOF) && f.start < f.end {
			return io.ErrUnexpectedEOF
		}
		return err
	}
}

// read accounts for n bytes that came now.
func (f *frames) read(n int) {
	f.last = time.Now()
	if f.end+n == len(f.buf) {
		f.fills++
	} else {
		f.fills = 0
	}
	if f.began.IsZero() {
		f.began = f.last
	}
	f.end += n
}

// makeRoom puts the beginning of a frame at the front of a buffer that can hold
// all of it, or of a large one more than has come.
func (f *frames) makeRoom(ctx context.Context) error {
	have := f.end - f.start
	want := bufferSmall
	if have >= 4 { // a claim of much gets room as it comes true
		whole := 4 + int(binary.BigEndian.Uint32(f.buf[f.start:]))
		want = max(want, min(whole, max(bufferClaim, 4*have)))
	}
	if f.fills > 0 { // busy: there is more than one read takes
		want = max(want, min(2*len(f.buf), bufferBusy))
	}
	if want > len(f.buf) {
		if err := f.resize(ctx, want); err != nil {
			return err
		}
	} else if f.start > 0 {
		copy(f.buf, f.buf[f.start:f.end])
	}
	if have == 0 {
		f.began = time.Time{}
	} else if f.start > 0 {
		f.began = f.reading // what is left lay behind frames that took their time
	}
	f.start, f.end = 0, have
	return nil
}

// resize moves what is there into a buffer of the given size.
func (f *frames) resize(ctx context.Context, size int) error {
	f.release()
	if size > bufferSmall {
		taken, err := f.budget.take(ctx, int64(size))
		if err != nil {
			return err
		}
		f.taken = taken
	}
	buf := make([]byte, size)
	copy(buf, f.buf[f.start:f.end])
	f.replace(buf)
	return nil
}

// replace puts another buffer in the place of the one that is there, which is not to outlive its budget.
func (f *frames) replace(buf []byte) {
	f.buf = buf
	f.forget()
}

func (f *frames) release() {
	if f.taken > 0 {
		f.budget.give(f.taken)
		f.taken = 0
	}
}

// arm sets the read deadline when the one that is set has drifted too far from
// the one that is due: setting it at every read would cost more than it brings.
func (f *frames) arm() error {
	due, slack := f.due()
	if d := due.Sub(f.deadline); d <= slack && d >= -slack {
		return nil
	}
	f.deadline = due
	return f.nc.SetReadDeadline(due)
}

// due is when waiting for bytes must end, and how exactly.
func (f *frames) due() (at time.Time, slack time.Duration) {
	switch {
	case f.start < f.end:
		due := f.began.Add(frameGrace)
		if f.end-f.start >= 4 {
			size := binary.BigEndian.Uint32(f.buf[f.start:])
			due = due.Add(time.Duration(size) * time.Second / frameRate)
		}
		return due, time.Second
	case len(f.buf) > bufferSmall:
		return f.reading.Add(bufferIdle), bufferIdle / 2
	default:
		return f.reading.Add(f.maxIdle), f.maxIdle / 4
	}
}

// mayWait decides about a read that timed out: a quiet connection gives its
// large buffer back and goes on; a frame that trickles and an idle limit end it.
func (f *frames) mayWait() bool {
	f.deadline = time.Time{} // the next one is exact
	if due, _ := f.due(); time.Now().Before(due) {
		return true
	}
	if f.start < f.end || len(f.buf) <= bufferSmall {
		return false
	}
	f.release()
	f.replace(make([]byte, bufferSmall))
	f.start, f.end, f.fills = 0, 0, 0
	return true
}
