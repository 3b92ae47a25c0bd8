package meta

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

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
	if !m.cfg.Insecure && !isLoopback(host) {
		return nil, fmt.Errorf("%s %s: whoever reaches this port owns the cluster; use a loopback address, or allow it with --insecure", flag, addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("the port of etcd is not free, choose another with %s: %w", flag, err)
	}
	return l, nil
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

// EtcdAddr is the address that etcdctl reaches, "" before Listen.
func (m *Meta) EtcdAddr() string {
	m.listeners.mu.Lock()
	defer m.listeners.mu.Unlock()
	if m.listeners.etcd == nil {
		return ""
	}
	return m.listeners.etcd.Addr().String()
}
