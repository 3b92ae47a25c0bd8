package broker

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"chronik/meta"
)

// follow applies every change of metadata to the partitions of this broker, one
// snapshot after the other, until ctx ends. The first snapshot in which nothing
// waits for an election makes the broker ready.
func (b *Broker) follow(ctx context.Context) error {
	if err := b.leaveShortLogs(ctx); err != nil {
		return fmt.Errorf("note that no log is short any more: %w", err)
	}
	if err := b.meta.SetState(ctx, meta.Active); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("become active: %w", err)
	}
	b.isr.logs.nudge() // what failed in an earlier life may be back
	known := map[string]*meta.Topic{}
	ready := false
	var again <-chan time.Time
	var over *meta.Session
	for {
		snap, changed := b.meta.Watch()
		err := b.apply(ctx, snap, known)
		b.sessions.nudge()
		switch {
		case errors.Is(err, syscall.ENOSPC):
			if again == nil {
				b.log.Error("partitions not taken up: the disk is full; trying again", "err", err)
			}
			again = time.After(applyAgain)
		case err != nil:
			return err
		default:
			again = nil
			b.applied.set(snap.Revision())
		}
		if !ready && b.settled(snap) {
			ready = true
			if err := b.setStraysAside(snap); err != nil {
				return err
			}
			close(b.ready)
		}
		var ok bool
		if over, ok = b.awaitNews(ctx, changed, again, over); !ok {
			return nil
		}
	}
}

// awaitNews waits for another snapshot, until it is tried again, or for the end of this
// broker's life, which is noticed once: over is the last that ended.
func (b *Broker) awaitNews(ctx context.Context, changed <-chan struct{}, again <-chan time.Time, over *meta.Session) (*meta.Session, bool) {
	session := b.meta.Session()
	ended := session.Done()
	if session == over {
		ended = nil
	}
	select {
	case <-changed:
	case <-again:
	case <-ended:
		b.stopLeading()
		return session, true
	case <-ctx.Done():
		return over, false
	}
	return over, true
}

// applyAgain is when what a full disk hindered is tried again.
const applyAgain = time.Second

// stopLeading ends all leaderships of a life that is over. Who leads instead may be
// long in coming, when this broker was cut off.
func (b *Broker) stopLeading() {
	b.topics.all(func(t *topic) {
		for _, p := range *t.partitions.Load() {
			p.retire()
		}
	})
	b.topics.mu.Lock()
	b.topics.changed()
	b.topics.mu.Unlock()
	b.sessions.nudge()
}

// setStraysAside takes logs out of service whose topics are gone: they were
// deleted while this broker was down. While a key of the metadata cannot be read, a
// topic that is not there may be all the same.
func (b *Broker) setStraysAside(snap *meta.Snapshot) error {
	if keys := snap.Unreadable(); len(keys) > 0 {
		b.log.Warn("logs of unknown topics stay until every key of the metadata can be read", "unreadable", keys)
		return nil
	}
	for _, l := range b.store.Logs() {
		if snap.KnowsTopicID(l.ID().Topic) {
			continue
		}
		b.log.Warn("log of an unknown topic is set aside for a day", "log", l.ID())
		if err := b.store.SetAside(l.ID()); err != nil {
			return fmt.Errorf("set aside %s: %w", l.ID(), err)
		}
	}
	return nil
}

// settled reports whether this broker is listed and leads what it should.
func (b *Broker) settled(snap *meta.Snapshot) bool {
	if br := snap.Broker(b.cfg.NodeID); br == nil || br.State != meta.Active {
		return false
	}
	for t := range snap.Topics() {
		for _, p := range t.Partitions {
			if p.Leader == b.cfg.NodeID && !led(snap, p) {
				return false
			}
		}
	}
	return true
}

// applyPatience bounds the wait for a change to be applied: a broker that stops
// applies none.
const applyPatience = 5 * time.Second

// waitApplied waits until the partitions of this broker are as revision rev of
// the metadata says, so that a client that was told of a topic can use it.
func (b *Broker) waitApplied(ctx context.Context, rev int64) error {
	ctx, cancel := context.WithTimeout(ctx, applyPatience)
	defer cancel()
	for {
		applied, changed := b.applied.get()
		if applied >= rev {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
