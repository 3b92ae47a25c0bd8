package broker

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"chronik/meta"
	"chronik/wire"
)

// peers are the other brokers as this one observes them: it keeps one connection to
// each that is alive, and has the lease of one revoked whose process is gone. mu guards
// all that follows it; lost is set while it is held.
type peers struct {
	b    *Broker
	lost watched[map[brokerLife]time.Time] // lives that are missing, and since when

	mu        sync.Mutex
	seen      map[int32]*observed
	probes    map[brokerLife]*probe
	heard     map[int32]time.Time // last request of each
	fetches   map[int32]*fetchClock
	reports   reports
	mourned   mourned
	mournedAt int64 // revision
}

// probe keeps a connection to one life of a broker, which is at addr.
type probe struct {
	p      *peers
	life   brokerLife
	addr   string
	cancel context.CancelFunc
	link   *peerLink // on which something was answered, nil without; guarded by peers.mu
	told   bool      // that the broker is not reached; the probe's goroutine alone
}

func newPeers(b *Broker) *peers {
	p := &peers{
		b: b, seen: map[int32]*observed{}, probes: map[brokerLife]*probe{}, heard: map[int32]time.Time{}, fetches: map[int32]*fetchClock{}, reports: reports{},
		mourned: newMourned(),
	}
	p.lost.set(nil)
	return p
}

// run observes every other broker that is alive, until ctx ends.
func (p *peers) run(ctx context.Context) error {
	if !waitFor(ctx, p.b.meta.Registered()) {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.report(ctx) })
	for {
		snap, changed := p.b.meta.Watch()
		for _, begin := range p.update(ctx, snap) {
			g.Go(begin)
		}
		if !waitFor(ctx, changed) {
			return g.Wait()
		}
	}
}

// update ends the probes of lives that are over or moved, and returns what begins.
func (p *peers) update(ctx context.Context, snap *meta.Snapshot) (begin []func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mourn(snap, time.Now())
	now := map[brokerLife]string{}
	for _, br := range snap.AllBrokers() {
		if epoch, live := snap.Live(br.ID); live && br.ID != p.b.cfg.NodeID && snap.InPresentLife(br.ID) {
			now[brokerLife{br.ID, epoch}] = hostPort(br.Host, br.Port)
		}
	}
	for l, pr := range p.probes {
		if now[l] != pr.addr {
			pr.cancel()
			delete(p.probes, l)
		}
	}
	for l, addr := range now {
		if p.probes[l] != nil {
			continue
		}
		if p.seen[l.id] == nil {
			p.seen[l.id] = &observed{}
		}
		p.seen[l.id].begins(time.Now())
		p.fetchClock(l.id).stop()
		probeCtx, cancel := context.WithCancel(ctx)
		pr := &probe{p: p, life: l, addr: addr, cancel: cancel}
		p.probes[l] = pr
		begin = append(begin, func() error { return pr.run(probeCtx) })
	}
	return begin
}

// note changes what is known of a broker, and has those who wait see what that makes
// of the lives that are missing.
func (p *peers) note(id int32, change func(o *observed)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.seen[id]
	was := o.missing
	if change(o); o.missing == was {
		return
	}
	old, _ := p.lost.get()
	lost := maps.Clone(old)
	if lost == nil {
		lost = map[brokerLife]time.Time{}
	}
	delete(lost, brokerLife{id, was.epoch})
	if o.missing.epoch != 0 {
		lost[brokerLife{id, o.missing.epoch}] = o.missing.since
	}
	p.lost.set(lost)
}

// reaches reports whether a life is reached at this moment.
func (p *peers) reaches(l brokerLife) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[l.id].reaches(l.epoch)
}

// run connects again and again until the life is over.
func (pr *probe) run(ctx context.Context) error {
	defer pr.cancel()
	for {
		answered, err := pr.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-time.After(pr.fail(ctx, answered, err)):
		case <-ctx.Done():
			return nil
		}
	}
}

