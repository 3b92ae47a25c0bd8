package broker

import (
	"context"
	"maps"
	"slices"
	"time"

	"chronik/meta"
)

// holdMost is how long after the end of a leader's life was noticed Metadata is held
// that would name it. A client asks once right after a failure and then not for
// seconds, so that answer had better be right.
const holdMost = 1500 * time.Millisecond

// listedMost is how long Metadata lists a broker after its life ended. librdkafka (2.4 on)
// drops a broker that is not listed at once, with the partitions that the same answer gives
// to others, and finds those again a second later.
const listedMost = 5 * time.Second

// mourned are the lives of brokers that ended lately, by the metadata, and when that
// was noticed. Lives that were over when the first metadata came are none. Pure.
type mourned struct {
	lives  map[int32]int64 // broker epochs as last seen; nil before the first metadata
	over   map[brokerLife]time.Time
	parted map[int32]time.Time // when the last life of a broker ended
}

func newMourned() mourned {
	return mourned{over: map[brokerLife]time.Time{}, parted: map[int32]time.Time{}}
}

// see takes the lives that the metadata shows. One that was lost before it was over
// was noticed then.
func (m *mourned) see(lives map[int32]int64, lost map[brokerLife]time.Time, now time.Time) {
	maps.DeleteFunc(m.over, func(_ brokerLife, at time.Time) bool { return now.Sub(at) > holdMost })
	for id, epoch := range m.lives {
		l := brokerLife{id, epoch}
		if lives[id] == epoch {
			continue
		}
		m.over[l], m.parted[id] = now, now
		if at, ok := lost[l]; ok {
			m.over[l] = at
		}
	}
	m.lives = lives
}

// listed tells whether a broker without a life is still to be listed.
func (m *mourned) listed(id int32, now time.Time) bool {
	at, ok := m.parted[id]
	return ok && now.Sub(at) < listedMost
}

// unnamed are the lives that Metadata must not name yet, and until when.
func (m *mourned) unnamed(lost map[brokerLife]time.Time, now time.Time) (until map[brokerLife]time.Time) {
	for _, lives := range []map[brokerLife]time.Time{m.over, lost} {
		for l, at := range lives {
			if end := at.Add(holdMost); end.After(now) {
				if until == nil {
					until = map[brokerLife]time.Time{}
				}
				until[l] = end
			}
		}
	}
	return until
}

// livesIn are the broker epochs of those that are alive.
func livesIn(snap *meta.Snapshot) map[int32]int64 {
	lives := map[int32]int64{}
	for _, br := range snap.AllBrokers() {
		if epoch, live := snap.Live(br.ID); live {
			lives[br.ID] = epoch
		}
	}
	return lives
}

// mourn takes what a snapshot shows of lives; the caller holds mu.
func (p *peers) mourn(snap *meta.Snapshot, now time.Time) {
	if snap.Revision() <= p.mournedAt {
		return
	}
	lost, _ := p.lost.get()
	p.mourned.see(livesIn(snap), lost, now)
	p.mournedAt = snap.Revision()
}

// listed are the brokers that Metadata lists: those that clients may ask, since they are
// active, or stop and still tell who leads now; and those that died a moment ago. One that
// stopped in order led nothing any more.
func (p *peers) listed(snap *meta.Snapshot, now time.Time) []*meta.Broker {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mourn(snap, now)
	return slices.DeleteFunc(slices.Clone(snap.AllBrokers()), func(br *meta.Broker) bool {
		switch (snapshotView{snap}).standing(br.ID) {
		case serving, leaving:
			return false
		case dead:
			return br.State == meta.Draining || !p.mourned.listed(br.ID, now)
		default: // a new life that does not answer yet
			return true
		}
	})
}

// unnamed are the lives that must not be named as leaders, and until when.
func (p *peers) unnamed(snap *meta.Snapshot, now time.Time) (until map[brokerLife]time.Time) {
	p.noteEnds(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mourn(snap, now)
	lost, _ := p.lost.get()
	return p.mourned.unnamed(lost, now)
}

// topicsOf calls each for topics of a snapshot.
type topicsOf func(snap *meta.Snapshot, each func(*meta.Topic))

// heldUntil is until when an answer is held that tells of topics as snap shows them,
// zero when it is not: a partition names a leader whose life ended a moment ago. That
// lasts until the controller has dealt with it: the partition is led again, or by nobody.
func (p *peers) heldUntil(snap *meta.Snapshot, topics topicsOf, now time.Time) (until time.Time) {
	unnamed := p.unnamed(snap, now)
	if len(unnamed) == 0 {
		return until
	}
	topics(snap, func(t *meta.Topic) {
		for _, mp := range t.Partitions {
			if end, ok := unnamed[brokerLife{mp.Leader, mp.LeaderBrokerEpoch}]; ok && mp.Leader >= 0 && end.After(until) {
				until = end
			}
		}
	})
	return until
}

// onceLed calls answer when no answer about the topics is held any more: at once, or
// later from another goroutine, and not at all when the connection ends.
func (c *conn) onceLed(ctx context.Context, topics topicsOf, answer func() error) error {
	if c.b.peers.heldUntil(c.b.snap(), topics, time.Now()).IsZero() {
		return answer()
	}
	c.tasks.Go(func() {
		c.guard(ctx, func(context.Context) error {
			if !c.awaitLed(topics) {
				return nil
			}
			return answer()
		})
	})
	return nil
}

// awaitLed waits until no answer about the topics is held; false when the connection ended.
func (c *conn) awaitLed(topics topicsOf) bool {
	timer := time.NewTimer(holdMost)
	defer timer.Stop()
	for {
		_, lost := c.b.peers.lost.get()
		snap, changed := c.b.meta.Watch()
		until := c.b.peers.heldUntil(snap, topics, time.Now())
		if until.IsZero() {
			return true
		}
		timer.Reset(time.Until(until))
		select {
		case <-changed:
		case <-lost:
		case <-timer.C:
		case <-c.done:
			return false
		}
	}
}

// isLost reports whether the leader of p is missing in the life that won, or is this
// broker in a life that is over.
func (p *peers) isLost(mp *meta.Partition) bool {
	if s := p.b.meta.Session(); mp.Leader == p.b.cfg.NodeID && s.IsOver() && s.BrokerEpoch() == mp.LeaderBrokerEpoch {
		return true
	}
	lost, _ := p.lost.get()
	_, ok := lost[brokerLife{mp.Leader, mp.LeaderBrokerEpoch}]
	return ok
}
