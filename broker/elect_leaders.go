package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// The types of election; version 0 has the first one alone.
const (
	preferredElection = 0
	uncleanElection   = 1
)

// electLeaders has the first replica of partitions lead, or one that may lack records of
// those that have no leader (KIP-183, KIP-460), on whichever node it is asked. Null means
// all partitions; of those that need no election nothing is told.
func (b *Broker) electLeaders(ctx context.Context, _ *conn, req *kmsg.ElectLeadersRequest, resp *kmsg.ElectLeadersResponse) error {
	known := req.ElectionType == preferredElection || req.ElectionType == uncleanElection
	if !known && req.Topics == nil {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return nil
	}
	asked := askedElections(b.snap(), req)
	if known {
		ctx, cancel := context.WithTimeout(ctx, max(time.Second, time.Duration(req.TimeoutMillis)*time.Millisecond))
		defer cancel()
		b.electAsked(ctx, asked, req.ElectionType == uncleanElection)
	} else if len(req.Topics) > 0 {
		resp.ErrorCode = kerr.InvalidRequest.Code
		for i := range asked {
			asked[i].err = explain(kerr.InvalidRequest, "Unknown election type %d", req.ElectionType)
		}
	}
	for _, a := range asked {
		n := len(resp.Topics)
		if n == 0 || resp.Topics[n-1].Topic != a.topic || a.first {
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = a.topic
			resp.Topics, n = append(resp.Topics, t), n+1
		}
		if a.empty || req.Topics == nil && errors.Is(a.err, kerr.ElectionNotNeeded) {
			continue
		}
		p := kmsg.NewElectLeadersResponseTopicPartition()
		p.Partition, p.ErrorCode, p.ErrorMessage = a.num, errorCode(a.err), errorMessage(a.err)
		resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, p)
	}
	return nil
}

// askedElection is one partition that is to have another leader, and what became of that.
type askedElection struct {
	topic string
	num   int32
	first bool // of its topic in the request
	empty bool // the topic is asked for without partitions
	tried bool // an election was written, perhaps
	open  bool // one is due
	err   error
}

// askedElections lists what a request asks for, in its order.
func askedElections(snap *meta.Snapshot, req *kmsg.ElectLeadersRequest) (asked []askedElection) {
	if req.Topics == nil {
		for t := range snap.Topics() {
			for n := range t.Partitions {
				asked = append(asked, askedElection{topic: t.Name, num: int32(n), first: n == 0})
			}
		}
		return asked
	}
	for _, rt := range req.Topics {
		if len(rt.Partitions) == 0 {
			asked = append(asked, askedElection{topic: rt.Topic, first: true, empty: true})
		}
		for i, n := range rt.Partitions {
			asked = append(asked, askedElection{topic: rt.Topic, num: n, first: i == 0})
		}
	}
	return asked
}

// find looks the partition up.
func (a *askedElection) find(snap *meta.Snapshot) (*meta.Topic, *meta.Partition, error) {
	t := snap.Topic(a.topic)
	if t == nil {
		return nil, nil, explain(kerr.UnknownTopicOrPartition, "No such topic as %s", a.topic)
	}
	if a.num < 0 || int(a.num) >= len(t.Partitions) {
		return nil, nil, explain(kerr.UnknownTopicOrPartition, "No such partition as %s-%d", a.topic, a.num)
	}
	p := t.Partitions[a.num]
	if p == nil || len(p.Replicas) == 0 {
		return nil, nil, explain(kerr.UnknownServerError, "the metadata of %s-%d cannot be read", a.topic, a.num)
	}
	return t, p, nil
}

