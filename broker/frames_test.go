package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// ends are the two of a connection.
func ends(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if there, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if here, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

// pipe is a connection whose other end writes the given pieces, one write each.
func pipe(t *testing.T, pieces ...[]byte) net.Conn {
	t.Helper()
	here, there := ends(t)
	go func() {
		defer there.Close()
		for _, p := range pieces {
			if _, err := there.Write(p); err != nil {
				return
			}
		}
	}()
	return here
}

func frameOf(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func newFrames(nc net.Conn, limit int) *frames {
	return &frames{nc: nc, stopping: new(atomic.Bool), budget: newBudget(64 << 20), limit: limit, maxIdle: time.Minute, buf: make([]byte, bufferSmall), forget: func() {}}
}

// readAll reads frames until the connection ends.
func readAll(t *testing.T, f *frames) (got [][]byte, err error) {
	t.Helper()
	for {
		frame, err := f.next()
		if err != nil {
			return got, err
		}
		if frame != nil {
			got = append(got, bytes.Clone(frame))
			continue
		}
		if err := f.fill(t.Context()); err != nil {
			return got, err
		}
	}
}

func TestFramesInPieces(t *testing.T) {
	var stream []byte
	var want [][]byte
	for i := range 40 {
		body := bytes.Repeat([]byte{byte(i)}, 1+i*i*7)
		want = append(want, body)
		stream = append(stream, frameOf(body)...)
	}
	for _, size := range []int{1, 3, 1000, 5000, len(stream)} {
		var pieces [][]byte
		for rest := stream; len(rest) > 0; {
			n := min(size, len(rest))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		got, err := readAll(t, newFrames(pipe(t, pieces...), 1<<20))
		if !errors.Is(err, io.EOF) {
			t.Fatalf("pieces of %d: ended with %v", size, err)
		}
		if len(got) != len(want) {
			t.Fatalf("pieces of %d: %d frames, want %d", size, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("pieces of %d: frame %d differs", size, i)
			}
		}
	}
}

func TestFramesRefused(t *testing.T) {
	for name, start := range map[string][]byte{
		"negative": {0xff, 0xff, 0xff, 0xff},
		"zero":     {0, 0, 0, 0},
		"large":    {0, 0x10, 0, 0},
		"http":     []byte("GET / HTTP/1.1\r\n"),
		"tls":      {0x16, 0x03, 0x01, 0x02},
	} {
		if _, err := readAll(t, newFrames(pipe(t, start), 1000)); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v, want it refused as no frame", name, err)
		}
	}
}

func TestFramesCutOff(t *testing.T) {
	_, err := readAll(t, newFrames(pipe(t, frameOf(make([]byte, 100))[:50]), 1000))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame cut off in the middle ended with %v", err)
	}
}

// A frame that trickles is given frameGrace and its length at frameRate from its
// first byte, however long the connection was busy before.
func TestFrameDue(t *testing.T) {
	f := newFrames(pipe(t), 1<<20)
	f.buf = make([]byte, 1<<20)
	first := frameOf(make([]byte, 10))
	n := copy(f.buf, first)
	n += copy(f.buf[n:], frameOf(make([]byte, 10*frameRate))[:20])
	f.read(n)
	if frame, err := f.next(); frame == nil || err != nil {
		t.Fatalf("first frame: %v, %v", frame, err)
	}
	f.reading = time.Unix(1100, 0)
	if err := f.makeRoom(t.Context()); err != nil {
		t.Fatal(err)
	}
	due, _ := f.due()
	if want := time.Unix(1100, 0).Add(frameGrace + 10*time.Second); !due.Equal(want) {
		t.Errorf("due %v, want %v", due, want)
	}
}

// Memory above the small buffer is accounted for and given back.
func TestFramesBudget(t *testing.T) {
	f := newFrames(pipe(t, frameOf(make([]byte, 1<<20))), 2<<20)
	if _, err := readAll(t, f); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if f.taken < 1<<20 {
		t.Errorf("%d bytes taken from the budget for a frame of 1 MiB", f.taken)
	}
	f.release()
	if !f.budget.sem.TryAcquire(f.budget.size) {
		t.Error("the budget is not whole after release")
	}
}

// A frame that is claimed takes no more from the budget than a multiple of what has come.
func TestFramesClaim(t *testing.T) {
	head := binary.BigEndian.AppendUint32(nil, 40<<20)
	f := newFrames(pipe(t, append(head, make([]byte, 100_000)...)), 50<<20)
	if _, err := readAll(t, f); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if f.taken > 500_000 {
		t.Errorf("%d bytes taken for the first 100,000 of a frame", f.taken)
	}
}
