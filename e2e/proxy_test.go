package e2e

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy passes TCP connections on, and harms them by its rules.
type proxy struct {
	addr, target string
	l            net.Listener
	done         sync.WaitGroup

	mu      sync.Mutex // guards what follows
	rules   rules
	changed chan struct{} // closed when rules are replaced
	rng     *rand.Rand
	links   map[*link]struct{}
	closed  bool
}

// rules are what is done to every connection. The zero value does nothing.
type rules struct {
	latency    time.Duration // each way
	rate       int           // bytes a second each way
	cutAfter   int           // about so many bytes, in the middle of whatever passes
	stallTo    bool          // nothing passes to the target; it is kept
	stallFrom  bool          // nothing passes from the target
	refusesNew bool          // connections are closed as soon as they come
}

// link is one connection and its other half.
type link struct {
	near, far net.Conn
	gone      chan struct{}
	once      sync.Once
}

func (k *link) close() {
	k.once.Do(func() {
		close(k.gone)
		k.near.Close()
		k.far.Close()
	})
}

// startProxy listens on a free port until the test ends.
func startProxy(t testing.TB, target string, seed uint64) *proxy {
	t.Helper()
	p := &proxy{
		addr: freePorts(t, 1)[0], target: target, changed: make(chan struct{}),
		rng: rand.New(rand.NewPCG(seed, 1)), links: map[*link]struct{}{},
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.l = l
	p.done.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) close() {
	p.l.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop()
	p.done.Wait()
}

// drop ends all connections; what is under way is lost.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.links {
		k.close()
	}
}

// set replaces the rules, for connections that exist too.
func (p *proxy) set(r rules) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = r
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *proxy) now() (rules, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rules, p.changed
}

// chance is a number below n.
func (p *proxy) chance(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}

func (p *proxy) accept() {
	for {
		near, err := p.l.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.serve(near) })
	}
}

// serve passes both ways until one side is done.
func (p *proxy) serve(near net.Conn) {
	defer near.Close()
	if r, _ := p.now(); r.refusesNew {
		return
	}
	far, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		reset(near) // as the target itself would have refused
		return
	}
	k := &link{near: near, far: far, gone: make(chan struct{})}
	p.mu.Lock()
	p.links[k] = struct{}{}
	if p.closed {
		k.close()
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(k, far, near, true) })
	both.Go(func() { p.pump(k, near, far, false) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, k)
	p.mu.Unlock()
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // then it is an orderly end
	}
}

// chunk is what came in one read, and when.
type chunk struct {
	p  []byte
	at time.Time
}

// pump passes one direction. What is read waits in a queue, so that latency does not
// limit the rate.
func (p *proxy) pump(k *link, to, from net.Conn, up bool) {
	defer k.close()
	queue := make(chan chunk, 256)
	p.done.Go(func() {
		defer close(queue)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			select {
			case queue <- chunk{buf[:n], time.Now()}:
			case <-k.gone:
				return
			}
		}
	})
	for c := range queue {
		if !p.pass(k, c, up) {
			return
		}
		if cut := p.cut(len(c.p)); cut >= 0 {
			_, _ = to.Write(c.p[:cut]) // the connection ends here in any case
			if p.chance(2) == 0 {
				reset(to)
				reset(from)
			}
			return
		}
		if _, err := to.Write(c.p); err != nil {
			return
		}
	}
}

// cut is where in the next n bytes the connection is to end, -1 nowhere.
func (p *proxy) cut(n int) int {
	r, _ := p.now()
	if r.cutAfter == 0 || p.chance(r.cutAfter) > max(n, r.cutAfter/50) {
		return -1
	}
	return p.chance(n)
}

// pass waits until a chunk may go on, and says whether it may at all.
func (p *proxy) pass(k *link, c chunk, up bool) bool {
	for {
		r, changed := p.now()
		if up && r.stallTo || !up && r.stallFrom {
			select {
			case <-changed:
				continue
			case <-k.gone:
				return false
			}
		}
		wait := r.latency - time.Since(c.at)
		if r.rate > 0 {
			wait = max(wait, time.Duration(len(c.p))*time.Second/time.Duration(r.rate))
		}
		if wait <= 0 {
			return true
		}
		select {
		case <-time.After(wait):
			return true
		case <-changed:
		case <-k.gone:
			return false
		}
	}
}

// echoServer sends back what it is sent.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // ends with the connection
			}()
		}
	}()
	return l.Addr().String()
}

func TestProxy(t *testing.T) {
	p := startProxy(t, echoServer(t), 1)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	echo := func(within time.Duration) (got int, took time.Duration, err error) {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		began := time.Now()
		if err := c.SetDeadline(began.Add(within)); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = c.Write(sent) }() // what was lost is seen below
		back := make([]byte, len(sent))
		got, err = io.ReadFull(c, back)
		if !bytes.Equal(back[:got], sent[:got]) {
			t.Error("the proxy changed bytes")
		}
		return got, time.Since(began), err
	}
	for name, c := range map[string]struct {
		rules
		least time.Duration
	}{
		"nothing": {},
		"latency": {rules{latency: 50 * time.Millisecond}, 100 * time.Millisecond},
		"rate":    {rules{rate: 1 << 20}, 60 * time.Millisecond},
	} {
		p.set(c.rules)
		if got, took, err := echo(10 * time.Second); err != nil || took < c.least {
			t.Errorf("%s: %d bytes in %v: %v", name, got, took, err)
		}
	}
	for name, r := range map[string]rules{"stalled to": {stallTo: true}, "stalled from": {stallFrom: true}} {
		p.set(r)
		if got, _, err := echo(200 * time.Millisecond); err == nil || got > 0 {
			t.Errorf("%s: %d bytes came: %v", name, got, err)
		}
	}
	p.set(rules{stallTo: true})
	began := time.Now()
	time.AfterFunc(50*time.Millisecond, func() { p.set(rules{}) })
	if got, _, err := echo(10 * time.Second); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("stalled for a while: %d bytes in %v: %v", got, time.Since(began), err)
	}
	p.set(rules{cutAfter: 10_000})
	if got, _, err := echo(10 * time.Second); err == nil || got == len(sent) {
		t.Errorf("cut: %d bytes came: %v", got, err)
	}
	p.set(rules{refusesNew: true})
	if got, _, err := echo(10 * time.Second); err == nil || got > 0 {
		t.Errorf("refused: %d bytes came: %v", got, err)
	}
}
