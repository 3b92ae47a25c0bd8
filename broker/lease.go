package broker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// leaseMargin is how long before the end of its lease a leader stops answering for
// itself alone.
const leaseMargin = time.Second

// mayAppend says whether a produce may be appended. acks=all needs enough in-sync
// replicas. The others take the leader's word alone: a leader that may have been
// replaced without knowing does not give it. With one replica nobody else leads.
func (b *Broker) mayAppend(p *partition, acks int16) error {
	switch {
	case p.repl == nil:
		return nil
	case acks == -1 && p.repl.below.Load():
		return kerr.NotEnoughReplicas
	case acks != -1 && !b.speaksFor(p):
		return kerr.NotLeaderForPartition
	}
	return nil
}

// mayAnswer says whether this broker may still answer for itself alone: it may have
// been paused since the append.
func (b *Broker) mayAnswer(p *partition) error {
	if p.gone.Load() || !b.speaksFor(p) {
		return kerr.NotLeaderForPartition
	}
	return nil
}

// speaksFor reports whether this broker certainly leads p still: in the life in which
// it was elected, not in a later one that has not learned yet who leads now.
func (b *Broker) speaksFor(p *partition) bool {
	return p.repl == nil || b.meta.LeaseHolds(p.topic.session, leaseMargin)
}
