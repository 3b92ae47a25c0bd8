package broker

import (
	"math"
	"slices"
	"time"
)

// replicaSet is what a leader knows of the replicas of one partition in its
// epoch, and decides the high watermark and the in-sync replicas by. Pure: no
// clock, lock, disk or network.
type replicaSet struct {
	me        int32
	replicas  []int32
	committed []int32 // the ISR in the metadata, as last seen
	elr       []int32 // eligible leaders outside of it, as last seen
	minISR    int     // min.insync.replicas, never more than there are replicas
	begin     int64   // offset where this epoch starts
	proposed  *isrProposal
	followers map[int32]*followerState
}

// followerState is what a follower's fetches in this epoch told.
type followerState struct {
	brokerEpoch int64     // of the life that fetched last
	since, seen int32     // partition epochs: what it told before it saw since does not count; it has seen seen
	end         int64     // all below it is as durable there as the topic promises, -1 not known
	logStart    int64     // -1 not known
	hw          int64     // the high watermark that it was told
	caughtUp    time.Time // when it last had all that the leader had
	fetched     time.Time // its last fetch
	leaderEnd   int64     // where the leader's log ended then
}

// followerFetch is one fetch of a follower, whose history is the leader's.
type followerFetch struct {
	id          int32
	brokerEpoch int64
	end         int64 // counted end: flushed or written
	logStart    int64
	seen        int32 // partition epoch that it had seen
}

// isrProposal is a change of the ISR that is in flight, or of unknown outcome.
type isrProposal struct {
	isr, elr []int32
	added    []addedReplica
	removed  []int32
}

// addedReplica is a follower that becomes in-sync, in the life that fetched.
type addedReplica struct {
	id          int32
	brokerEpoch int64
}

func newReplicaSet(me int32, replicas []int32, begin int64, now time.Time) *replicaSet {
	s := &replicaSet{me: me, replicas: replicas, begin: begin, followers: map[int32]*followerState{}}
	for _, id := range replicas {
		if id != me {
			s.followers[id] = &followerState{end: -1, logStart: -1, hw: -1, caughtUp: now, leaderEnd: math.MaxInt64}
		}
	}
	return s
}

// fetched notes a fetch; leaderEnd is where the leader's log ends now.
func (s *replicaSet) fetched(f followerFetch, leaderEnd int64, now time.Time) bool {
	st := s.followers[f.id]
	if st == nil || f.seen < st.since {
		return false
	}
	switch {
	case f.end >= leaderEnd:
		st.caughtUp = now
	case f.end >= st.leaderEnd: // it has what there was at its last fetch
		st.caughtUp = st.fetched
	}
	st.fetched, st.leaderEnd = now, leaderEnd
	st.brokerEpoch, st.end, st.logStart, st.seen = f.brokerEpoch, f.end, f.logStart, f.seen
	return true
}

// sees takes the members that the metadata shows now, in a partition epoch. What a replica that
// is not in sync told before it had seen that too counts no more: it may have left because its
// log lost that, in a life that goes on.
func (s *replicaSet) sees(isr, elr []int32, partitionEpoch int32) {
	for id, st := range s.followers {
		if slices.Contains(isr, id) {
			continue
		}
		if st.since = partitionEpoch; st.seen < partitionEpoch {
			st.end = -1
		}
	}
	s.committed, s.elr, s.proposed = isr, elr, nil
}

// maximal is the ISR as it may be: with what is proposed to join, and with what
// is proposed to leave.
func (s *replicaSet) maximal() []int32 {
	if s.proposed == nil {
		return s.committed
	}
	if planted("shrink-early") {
		return s.proposed.isr
	}
	all := slices.Clone(s.committed)
	for _, a := range s.proposed.added {
		if !slices.Contains(all, a.id) {
			all = append(all, a.id)
		}
	}
	return all
}

