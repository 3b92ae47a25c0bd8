package broker

import (
	"slices"

	"chronik/meta"
)

// standing is how far a broker takes part, by the metadata.
type standing uint8

const (
	dead     standing = iota // no sign of life
	starting                 // alive, its logs are being recovered
	leaving                  // serves, and is about to stop
	serving                  // serves, and may be elected
)

// view is the metadata as the plan reads it.
type view interface {
	standing(id int32) standing
	// leads reports whether the leader of p is alive in the life in which it won.
	leads(p *meta.Partition) bool
	// restarted reports whether a broker began its life after p last changed.
	restarted(id int32, p *meta.Partition) bool
}

// snapshotView reads a snapshot.
type snapshotView struct{ *meta.Snapshot }

func (v snapshotView) standing(id int32) standing {
	br := v.Broker(id)
	if _, live := v.Live(id); !live || br == nil {
		return dead
	}
	switch {
	case v.IsActive(id):
		return serving
	case br.State == meta.Draining && v.InPresentLife(id):
		return leaving
	}
	return starting
}

func (v snapshotView) leads(p *meta.Partition) bool { return led(v.Snapshot, p) }

func (v snapshotView) restarted(id int32, p *meta.Partition) bool {
	epoch, live := v.Live(id)
	return live && epoch > p.ModRevision
}

// led reports whether the leader of p is active and won this epoch in its
// present life.
func led(snap *meta.Snapshot, p *meta.Partition) bool {
	epoch, live := snap.Live(p.Leader)
	return live && epoch == p.LeaderBrokerEpoch
}

// plan compares the snapshot with the desired state and returns what to change:
// every partition has a leader that is in sync and active, in the life in which
// it was elected, and nobody is in sync who is not there. What depends on where logs
// end is left for planPartition, once that is known. Pure.
func plan(snap *meta.Snapshot, rules func(*meta.Topic, *meta.Partition) planRules) (changes []meta.Election, open []question) {
	v := snapshotView{snap}
	for t := range snap.Topics() {
		for n, p := range t.Partitions {
			if p == nil || healthy(v, p) {
				continue
			}
			r := rules(t, p)
			if ask := candidates(v, p, r); len(ask) > 0 {
				open = append(open, question{t, int32(n), p, ask})
			} else if e, ok := planPartition(v, p, r); ok {
				e.Topic, e.Partition, e.Base = t.Name, int32(n), p
				changes = append(changes, e)
			}
		}
	}
	return changes, open
}

// healthy is the usual case: nothing to plan.
func healthy(v view, p *meta.Partition) bool {
	if !v.leads(p) || v.standing(p.Leader) != serving || slices.Contains(p.Offline, p.Leader) || !slices.Contains(p.ISR, p.Leader) {
		return false
	}
	return !slices.ContainsFunc(p.ISR, func(id int32) bool { return v.standing(id) != serving })
}

// planPreferred gives partitions back to their first replica, where that is in sync and
// serves, and nothing else is to be done. Pure.
func planPreferred(snap *meta.Snapshot) []meta.Election {
	var changes []meta.Election
	v := snapshotView{snap}
	for t := range snap.Topics() {
		for n, p := range t.Partitions {
			if p == nil || len(p.Replicas) == 0 || p.Leader == p.Replicas[0] || !healthy(v, p) {
				continue // without replicas: its key cannot be read
			}
			if prefers(v, p) {
				changes = append(changes, meta.Election{Topic: t.Name, Partition: int32(n), Leader: p.Replicas[0], Base: p})
			}
		}
	}
	return changes
}

// prefers reports whether the first replica of p could lead.
func prefers(v view, p *meta.Partition) bool {
	id := p.Replicas[0]
	return slices.Contains(p.ISR, id) && !slices.Contains(p.Offline, id) && v.standing(id) == serving
}

// planRules are the settings of a topic that count for the plan.
type planRules struct {
	minISR    int
	unclean   bool // rather a leader that may lack records than none
	pageCache bool // acknowledgements wait for no flush

	told   map[int32]logEnd // by candidates that serve; nil: nobody was asked
	waited bool             // long for the others
}

