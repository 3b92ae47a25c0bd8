package broker

import (
	"context"
	"sync/atomic"
	"time"

	"chronik/wire"
)

const (
	// controllerSilence is after how long a controller that does not answer is replaced, if
	// most others agree: before leaders are reported, since it takes the reports. A lease
	// may go on, when its Kafka port alone is silent.
	controllerSilence = 3 * time.Second

	// silentToo is how long it must be silent for those who agree.
	silentToo = 2 * time.Second

	// replacers is how many must agree at least: of a link that is cut each end is sure.
	replacers = 2
)

// watchController takes the controller's place when it has not answered this broker nor
// most of the others for some time. What it still has in hand is refused by its key.
func (p *peers) watchController(ctx context.Context, now time.Time) {
	snap := p.b.snap()
	id, ok := snap.Controller()
	epoch, _ := snap.Live(id)
	l := brokerLife{id, epoch}
	if !ok || id == p.b.cfg.NodeID || p.unreachedFor(l, now) < controllerSilence || !snap.IsActive(p.b.cfg.NodeID) {
		return
	}
	lives := livesIn(snap)
	delete(lives, id)
	if agree := p.alsoSilent(ctx, l, lives); agree < replacers || 2*agree <= len(lives) {
		return
	}
	if err := p.b.meta.TakeController(ctx, epoch); err != nil {
		if ctx.Err() == nil {
			p.b.log.Warn("controller not replaced; trying again", "broker", id, "err", err)
		}
		return
	}
	if now, ok := p.b.snap().Controller(); ok && now == p.b.cfg.NodeID {
		p.b.log.Warn("controller does not answer; replaced it", "broker", id)
	}
}

// alsoSilent counts those of lives that l does not answer, this broker included.
func (p *peers) alsoSilent(ctx context.Context, l brokerLife, lives map[int32]int64) int {
	votes := make(chan bool, len(lives))
	asked := 0
	for id := range lives {
		if id == p.b.cfg.NodeID {
			continue
		}
		asked++
		go func() {
			s, err := p.ask(ctx, id, &wire.PeerRequest{Kind: wire.PeerSilent, About: wire.PeerLife{Broker: l.id, Epoch: l.epoch}})
			votes <- err == nil && s.Standing == wire.PeerUnreached
		}()
	}
	agree := 1
	for range asked {
		if <-votes {
			agree++
		}
	}
	return agree
}

// fetchClock is since when a leader owes the answer to a fetch, or the connection for
// one, with nothing of it coming.
type fetchClock struct{ since atomic.Int64 } // 0: it owes none

func (c *fetchClock) start(now time.Time) { c.since.CompareAndSwap(0, now.UnixNano()) }
func (c *fetchClock) stop()               { c.since.Store(0) }

// moves notes that some of the answer has come.
func (c *fetchClock) moves(now time.Time) {
	if since := c.since.Load(); since != 0 {
		c.since.CompareAndSwap(since, now.UnixNano())
	}
}

func (c *fetchClock) owedFor(now time.Time) time.Duration {
	since := c.since.Load()
	if since == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, since))
}

// fetchClock finds the clock of a leader; the caller holds mu.
func (p *peers) fetchClock(id int32) *fetchClock {
	c := p.fetches[id]
	if c == nil {
		c = &fetchClock{}
		p.fetches[id] = c
	}
	return c
}

// fetchClockOf is fetchClock for who does not hold mu.
func (p *peers) fetchClockOf(id int32) *fetchClock {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetchClock(id)
}
