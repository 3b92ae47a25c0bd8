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

// drain has others lead what this broker leads, and nobody wait for it any more who can do
// without: it returns when its own metadata shows that, a little later if clients have to
// be told, or when nobody is left who could.
func (b *Broker) drain(ctx context.Context) {
	select {
	case <-b.ready:
	default:
		return
	}
	shares, leads := b.stakes(b.snap())
	if !shares {
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
		left := b.owed(snap)
		if left == 0 {
			b.log.Info("others do without this broker", "led", leads, "took", time.Since(began).Round(time.Millisecond))
			if leads {
				linger(ctx)
			}
			return
		}
		if !waitFor(ctx, changed) {
			b.log.Warn("stopping though others have not taken over yet", "partitions", left)
			return
		}
	}
}

// stakes reports whether this broker is in sync with one that may lead, and whether it
// leads where that is so.
func (b *Broker) stakes(snap *meta.Snapshot) (shares, leads bool) {
	another := func(id int32) bool { return id != b.cfg.NodeID && snap.IsActive(id) }
	for t := range snap.Topics() {
		for _, p := range t.Partitions {
			if p == nil || !slices.Contains(p.ISR, b.cfg.NodeID) || !slices.ContainsFunc(p.ISR, another) {
				continue
			}
			shares = true
			leads = leads || p.Leader == b.cfg.NodeID && led(snap, p)
		}
	}
	return shares, leads
}

// owed counts the partitions that this broker is in sync with and that the controller is
// about to change.
func (b *Broker) owed(snap *meta.Snapshot) (left int) {
	v := snapshotView{snap}
	for t := range snap.Topics() {
		for _, p := range t.Partitions {
			if p == nil || !slices.Contains(p.ISR, b.cfg.NodeID) || healthy(v, p) {
				continue
			}
			if _, ok := planPartition(v, p, b.planRules(t, p)); ok {
				left++
			}
		}
	}
	return left
}

func linger(ctx context.Context) {
	timer := time.NewTimer(drainLinger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
