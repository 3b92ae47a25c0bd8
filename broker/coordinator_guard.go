package broker

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/broker/group"
)

// guard keeps requests back that reach a coordinator past its lease: another broker may
// have taken over. They are performed once a record is committed that was appended after
// they came, which one that was replaced cannot get. The coordinator's goroutine owns it.
type guard struct {
	c      *coordinator
	held   []op     // nothing was appended for them yet
	behind *barrier // the record that is on its way
	last   time.Time
}

// barrier is a record, and the requests that wait for it.
type barrier struct {
	ops   []op
	until time.Time
}

const (
	// heartbeatBarrier is how often a record is appended for heartbeats alone.
	heartbeatBarrier = time.Second

	// barrierPatience bounds the wait for a record: then clients look elsewhere.
	barrierPatience = 2 * time.Second
)

// speaks reports whether the coordinator may answer from what it has.
func (c *coordinator) speaks() bool { return c.b.speaksFor(c.p) }

// admit performs what the inbox asked for, or keeps it back.
func (g *guard) admit(o op) {
	if !o.internal && (len(g.held) > 0 || g.behind != nil || !g.c.speaks()) {
		g.held = append(g.held, o)
		return
	}
	g.c.perform(o)
}

// step does what is due: a record for those that are held, or their end.
func (g *guard) step(now time.Time) {
	if b := g.behind; b != nil && !now.Before(b.until) {
		g.behind = nil
		b.refuse(kerr.NotCoordinator)
	}
	switch {
	case g.behind != nil || len(g.held) == 0:
	case g.c.speaks():
		b := barrier{ops: g.take()}
		b.perform(g.c)
	case !now.Before(g.due()):
		b := &barrier{ops: g.take(), until: now.Add(barrierPatience)}
		g.behind, g.last = b, now
		g.c.writing.stageBarrier(func(err error) { g.passed(b, err) })
	}
}

func (g *guard) take() []op {
	ops := g.held
	g.held = nil
	return ops
}

// passed is told what became of a record.
func (g *guard) passed(b *barrier, err error) {
	if g.behind != b {
		return // refused before
	}
	g.behind = nil
	if err != nil {
		b.refuse(barrierError(err))
		return
	}
	b.perform(g.c)
}

// barrierError is what a client is told that has to look elsewhere, or to try again.
func barrierError(err error) error {
	if errors.Is(err, kerr.NotEnoughReplicas) || errors.Is(err, kerr.NotEnoughReplicasAfterAppend) {
		return kerr.CoordinatorNotAvailable
	}
	return kerr.NotCoordinator
}

func (b *barrier) perform(c *coordinator) {
	for _, o := range b.ops {
		c.perform(o)
	}
}

func (b *barrier) refuse(err error) {
	for _, o := range b.ops {
		o.refuse(err)
	}
}

// resign refuses all.
func (g *guard) resign() {
	if g.behind != nil {
		g.behind.refuse(kerr.NotCoordinator)
		g.behind = nil
	}
	held := barrier{ops: g.take()}
	held.refuse(kerr.NotCoordinator)
}

// due is when a record is appended for those that are held.
func (g *guard) due() time.Time {
	for i := range g.held {
		if _, patient := g.held[i].event.(group.Heartbeat); !patient {
			return time.Time{}
		}
	}
	return g.last.Add(heartbeatBarrier)
}

// wait is how long nothing is due.
func (g *guard) wait() time.Duration {
	switch {
	case g.behind != nil:
		return max(0, time.Until(g.behind.until))
	case len(g.held) > 0:
		return max(0, time.Until(g.due()))
	}
	return time.Hour
}
