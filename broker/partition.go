package broker

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
)

// partition is a partition that this broker leads: its log, the epoch in which
// it was elected and the settings that appends are checked against; or one that it
// follows, as far as consumers read it. It lives as
// long as the leadership: another epoch makes another partition, so a request
// that began under one epoch cannot end under the next.
type partition struct {
	topic *topic
	num   int32
	epoch int32 // the leader epoch that this broker won in this life
	log   *logstore.Log
	begin int64        // where the log ended when this epoch began
	repl  *replication // nil: this broker has the only replica
	rules atomic.Pointer[appendRules]
	gone  atomic.Bool // leadership ended: waiting requests answer NOT_LEADER_OR_FOLLOWER

	followed *followedReads // nil: led here; else another broker leads, and consumers read

	reopened atomic.Bool // the log was cut and is back: wants a new epoch
}

// hw is the high watermark: everything below it may be read. With one replica
// it is the end that acknowledgements count.
func (p *partition) hw() int64 {
	if p.followed != nil {
		return min(p.followed.hw.Load(), p.log.End())
	}
	return p.hwMark().Load()
}

// hwMark is what waits for the high watermark wait on.
func (p *partition) hwMark() *logstore.Mark {
	switch {
	case p.followed != nil:
		return &p.followed.hw
	case p.repl != nil:
		return &p.repl.hw
	}
	return p.log.AckedMark()
}

// ackedMark is what a produce waits on: with acks=1 until this broker has the
// records as durably as the topic promises, with acks=all until every in-sync
// replica has.
func (p *partition) ackedMark(acks int16) *logstore.Mark {
	if p.repl != nil && acks == 1 {
		return &p.repl.acked
	}
	return p.hwMark()
}

// checkEpoch compares the leader epoch that a client believes in; -1 is no claim.
func (p *partition) checkEpoch(claimed int32) error {
	switch {
	case claimed == -1 || claimed == p.epoch:
		return nil
	case claimed < p.epoch:
		return kerr.FencedLeaderEpoch
	default:
		return kerr.UnknownLeaderEpoch
	}
}

// epochEnd is the largest leader epoch at or below the asked one and where it ends;
// -1, -1 when that is not known.
func (p *partition) epochEnd(epoch int32) (found int32, end int64) {
	last := p.log.LastEpoch()
	switch {
	case epoch == p.epoch: // it may have no records yet
		return epoch, p.log.End()
	case epoch >= 0 && epoch < p.epoch && last < 0: // no record is here at all: it ended before
		return epoch, p.begin
	case epoch < p.epoch && epoch > last: // it left none here
		return last, p.begin
	}
	return p.log.EpochEnd(epoch)
}

// startEpoch is the leader epoch of the log start: with no record there, this one.
func (p *partition) startEpoch() (offset int64, epoch int32) {
	start := p.log.Start()
	if epoch := p.log.EpochAt(start); epoch >= 0 || start < p.log.End() {
		return start, epoch
	}
	return start, p.epoch
}

// usable is the error of a partition that cannot serve now.
func (p *partition) usable() error {
	if p.gone.Load() || p.repl != nil && p.reopened.Load() {
		return kerr.NotLeaderForPartition
	}
	return p.log.Err()
}

// partition finds a partition that this broker leads, or says why there is none.
func (b *Broker) partition(name string, n int32) (*partition, error) {
	t := b.topics.named([]byte(name))
	if t == nil {
		return nil, kerr.UnknownTopicOrPartition
	}
	return t.leading(n)
}

// leading finds partition n if this broker leads it.
func (t *topic) leading(n int32) (*partition, error) {
	if n < 0 || int(n) >= t.count() {
		return nil, kerr.UnknownTopicOrPartition
	}
	p := t.partition(n)
	if p == nil {
		return nil, kerr.NotLeaderForPartition
	}
	return p, p.usable()
}
