package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wireConn speaks frames, without a client's own ideas.
type wireConn struct {
	net.Conn
	t testing.TB
}

func wired(t testing.TB, b *Broker) wireConn {
	t.Helper()
	nc, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return wireConn{nc, t}
}

// exchange sends a frame and returns the answer behind its size; io.EOF when the
// connection is closed instead.
func (c wireConn) exchange(frame []byte) ([]byte, error) {
	c.t.Helper()
	if _, err := c.Write(frame); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	p := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, p)
	return p, err
}

// framed is a whole request; header says where its body begins.
func framed(req kmsg.Request) (frame []byte, header int) {
	frame = kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, req, 7)
	return frame, len(frame) - len(req.AppendTo(nil))
}

// resized makes a frame of the first n bytes of another.
func resized(frame []byte, n int) []byte {
	frame = bytes.Clone(frame[:n])
	binary.BigEndian.PutUint32(frame, uint32(n-4))
	return frame
}

// fill gives every list of a request one entry and every text a value, so that
// all fields of a version are on the wire.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*kmsg.DescribeTopicPartitionsRequestCursor]() {
			return // nullable, and more interesting without
		}
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && v.Type().Field(i).Name != "UnknownTags" && v.Type().Field(i).Name != "Version" {
				fill(f)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if d, ok := v.Index(0).Addr().Interface().(interface{ Default() }); ok {
			d.Default()
		}
		fill(v.Index(0))
	case reflect.String:
		v.SetString("text")
	}
}

// quick makes a request one that is answered at once.
func quick(req kmsg.Request) {
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		r.Acks = 1
	case *kmsg.FetchRequest:
		r.ReplicaID, r.MaxWaitMillis = -1, 0
	}
}

// Every advertised request in every version is answered in its schema: with
// nothing in it, and with everything once.
func TestEveryVersionIsAnswered(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	c := wired(t, b)
	defer c.Close()
	for _, api := range b.APIs() {
		for v := api.Min; v <= api.Max; v++ {
			for _, filled := range []bool{false, true} {
				req := kmsg.RequestForKey(api.Key)
				if filled {
					fill(reflect.ValueOf(req))
				}
				req.SetVersion(v)
				quick(req)
				frame, _ := framed(req)
				p, err := c.exchange(frame)
				if err != nil {
					t.Fatalf("%s v%d, filled %v: %v", api.Name, v, filled, err)
				}
				if err := inSchema(req, p); err != nil {
					t.Errorf("%s v%d, filled %v: %v", api.Name, v, filled, err)
				}
			}
		}
	}
	noPanics(t, b)
}

// inSchema decodes an answer and encodes it again: the same bytes must come out.
func inSchema(req kmsg.Request, p []byte) error {
	if len(p) < 4 || binary.BigEndian.Uint32(p) != 7 {
		return fmt.Errorf("no answer to this request: %x", p)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	body := p[4:]
	if resp.IsFlexible() && req.Key() != apiVersionsKey {
		if len(body) == 0 || body[0] != 0 {
			return errors.New("no empty tag section in the header")
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return err
	}
	// Fetch writes counts before it knows them: in more bytes than they need.
	if again := resp.AppendTo(nil); !bytes.Equal(again, body) && req.Key() != int16(kmsg.Fetch) {
		return fmt.Errorf("is %x, would be %x", body, again)
	}
	return nil
}

// A body that is cut off closes the connection or is refused; it harms nobody else.
func TestCutOffBodies(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	for _, api := range b.APIs() {
		for _, v := range []int16{api.Min, api.Max} {
			req := kmsg.RequestForKey(api.Key)
			fill(reflect.ValueOf(req))
			req.SetVersion(v)
			quick(req)
			frame, header := framed(req)
			for n := header; n < len(frame); n++ {
				c := wired(t, b)
				p, err := c.exchange(resized(frame, n))
				if err == nil && inSchema(req, p) != nil && api.Key != apiVersionsKey {
					t.Errorf("%s v%d cut at %d of %d: %x", api.Name, v, n-header, len(frame)-header, p)
				}
				c.Close()
			}
		}
	}
	noPanics(t, b)
}

func noPanics(t *testing.T, b *Broker) {
	t.Helper()
	families, err := b.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "chronik_panics_total" && f.GetMetric()[0].GetCounter().GetValue() > 0 {
			t.Error("a request ended in a panic: run with -v")
		}
	}
}
