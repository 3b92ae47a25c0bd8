package broker

import (
	"slices"
	"time"

	"chronik/meta"
)

const (
	// unreachableAfter is how long a broker is not reached before that is reported: less
	// than followers may lag, so that leadership moves before the ISR falls apart.
	// It counts from when an answer was due, and a lease comes first: clients give up the
	// connections to a broker whose life is over, and wait for one that lives on.
	unreachableAfter = 5 * time.Second
	leaseSettles     = 500 * time.Millisecond // until a lease that ran out is seen to be over

	lookEvery   = 250 * time.Millisecond
	reportEvery = time.Second
	stoodStill  = 1500 * time.Millisecond // then who reports hears of the others again
	reportHolds = 3 * time.Second         // a report that is not repeated is forgotten
)

// reports are the lives that others cannot reach, as they told lately. Pure.
type reports map[brokerLife]map[brokerLife]time.Time // about, from, when

// note takes a report and says whether it is news.
func (r reports) note(from, about brokerLife, now time.Time) (news bool) {
	by := r[about]
	if by == nil {
		by = map[brokerLife]time.Time{}
		r[about] = by
	}
	at, had := by[from]
	by[from] = now
	return !had || now.Sub(at) > reportHolds
}

// forget drops reports that were not repeated.
func (r reports) forget(now time.Time) {
	for about, by := range r {
		for from, at := range by {
			if now.Sub(at) > reportHolds {
				delete(by, from)
			}
		}
		if len(by) == 0 {
			delete(r, about)
		}
	}
}

// against counts by broker who reports it, of lives that go on.
func (r reports) against(lives map[int32]int64, now time.Time) map[int32]int {
	n := map[int32]int{}
	for about, by := range r {
		for from, at := range by {
			if lives[about.id] == about.epoch && lives[from.id] == from.epoch && now.Sub(at) <= reportHolds {
				n[about.id]++
			}
		}
	}
	return n
}

// isCutOff reports whether a broker that is in contact with some of the others had
// better not judge who is reached: it may be the one that is not.
func isCutOff(inContact, others int) bool { return 2*inContact < others }

// moveAway is what one partition needs of which the leader is alive, but not reached by
// as many brokers as report it: a leader that fewer report, out of the ISR or, after
// those, the ELR. With nobody better it stays. A link that is cut in both directions is
// reported at both ends, so leadership does not go back and forth over it. Where enough
// others are in sync the old leader leaves the ISR, which would wait for it; it joins
// again when it fetches.
func moveAway(v view, p *meta.Partition, minISR int, reported map[int32]int) (meta.Election, bool) {
	if p == nil || p.Leader < 0 || reported[p.Leader] == 0 || !v.leads(p) {
		return meta.Election{}, false
	}
	best, least := int32(-1), reported[p.Leader]
	for _, list := range [][]int32{p.ISR, p.ELR} {
		for _, id := range p.Replicas {
			may := id != p.Leader && slices.Contains(list, id) && !slices.Contains(p.Offline, id) && v.standing(id) == serving
			if may && reported[id] < least {
				best, least = id, reported[id]
			}
		}
		if best >= 0 {
			break
		}
	}
	if best < 0 {
		return meta.Election{}, false
	}
	e := meta.Election{Leader: best}
	isr := keep(p.Replicas, func(id int32) bool { return id == best || slices.Contains(p.ISR, id) })
	without := keep(isr, func(id int32) bool { return id != p.Leader })
	switch {
	case len(without) >= minISR && slices.Contains(p.ISR, p.Leader):
		e.Members = members(without, p, []int32{p.Leader}, minISR)
	case !slices.Contains(p.ISR, best):
		e.Members = members(isr, p, nil, minISR)
	}
	return e, true
}

// movesAway are the partitions that are moved from leaders that others cannot reach.
func movesAway(snap *meta.Snapshot, minISR func(*meta.Topic, *meta.Partition) int, reported map[int32]int) (changes []meta.Election) {
	if len(reported) == 0 {
		return nil
	}
	v := snapshotView{snap}
	for t := range snap.Topics() {
		for n, p := range t.Partitions {
			if p == nil || reported[p.Leader] == 0 {
				continue
			}
			if e, ok := moveAway(v, p, minISR(t, p), reported); ok {
				e.Topic, e.Partition, e.Base = t.Name, int32(n), p
				changes = append(changes, e)
			}
		}
	}
	return changes
}

// reachable leaves out elections of brokers that others cannot reach.
func reachable(changes []meta.Election, reported map[int32]int) []meta.Election {
	return slices.DeleteFunc(changes, func(e meta.Election) bool { return reported[e.Leader] > 0 })
}
