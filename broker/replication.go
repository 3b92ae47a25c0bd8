package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
	"chronik/meta"
)

// replication is the leader's side of a partition with several replicas: what its
// followers have, who is in sync, and the high watermark. It lives as long as its
// partition, one leader epoch. mu guards set, key and change; it is held over
// nothing that blocks.
type replication struct {
	p     *partition
	hw    logstore.Mark // everything below it is on every in-sync replica
	acked logstore.Mark // the log's acknowledged end, for who waits in this epoch
	below atomic.Bool   // fewer are in sync than acks=all needs
	watch logstore.Waiter
	due   func(*partition) // a change of the ISR may be due

	throttled atomic.Bool // followers that are not in sync get no more than a rate
	elsewhere
	mu     sync.Mutex
	set    *replicaSet
	key    *meta.Partition    // as last seen
	change *meta.MemberChange // in flight or of unknown outcome; with set.proposed
}

// newReplication begins with what this broker knows of the high watermark as a
// follower, or from an earlier life: the true one may be above it.
func newReplication(p *partition, due func(*partition), moved func()) *replication {
	r := &replication{p: p, due: due, elsewhere: elsewhere{moved: moved}}
	r.hw.Raise(p.log.KnownHighWatermark())
	r.acked.Raise(p.log.Acked())
	r.watch.Waker = r
	return r
}

// lead begins the epoch: key is what made this broker the leader.
func (r *replication) lead(me int32, key *meta.Partition, minISR int) {
	r.p.log.SetHighWatermark(r.hw.Load())
	r.set = newReplicaSet(me, key.Replicas, r.p.begin, time.Now())
	r.see(key, minISR)
	r.Wake(nil)
}

// Wake is called by the log when its acknowledged end has moved.
func (r *replication) Wake(err error) {
	if err != nil {
		r.hw.Fail(err)
		r.acked.Fail(err)
		return
	}
	if r.p.gone.Load() {
		return
	}
	acked := r.p.log.Acked()
	r.acked.Raise(acked)
	r.acked.Notify()
	r.mu.Lock()
	r.raise()
	r.mu.Unlock()
	r.notify()
	r.watch.At = acked + 1
	r.p.log.AckedMark().Wait(&r.watch)
}

// end answers whoever waits in this epoch, which is over.
func (r *replication) end() {
	r.p.log.AckedMark().Cancel(&r.watch)
	r.hw.Fail(kerr.NotLeaderForPartition)
	r.acked.Fail(kerr.NotLeaderForPartition)
}

// raise moves the high watermark to where it may be; the caller holds mu, so that
// nobody is taken for in sync between the reckoning and the move.
func (r *replication) raise() {
	hw, ok := r.set.highWatermark(r.p.log.Acked())
	if ok && hw > r.hw.Load() {
		r.hw.Raise(hw)
		r.p.log.SetHighWatermark(hw)
	}
}

// see takes what the metadata holds now. Any revision above the one that a change
// was based on settles that change.
func (r *replication) see(key *meta.Partition, minISR int) {
	r.mu.Lock()
	if r.key == nil || key.ModRevision > r.key.ModRevision {
		r.key, r.change = key, nil
		r.set.sees(key.ISR, key.ELR, key.PartitionEpoch)
	}
	r.set.minISR = minISR
	below, due := !r.set.enough(), r.set.enough() && len(key.ELR) > 0
	r.below.Store(below)
	r.raise()
	r.mu.Unlock()
	r.notify()
	if below {
		r.dismiss()
	}
	if due {
		r.due(r.p)
	}
}

// dismiss answers those who wait for more in-sync replicas than there are.
func (r *replication) dismiss() { r.hw.Dismiss(kerr.NotEnoughReplicasAfterAppend) }

// fetched notes the fetch of a follower.
func (r *replication) fetched(f followerFetch) {
	r.mu.Lock()
	known := r.set.fetched(f, r.p.log.End(), time.Now())
	r.raise()
	joins := known && r.set.proposed == nil && !slices.Contains(r.set.committed, f.id) &&
		f.end >= r.hw.Load() && f.end >= r.p.begin
	r.mu.Unlock()
	r.notify()
	if joins {
		r.due(r.p)
	}
}

// has reports whether a broker follows the partition.
func (r *replication) has(id int32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set.followers[id] != nil
}

// propose is the change of the ISR that is due, nil when none is. One of unknown
// outcome is proposed again as it was.
func (r *replication) propose(v isrView) *meta.MemberChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change != nil || r.p.gone.Load() {
		return r.change
	}
	if r.p.log.Err() != nil {
		return nil // others should lead
	}
	v.hw = r.hw.Load()
	active := v.active
	v.active = func(id int32) (int64, bool) {
		epoch, ok := active(id)
		return epoch, ok && !slices.Contains(r.key.Offline, id)
	}
	p := r.set.propose(v)
	if p == nil {
		return nil
	}
	r.set.proposed = p
	members := meta.Members{ISR: p.isr, ELR: p.elr, LastKnown: r.key.LastKnown}
	if len(p.isr) >= r.set.minISR {
		members.LastKnown = nil
	}
	r.change = &meta.MemberChange{Topic: r.p.topic.name, Partition: r.p.num, Base: r.key, Life: r.key.LeaderBrokerEpoch, Members: members}
	for _, a := range p.added {
		r.change.Added = append(r.change.Added, meta.Replica{ID: a.id, BrokerEpoch: a.brokerEpoch})
	}
	return r.change
}

// othersInSync reports whether another broker could lead.
func (r *replication) othersInSync() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.set.committed) > 1
}

// refused ends a change that cannot take effect any more. One that was overtaken by
// another write is settled by seeing that.
func (r *replication) refused(change *meta.MemberChange, now *meta.Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change == change && now != nil && now.ModRevision == change.Base.ModRevision {
		r.change, r.set.proposed = nil, nil
	}
}

// lowestStart is the lowest log start that followers which live reported; offset
// when none is lower.
func (r *replication) lowestStart(offset int64, live func(int32) bool) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, st := range r.set.followers {
		if live(id) {
			offset = min(offset, st.logStart)
		}
	}
	return offset
}
