package broker

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
)

// partition is a partition that this broker leads: its log, the epoch in which
// it was elected and the settings that appends are checked against. It lives as
// long as the leadership: another epoch makes another partition, so a request
// that began under one epoch cannot end under the next.
type partition struct {
	topic *topic
	num   int32
	epoch int32 // the leader epoch that this broker won in this life
	log   *logstore.Log
	rules atomic.Pointer[appendRules]
	gone  atomic.Bool // leadership ended: waiting requests answer NOT_LEADER_OR_FOLLOWER

	reopened atomic.Bool // the log was cut and is back: wants a new epoch
}

// hw is the high watermark: everything below it may be read. With one replica
// it is the end that acknowledgements count.
func (p *partition) hw() int64 { return p.log.Acked() }

// hwMark is what waits for the high watermark wait on.
func (p *partition) hwMark() *logstore.Mark { return p.log.AckedMark() }

// checkEpoch compares the leader epoch that a client believes in; -1 is no claim.
func (p *partition) checkEpoch(claimed int32) error {
	switch {
	case claimed < 0 || claimed == p.epoch:
		return nil
	case claimed < p.epoch:
		return kerr.FencedLeaderEpoch
	default:
		return kerr.UnknownLeaderEpoch
	}
}

// usable is the error of a partition that cannot serve now.
func (p *partition) usable() error {
	if p.gone.Load() {
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