// enough reports whether the committed ISR is large enough for acks=all.
func (s *replicaSet) enough() bool { return len(s.committed) >= s.minISR }

// highWatermark is the offset below which every member of the maximal ISR has
// the records; own is the leader's counted end. It does not move (false) while
// the committed ISR is below its minimum, while others are eligible to lead, or
// while the end of a member is not known.
func (s *replicaSet) highWatermark(own int64) (int64, bool) {
	if planted("ack-before-isr") {
		return own, true
	}
	if !s.enough() || len(s.elr) > 0 || !slices.Contains(s.committed, s.me) {
		return 0, false
	}
	hw := own
	for _, id := range s.maximal() {
		if id == s.me {
			continue
		}
		st := s.followers[id]
		if st == nil || st.end < 0 {
			return 0, false
		}
		hw = min(hw, st.end)
	}
	return hw, true
}

// isrView is what a proposal is made from, beside the replicaSet.
type isrView struct {
	now    time.Time
	lag    time.Duration // replica.lag.time.max.ms
	hw     int64
	active func(id int32) (brokerEpoch int64, ok bool) // may be in an ISR, in which life
	silent map[int32]bool                              // brokers that are not reached
}

// propose is the next change of the ISR, nil when it is right or one is under way.
func (s *replicaSet) propose(v isrView) *isrProposal {
	if s.proposed != nil || !slices.Contains(s.committed, s.me) {
		return nil
	}
	p := &isrProposal{}
	spare := len(s.committed) - s.minISR // so many may leave and acks=all goes on
	for _, id := range s.replicas {
		in := slices.Contains(s.committed, id)
		switch {
		case id == s.me:
		case in && s.lags(id, v):
			p.removed = append(p.removed, id)
			spare--
			continue
		case in && spare > 0 && s.isSilent(id, v):
			p.removed = append(p.removed, id)
			spare--
			continue
		case !in && s.mayJoin(id, v):
			p.added = append(p.added, addedReplica{id, s.followers[id].brokerEpoch})
		case !in:
			continue
		}
		p.isr = append(p.isr, id)
	}
	p.elr = eligible(p.isr, s.elr, p.removed, s.minISR)
	if len(p.added) == 0 && len(p.removed) == 0 && len(p.elr) == len(s.elr) {
		return nil
	}
	return p
}

// lags reports whether a member of the ISR has been behind for too long.
func (s *replicaSet) lags(id int32, v isrView) bool {
	st := s.followers[id]
	return st == nil || v.now.Sub(st.caughtUp) > v.lag
}

// silentFetch is how long a follower that is not reached must not have fetched.
const silentFetch = 3 * replicaFetchWait

// isSilent reports whether a member of the ISR is not reached and does not fetch either:
// the others need not wait until it lags for long.
func (s *replicaSet) isSilent(id int32, v isrView) bool {
	st := s.followers[id]
	return st != nil && v.silent[id] && v.now.Sub(st.fetched) > silentFetch && v.now.Sub(st.caughtUp) > silentFetch
}

// mayJoin reports whether a follower has all that is committed, and the start of
// this epoch, in a life that goes on, and keeps up.
func (s *replicaSet) mayJoin(id int32, v isrView) bool {
	st := s.followers[id]
	if st == nil || s.lags(id, v) || s.isSilent(id, v) || st.end < 0 || st.end < v.hw || st.end < s.begin {
		return false
	}
	epoch, ok := v.active(id)
	return ok && epoch == st.brokerEpoch
}

// eligible are the eligible leaders beside isr: none while that is large enough,
// else those of before and those that left it now (KIP-966).
func eligible(isr, elr, removed []int32, minISR int) []int32 {
	next := []int32{}
	if len(isr) >= minISR {
		return next
	}
	for _, list := range [][]int32{elr, removed} {
		for _, id := range list {
			if !slices.Contains(isr, id) && !slices.Contains(next, id) {
				next = append(next, id)
			}
		}
	}
	return next
}
