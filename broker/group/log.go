package group

import (
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// appends are what the group wants to be in the log and is not known to be there.
type appends struct {
	seq     uint64
	pending map[uint64]waiting
	now     time.Time // of the event that is stepped
	failed  bool      // an assignment was not stored
}

// waiting is called when the append is committed, or is not.
type waiting struct{ done func(error) }

func (l *appends) order() []waiting {
	var all []waiting
	for _, seq := range slices.Sorted(maps.Keys(l.pending)) {
		all = append(all, l.pending[seq])
	}
	return all
}

// append asks for a write; done runs when its outcome is known.
func (g *Group) append(a Append, done func(error)) {
	g.log.seq++
	a.Seq = g.log.seq
	if g.log.pending == nil {
		g.log.pending = map[uint64]waiting{}
	}
	g.log.pending[a.Seq] = waiting{done}
	g.out = append(g.out, a)
}

func (g *Group) appended(now time.Time, cfg *Config, ev *Appended) {
	w, ok := g.log.pending[ev.Seq]
	if !ok {
		return
	}
	delete(g.log.pending, ev.Seq)
	g.log.now = now
	w.done(toClient(ev.Err))
	if g.log.failed {
		g.log.failed = false
		g.prepare(now, cfg)
	}
}

// toClient is what a client is told of an error of the log.
func toClient(err error) error {
	switch err {
	case nil:
		return nil
	case kerr.UnknownTopicOrPartition, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut:
		return kerr.CoordinatorNotAvailable
	case kerr.NotLeaderForPartition, kerr.KafkaStorageError:
		return kerr.NotCoordinator
	case kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidFetchSize:
		return kerr.UnknownServerError
	}
	return err
}

// record is the generation as the log keeps it.
func (g *Group) record() *MetadataRecord {
	r := &MetadataRecord{
		ProtocolType: g.gen.protocolType, Generation: g.gen.number, Protocol: g.gen.protocol,
		Leader: g.gen.leader, StateTimestamp: g.gen.since.UnixMilli(),
	}
	for _, m := range g.members.order {
		r.Members = append(r.Members, MemberRecord{
			MemberID: m.id, InstanceID: m.instanceID(), ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeoutMs: int32(m.rebalance.Milliseconds()), SessionTimeoutMs: int32(m.session.Milliseconds()),
			Subscription: m.metadata(g.gen.protocol), Assignment: m.assignment,
		})
	}
	return r
}

// LoadMetadata applies a record of the group.
func (g *Group) LoadMetadata(r *MetadataRecord) {
	g.members = membership{}
	g.gen = generation{
		state: Empty, since: time.UnixMilli(r.StateTimestamp), number: r.Generation,
		protocolType: r.ProtocolType, protocol: r.Protocol, leader: r.Leader,
	}
	for i := range r.Members {
		mr := &r.Members[i]
		m := &member{
			id: mr.MemberID, clientID: mr.ClientID, clientHost: mr.ClientHost, assignment: mr.Assignment, synced: true,
			session: time.Duration(mr.SessionTimeoutMs) * time.Millisecond, rebalance: time.Duration(mr.RebalanceTimeoutMs) * time.Millisecond,
			protocols: []Protocol{{r.Protocol, mr.Subscription}},
		}
		if mr.RebalanceTimeoutMs < 0 {
			m.rebalance = m.session
		}
		if mr.InstanceID != nil {
			m.instance, m.static = *mr.InstanceID, true
		}
		g.members.add(m)
		g.gen.state = Stable
	}
}

// LoadDeletedGroup applies a tombstone of the group.
func (g *Group) LoadDeletedGroup() {
	g.members, g.gen = membership{}, generation{}
}

// Loaded gives the members of a group that was read from the log their time. A group
// that has more of them than it may have by now rebalances; nobody waits for that yet.
func (g *Group) Loaded(now time.Time, cfg *Config) {
	for _, m := range g.members.order {
		g.sees(now, m)
	}
	if g.gen.state == Dead && !g.offsets.empty() {
		g.enter(now, Empty)
	}
	if g.gen.state != Dead {
		g.watchOffsets(now, cfg)
	}
	if len(g.members.order) > cfg.MaxSize {
		g.prepare(now, cfg)
	}
}
