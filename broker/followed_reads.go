package broker

import (
	"errors"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
)

// followedReads is what makes a partition one that consumers read and that another broker
// leads: they read below the high watermark that the leader told (KIP-392).
type followedReads struct {
	hw     logstore.Mark
	behind *atomic.Bool // not in sync: readers had better ask the leader
}

// show lets consumers read the log as it is; the caller holds mu, or is alone.
func (f *followed) show() {
	v := &partition{num: f.id.Partition, epoch: f.epoch, log: f.log, begin: f.log.End(), followed: &followedReads{behind: &f.behind}}
	v.followed.hw.Raise(f.log.KnownHighWatermark())
	f.reads.Store(v)
}

// hide ends reading, before the log loses records or the epoch is over: who waits is
// answered, and what is being read is not given.
func (f *followed) hide() {
	if v := f.reads.Load(); v != nil {
		v.gone.Store(true)
		v.followed.hw.Fail(kerr.NotLeaderForPartition)
	}
}

// committed takes a high watermark of the leader.
func (f *followed) committed(hw int64) {
	f.log.SetHighWatermark(hw)
	v := f.reads.Load()
	v.followed.hw.Raise(hw)
	v.followed.hw.Notify()
}

// readable finds partition n for a consumer: led by this broker, or followed.
func (t *topic) readable(n int32) (*partition, error) {
	p, err := t.leading(n)
	if !errors.Is(err, kerr.NotLeaderForPartition) || p != nil || t.followed[n] == nil {
		return p, err
	}
	v := t.followed[n].reads.Load()
	if v.followed.behind.Load() {
		return nil, kerr.NotLeaderForPartition
	}
	return v, v.usable()
}
