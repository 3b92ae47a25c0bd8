package broker

import (
	"context"
	"errors"
	"slices"

	"chronik/logstore"
	"chronik/meta"
)

// fitness is what the log of a replica is good for.
type fitness uint8

const (
	fit     fitness = iota
	lacking         // serves, and lost what others may have counted on
	stopped         // a write or an fsync failed: it is about to be reopened
	ruined          // records are damaged or gone: it is built anew from its leader
)

func fitnessOf(store *logstore.Store, id logstore.ID) fitness {
	l := store.Log(id)
	switch {
	case l == nil:
		return fit
	case l.Offline() || l.Damage() != nil:
		return ruined
	case errors.Is(l.Err(), logstore.ErrPoisoned):
		return stopped
	case store.IsSuspect(id):
		return lacking
	}
	return fit
}

// replicaLog is the log of this broker's replica of a partition.
type replicaLog struct {
	fitness
	durable bool // its acknowledgements wait for the disk: a log that has stopped lacks nothing
	minISR  int
}

// standDown is what the key of a partition should say of a replica with such a log: whose
// log fails is offline and out of the ISR; below the minimum one that lacks nothing stays
// eligible. The last one that may lead stays. Not due: the key says so. Pure.
func standDown(p *meta.Partition, me int32, l replicaLog) (ch meta.MemberChange, due bool) {
	others := func(id int32) bool { return id != me }
	out := slices.Contains(p.Offline, me)
	ch = meta.MemberChange{Base: p, Members: meta.Members{ISR: p.ISR, ELR: p.ELR, LastKnown: p.LastKnown}, Offline: keep(p.Offline, others)}
	if l.fitness == fit || len(p.Replicas) == 1 {
		return ch, out
	}
	if l.fitness != lacking {
		ch.Offline = append(ch.Offline, me)
	}
	switch eligible := eligibleAfter(p, me, l); {
	case !mayLead(p, me):
		if l.fitness == lacking || out {
			return ch, false
		}
	case !othersMayLead(p, me):
		return ch, out && l.fitness == lacking
	case l.fitness == stopped && l.durable:
		ch.Members.ISR, ch.Members.ELR = keep(p.ISR, others), eligible
		if out && !slices.Contains(p.ISR, me) {
			return ch, false
		}
	default:
		ch.Members = withoutReplica(p, me).Members
	}
	ch.Resign = p.Leader == me
	return ch, true
}

// yields reports whether this broker's log lacks what others that may lead have.
func (b *Broker) yields(p *meta.Partition, id logstore.ID) bool {
	return othersMayLead(p, b.cfg.NodeID) && fitnessOf(b.store, id) != fit
}

// eligibleAfter are the eligible leaders when me has left the ISR with all that it promised.
func eligibleAfter(p *meta.Partition, me int32, l replicaLog) []int32 {
	var left []int32
	if slices.Contains(p.ISR, me) {
		left = []int32{me}
	}
	return eligible(keep(p.ISR, func(id int32) bool { return id != me }), p.ELR, left, l.minISR)
}

// reportLogs writes into the metadata which logs of this broker have failed since it is
// active, and which are back.
func (b *Broker) reportLogs(ctx context.Context) {
	snap := b.snap()
	changes := b.standsDown(snap)
	if len(changes) > 0 {
		rev, err := b.meta.ChangeMembers(ctx, changes)
		if err == nil || settled(err) {
			err = errors.Join(err, b.meta.WaitRevision(ctx, rev))
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("state of logs not reported; trying again", "partitions", len(changes), "err", err)
		}
		if err != nil {
			return
		}
	}
	b.clearSuspects(b.snap())
}

// standsDown are the changes that are due for this broker's logs.
func (b *Broker) standsDown(snap *meta.Snapshot) (changes []meta.MemberChange) {
	me := b.cfg.NodeID
	life, _ := snap.Live(me)
	doubtful := map[logstore.ID]bool{}
	for _, id := range b.store.Doubtful() {
		doubtful[id] = true
	}
	for t := range snap.Topics() {
		for n, p := range t.Partitions {
			id := logstore.ID{Topic: t.ID, Partition: int32(n)}
			if p == nil || !doubtful[id] && !slices.Contains(p.Offline, me) || !slices.Contains(p.Replicas, me) {
				continue
			}
			l := replicaLog{fitnessOf(b.store, id), flushMessages.ofTopic(t.Configs, b.brokerConfigs()) == 1, b.minISR(t, p)}
			ch, due := standDown(p, me, l)
			if !due {
				continue
			}
			if err := b.store.NoteDamage(id); err != nil {
				b.log.Error("the damage of a log cannot be written down", "topic", t.Name, "partition", n, "err", err)
				continue
			}
			ch.Topic, ch.Partition, ch.Life = t.Name, int32(n), life
			b.log.Info("replica's log reported", "topic", t.Name, "partition", n, "offline", slices.Contains(ch.Offline, me), "isr", ch.Members.ISR, "elr", ch.Members.ELR, "was", p.ISR)
			changes = append(changes, ch)
		}
	}
	return changes
}

// clearSuspects forgets logs that lack something, once nobody relies on them.
func (b *Broker) clearSuspects(snap *meta.Snapshot) {
	for _, id := range b.store.Doubtful() {
		t := snap.TopicByID(id.Topic)
		if t == nil || int(id.Partition) >= len(t.Partitions) || mayLead(t.Partitions[id.Partition], b.cfg.NodeID) {
			continue
		}
		if err := b.store.ClearSuspect(id); err != nil { // before it has caught up and is in sync again
			b.log.Error("a log stays suspect", "log", id, "err", err)
		}
	}
}

// logTroubled is called by the store when a log has stopped or damage was found in it.
func (b *Broker) logTroubled(logstore.ID) { b.isr.logs.nudge() }