// electAsked writes the elections that are possible. Those that another change overtook
// are decided anew, until ctx ends.
func (b *Broker) electAsked(ctx context.Context, asked []askedElection, unclean bool) {
	for {
		snap := b.snap()
		var told map[*meta.Partition]map[int32]logEnd
		if unclean {
			told = b.toldOf(ctx, snap, asked)
		}
		var changes []meta.Election
		for i := range asked {
			a := &asked[i]
			if a.empty {
				continue
			}
			var e meta.Election
			e, a.err = b.planAsked(snap, a, unclean, told)
			if a.open = a.err == nil; a.open {
				a.tried = true
				changes = append(changes, e)
			} else if a.tried && errors.Is(a.err, kerr.ElectionNotNeeded) {
				a.err = nil
			}
		}
		if len(changes) == 0 {
			return
		}
		b.tellAsked(changes)
		rev, err := b.meta.ElectByHand(ctx, changes)
		if waitErr := b.waitApplied(ctx, max(rev, b.snap().Revision())); err == nil {
			err = waitErr
		}
		if err == nil {
			return
		}
		if !errors.Is(err, meta.ErrConflict) || ctx.Err() != nil {
			failAsked(asked, err)
			return
		}
	}
}

// failAsked notes an error for all that were due.
func failAsked(asked []askedElection, err error) {
	for i := range asked {
		if asked[i].open {
			asked[i].err = err
		}
	}
}

// toldOf asks the replicas that serve of partitions without a leader where their logs end.
func (b *Broker) toldOf(ctx context.Context, snap *meta.Snapshot, asked []askedElection) map[*meta.Partition]map[int32]logEnd {
	v := snapshotView{snap}
	var questions []question
	for _, a := range asked {
		if a.empty {
			continue
		}
		if t, p, err := a.find(snap); err == nil && p.Leader < 0 {
			questions = append(questions, question{t, a.num, p, keep(p.Replicas, func(id int32) bool { return v.standing(id) == serving })})
		}
	}
	q := inquiries{b: b}
	q.ask(ctx, snap, questions)
	told := map[*meta.Partition]map[int32]logEnd{}
	for p, in := range q.open {
		told[p] = in.told(snap)
	}
	return told
}

// planAsked is the election of one partition, or why there is none. told is where logs end.
func (b *Broker) planAsked(snap *meta.Snapshot, a *askedElection, unclean bool, told map[*meta.Partition]map[int32]logEnd) (meta.Election, error) {
	t, p, err := a.find(snap)
	if err != nil {
		return meta.Election{}, err
	}
	decide := electPreferred
	if unclean {
		decide = electUnclean
	}
	e, err := decide(snapshotView{snap}, p, planRules{minISR: b.minISR(t, p), unclean: unclean, told: told[p]})
	e.Topic, e.Partition, e.Base = a.topic, a.num, p
	return e, err
}

// electPreferred has the first replica lead. Pure.
func electPreferred(v view, p *meta.Partition, _ planRules) (meta.Election, error) {
	switch {
	case p.Leader == p.Replicas[0]:
		return meta.Election{}, kerr.ElectionNotNeeded
	case !prefers(v, p):
		return meta.Election{}, kerr.PreferredLeaderNotAvailable
	}
	return meta.Election{Leader: p.Replicas[0]}, nil
}

// electUnclean finds a leader where there is none: one that has all that was acknowledged
// if that can be, else the fullest that serves, without waiting for those that are
// starting. Pure.
func electUnclean(v view, p *meta.Partition, rules planRules) (meta.Election, error) {
	if p.Leader >= 0 {
		return meta.Election{}, kerr.ElectionNotNeeded
	}
	if e, ok := planPartition(v, p, rules); ok && !e.Keep && e.Leader >= 0 {
		return e, nil
	}
	next, ok := fullest(keep(union(p.LastKnown, p.Replicas), func(id int32) bool {
		return !slices.Contains(p.Offline, id) && v.standing(id) == serving
	}), rules.told)
	if !ok {
		return meta.Election{}, kerr.EligibleLeadersNotAvailable
	}
	return meta.Election{Leader: next, Members: &meta.Members{ISR: []int32{next}}}, nil
}

// tellAsked logs elections that are asked for, loudly those that may have lost records.
func (b *Broker) tellAsked(changes []meta.Election) {
	b.log.Info("electing leaders as an operator wants it", "partitions", len(changes))
	for _, e := range changes {
		if p := e.Base; !slices.Contains(p.ISR, e.Leader) && !slices.Contains(p.ELR, e.Leader) {
			b.log.Error("electing a leader that may lack acknowledged records, as an operator wants it",
				"topic", e.Topic, "partition", e.Partition, "leader", e.Leader, "isr", p.ISR, "elr", p.ELR)
		}
	}
}
