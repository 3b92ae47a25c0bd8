package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"chronik/meta"
)

// isrChanges writes the changes of the ISR that are due in the partitions that this
// broker leads. mu guards due.
type isrChanges struct {
	b    *Broker
	wake nudge
	all  nudge // look at every partition now
	logs nudge // a log of this broker has failed, or is back

	mu  sync.Mutex
	due map[*partition]bool
}

// isrCheck is how often it is looked for followers that lag.
const isrCheck = time.Second

func newISRChanges(b *Broker) *isrChanges {
	return &isrChanges{b: b, wake: make(nudge, 1), all: make(nudge, 1), logs: make(nudge, 1), due: map[*partition]bool{}}
}

// add has one partition looked at soon. It does not block.
func (c *isrChanges) add(p *partition) {
	c.mu.Lock()
	c.due[p] = true
	c.mu.Unlock()
	c.wake.nudge()
}

// look has every partition looked at soon: who follows may not be reached any more.
func (c *isrChanges) look() { c.all.nudge() }

func (c *isrChanges) take() map[*partition]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := c.due
	c.due = map[*partition]bool{}
	return due
}

// run writes what is due, at once where a follower has caught up, every second
// where one lags or a write failed.
func (c *isrChanges) run(ctx context.Context) error {
	tick := time.NewTicker(isrCheck)
	defer tick.Stop()
	for {
		select {
		case <-c.wake:
			c.write(ctx, c.take())
		case <-c.logs:
			c.b.reportLogs(ctx)
		case <-tick.C:
			c.b.reportLogs(ctx)
			c.write(ctx, c.every())
		case <-c.all:
			c.write(ctx, c.every())
		case <-ctx.Done():
			return nil
		}
	}
}

// every is what is due, and every partition that is replicated.
func (c *isrChanges) every() map[*partition]bool {
	all := c.take()
	c.b.topics.all(func(t *topic) {
		for _, p := range *t.partitions.Load() {
			if p != nil && p.repl != nil {
				all[p] = true
			}
		}
	})
	return all
}

// write proposes what is due and writes it. After an unknown outcome a proposal
// stays, and is written again from the same base: it takes effect once or never.
func (c *isrChanges) write(ctx context.Context, parts map[*partition]bool) {
	snap := c.b.snap()
	now := time.Now()
	v := isrView{now: now, lag: time.Duration(replicaLagMs.of(c.b.brokerConfigs())) * time.Millisecond, active: func(id int32) (int64, bool) {
		epoch, _ := snap.Live(id)
		return epoch, snap.IsActive(id)
	}, silent: map[int32]bool{}}
	for _, l := range c.b.peers.unreachable(now) {
		v.silent[l.id] = true
	}
	var changes []meta.MemberChange
	proposed := map[*partition]*meta.MemberChange{}
	for p := range parts {
		if p.gone.Load() || p.repl == nil {
			continue
		}
		if ch := p.repl.propose(v); ch != nil {
			proposed[p] = ch
			changes = append(changes, *ch)
		}
	}
	if len(changes) == 0 {
		return
	}
	rev, err := c.b.meta.ChangeMembers(ctx, changes)
	if err != nil && !settled(err) {
		if ctx.Err() == nil {
			c.b.log.Warn("in-sync replicas not changed; trying again", "partitions", len(changes), "err", err)
		}
		return
	}
	if err := c.b.meta.WaitRevision(ctx, rev); err != nil {
		return
	}
	snap = c.b.snap()
	for p, ch := range proposed {
		c.settle(snap, p, ch)
	}
}

// settle tells a partition what became of its change.
func (c *isrChanges) settle(snap *meta.Snapshot, p *partition, ch *meta.MemberChange) {
	t := snap.TopicByID(p.topic.id)
	if t == nil || int(p.num) >= len(t.Partitions) {
		return
	}
	now := t.Partitions[p.num]
	if now.ModRevision > ch.Base.ModRevision && now.LeaderEpoch == p.epoch {
		c.b.log.Info("in-sync replicas changed", "topic", t.Name, "partition", p.num, "isr", now.ISR, "elr", now.ELR, "was", ch.Base.ISR)
		p.repl.see(now, c.b.minISR(t, now))
	}
	p.repl.refused(ch, now)
}

// settled reports whether it is known of every change that an error speaks of that
// it did not happen, or was overtaken.
func settled(err error) bool {
	for _, unknown := range []error{meta.ErrTimeout, meta.ErrNoQuorum, meta.ErrRefused, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, unknown) {
			return false
		}
	}
	return errors.Is(err, meta.ErrConflict)
}
