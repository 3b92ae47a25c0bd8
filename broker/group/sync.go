package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// sync answers a SyncGroup request, or keeps it until the leader's has come and is in
// the log.
func (g *Group) sync(now time.Time, ev *Sync) {
	if err := g.trySync(now, ev); err != nil {
		g.reply(ev.Token, SyncResponse{Err: err})
	}
}

func (g *Group) trySync(now time.Time, ev *Sync) error {
	if ev.ProtocolRequired && (ev.ProtocolType == nil || ev.Protocol == nil) {
		return kerr.InconsistentGroupProtocol
	}
	m, err := g.members.check(ev.MemberID, ev.InstanceID)
	switch {
	case err != nil:
		return err
	case ev.Generation != g.gen.number:
		return kerr.IllegalGeneration
	case ev.ProtocolType != nil && *ev.ProtocolType != g.gen.protocolType, ev.Protocol != nil && *ev.Protocol != g.gen.protocol:
		return kerr.InconsistentGroupProtocol
	}
	switch g.gen.state {
	case PreparingRebalance:
		return kerr.RebalanceInProgress
	case CompletingRebalance:
		g.sees(now, m)
		g.reply(m.syncing, SyncResponse{Err: kerr.RebalanceInProgress}) // a request that it gave up
		m.syncing = ev.Token
		g.hasSynced(m)
		if m.id == g.gen.leader && !g.round.storing {
			g.assign(ev)
		}
	case Stable:
		g.sees(now, m)
		g.hasSynced(m)
		g.reply(ev.Token, g.assigned(m))
	default:
		return kerr.UnknownMemberID
	}
	return nil
}

// hasSynced notes that a member has come for its assignment.
func (g *Group) hasSynced(m *member) {
	m.synced = true
	if !slices.ContainsFunc(g.members.order, func(m *member) bool { return !m.synced }) {
		g.round.syncBy = time.Time{}
	}
}

// answerSync answers a member that waits for its assignment; its session begins anew.
func (g *Group) answerSync(now time.Time, m *member, r SyncResponse) {
	if m.syncing != nil {
		g.reply(m.syncing, r)
		m.syncing = nil
		g.sees(now, m)
	}
}

func (g *Group) assigned(m *member) SyncResponse {
	protocolType, protocol := g.gen.protocolType, g.gen.protocol
	return SyncResponse{ProtocolType: &protocolType, Protocol: &protocol, Assignment: m.assignment}
}

// assign writes the leader's assignments; the generation is stable when they are in
// the log.
func (g *Group) assign(ev *Sync) {
	given := map[string][]byte{}
	for _, a := range ev.Assignments {
		given[a.MemberID] = a.Assignment
	}
	record := g.record()
	for i := range record.Members {
		record.Members[i].Assignment = given[record.Members[i].MemberID]
	}
	generation := g.gen.number
	g.round.storing = true
	g.append(Append{Metadata: record}, func(err error) {
		if g.gen.state != CompletingRebalance || g.gen.number != generation {
			return // overtaken: who waited was answered
		}
		g.assignmentStored(given, err)
	})
}

func (g *Group) assignmentStored(given map[string][]byte, err error) {
	if err != nil {
		for _, m := range g.members.order {
			g.answerSync(g.log.now, m, SyncResponse{Err: err})
			m.assignment = nil
		}
		g.log.failed = true // a rebalance begins once the event is done
		return
	}
	g.round.storing = false
	g.enter(g.log.now, Stable)
	for _, m := range g.members.order {
		m.assignment = given[m.id]
		g.answerSync(g.log.now, m, g.assigned(m))
	}
}

// expireSync takes out who did not come for its assignment, also if the others have theirs.
func (g *Group) expireSync(now time.Time, cfg *Config) {
	g.round.syncBy = time.Time{}
	before := len(g.members.order)
	for _, m := range slices.Clone(g.members.order) {
		if !m.synced {
			g.remove(m)
		}
	}
	if len(g.members.order) < before {
		g.prepare(now, cfg)
	}
}

// heartbeat keeps a member alive and tells it of a rebalance.
func (g *Group) heartbeat(now time.Time, ev *Heartbeat) error {
	m, err := g.members.check(ev.MemberID, ev.InstanceID)
	switch {
	case err != nil:
		return err
	case ev.Generation != g.gen.number:
		return kerr.IllegalGeneration
	}
	switch g.gen.state {
	case PreparingRebalance:
		g.sees(now, m)
		return kerr.RebalanceInProgress
	case CompletingRebalance, Stable:
		g.sees(now, m)
		return nil
	}
	return kerr.UnknownMemberID
}
