package broker

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// takeoverAgain is when a fetch looks again for a partition that this broker may be about
// to lead.
const takeoverAgain = 5 * time.Millisecond

// comes reports whether this broker may lead partition n of t in a moment: it won and has
// not taken that up, or who led died and there is no other yet. Metadata of another broker
// may tell already that this one leads, and a client that is refused then may not ask
// again for seconds.
func (b *Broker) comes(t *topic, n int32, now time.Time) bool {
	if t == nil {
		return false
	}
	snap := b.snap()
	mt := snap.TopicByID(t.id)
	if mt == nil || n < 0 || int(n) >= len(mt.Partitions) || mt.Partitions[n] == nil {
		return false
	}
	mp := mt.Partitions[n]
	if mp.Leader == b.cfg.NodeID {
		return led(snap, mp) && !b.peers.isLost(mp) && !b.leads(mt, n, mp.LeaderEpoch)
	}
	_, died := b.peers.unnamed(snap, now)[brokerLife{mp.Leader, mp.LeaderBrokerEpoch}]
	return died
}

// moved reports whether an error says that another broker leads, or leads again.
func moved(err error) bool {
	return errors.Is(err, kerr.NotLeaderForPartition) || errors.Is(err, kerr.UnknownLeaderEpoch)
}

// awaitLeading waits for a partition that a produce request names and this broker may be
// about to lead, and returns the topic as it is then. What was staged before is appended
// and answered first. An error closes the connection.
func (c *conn) awaitLeading(ctx context.Context, t *topic, n int32) (*topic, error) {
	until := c.in.last.Add(holdMost)
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for first := true; ; first = false {
		_, applied := c.b.applied.get()
		_, lost := c.b.peers.lost.get()
		_, changed := c.b.meta.Watch()
		if !c.b.comes(t, n, time.Now()) {
			return c.b.topics.withID(t.id), nil
		}
		if first {
			if err := c.settle(ctx); err != nil {
				return nil, err
			}
		}
		select {
		case <-applied:
		case <-lost:
		case <-changed:
		case <-timer.C:
			return c.b.topics.withID(t.id), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// awaits reports whether a fetch leaves out the error of a partition for now.
func (a *fetchAnswer) awaits(fp *fetchPartition, err error) bool {
	now := time.Now()
	if !moved(err) || now.Sub(a.asked) > holdMost || !a.c.b.comes(a.c.b.topicOf(a.h.Version, fp), fp.num, now) {
		return false
	}
	a.lookAgain(now.Add(takeoverAgain))
	return true
}