// planPartition is what one partition needs, if anything.
//
//   - Who is dead or starting leaves the ISR; below the minimum it stays eligible.
//   - With nobody left an eligible one is elected; else one that is starting is waited
//     for; else all of them become eligible, and there is no leader, unless the topic
//     rather has one that may lack records.
//   - A leader that does not serve is replaced by the first replica that is in sync
//     and does; one that is leaving leads on while there is no other.
//   - Who is leaving leaves the ISR before it stops, so that nothing waits for it when it
//     does, unless fewer than two would be left, or than the minimum.
//   - Of several that were asked (candidates), the fullest is elected, not the first.
func planPartition(v view, p *meta.Partition, rules planRules) (meta.Election, bool) {
	isr := keep(p.ISR, func(id int32) bool { return v.standing(id) >= leaving })
	if len(isr) == 0 {
		return planWithoutISR(v, p, rules)
	}
	e := meta.Election{Leader: p.Leader, Keep: true}
	online := func(id int32) bool { return slices.Contains(isr, id) && !slices.Contains(p.Offline, id) }
	leads := v.leads(p) && online(p.Leader)
	if leads && v.standing(p.Leader) == serving {
		e.Members = remaining(v, p, isr, p.Leader, rules.minISR)
		return e, e.Members != nil
	}
	next, ok := fullest(keep(p.Replicas, func(id int32) bool { return online(id) && v.standing(id) == serving }), rules.told)
	if !ok && !leads {
		next, ok = first(p.Replicas, online)
	}
	switch {
	case ok:
		e.Leader, e.Keep = next, false
	case !leads && p.Leader != -1:
		e.Leader, e.Keep = -1, false
	}
	e.Members = remaining(v, p, isr, e.Leader, rules.minISR)
	return e, !e.Keep || e.Members != nil
}

// remaining are the members when only isr is there and leader leads, nil when nothing changes.
func remaining(v view, p *meta.Partition, isr []int32, leader int32, minISR int) *meta.Members {
	stay := keep(isr, func(id int32) bool { return v.standing(id) == serving })
	if slices.Contains(stay, leader) && len(stay) >= max(minISR, 2) {
		isr = stay
	}
	gone := keep(p.ISR, func(id int32) bool { return !slices.Contains(isr, id) })
	if len(gone) == 0 {
		return nil
	}
	return members(isr, p, gone, minISR)
}

// planWithoutISR is what a partition needs of which nobody in sync serves.
func planWithoutISR(v view, p *meta.Partition, rules planRules) (meta.Election, bool) {
	serves := func(id int32) bool { return !slices.Contains(p.Offline, id) && v.standing(id) == serving }
	next, ok := fullest(keep(p.Replicas, func(id int32) bool { return slices.Contains(p.ELR, id) && serves(id) }), rules.told)
	if ok {
		return meta.Election{Leader: next, Members: members([]int32{next}, p, p.ISR, rules.minISR)}, true
	}
	if slices.ContainsFunc(p.ISR, func(id int32) bool { return v.standing(id) == starting }) {
		return meta.Election{}, false
	}
	if next, ok := lastResort(p, keep(union(p.LastKnown, p.Replicas), serves), rules); ok {
		return meta.Election{Leader: next, Members: &meta.Members{ISR: []int32{next}}}, true
	}
	if len(p.ISR) == 0 && p.Leader == -1 {
		return meta.Election{}, false
	}
	if len(p.ISR)+len(p.ELR) == 0 { // only those are left that may lack records
		return meta.Election{Leader: -1}, true
	}
	none := &meta.Members{ISR: []int32{}, ELR: union(p.ELR, p.ISR), LastKnown: p.LastKnown}
	return meta.Election{Leader: -1, Members: none}, true
}

// members are those of a partition of which gone left the ISR.
func members(isr []int32, p *meta.Partition, gone []int32, minISR int) *meta.Members {
	m := &meta.Members{ISR: isr, ELR: eligible(isr, p.ELR, gone, minISR), LastKnown: p.LastKnown}
	if len(isr) >= minISR {
		m.LastKnown = nil
	}
	return m
}

// keep are the ids that pass, in their order; never nil.
func keep(ids []int32, pass func(int32) bool) []int32 {
	kept := []int32{}
	for _, id := range ids {
		if pass(id) {
			kept = append(kept, id)
		}
	}
	return kept
}

func first(ids []int32, pass func(int32) bool) (int32, bool) {
	if i := slices.IndexFunc(ids, pass); i >= 0 {
		return ids[i], true
	}
	return -1, false
}

// union is a and what b has more, in order.
func union(a, b []int32) []int32 {
	all := slices.Clone(a)
	for _, id := range b {
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}
