package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawConn speaks Kafka's frames over one connection, without a client's own ideas.
type rawConn struct {
	net.Conn
	t   testing.TB
	cor int32
}

func dialRaw(t testing.TB, addr string) *rawConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &rawConn{Conn: c, t: t}
}

// frame is a whole request with its size in front.
func (c *rawConn) frame(req kmsg.Request) []byte {
	c.cor++
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("e2e")).AppendRequest(nil, req, c.cor)
}

// send writes bytes as they are.
func (c *rawConn) send(p []byte) {
	c.t.Helper()
	if err := c.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

// readFrame returns the next answer without its size.
func (c *rawConn) readFrame(within time.Duration) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	return readFrame(c.Conn)
}

// ask sends one request, waits for its answer and decodes it.
func (c *rawConn) ask(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.send(c.frame(req))
	p, err := c.readFrame(20 * time.Second)
	if err != nil {
		c.t.Fatalf("%s v%d: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	resp, err := decode(req, c.cor, p)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

// closedWithin waits until the other side closes, having sent nothing.
func (c *rawConn) closedWithin(within time.Duration) error {
	p, err := c.readFrame(within)
	if err == nil {
		return fmt.Errorf("%d bytes came, want the connection closed", len(p))
	}
	if nerr, ok := errors.AsType[net.Error](err); ok && nerr.Timeout() {
		return fmt.Errorf("still open after %v", within)
	}
	return nil
}

// open is an error unless the connection still answers ApiVersions.
func (c *rawConn) open() error {
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := c.Write(c.frame(req)); err != nil {
		return err
	}
	p, err := c.readFrame(10 * time.Second)
	if err != nil {
		return err
	}
	_, err = decode(req, c.cor, p)
	return err
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > 200<<20 {
		return nil, fmt.Errorf("an answer of %d bytes", int32(n))
	}
	p := make([]byte, n)
	_, err := io.ReadFull(r, p)
	return p, err
}

// decode reads an answer to req: the correlation id, the header's tags, the body.
func decode(req kmsg.Request, cor int32, p []byte) (kmsg.Response, error) {
	name := fmt.Sprintf("%s v%d", kmsg.NameForKey(req.Key()), req.GetVersion())
	if got := int32(binary.BigEndian.Uint32(p)); got != cor {
		return nil, fmt.Errorf("%s: correlation id %d, want %d", name, got, cor)
	}
	p = p[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		if len(p) == 0 || p[0] != 0 {
			return nil, fmt.Errorf("%s: no empty tag section in the header", name)
		}
		p = p[1:]
	}
	if err := resp.ReadFrom(p); err != nil {
		return nil, fmt.Errorf("%s: undecodable answer of %d bytes: %w", name, len(p), err)
	}
	return resp, nil
}

// askApiVersions dials, asks for the versions and closes.
func askApiVersions(addr string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		return err
	}
	p, err := readFrame(c)
	if err != nil {
		return err
	}
	resp, err := decode(req, 1, p)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.(*kmsg.ApiVersionsResponse).ErrorCode)
}

// exchange is ask with an error and patience of its own.
func (c *rawConn) exchange(req kmsg.Request, within time.Duration) (kmsg.Response, error) {
	if err := c.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	if _, err := c.Write(c.frame(req)); err != nil {
		return nil, err
	}
	p, err := c.readFrame(within)
	if err != nil {
		return nil, err
	}
	return decode(req, c.cor, p)
}
