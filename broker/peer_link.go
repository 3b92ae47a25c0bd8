package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"chronik/wire"
)

// errRefused means that a host is up and nobody listens there.
var errRefused = errors.New("connections are refused")

const (
	peerDialTimeout = 2 * time.Second
	peerPatience    = 3 * time.Second // for an answer, from when it is due
)

// dialPeer connects to a broker. It fails with errRefused only when every address of
// the host refuses: a name that is not found, no route and no answer say nothing.
func dialPeer(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, peerDialTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	var refused, other error
	for _, a := range addrs {
		var d net.Dialer
		nc, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a, port))
		switch {
		case err == nil:
			return nc, nil
		case errors.Is(err, syscall.ECONNREFUSED):
			refused = err
		case errors.Is(err, syscall.EADDRNOTAVAIL) && net.ParseIP(a).IsLoopback():
			// localhost has an address of a family that this machine has not
		default:
			other = err
		}
	}
	switch {
	case other != nil:
		return nil, other
	case refused != nil:
		return nil, fmt.Errorf("%w: %w", errRefused, refused)
	}
	return nil, fmt.Errorf("no address of %s is of this machine's kind", host)
}

// peerLink is a connection to another broker; one goroutine owns it.
type peerLink struct {
	nc   net.Conn
	sent int32 // correlation id of the last request
	buf  []byte
}

// linkPeer connects to a broker. The connection ends with ctx, or by close.
func linkPeer(ctx context.Context, addr string) (l *peerLink, closeLink func(), err error) {
	nc, err := dialPeer(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	release := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) }) // fails only where it is closed
	return &peerLink{nc: nc}, func() {
		release()
		_ = nc.Close() // nothing is owed on it
	}, nil
}

// ask sends a request and waits for its answer until ctx ends, or as long as the
// request says and a bit.
func (l *peerLink) ask(ctx context.Context, q *wire.PeerRequest) (s wire.PeerResponse, err error) {
	until := time.Now().Add(time.Duration(q.WaitMs)*time.Millisecond + peerPatience)
	if at, ok := ctx.Deadline(); ok && at.Before(until) {
		until = at
	}
	if err := l.nc.SetDeadline(until); err != nil {
		return s, err
	}
	if ctx.Err() != nil { // seen after the deadline was set: that of the end is not lost
		return s, ctx.Err()
	}
	l.sent++
	l.buf = q.AppendFrame(l.buf[:0], l.sent)
	if _, err := l.nc.Write(l.buf); err != nil {
		return s, err
	}
	var head [4]byte
	if _, err := io.ReadFull(l.nc, head[:]); err != nil {
		return s, err
	}
	n, err := wire.PeerFrameSize(head)
	if err != nil {
		return s, err
	}
	if cap(l.buf) < n {
		l.buf = make([]byte, n)
	}
	if _, err := io.ReadFull(l.nc, l.buf[:n]); err != nil {
		return s, err
	}
	return s, s.DecodeFrame(l.buf[:n], l.sent)
}

// hasEnded looks whether the other side has ended the connection, while another goroutine may be
// reading it and something may be left to read.
func (l *peerLink) hasEnded() (ended bool) {
	sc, ok := l.nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		look := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(look, 0)
		ended = err == nil && n > 0 && look[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return ended && err == nil
}

// isEnd reports whether the other side ended a connection.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
