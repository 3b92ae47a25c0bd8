package broker

import (
	"context"
	"slices"
	"time"

	"chronik/logstore"
	"chronik/meta"
)

// leaveShortLogs takes this broker out of the ISR and ELR of every partition whose
// log here may lack records, before it is active: who is elected has everything that
// is committed. Only then the store forgets which logs they are.
func (b *Broker) leaveShortLogs(ctx context.Context) error {
	for ctx.Err() == nil {
		snap := b.snap()
		changes := b.shortLogs(snap)
		if len(changes) == 0 {
			return b.store.ClearSuspects()
		}
		rev, err := b.meta.ChangeMembers(ctx, changes)
		if err == nil || settled(err) {
			err = b.meta.WaitRevision(ctx, rev)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("short logs not reported; trying again", "partitions", len(changes), "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

func mayLead(p *meta.Partition, id int32) bool {
	return slices.Contains(p.ISR, id) || slices.Contains(p.ELR, id)
}

// othersMayLead reports whether somebody beside a replica may lead.
func othersMayLead(p *meta.Partition, id int32) bool {
	return slices.ContainsFunc(union(p.ISR, p.ELR), func(other int32) bool { return other != id })
}

// shortLogs are the changes that take this broker out where its log is short.
func (b *Broker) shortLogs(snap *meta.Snapshot) []meta.MemberChange {
	var changes []meta.MemberChange
	life, _ := snap.Live(b.cfg.NodeID)
	for t := range snap.Topics() {
		pageCache := flushMessages.ofTopic(t.Configs, b.brokerConfigs()) != 1
		for n, p := range t.Partitions {
			if !mayLead(p, b.cfg.NodeID) {
				continue
			}
			id := logstore.ID{Topic: t.ID, Partition: int32(n)}
			why := b.store.Short(id, pageCache, p.LeaderEpoch == 0)
			if why == "" {
				if l := b.store.Log(id); l != nil && l.Damage() != nil && othersMayLead(p, b.cfg.NodeID) {
					why = l.Damage().Error()
				}
			}
			if why == "" || len(p.Replicas) == 1 && b.store.Log(id) != nil {
				continue // the only copy serves what it has, or says what is wrong with it
			}
			b.log.Error("a log may be short: this broker is no longer in sync", "topic", t.Name, "partition", n, "why", why)
			ch := withoutReplica(p, b.cfg.NodeID)
			ch.Topic, ch.Partition, ch.Life = t.Name, int32(n), life
			changes = append(changes, ch)
		}
	}
	return changes
}

// withoutReplica takes a replica out of those that may lead. When nobody is left it
// is kept in mind as the last one that was known.
func withoutReplica(p *meta.Partition, id int32) meta.MemberChange {
	others := func(other int32) bool { return other != id }
	ch := meta.MemberChange{Base: p, Resign: p.Leader == id}
	ch.Members = meta.Members{ISR: keep(p.ISR, others), ELR: keep(p.ELR, others), LastKnown: p.LastKnown}
	if len(ch.Members.ISR) == 0 && len(ch.Members.ELR) == 0 {
		ch.Members.LastKnown = union(p.LastKnown, []int32{id})
	}
	return ch
}
