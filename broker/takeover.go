package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/meta"
)

// takeoverAgain is when a fetch looks again for a partition that this broker may be about
// to lead.
const takeoverAgain = 5 * time.Millisecond

// takeovers tells which partitions this broker may lead in a moment: those that it won and
// has not taken up, and those that it has and whose leader died or stops, while there is
// no other.
// Metadata of another broker may tell already that this one leads, and a client that is
// refused then may not ask again for seconds.
type takeovers struct {
	b    *Broker
	snap *meta.Snapshot
	now  time.Time
	dead map[brokerLife]time.Time // and until when they are waited for
}

func (b *Broker) takeovers(now time.Time) takeovers {
	snap := b.snap()
	return takeovers{b: b, snap: snap, now: now, dead: b.peers.unnamed(snap, now)}
}

// until is until when partition n is waited for after an error, zero when it is not.
func (t *takeovers) until(own *topic, n int32, err error) (until time.Time) {
	later := errors.Is(err, kerr.UnknownLeaderEpoch) // than the epoch here
	if own == nil || own.partial || t.b.stopping.Load() || !later && !errors.Is(err, kerr.NotLeaderForPartition) {
		return until
	}
	mt := t.snap.TopicByID(own.id)
	if mt == nil || n < 0 || int(n) >= len(mt.Partitions) || mt.Partitions[n] == nil {
		return until
	}
	mp := mt.Partitions[n]
	switch {
	case !slices.Contains(mp.Replicas, t.b.cfg.NodeID):
	case later, mp.Leader == t.b.cfg.NodeID && led(t.snap, mp) && !own.tookUp(n, mp.LeaderEpoch):
		return t.now.Add(holdMost)
	case mp.Leader == t.b.cfg.NodeID:
	case (snapshotView{t.snap}).standing(mp.Leader) == leaving:
		return t.now.Add(holdMost)
	default:
		return t.dead[brokerLife{mp.Leader, mp.LeaderBrokerEpoch}]
	}
	return until
}

// tookUp reports whether this broker leads partition n in an epoch, or did.
func (t *topic) tookUp(n, epoch int32) bool {
	p := t.partition(n)
	return p != nil && p.epoch >= epoch
}

// awaitLeading waits for a partition that a produce request names and this broker may be
// about to lead, and returns the topic as it is then. Requests before this one are
// answered first. An error closes the connection.
func (c *conn) awaitLeading(ctx context.Context, own *topic, n int32) (*topic, error) {
	most := c.in.last.Add(holdMost)
	timer := time.NewTimer(holdMost)
	defer timer.Stop()
	for first, look := true, true; ; first = false {
		_, taken := c.b.topics.version.get()
		_, lost := c.b.peers.lost.get()
		_, changed := c.b.meta.Watch()
		if now := c.b.topics.withID(own.id); now != own {
			own, look = now, true
		}
		if look {
			now := time.Now()
			waits := c.b.takeovers(now)
			until := waits.until(own, n, kerr.NotLeaderForPartition)
			if until.After(most) {
				until = most
			}
			if !until.After(now) {
				return own, nil
			}
			timer.Reset(time.Until(until))
		}
		if first {
			if err := c.settle(ctx); err != nil {
				return nil, err
			}
		}
		look = true
		select {
		case <-taken:
			look = false // most likely another topic
		case <-lost:
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// awaits reports whether the error of a partition is kept back from a consumer: it is told
// when it lasts. Followers ask again by themselves, and count where they ask.
func (a *fetchAnswer) awaits(fp *fetchPartition, err error) bool {
	if fp.replica >= 0 {
		return false
	}
	if a.waits.b == nil {
		a.waits = a.c.b.takeovers(time.Now())
	}
	now := a.waits.now
	if until := a.waits.until(a.c.b.topicOf(a.h.Version, fp), fp.num, err); !until.After(now) {
		return false
	}
	if fp.awaited.IsZero() {
		fp.awaited = now
	}
	if now.Sub(fp.awaited) > holdMost {
		return false
	}
	a.lookAgain(now.Add(takeoverAgain))
	return true
}

func (a *fetchAnswer) lookAgain(at time.Time) {
	if a.again.IsZero() || at.Before(a.again) {
		a.again = at
	}
}
