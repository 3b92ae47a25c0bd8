package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// join answers a JoinGroup request, or keeps it until the rebalance is complete.
func (g *Group) join(now time.Time, cfg *Config, ev *Join) {
	if err := g.tryJoin(now, cfg, ev); err != nil {
		id := ev.MemberID
		if err == kerr.GroupMaxSizeReached {
			id = ""
		}
		g.reply(ev.Token, JoinResponse{Err: err, MemberID: id, Generation: -1})
	}
}

func (g *Group) tryJoin(now time.Time, cfg *Config, ev *Join) error {
	switch {
	case ev.SessionTimeout < cfg.MinSession || ev.SessionTimeout > cfg.MaxSession:
		return kerr.InvalidSessionTimeout
	case ev.MemberID != "" && g.gen.state == Dead && g.members.none():
		return kerr.UnknownMemberID
	case !g.accepts(cfg, ev):
		g.turnAway(now, cfg, ev.MemberID)
		return kerr.GroupMaxSizeReached
	case !g.supports(ev):
		return kerr.InconsistentGroupProtocol
	}
	if g.gen.state == Dead {
		g.enter(now, Empty)
		g.watchOffsets(now, cfg)
	}
	switch {
	case ev.MemberID != "":
		return g.rejoin(now, cfg, ev)
	case ev.InstanceID != nil && g.members.statics[*ev.InstanceID] != nil:
		g.replace(now, cfg, ev, g.members.statics[*ev.InstanceID])
	case ev.InstanceID == nil && ev.RequireKnownMember:
		g.handOut(now, ev)
	default:
		g.admit(now, cfg, ev, ev.NewMemberID)
	}
	return nil
}

// accepts reports whether the group has room.
func (g *Group) accepts(cfg *Config, ev *Join) bool {
	m := g.members.byID[ev.MemberID]
	switch g.gen.state {
	case PreparingRebalance:
		return m != nil && m.joining != nil || g.members.waiting() < cfg.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members.byID) < cfg.MaxSize
	}
	return true
}

// turnAway takes out who comes back to a group that is full by now.
func (g *Group) turnAway(now time.Time, cfg *Config, id string) {
	delete(g.members.pending, id)
	if m := g.members.byID[id]; m != nil {
		g.remove(m)
	}
	if g.gen.state == PreparingRebalance {
		g.maybeComplete(now, cfg)
	}
}

// supports reports whether the group can go on with a member of these protocols.
func (g *Group) supports(ev *Join) bool {
	if g.gen.state == Dead || g.gen.state == Empty {
		return ev.ProtocolType != "" && len(ev.Protocols) > 0
	}
	return ev.ProtocolType == g.gen.protocolType && g.members.supported(ev.Protocols)
}

// handOut sends a new member away with an id, to come back with it (KIP-394).
func (g *Group) handOut(now time.Time, ev *Join) {
	if g.members.pending == nil {
		g.members.pending = map[string]time.Time{}
	}
	g.members.pending[ev.NewMemberID] = now.Add(ev.SessionTimeout)
	g.members.wake(now.Add(ev.SessionTimeout))
	g.reply(ev.Token, JoinResponse{Err: kerr.MemberIDRequired, MemberID: ev.NewMemberID, Generation: -1})
}

// admit takes a new member in.
func (g *Group) admit(now time.Time, cfg *Config, ev *Join, id string) {
	m := &member{
		id: id, clientID: ev.ClientID, clientHost: ev.ClientHost, protocols: ev.Protocols,
		session: ev.SessionTimeout, rebalance: ev.RebalanceTimeout, joining: ev.Token, fresh: true,
	}
	if ev.InstanceID != nil {
		m.instance, m.static = *ev.InstanceID, true
	}
	if len(g.members.byID) == 0 {
		g.gen.protocolType = ev.ProtocolType
	}
	if g.gen.leader == "" {
		g.gen.leader = id
	}
	g.members.add(m)
	g.sees(now, m)
	if g.gen.state == PreparingRebalance {
		if g.round.initial {
			g.extend(now, cfg)
			return
		}
		g.maybeComplete(now, cfg)
		return
	}
	g.prepare(now, cfg)
}

