package meta

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sendAgainWithin is the least that Linux takes.
const sendAgainWithin = time.Second

// listeners are the two ports of etcd. They are bound before etcd starts, so that
// a taken port is an error at once and port 0 has an address.
type listeners struct {
	mu         sync.Mutex // guards the fields, not the listeners
	peer, etcd net.Listener
}

// Listen binds the ports of etcd; Run does it if nobody did. Close releases them
// if Run is never called.
func (m *Meta) Listen() error {
	m.listeners.mu.Lock()
	defer m.listeners.mu.Unlock()
	if m.listeners.peer != nil {
		return nil
	}
	if err := m.cfg.check(); err != nil {
		return err
	}
	peer, err := m.bind(m.cfg.PeerListen, "--peer-listen")
	if err != nil {
		return err
	}
	etcd, err := m.bind(m.cfg.EtcdListen, "--etcd-listen")
	if err != nil {
		return errors.Join(err, peer.Close())
	}
	m.listeners.peer, m.listeners.etcd = peer, etcd
	return nil
}

// Close releases the ports of a Meta that is not run.
func (m *Meta) Close() { m.listeners.close() }

func (m *Meta) bind(addr, flag string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, addr, err)
	}
	if !m.cfg.Insecure && m.cfg.TLS == (TLS{}) && !isLoopback(host) {
		return nil, fmt.Errorf("%s %s: whoever reaches this port owns the cluster; use a loopback address, or TLS with --peer-cert, --peer-key and --peer-ca, or allow it with --insecure", flag, addr)
	}
	lc := net.ListenConfig{Control: sendAgainSoon}
	lc.SetMultipathTCP(false) // which has no such option
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for etcd on %s (change it with %s): %w", addr, flag, err)
	}
	return l, nil
}

// sendAgainSoon bounds the time between two attempts to send the same bytes on what a
// port accepts. Else it doubles, and after a partition that dropped them etcd's streams
// stay silent for as long again: the read timeout that it means to have on them has no
// effect, for its http.Transport also has a DialContext, which goes before Dial.
// Linux has the option since 6.15.
func sendAgainSoon(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, int(sendAgainWithin.Milliseconds()))
	})
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = nil
	}
	return errors.Join(cerr, err)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// close releases the ports. Etcd closed those that it served.
func (l *listeners) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, listener := range []net.Listener{l.peer, l.etcd} {
		if listener != nil {
			listener.Close()
		}
	}
	l.peer, l.etcd = nil, nil
}

func (l *listeners) closeEtcd() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.etcd.Close()
	l.etcd = nil
}

// EtcdAddr is the address that etcdctl reaches, "" before Listen. On a client of
// the voters it is that of a voter.
func (m *Meta) EtcdAddr() string {
	if isClosed(m.ready) && m.node.remote != nil {
		return hostOf(m.node.remote.Endpoints()[0])
	}
	m.listeners.mu.Lock()
	defer m.listeners.mu.Unlock()
	if m.listeners.etcd == nil {
		return ""
	}
	return m.listeners.etcd.Addr().String()
}
