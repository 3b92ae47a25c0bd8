package broker

import (
	"context"
	"slices"
	"time"

	"chronik/meta"
)

// drainMost bounds how long a broker that stops waits for others to lead.
const drainMost = 5 * time.Second

// drainLinger is how long a broker that others lead for goes on answering, and Metadata
// lists it. A client that is told so asks for the new leader and moves. librdkafka stands
// still for up to a second when the answer that names the new leader no longer lists the
// former: it drops that broker with the partitions that it is about to move away from it.
const drainLinger = 500 * time.Millisecond

// drain has others lead what this broker leads, and returns a little after they do, as
// its own metadata shows, or when nobody is left who could.
func (b *Broker) drain(ctx context.Context) {
	select {
	case <-b.ready:
	default:
		return
	}
	if len(b.successors(b.snap())) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainMost)
	defer cancel()
	began := time.Now()
	if err := b.meta.SetState(ctx, meta.Draining); err != nil {
		b.log.Warn("stopping without handing over", "err", err)
		return
	}
	for {
		snap, changed := b.meta.Watch()
		left := len(b.successors(snap))
		if left == 0 {
			b.log.Info("others lead what this broker led", "took", time.Since(began).Round(time.Millisecond))
			linger(ctx)
			return
		}
		if !waitFor(ctx, changed) {
			b.log.Warn("stopping though it leads partitions that others could lead", "partitions", left)
			return
		}
	}
}

func linger(ctx context.Context) {
	timer := time.NewTimer(drainLinger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// successors are the partitions that this broker leads and another could.
func (b *Broker) successors(snap *meta.Snapshot) (left []*meta.Partition) {
	other := func(id int32) bool { return id != b.cfg.NodeID && snap.IsActive(id) }
	for t := range snap.Topics() {
		for _, p := range t.Partitions {
			if p.Leader == b.cfg.NodeID && led(snap, p) && slices.ContainsFunc(p.ISR, other) {
				left = append(left, p)
			}
		}
	}
	return left
}