// connect keeps a connection until it fails, and reports whether anything was answered.
func (pr *probe) connect(ctx context.Context) (answered bool, err error) {
	l, end, err := linkPeer(ctx, pr.addr)
	if err != nil {
		return false, err
	}
	defer end()
	defer func() { pr.letGo(answered && isEnd(err) && ctx.Err() == nil) }()
	for wait := time.Duration(0); ; wait = keepAliveEvery {
		s, err := l.ask(ctx, &wire.PeerRequest{Kind: wire.PeerKeepAlive, From: pr.p.self(), WaitMs: int32(wait.Milliseconds())})
		if err != nil {
			return answered, err
		}
		if s.From.Broker != pr.life.id {
			return answered, errOther
		}
		answered = true
		pr.p.note(pr.life.id, func(o *observed) {
			pr.link = l
			o.answered(s.From.Epoch, s.Standing == wire.PeerStopping, time.Now())
			if l.hasEnded() { // that was its last answer
				o.broke(pr.life.epoch, time.Now())
			}
		})
		if pr.told {
			pr.told = false
			pr.p.b.log.Info("broker is reached again", "broker", pr.life.id)
		}
	}
}

// letGo forgets the connection that was kept, and in the same moment notes that it ended: else who asks
// in between would find neither.
func (pr *probe) letGo(ended bool) {
	pr.p.note(pr.life.id, func(o *observed) {
		if pr.link = nil; ended {
			o.broke(pr.life.epoch, time.Now())
		}
	})
}

// noteEnds has the connections noted that ended and whose probes have not run yet: a
// client that saw the same process die may ask before they do.
func (p *peers) noteEnds(now time.Time) {
	p.mu.Lock()
	var ended []brokerLife
	for l, pr := range p.probes {
		if pr.link != nil && pr.link.hasEnded() {
			ended = append(ended, l)
		}
	}
	p.mu.Unlock()
	for _, l := range ended {
		p.note(l.id, func(o *observed) { o.broke(l.epoch, now) })
	}
}

// errOther means that another broker is at an address.
var errOther = errors.New("another broker answers there")

// self is this broker in its present life.
func (p *peers) self() wire.PeerLife {
	return wire.PeerLife{Broker: p.b.cfg.NodeID, Epoch: p.b.meta.Session().BrokerEpoch()}
}

// fail draws the conclusions of a dial or connection that failed, and returns when to
// try again.
func (pr *probe) fail(ctx context.Context, answered bool, err error) (again time.Duration) {
	now, life := time.Now(), pr.life.epoch
	draining, over := pr.draining(), false
	var silent time.Duration
	pr.p.note(pr.life.id, func(o *observed) {
		switch {
		case errors.Is(err, errRefused):
			over, again = o.refused(life, draining, now), redialRefused
			if o.isSettled(life) {
				again = redialSilent
			}
		case answered && isEnd(err): // it is noted already
		case isEnd(err):
			o.turnedAway(life, now)
			again = redialSilent
			if o.missing.epoch == life {
				again = redialAway
			}
		default:
			o.failed(life, now)
			again = redialSilent
		}
		silent = o.unreachedFor(now)
	})
	if silent > unreachableAfter && !pr.told {
		pr.told = true
		pr.p.b.log.Warn("broker is not reached", "broker", pr.life.id, "addr", pr.addr, "since", silent.Round(time.Millisecond), "err", err)
	}
	if over {
		pr.end(ctx)
	}
	return again
}

// draining reports whether the metadata shows that the broker is about to stop: then
// it gives its lease back itself.
func (pr *probe) draining() bool {
	br := pr.p.b.snap().Broker(pr.life.id)
	return br != nil && br.State == meta.Draining
}

// endAttempt is after how long the end of a lease is asked for again: who died may have
// led etcd, and what was on its way to that leader is lost.
const endAttempt = 150 * time.Millisecond

// end ends the lease of a life whose process is gone. That is proved for good, so it
// is tried until the metadata shows it, which ends ctx.
func (pr *probe) end(ctx context.Context) {
	b, l := pr.p.b, pr.life
	if pr.p.controllerReaches(ctx, l) {
		pr.p.note(l.id, (*observed).refuted)
		b.log.Warn("connections to a broker are refused here, but the controller reaches it", "broker", l.id, "addr", pr.addr)
		return
	}
	b.log.Warn("broker is gone: connections are refused; ending its lease", "broker", l.id, "brokerEpoch", l.epoch, "addr", pr.addr)
	complained := false
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, endAttempt)
		err := b.meta.ReportDead(attempt, l.id, l.epoch)
		if err == nil {
			cancel()
			return
		}
		if !complained && ctx.Err() == nil {
			complained = true
			b.log.Warn("lease not ended yet; trying again", "broker", l.id, "err", err)
		}
		<-attempt.Done()
		cancel()
	}
}