// rejoin takes a member back that has an id.
func (g *Group) rejoin(now time.Time, cfg *Config, ev *Join) error {
	if _, ok := g.members.pending[ev.MemberID]; ok {
		if ev.InstanceID != nil {
			return kerr.UnknownMemberID
		}
		g.admit(now, cfg, ev, ev.MemberID)
		return nil
	}
	m, err := g.members.check(ev.MemberID, ev.InstanceID)
	if err != nil {
		return err
	}
	switch g.gen.state {
	case PreparingRebalance:
		g.renew(now, m, ev)
		g.maybeComplete(now, cfg)
	case CompletingRebalance:
		if m.matches(ev.Protocols) { // its answer was lost
			g.sees(now, m)
			g.reply(ev.Token, g.joined(m))
			return nil
		}
		g.renew(now, m, ev)
		g.prepare(now, cfg)
	case Stable:
		if m.id != g.gen.leader && m.matches(ev.Protocols) {
			g.sees(now, m)
			r := g.joined(m)
			r.Members = nil
			g.reply(ev.Token, r)
			return nil
		}
		g.renew(now, m, ev)
		g.prepare(now, cfg)
	default:
		return kerr.UnknownMemberID
	}
	return nil
}

// renew takes what a member says of itself now, and keeps its request.
func (g *Group) renew(now time.Time, m *member, ev *Join) {
	g.reply(m.joining, JoinResponse{Err: kerr.RebalanceInProgress, MemberID: m.id, Generation: -1}) // a request that it gave up
	g.members.setProtocols(m, ev.Protocols)
	m.session, m.rebalance = ev.SessionTimeout, ev.RebalanceTimeout
	m.clientID, m.clientHost = ev.ClientID, ev.ClientHost
	m.joining = ev.Token
	g.sees(now, m)
}

// replace lets a static member come back under a new id; whoever still uses the old
// one is fenced. A stable group goes on as it is if its protocol stays.
func (g *Group) replace(now time.Time, cfg *Config, ev *Join, m *member) {
	wasLeader, oldLeader := g.gen.leader == m.id, g.gen.leader
	g.giveUp(m, kerr.FencedInstanceID, m.id)
	g.members.rename(m, ev.NewMemberID)
	if wasLeader {
		g.gen.leader = m.id
	}
	g.renew(now, m, ev)
	switch g.gen.state {
	case Stable:
		if g.members.choose() != g.gen.protocol {
			g.prepare(now, cfg)
			return
		}
		r := g.joined(m)
		if r.SkipAssignment = ev.SkipAssignment && wasLeader; !r.SkipAssignment {
			r.Members = nil
		}
		if !ev.SkipAssignment {
			r.Leader = oldLeader // so that it takes its assignment instead of making one
		}
		g.storeReplaced(m, r)
	case PreparingRebalance:
		g.maybeComplete(now, cfg)
	default:
		g.prepare(now, cfg)
	}
}

// storeReplaced answers a static member when its new id is in the log. What happens
// to it meanwhile it learns from its SyncGroup.
func (g *Group) storeReplaced(m *member, r JoinResponse) {
	token := m.joining
	m.joining = nil
	g.append(Append{Metadata: g.record()}, func(err error) {
		if err != nil {
			r = JoinResponse{Err: err, Generation: -1}
		}
		g.reply(token, r)
	})
}

// joined tells a member the generation; the leader learns of all.
func (g *Group) joined(m *member) JoinResponse {
	protocolType, protocol := g.gen.protocolType, g.gen.protocol
	r := JoinResponse{
		MemberID: m.id, Generation: g.gen.number, Leader: g.gen.leader,
		ProtocolType: &protocolType, Protocol: &protocol,
	}
	if m.id == g.gen.leader {
		for _, o := range g.members.order {
			r.Members = append(r.Members, JoinMember{o.id, o.instanceID(), o.metadata(protocol)})
		}
	}
	return r
}

