package broker

import (
	"context"
	"errors"
	"time"

	"chronik/meta"
)

// plan compares the snapshot with the desired state and returns what to change:
// every partition has a leader that is active, in the life in which it was
// elected. Pure.
func plan(snap *meta.Snapshot) []meta.Election {
	var changes []meta.Election
	for t := range snap.Topics() {
		for n, p := range t.Partitions {
			if p == nil || led(snap, p) {
				continue
			}
			if leader, ok := candidate(snap, p); ok {
				changes = append(changes, meta.Election{
					Topic: t.Name, Partition: int32(n), Leader: leader, Base: p,
				})
			}
		}
	}
	return changes
}

// led reports whether the leader of p is active and won this epoch in its
// present life.
func led(snap *meta.Snapshot, p *meta.Partition) bool {
	epoch, live := snap.Live(p.Leader)
	return live && epoch == p.LeaderBrokerEpoch
}

// candidate is the first in-sync replica that is active.
func candidate(snap *meta.Snapshot, p *meta.Partition) (int32, bool) {
	for _, id := range p.ISR {
		if _, live := snap.Live(id); !live {
			continue
		}
		if br := snap.Broker(id); br != nil && br.State == meta.Active {
			return id, true
		}
	}
	return 0, false
}

// control is the controller's loop: while this broker holds the controller key
// it writes the plan of every snapshot. A change that another writer overtook
// is planned again from the next snapshot; one that failed, a second later.
func (b *Broker) control(ctx context.Context) error {
	for {
		snap, changed := b.meta.Watch()
		var again <-chan time.Time
		if id, ok := snap.Controller(); ok && id == b.cfg.NodeID {
			if err := b.elect(ctx, snap); err != nil && ctx.Err() == nil {
				b.log.Warn("election failed", "err", err)
				again = time.After(time.Second)
			}
		}
		select {
		case <-changed:
		case <-b.reelect:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// elect writes the plan of snap and waits until the cache shows it.
func (b *Broker) elect(ctx context.Context, snap *meta.Snapshot) error {
	changes := append(plan(snap), b.reelections(snap)...)
	if len(changes) == 0 {
		return nil
	}
	rev, err := b.meta.Elect(ctx, changes)
	if errors.Is(err, meta.ErrConflict) {
		return nil // the change that overtook this one wakes the loop
	}
	if err != nil {
		return err
	}
	b.log.Info("elected leaders", "partitions", len(changes))
	return b.meta.WaitRevision(ctx, rev)
}

// reelections are the partitions whose log was cut and reopened: they get a new
// leader epoch, so that an offset never names two records in one epoch.
func (b *Broker) reelections(snap *meta.Snapshot) []meta.Election {
	var changes []meta.Election
	b.topics.all(func(t *topic) {
		for n, p := range *t.partitions.Load() {
			if p == nil || !p.reopened.Load() {
				continue
			}
			if mt := snap.TopicByID(t.id); mt != nil && mt.Partitions[n].LeaderEpoch == p.epoch {
				changes = append(changes, meta.Election{
					Topic: t.name, Partition: int32(n), Leader: b.cfg.NodeID, Base: mt.Partitions[n],
				})
			}
		}
	})
	return changes
}

// nudge is a wake-up that is not lost and does not block.
type nudge chan struct{}

func (n nudge) nudge() {
	select {
	case n <- struct{}{}:
	default:
	}
}
