package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// server listens for Kafka clients and holds the connections.
type server struct {
	listeners []net.Listener
	releases  []func() // of closesFirst
	listen    string   // as configured
	hints     *hints

	mu    sync.Mutex
	conns map[*conn]struct{} // guarded by mu
	perIP map[string]int     // guarded by mu
	tasks sync.WaitGroup
}

// listen binds the address: both loopback addresses where it is localhost.
func listen(addr string) (*server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--listen %q is not host:port: %w", addr, err)
	}
	s := &server{listen: addr, conns: map[*conn]struct{}{}, perIP: map[string]int{}, hints: newHints()}
	if host != "localhost" {
		return s, s.bind("tcp", addr)
	}
	if err := s.bind("tcp4", addr); err != nil {
		return nil, err
	}
	port := s.listeners[0].Addr().(*net.TCPAddr).Port
	if err := s.bind("tcp6", net.JoinHostPort("::1", strconv.Itoa(port))); err != nil && hasIPv6Loopback() {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *server) bind(network, addr string) error {
	l, err := net.Listen(network, addr)
	if err != nil {
		return fmt.Errorf("listen on %s (change it with --listen): %w", addr, err)
	}
	// A broker that is killed refuses connections before it ends any: who dials again at
	// once is told that it is gone.
	s.listeners, s.releases = append(s.listeners, l), append(s.releases, closesFirst(l))
	return nil
}

// hasIPv6Loopback reports whether ::1 is there to be bound.
func hasIPv6Loopback() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// addr is the address that clients reach: the configured host and the real port.
func (s *server) addr() string {
	host, _, _ := net.SplitHostPort(s.listen)
	return net.JoinHostPort(host, strconv.Itoa(s.listeners[0].Addr().(*net.TCPAddr).Port))
}

func (s *server) close() error {
	for _, release := range s.releases {
		release()
	}
	s.releases = nil
	var err error
	for _, l := range s.listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}

// run accepts connections until ctx ends, then ends them.
func (s *server) run(ctx context.Context, b *Broker) error {
	var accepting sync.WaitGroup
	for _, l := range s.listeners {
		accepting.Go(func() { s.accept(ctx, b, l) })
	}
	<-ctx.Done()
	b.stopping.Store(true)
	err := s.close()
	accepting.Wait()
	s.mu.Lock()
	for c := range s.conns { // readers end; answers to what was appended may still leave
		err = errors.Join(err, ignoreClosed(c.nc.SetReadDeadline(time.Now())))
		c.queue.wake.nudge() // long polls are over
	}
	s.mu.Unlock()
	force := time.AfterFunc(stopPatience, s.closeAll)
	defer force.Stop()
	s.tasks.Wait()
	return err
}

// stopPatience is how long connections have to end by themselves.
const stopPatience = 2 * time.Second

// closeAll ends the connections that are left, whatever they wait for.
func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.close()
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// accept takes connections of one listener. An error that is not the end (no
// file descriptors left) is waited out.
func (s *server) accept(ctx context.Context, b *Broker, l net.Listener) {
	// Requests in flight outlive the signal to stop; the connection's own end
	// bounds them.
	forConns := context.WithoutCancel(ctx)
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			b.log.Warn("accept failed", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return
			}
		}
		c, connCtx := newConn(forConns, b, nc)
		if err := s.admit(c); err != nil {
			s.hints.log(b.log, nc.RemoteAddr(), err)
			c.close()
			continue
		}
		s.tasks.Go(func() {
			defer s.leave(c)
			c.run(connCtx)
		})
	}
}

// errTooMany refuses the newest connection.
var errTooMany = errors.New("too many connections")

// admit counts the connection, or says which limit it is above.
func (s *server) admit(c *conn) error {
	configs := c.b.settings.effective()
	ip := remoteIP(c.nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := maxConnections.of(configs); int64(len(s.conns)) >= limit {
		return fmt.Errorf("%w: max.connections=%d", errTooMany, limit)
	}
	if limit := maxConnectionsPerIP.of(configs); int64(s.perIP[ip]) >= limit {
		return fmt.Errorf("%w from one address: max.connections.per.ip=%d", errTooMany, limit)
	}
	s.conns[c] = struct{}{}
	s.perIP[ip]++
	c.b.metrics.connections.Inc()
	return nil
}

func (s *server) leave(c *conn) {
	ip := remoteIP(c.nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.perIP[ip]--; s.perIP[ip] == 0 {
		delete(s.perIP, ip)
	}
	c.b.metrics.connections.Dec()
}

func remoteIP(nc net.Conn) string {
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		return nc.RemoteAddr().String()
	}
	return host
}

// splitHostPort takes apart an address that was checked at the start.
func splitHostPort(addr string) (string, int32) {
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.ParseInt(port, 10, 32)
	return host, int32(n)
}

// unspecified reports whether host means every address of the machine.
func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// hints logs what clients do wrong, at most one line a second for each kind and address.
// Other lines that clients can cause are held back by it too.
type hints struct {
	mu   sync.Mutex
	last map[string]time.Time // guarded by mu
}

func newHints() *hints { return &hints{last: map[string]time.Time{}} }

func (h *hints) log(log *slog.Logger, from net.Addr, err error) {
	host, _, splitErr := net.SplitHostPort(from.String())
	if splitErr != nil {
		host = from.String()
	}
	if h.isNew(host + " " + kindOf(err)) {
		log.Warn("connection closed", "client", from, "err", err)
	}
}

// isNew reports whether no such kind was logged in the last second.
func (h *hints) isNew(kind string) bool {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.last[kind]) < time.Second {
		return false
	}
	if len(h.last) > 1000 {
		clear(h.last)
	}
	h.last[kind] = now
	return true
}

func kindOf(err error) string {
	for _, kind := range []error{errFrame, errRequest, errTooMany} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return "other"
}
