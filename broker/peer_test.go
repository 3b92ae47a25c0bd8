package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/wire"
)

// linked is a connection to a broker as another one makes it.
func linked(t *testing.T, b *Broker) *peerLink {
	t.Helper()
	l, end, err := linkPeer(t.Context(), b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return l
}

// Only brokers that are alive are answered; others find their connection closed.
func TestPeerOnlyOfBrokers(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	self := b.peers.self()
	for what, from := range map[string]wire.PeerLife{
		"nobody":                   {},
		"an unknown broker":        {Broker: 7, Epoch: self.Epoch},
		"an earlier life":          {Broker: self.Broker, Epoch: self.Epoch - 1},
		"a life that is to come":   {Broker: self.Broker, Epoch: self.Epoch + 1000},
		"a life that never can be": {Broker: self.Broker, Epoch: -1},
	} {
		if s, err := linked(t, b).ask(t.Context(), &wire.PeerRequest{From: from}); !isEnd(err) {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
	l := linked(t, b)
	if s, err := l.ask(t.Context(), &wire.PeerRequest{From: self}); err != nil || s.From != self || s.Standing != wire.PeerUnknown {
		t.Errorf("keep-alive: %+v, %v", s, err)
	}
	if s, err := l.ask(t.Context(), &wire.PeerRequest{Kind: 99, From: self}); err != nil || s.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("unknown kind: %+v, %v", s, err)
	}
	for _, a := range b.APIs() {
		if a.Key == wire.PeerKey {
			t.Error("clients are told of it")
		}
	}
}

// A keep-alive is answered when its time has come, and at once by a broker that stops.
func TestPeerKeepAlive(t *testing.T) {
	b, stop := started(t, t.TempDir(), nil)
	self, l := b.peers.self(), linked(t, b)
	began := time.Now()
	if _, err := l.ask(t.Context(), &wire.PeerRequest{From: self, WaitMs: 200}); err != nil || time.Since(began) < 200*time.Millisecond {
		t.Errorf("answered after %v, %v", time.Since(began), err)
	}
	type reply struct {
		wire.PeerResponse
		error
	}
	answer := make(chan reply, 1)
	go func() {
		s, err := l.ask(t.Context(), &wire.PeerRequest{From: self, WaitMs: 10_000})
		answer <- reply{s, err}
	}()
	eventually(t, func() error {
		if n := parked(b, time.Second); n != 1 {
			return fmt.Errorf("%d answers wait", n)
		}
		return nil
	})
	stop()
	if r := <-answer; r.error != nil || r.Standing != wire.PeerStopping {
		t.Errorf("%+v", r)
	}
}

// parked counts the keep-alives that wait for more than some time.
func parked(b *Broker, more time.Duration) (n int) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	for c := range b.server.conns {
		if a, ok := c.queue.at(0).(*peerAnswer); ok && time.Until(a.until) > more {
			n++
		}
	}
	return n
}

// Only a host that is there and where nobody listens refuses.
func TestDialPeer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} { // that has ::1 too, where nobody listens
		nc, err := dialPeer(ctx, net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		nc.Close()
	}
	l.Close()
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if _, err := dialPeer(ctx, net.JoinHostPort(host, port)); !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", host, err)
		}
	}
	over, end := context.WithCancel(ctx)
	end()
	for what, err := range map[string]error{
		"a name that does not exist": second(dialPeer(ctx, "no-such-host.invalid:9092")),
		"no port":                    second(dialPeer(ctx, "127.0.0.1")),
		"too late":                   second(dialPeer(over, net.JoinHostPort("127.0.0.1", port))),
		"no route":                   second(dialPeer(ctx, "255.255.255.255:9092")),
	} {
		if err == nil || errors.Is(err, errRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// That a connection ended is seen without reading it.
func TestPeerLinkEnds(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	link, end, err := linkPeer(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if link.hasEnded() {
		t.Error("a quiet connection has ended")
	}
	if _, err := other.Write([]byte("a last word")); err != nil || link.hasEnded() {
		t.Errorf("one with something to read has ended, or %v", err)
	}
	other.Close()
	eventually(t, func() error {
		if !link.hasEnded() {
			return errors.New("the end is not seen")
		}
		return nil
	})
}
