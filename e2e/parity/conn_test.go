//go:build parity

package parity

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// conn is one connection to a broker. It speaks frames and knows nothing of a
// client's ideas.
type conn struct {
	net.Conn
	in          *bufio.Reader
	correlation int32
}

// patience is how long an answer may take; what takes longer is no answer.
var patience = 10 * time.Second

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReader(c)}, nil
}

// frame is a request with its size and header.
func (c *conn) frame(req kmsg.Request) []byte {
	c.correlation++
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("parity")).AppendRequest(nil, req, c.correlation)
}

// sized puts its length in front of a frame.
func sized(p []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)
}

func (c *conn) send(p []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Write(p)
	return err
}

// read returns the next answer without its size.
func (c *conn) read() ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c.in, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > 128<<20 {
		return nil, fmt.Errorf("an answer of %d bytes", int32(n))
	}
	p := make([]byte, n)
	_, err := io.ReadFull(c.in, p)
	return p, err
}

// outcome is what is written down when no answer came.
func outcome(err error) string {
	if nerr, ok := errors.AsType[net.Error](err); ok && nerr.Timeout() {
		return "no answer"
	}
	if nerr, ok := errors.AsType[*net.OpError](err); ok && nerr.Op == "dial" {
		return "refused"
	}
	return "connection closed"
}

// decode reads the answer to req: the correlation id, the header's tags, the body.
func decode(req kmsg.Request, correlation int32, p []byte) (kmsg.Response, []byte, error) {
	if got := int32(binary.BigEndian.Uint32(p)); got != correlation {
		return nil, nil, fmt.Errorf("correlation id %d, want %d", got, correlation)
	}
	p = p[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		if len(p) == 0 || p[0] != 0 {
			return nil, nil, errors.New("no empty tag section in the header")
		}
		p = p[1:]
	}
	if err := resp.ReadFrom(p); err != nil {
		return nil, nil, fmt.Errorf("undecodable answer of %d bytes: %w", len(p), err)
	}
	return resp, p, nil
}
