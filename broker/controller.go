package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"chronik/meta"
)

// control is the controller's loop: while this broker holds the controller key
// it writes the plan of every snapshot. A change that another writer overtook
// is planned again from the next snapshot; one that failed, a second later.
func (b *Broker) control(ctx context.Context) error {
	balance := time.NewTicker(balanceEvery)
	defer balance.Stop()
	for {
		snap, changed := b.meta.Watch()
		var again <-chan time.Time
		act := b.resign
		if id, ok := snap.Controller(); ok && id == b.cfg.NodeID {
			act = b.elect
		}
		err := act(ctx, snap)
		if err != nil && ctx.Err() == nil {
			b.log.Warn("election failed", "err", err)
		}
		if err != nil || len(b.inquiries.open) > 0 {
			again = time.After(askAgain)
		}
		select {
		case <-changed:
		case <-b.reelect:
		case <-balance.C:
			if err := b.balance(ctx); err != nil && ctx.Err() == nil {
				b.log.Warn("leaders not given back to the preferred replicas", "err", err)
			}
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// balanceEvery is how often partitions are given back to their preferred replica, the
// first: after a failure others lead more than their share.
const balanceEvery = 5 * time.Second

// balance does that, while this broker is controller.
func (b *Broker) balance(ctx context.Context) error {
	snap := b.snap()
	if id, ok := snap.Controller(); !ok || id != b.cfg.NodeID || !autoLeaderRebalance.of(b.brokerConfigs()) {
		return nil
	}
	changes := reachable(planPreferred(snap), b.peers.reported(snap))
	if len(changes) == 0 {
		return nil
	}
	rev, err := b.meta.Elect(ctx, changes)
	if err != nil && !errors.Is(err, meta.ErrConflict) {
		return err
	}
	b.log.Info("gave partitions back to their preferred replica", "partitions", len(changes))
	return b.meta.WaitRevision(ctx, rev)
}

// elect writes the plan of snap and waits until the cache shows it: first what is certain,
// then what depends on where logs end.
func (b *Broker) elect(ctx context.Context, snap *meta.Snapshot) error {
	changes, open := plan(snap, b.planRules)
	changes = append(changes, b.reelections(snap)...)
	changes = append(changes, movesAway(snap, b.minISR, b.peers.reported(snap))...)
	if err := b.writeElections(ctx, changes); err != nil {
		return err
	}
	return b.writeElections(ctx, b.inquiries.decide(ctx, snap, open))
}

func (b *Broker) writeElections(ctx context.Context, changes []meta.Election) error {
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
	b.tellElections(changes)
	return b.meta.WaitRevision(ctx, rev)
}

// resign gives up the partitions whose log was cut and reopened, in their epoch: the
// controller, which is another broker, has a leader elected in the next.
func (b *Broker) resign(ctx context.Context, snap *meta.Snapshot) error {
	b.inquiries.forget(nil)
	var changes []meta.MemberChange
	for _, e := range b.reelections(snap) {
		p := e.Base
		changes = append(changes, meta.MemberChange{
			Topic: e.Topic, Partition: e.Partition, Base: p, Life: p.LeaderBrokerEpoch, Resign: true,
			Members: meta.Members{ISR: p.ISR, ELR: p.ELR, LastKnown: p.LastKnown},
		})
	}
	if len(changes) == 0 {
		return nil
	}
	rev, err := b.meta.ChangeMembers(ctx, changes)
	if err != nil && !settled(err) {
		return err
	}
	return b.meta.WaitRevision(ctx, rev)
}

// tellElections logs what was changed, in one line, and loudly what may have lost records.
func (b *Broker) tellElections(changes []meta.Election) {
	leaders, without := 0, 0
	for _, e := range changes {
		switch {
		case e.Keep:
		case e.Leader < 0:
			without++
		default:
			leaders++
		}
		if p := e.Base; !e.Keep && e.Leader >= 0 && !slices.Contains(p.ISR, e.Leader) && !slices.Contains(p.ELR, e.Leader) {
			b.log.Error("elected a leader that may lack acknowledged records, as unclean.leader.election.enable or flush.messages allows",
				"topic", e.Topic, "partition", e.Partition, "leader", e.Leader, "isr", p.ISR, "elr", p.ELR)
		}
	}
	b.log.Info("elected leaders", "partitions", leaders, "leaderless", without, "members", len(changes)-leaders-without)
}

// planRules are the settings of a topic that count for the plan.
func (b *Broker) planRules(t *meta.Topic, p *meta.Partition) planRules {
	configs := b.brokerConfigs()
	return planRules{
		minISR: b.minISR(t, p), unclean: uncleanLeaderElection.ofTopic(t.Configs, configs),
		pageCache: flushMessages.ofTopic(t.Configs, configs) != 1,
	}
}

// reelections are the partitions whose log was cut and reopened: they get a new
// leader epoch, so that an offset never names two records in one epoch. One that lost by
// that what others have is first left to them.
func (b *Broker) reelections(snap *meta.Snapshot) []meta.Election {
	var changes []meta.Election
	b.topics.all(func(t *topic) {
		for n, p := range *t.partitions.Load() {
			if p == nil || !p.reopened.Load() {
				continue
			}
			mt := snap.TopicByID(t.id)
			if mt == nil || n >= len(mt.Partitions) || mt.Partitions[n].LeaderEpoch != p.epoch {
				continue
			}
			if b.yields(mt.Partitions[n], p.log.ID()) {
				b.isr.logs.nudge()
				continue
			}
			changes = append(changes, meta.Election{
				Topic: t.name, Partition: int32(n), Leader: b.cfg.NodeID, Base: mt.Partitions[n],
			})
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
