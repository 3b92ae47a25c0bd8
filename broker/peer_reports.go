package broker

import (
	"context"
	"maps"
	"slices"
	"time"

	"chronik/meta"
	"chronik/wire"
)

// askPatience bounds a question to the controller.
const askPatience = 500 * time.Millisecond

// ask puts one question to another broker.
func (p *peers) ask(ctx context.Context, id int32, q *wire.PeerRequest) (s wire.PeerResponse, err error) {
	br := p.b.snap().Broker(id)
	if br == nil {
		return s, errOther
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	l, end, err := linkPeer(ctx, hostPort(br.Host, br.Port))
	if err != nil {
		return s, err
	}
	defer end()
	q.From = p.self()
	if s, err = l.ask(ctx, q); err == nil && s.From.Broker != id {
		err = errOther
	}
	return s, err
}

// controllerReaches asks the controller, if that is another broker than this one and
// the one in question, whether it reaches a life.
func (p *peers) controllerReaches(ctx context.Context, l brokerLife) bool {
	id, ok := p.b.snap().Controller()
	if !ok || id == l.id || id == p.b.cfg.NodeID {
		return false
	}
	s, err := p.ask(ctx, id, &wire.PeerRequest{Kind: wire.PeerRefused, About: wire.PeerLife{Broker: l.id, Epoch: l.epoch}})
	return err == nil && s.Standing == wire.PeerReached
}

// report looks for brokers that this one does not reach: it tells the controller of
// them every second, and has the ISR of what it leads looked at. One that stood still
// itself has heard of nobody and says nothing for a while.
func (p *peers) report(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := map[brokerLife]time.Time{}
	last, quiet := time.Now(), time.Time{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now := time.Now()
		if now.Sub(last) > 4*lookEvery {
			quiet = now.Add(stoodStill)
		}
		if last = now; now.Before(quiet) {
			continue
		}
		lives := p.unreachable(now)
		maps.DeleteFunc(told, func(l brokerLife, _ time.Time) bool { return !slices.Contains(lives, l) })
		for _, l := range lives {
			if at, ok := told[l]; !ok {
				p.b.isr.look()
			} else if now.Sub(at) < reportEvery {
				continue
			}
			told[l] = now
			if err := p.accuse(ctx, l); err != nil && ctx.Err() == nil {
				delete(told, l)
				p.b.log.Debug("unreachable broker not reported", "broker", l.id, "err", err)
			}
		}
		p.watchController(ctx, now)
		last = time.Now()
	}
}

// unreachable are the lives that were not reached for too long, or do not answer fetches.
func (p *peers) unreachable(now time.Time) (lives []brokerLife) {
	after := max(unreachableAfter, p.b.meta.LeaseTTL()+leaseSettles)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports.forget(now)
	for l := range p.probes {
		if p.seen[l.id].unreachedFor(now) >= after || p.fetchClock(l.id).owedFor(now) >= after+replicaFetchWait {
			lives = append(lives, l)
		}
	}
	return lives
}

// unreachedFor is for how long an answer of a life is due.
func (p *peers) unreachedFor(l brokerLife, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.probes[l] == nil {
		return 0
	}
	return p.seen[l.id].unreachedFor(now)
}

func (p *peers) accuse(ctx context.Context, l brokerLife) error {
	self := p.self()
	switch id, ok := p.b.snap().Controller(); {
	case !ok || id == l.id: // nobody to tell: watchController sees to that
		return nil
	case id == p.b.cfg.NodeID:
		p.blame(lifeOf(self), l, time.Now())
		return nil
	default:
		_, err := p.ask(ctx, id, &wire.PeerRequest{Kind: wire.PeerUnreachable, About: wire.PeerLife{Broker: l.id, Epoch: l.epoch}})
		return err
	}
}

// hear notes that another broker asked something.
func (p *peers) hear(id int32, now time.Time) {
	p.mu.Lock()
	p.heard[id] = now
	p.mu.Unlock()
}

// blame takes the report of a life that is not reached, and has the controller look.
func (p *peers) blame(from, about brokerLife, now time.Time) {
	p.mu.Lock()
	news := p.reports.note(from, about, now)
	p.mu.Unlock()
	if news {
		p.b.log.Warn("a broker is reported as unreachable", "broker", about.id, "by", from.id)
	}
	p.b.reelect.nudge()
}

// reported counts, for the controller, by how many each broker is reported; nothing
// while this one is not in contact with most of the others.
func (p *peers) reported(snap *meta.Snapshot) map[int32]int {
	now, lives := time.Now(), livesIn(snap)
	p.mu.Lock()
	defer p.mu.Unlock()
	contact := 0
	for id, epoch := range lives {
		if id != p.b.cfg.NodeID && (p.seen[id].reaches(epoch) || now.Sub(p.heard[id]) <= reportHolds) {
			contact++
		}
	}
	if isCutOff(contact, len(lives)-1) {
		return nil
	}
	return p.reports.against(lives, now)
}