func (ms *membership) waiting() int {
	n := 0
	for _, m := range ms.order {
		if m.joining != nil {
			n++
		}
	}
	return n
}

// prepare begins a rebalance.
func (g *Group) prepare(now time.Time, cfg *Config) {
	for _, m := range g.members.order {
		g.answerSync(now, m, SyncResponse{Err: kerr.RebalanceInProgress})
		if g.gen.state == CompletingRebalance {
			m.assignment = nil
		}
	}
	first := g.gen.state == Empty
	g.enter(now, PreparingRebalance)
	g.round = round{joinBy: now.Add(g.rebalanceTimeout()), initial: first}
	switch {
	case !first || cfg.InitialDelay == 0 && len(g.members.pending) == 0:
		g.round.initial = false
		g.maybeComplete(now, cfg)
	case cfg.InitialDelay == 0:
		g.round.settled = now.Add(comeBack)
	default:
		g.round.settled = now.Add(cfg.InitialDelay)
	}
}

// comeBack is how long the first rebalance of a group without initial delay waits for
// members that were given an id. Members that start together then share their first
// generation; one that died in between does not hold up the others for its session.
const comeBack = time.Second

// extend has the first rebalance wait for whoever comes with the last one.
func (g *Group) extend(now time.Time, cfg *Config) {
	if cfg.InitialDelay == 0 {
		g.maybeComplete(now, cfg)
		return
	}
	g.round.joinBy = later(g.round.joinBy, g.gen.since.Add(g.rebalanceTimeout()))
	settled := now.Add(cfg.InitialDelay)
	if settled.After(g.round.joinBy) {
		settled = g.round.joinBy
	}
	g.round.settled = later(g.round.settled, settled)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// rebalanceTimeout is the longest of the members.
func (g *Group) rebalanceTimeout() time.Duration {
	var most time.Duration
	for _, m := range g.members.order {
		most = max(most, m.rebalance)
	}
	return max(most, time.Millisecond) // a client may say anything
}

// maybeComplete ends the join phase when everybody is there.
func (g *Group) maybeComplete(now time.Time, cfg *Config) {
	if len(g.members.pending) > 0 || g.members.waiting() < len(g.members.byID) || g.round.initial && cfg.InitialDelay > 0 {
		return
	}
	g.completeJoin(now, cfg)
}

// completeJoin begins the next generation with the members that joined; static ones
// keep their place until their session ends.
func (g *Group) completeJoin(now time.Time, cfg *Config) {
	for i := len(g.members.order) - 1; i >= 0; i-- {
		if m := g.members.order[i]; m.joining == nil && !m.static {
			g.remove(m)
		}
	}
	if !g.elect() && len(g.members.order) > 0 {
		g.round = round{joinBy: now.Add(g.rebalanceTimeout())}
		return
	}
	g.gen.number++
	g.round = round{}
	if len(g.members.order) == 0 {
		g.gen.protocol, g.gen.leader = "", ""
		g.enter(now, Empty)
		g.watchOffsets(now, cfg)
		g.append(Append{Metadata: g.record()}, func(error) {})
		return
	}
	g.gen.protocol = g.members.choose()
	g.enter(now, CompletingRebalance)
	g.round.syncBy = now.Add(g.rebalanceTimeout())
	for _, m := range g.members.order {
		if m.joining != nil {
			g.reply(m.joining, g.joined(m))
		}
		m.joining, m.synced, m.fresh = nil, false, false
		g.sees(now, m)
	}
}

// elect keeps the leader if it joined, or takes the first that did.
func (g *Group) elect() bool {
	if m := g.members.byID[g.gen.leader]; m != nil && m.joining != nil {
		return true
	}
	for _, m := range g.members.order {
		if m.joining != nil {
			g.gen.leader = m.id
			return true
		}
	}
	return false
}
