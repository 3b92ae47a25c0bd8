package group

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// membership is who belongs to a group. order is by joining: the first one leads.
type membership struct {
	byID    map[string]*member
	order   []*member
	statics map[string]*member // by instance id
	pending map[string]time.Time
	votes   map[string]int // members that support a protocol
	next    time.Time      // at the earliest, a session ends then
}

// member is one consumer. A token that is not nil is a request that waits.
type member struct {
	id, instance         string
	static               bool
	clientID, clientHost string
	session, rebalance   time.Duration
	protocols            []Protocol
	assignment           []byte
	joining, syncing     any
	alive                time.Time
	synced               bool // in this generation
	fresh                bool // in no generation yet
}

func (m *member) instanceID() *string {
	if !m.static {
		return nil
	}
	return &m.instance
}

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// matches reports whether the protocols are those that the member has.
func (m *member) matches(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

func (ms *membership) none() bool { return len(ms.byID) == 0 && len(ms.pending) == 0 }

func (ms *membership) add(m *member) {
	if ms.byID == nil {
		ms.byID, ms.votes = map[string]*member{}, map[string]int{}
	}
	ms.byID[m.id] = m
	ms.order = append(ms.order, m)
	ms.vote(m.protocols, 1)
	if m.static {
		if ms.statics == nil {
			ms.statics = map[string]*member{}
		}
		ms.statics[m.instance] = m
	}
	delete(ms.pending, m.id)
}

func (ms *membership) remove(m *member) {
	delete(ms.byID, m.id)
	if i := slices.Index(ms.order, m); i >= 0 {
		ms.order = slices.Delete(ms.order, i, i+1)
	}
	ms.vote(m.protocols, -1)
	if m.static && ms.statics[m.instance] == m {
		delete(ms.statics, m.instance)
	}
}

// rename gives a static member that came back its new id.
func (ms *membership) rename(m *member, id string) {
	delete(ms.byID, m.id)
	m.id = id
	ms.byID[id] = m
}

func (ms *membership) vote(protocols []Protocol, n int) {
	for i, p := range protocols {
		if slices.ContainsFunc(protocols[:i], func(q Protocol) bool { return q.Name == p.Name }) {
			continue
		}
		if ms.votes[p.Name] += n; ms.votes[p.Name] == 0 {
			delete(ms.votes, p.Name)
		}
	}
}

func (ms *membership) setProtocols(m *member, protocols []Protocol) {
	ms.vote(m.protocols, -1)
	m.protocols = protocols
	ms.vote(m.protocols, 1)
}

// supported reports whether all members know one of the protocols.
func (ms *membership) supported(protocols []Protocol) bool {
	return slices.ContainsFunc(protocols, func(p Protocol) bool { return ms.votes[p.Name] == len(ms.byID) })
}

// choose is the protocol that most members prefer among those that all know.
func (ms *membership) choose() string {
	count := map[string]int{}
	for _, m := range ms.order {
		for _, p := range m.protocols {
			if ms.votes[p.Name] == len(ms.byID) {
				count[p.Name]++
				break
			}
		}
	}
	best := ""
	for name, n := range count {
		if best == "" || n > count[best] || n == count[best] && name < best {
			best = name
		}
	}
	return best
}

// check says whether a request of a member may be served.
func (ms *membership) check(id string, instance *string) (*member, error) {
	if instance != nil {
		m := ms.statics[*instance]
		switch {
		case m == nil:
			return nil, kerr.UnknownMemberID
		case m.id != id:
			return nil, kerr.FencedInstanceID
		}
		return m, nil
	}
	m := ms.byID[id]
	if m == nil {
		return nil, kerr.UnknownMemberID
	}
	return m, nil
}

// newMemberJoin is how long a new member waits in a rebalance. Its client may be gone
// and have come again as another new member; if it is there, it asks again.
const newMemberJoin = 5 * time.Minute

// sees notes that a member is alive.
func (g *Group) sees(now time.Time, m *member) {
	m.alive = now
	g.members.wake(m.end())
}

// end is when the member is given up unless it is heard of.
func (m *member) end() time.Time {
	if m.fresh {
		return m.alive.Add(newMemberJoin)
	}
	return m.alive.Add(m.session)
}

func (ms *membership) wake(at time.Time) {
	if ms.next.IsZero() || at.Before(ms.next) {
		ms.next = at
	}
}

// expireMembers takes out whose sessions ended, and ids that nobody came back with. A
// member whose answer is owed by the group is alive.
func (g *Group) expireMembers(now time.Time, cfg *Config) {
	if g.members.next.IsZero() || now.Before(g.members.next) {
		return
	}
	g.members.next = time.Time{}
	for id, at := range g.members.pending {
		if !now.Before(at) {
			delete(g.members.pending, id)
			if g.gen.state == PreparingRebalance {
				g.maybeComplete(now, cfg)
			}
			continue
		}
		g.members.wake(at)
	}
	for _, m := range slices.Clone(g.members.order) {
		if g.members.byID[m.id] != m {
			continue
		}
		if !m.fresh && (m.joining != nil || m.syncing != nil) {
			m.alive = now
		}
		if end := m.end(); now.Before(end) {
			g.members.wake(end)
			continue
		}
		g.remove(m)
		g.departed(now, cfg)
	}
	if g.members.none() {
		g.members.next = time.Time{}
	}
}

// giveUp answers what waits for a member that is no more what it was.
func (g *Group) giveUp(m *member, err error, id string) {
	g.reply(m.joining, JoinResponse{Err: err, MemberID: id, Generation: -1})
	g.reply(m.syncing, SyncResponse{Err: err})
	m.joining, m.syncing = nil, nil
}

// remove takes a member out.
func (g *Group) remove(m *member) {
	g.giveUp(m, kerr.UnknownMemberID, "")
	g.members.remove(m)
	if g.gen.leader == m.id {
		g.gen.leader = ""
		if len(g.members.order) > 0 {
			g.gen.leader = g.members.order[0].id
		}
	}
}

// departed has those who are left rebalance.
func (g *Group) departed(now time.Time, cfg *Config) {
	switch g.gen.state {
	case Stable, CompletingRebalance:
		g.prepare(now, cfg)
	case PreparingRebalance:
		g.maybeComplete(now, cfg)
	}
}

// leave takes members out, each with its own result.
func (g *Group) leave(now time.Time, cfg *Config, ev *Leave) {
	if g.gen.state == Dead && g.members.none() {
		r := LeaveResponse{Errs: make([]error, len(ev.Members))}
		for i := range r.Errs {
			r.Errs[i] = kerr.UnknownMemberID
		}
		g.reply(ev.Token, r)
		return
	}
	r := LeaveResponse{Errs: make([]error, len(ev.Members))}
	before, left := len(g.members.byID), false
	for i := range ev.Members {
		r.Errs[i] = g.leaveOne(&ev.Members[i])
		left = left || r.Errs[i] == nil
	}
	g.reply(ev.Token, r)
	if len(g.members.byID) < before || left && g.gen.state == PreparingRebalance {
		g.departed(now, cfg)
	}
}

func (g *Group) leaveOne(l *LeavingMember) error {
	if l.MemberID == "" {
		if l.InstanceID == nil || g.members.statics[*l.InstanceID] == nil {
			return kerr.UnknownMemberID
		}
		g.remove(g.members.statics[*l.InstanceID])
		return nil
	}
	if _, ok := g.members.pending[l.MemberID]; ok && l.InstanceID == nil {
		delete(g.members.pending, l.MemberID)
		return nil
	}
	m, err := g.members.check(l.MemberID, l.InstanceID)
	if err != nil {
		return err
	}
	g.remove(m)
	return nil
}

// Description is a group as DescribeGroups tells it.
type Description struct {
	State                  State
	ProtocolType, Protocol string
	Members                []DescribedMember
}

// DescribedMember is a member in a Description. Metadata is that of a stable
// generation; in a rebalance the assignment is the last one.
type DescribedMember struct {
	MemberID             string
	InstanceID           *string
	ClientID, ClientHost string
	Metadata, Assignment []byte
}

// Describe tells the group.
func (g *Group) Describe() Description {
	d := Description{State: g.gen.state, ProtocolType: g.gen.protocolType}
	if g.gen.state == Stable {
		d.Protocol = g.gen.protocol
	}
	for _, m := range g.members.order {
		dm := DescribedMember{MemberID: m.id, InstanceID: m.instanceID(), ClientID: m.clientID, ClientHost: m.clientHost, Assignment: m.assignment}
		if g.gen.state == Stable {
			dm.Metadata = m.metadata(g.gen.protocol)
		}
		d.Members = append(d.Members, dm)
	}
	slices.SortFunc(d.Members, func(a, b DescribedMember) int { return strings.Compare(a.MemberID, b.MemberID) })
	return d
}
