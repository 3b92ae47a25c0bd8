package logstore

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Pipe holds bytes of segments on their way to a socket. They are not copied: the pages of the page
// cache themselves are handed on. State: whoever has it.
type Pipe struct {
	out, in int
	pages   int64 // room: a byte of a page takes as much as all of it
	held    int
	parts   []part // memory for what is to go into it
}

var pageSize = int64(os.Getpagesize())

// NewPipe makes an empty pipe with room for size bytes, or less where they begin in the middle of a page.
// Linux lets anybody have /proc/sys/fs/pipe-max-size, and root more. Close must follow.
func NewPipe(size int) (*Pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	p := &Pipe{out: fds[0], in: fds[1]}
	got, err := unix.FcntlInt(uintptr(p.in), unix.F_SETPIPE_SZ, size)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pipe of %d bytes: %w", size, err), p.Close())
	}
	p.pages = int64(got) / pageSize
	return p, nil
}

// Close drops what is in the pipe.
func (p *Pipe) Close() error { return errors.Join(unix.Close(p.out), unix.Close(p.in)) }

// Held is how many bytes are in the pipe; a nil pipe has none.
func (p *Pipe) Held() int {
	if p == nil {
		return 0
	}
	return p.held
}

// take puts n bytes of a file into the pipe, or as many as fit.
func (p *Pipe) take(f *os.File, at int64, n int) (taken int, err error) {
	for taken < n {
		k, err := unix.Splice(int(f.Fd()), &at, p.in, nil, n-taken, unix.SPLICE_F_NONBLOCK)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return taken, nil // it is full
		case err != nil:
			return taken, &os.PathError{Op: "splice", Path: f.Name(), Err: err}
		case k == 0:
			return taken, io.ErrUnexpectedEOF
		default:
			taken, p.held = taken+int(k), p.held+int(k)
		}
	}
	return taken, nil
}

// Send hands up to n bytes to a socket that does not block: unix.EAGAIN says that it is full. more
// says that others follow at once, so that it need not send less than whole segments.
func (p *Pipe) Send(socket uintptr, n int, more bool) (int, error) {
	flags := unix.SPLICE_F_NONBLOCK
	if more {
		flags |= unix.SPLICE_F_MORE
	}
	for {
		k, err := unix.Splice(p.out, nil, int(socket), nil, min(n, p.held), flags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && k == 0 {
			err = io.ErrUnexpectedEOF // of pages that are lost
		}
		p.held -= max(int(k), 0)
		return max(int(k), 0), err
	}
}

// empty drops what is in the pipe.
func (p *Pipe) empty() error {
	var bin [64 << 10]byte
	for p.held > 0 {
		n, err := unix.Read(p.out, bin[:min(len(bin), p.held)])
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("empty a pipe: %w", err)
		}
		p.held -= max(n, 0)
	}
	return nil
}
