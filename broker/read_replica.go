package broker

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// readReplicaFetch is the first version whose consumers tell their rack, and may read
// from followers (KIP-392).
const readReplicaFetch = 11

// The ways to choose whom a consumer reads from, by the names that Kafka has for them.
const (
	leaderSelector    = ""
	rackAwareSelector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
)

var replicaSelector = &setting[string]{
	broker: "replica.selector.class", def: rackAwareSelector, typ: typeString, fixed: true, parse: selector,
	doc: "Whom a consumer that tells its rack reads from: a replica in that rack by default, the leader always when it is empty.",
}

func selector(text string) (string, error) {
	text = strings.TrimSpace(text)
	if text != leaderSelector && text != rackAwareSelector {
		return "", invalid("Only %s is supported, or nothing", rackAwareSelector)
	}
	return text, nil
}

// readElsewhereFor is how long after a consumer was to be sent to a follower it is assumed
// to read there. Clients come back to ask the leader after minutes.
const readElsewhereFor = 30 * time.Minute

// nearer is the follower that a consumer had better read a partition from, -1 for none: one
// in its rack, where this broker is not, that has the records and is in sync.
func (a *fetchAnswer) nearer(fp *fetchPartition, p *partition) int32 {
	b := a.c.b
	rack := a.consumer.rack
	if rack == "" || fp.replica >= 0 || p.repl == nil || b.cfg.Rack == rack || replicaSelector.of(b.brokerConfigs()) != rackAwareSelector {
		return -1
	}
	snap := b.snap()
	return p.repl.nearest(fp.offset, time.Now(), func(id int32, life int64) bool {
		br := snap.Broker(id)
		epoch, live := snap.Live(id)
		return br != nil && br.Rack == rack && live && epoch == life && snap.IsActive(id)
	})
}

// nearest is the follower of those that may be read from which is furthest of all that
// are in sync, have offset and know what is committed, -1 when there is none. Those that
// do not know it are told from then on.
func (r *replication) nearest(offset int64, now time.Time, may func(id int32, life int64) bool) int32 {
	r.mu.Lock()
	best, known := r.set.nearest(offset, r.hw.Load(), may)
	r.mu.Unlock()
	if best < 0 {
		return -1
	}
	r.sentAway.Store(now.UnixNano())
	if !known {
		return -1
	}
	return best
}

// nearest chooses as replication.nearest does, and reports whether that follower knows what
// is committed: all of it, or up to the offset, where its reader waits. Who is sent to
// another one would take the end of what that knows for the end of all.
func (s *replicaSet) nearest(offset, hw int64, may func(id int32, life int64) bool) (best int32, known bool) {
	best = -1
	for _, id := range s.replicas {
		st := s.followers[id]
		if st == nil || !slices.Contains(s.committed, id) || st.end < offset || st.logStart > offset || !may(id, st.brokerEpoch) {
			continue
		}
		knows := st.hw >= hw || st.hw == offset
		if best < 0 || knows && !known || knows == known && st.aheadOf(s.followers[best]) {
			best, known = id, knows
		}
	}
	return best, known
}

// aheadOf reports whether one follower has more than another, or had it later.
func (st *followerState) aheadOf(other *followerState) bool {
	return st.end > other.end || st.end == other.end && st.caughtUp.After(other.caughtUp)
}

// isReadElsewhere reports whether consumers may wait at followers for the high watermark:
// those are then told at once when it moves.
func (r *replication) isReadElsewhere() bool {
	at := r.sentAway.Load()
	return at > 0 && time.Since(time.Unix(0, at)) < readElsewhereFor
}

// elsewhere is who reads a partition from followers. Those of this broker are told of the
// high watermark by moved.
type elsewhere struct {
	sentAway atomic.Int64 // when a consumer last was to be sent to a follower, in ns; 0 never
	moved    func()
}

// notify wakes who waits for the high watermark, followers too if readers may wait there.
func (r *replication) notify() {
	r.hw.Notify()
	if r.isReadElsewhere() {
		r.moved()
	}
}

// told notes the high watermark that a follower was answered.
func (r *replication) told(id int32, hw int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.set.followers[id]; st != nil {
		st.hw = hw
	}
}

// nudgeFollowers has the fetches of followers looked at again.
func (s *fetchSessions) nudgeFollowers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.byFollower {
		session.inbox.nudge()
	}
}

// owesHighWatermark reports whether a follower that readers wait at is to be told of a
// high watermark.
func (fp *fetchPartition) owesHighWatermark(p *partition) bool {
	return fp.replica >= 0 && p.hw() > fp.hw && p.repl.isReadElsewhere()
}
