package broker

import (
	"context"
	"fmt"
	"time"

	"chronik/logstore"
	"chronik/meta"
)

// follow applies every change of metadata to the partitions of this broker, one
// snapshot after the other, until ctx ends. The first snapshot in which nothing
// waits for an election makes the broker ready.
func (b *Broker) follow(ctx context.Context) error {
	if err := b.meta.SetState(ctx, meta.Active); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("become active: %w", err)
	}
	known := map[string]*meta.Topic{}
	ready := false
	for {
		snap, changed := b.meta.Watch()
		if err := b.apply(snap, known); err != nil {
			return err
		}
		b.applied.set(snap.Revision())
		if !ready && b.settled(snap) {
			ready = true
			if err := b.setStraysAside(snap); err != nil {
				return err
			}
			close(b.ready)
		}
		if !waitFor(ctx, changed) {
			return nil
		}
	}
}

// setStraysAside takes logs out of service whose topics are gone: they were
// deleted while this broker was down.
func (b *Broker) setStraysAside(snap *meta.Snapshot) error {
	for _, l := range b.store.Logs() {
		if snap.TopicByID(l.ID().Topic) != nil {
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
	return len(plan(snap)) == 0
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

// apply brings the led partitions to what snap says. known holds the topics of
// the last call.
func (b *Broker) apply(snap *meta.Snapshot, known map[string]*meta.Topic) error {
	wrong := b.settings.setDynamic(snap.Configs(meta.BrokerConfigs, allBrokers), snap.Configs(meta.BrokerConfigs, fmt.Sprint(b.cfg.NodeID)))
	if len(wrong) > 0 {
		b.log.Warn("settings of brokers in the metadata are wrong and do not count", "settings", wrong)
	}
	defaults := b.settings.version()
	epoch := b.meta.Session().BrokerEpoch()
	for t := range snap.Topics() {
		old := known[t.Name]
		if old == t && b.topicApplied(t, epoch, defaults) {
			continue
		}
		if old != nil && old.ID != t.ID {
			if err := b.drop(old); err != nil {
				return err
			}
		}
		if err := b.applyTopic(t, epoch, defaults); err != nil {
			return err
		}
		known[t.Name] = t
	}
	if len(known) == snap.NumTopics() {
		return nil
	}
	for name, t := range known {
		if snap.Topic(name) == nil {
			if err := b.drop(t); err != nil {
				return err
			}
			delete(known, name)
		}
	}
	return nil
}

// topicApplied reports whether t was applied in this session with these
// broker-wide defaults.
func (b *Broker) topicApplied(t *meta.Topic, epoch int64, defaults int64) bool {
	own := b.topics.withID(t.ID)
	return own != nil && own.session == epoch && own.defaults == defaults
}

// applyTopic takes up the partitions of t that this broker leads and gives up
// those that it does not lead any more.
func (b *Broker) applyTopic(t *meta.Topic, session, defaults int64) error {
	if wrong := unsound(t.Configs, topicSetting); len(wrong) > 0 {
		b.log.Warn("settings of a topic in the metadata are wrong and do not count", "topic", t.Name, "settings", wrong)
	}
	options, rules := b.logOptions(t.Configs), b.appendRules(t.Configs)
	old := b.topics.withID(t.ID)
	next := &topic{name: t.Name, nameBytes: []byte(t.Name), id: t.ID, session: session, defaults: defaults}
	parts := make([]*partition, len(t.Partitions))
	for n, mp := range t.Partitions {
		var had *partition
		if old != nil {
			had = old.partition(int32(n))
		}
		if mp == nil || mp.Leader != b.cfg.NodeID || mp.LeaderBrokerEpoch != session {
			had.retire()
			continue
		}
		if had != nil && had.epoch == mp.LeaderEpoch {
			had.log.Configure(options)
			had.rules.Store(rules)
			parts[n] = had
			continue
		}
		had.retire()
		log, err := b.store.Take(logstore.ID{Topic: t.ID, Partition: int32(n)}, options)
		if err != nil {
			return fmt.Errorf("take up %s-%d: %w", t.Name, n, err)
		}
		p := &partition{topic: next, num: int32(n), epoch: mp.LeaderEpoch, log: log}
		p.rules.Store(rules)
		parts[n] = p
	}
	next.partitions.Store(&parts)
	b.topics.put(next)
	return nil
}

// drop gives up a deleted topic and its records.
func (b *Broker) drop(t *meta.Topic) error {
	if own := b.topics.withID(t.ID); own != nil {
		for _, p := range *own.partitions.Load() {
			p.retire()
		}
		b.topics.remove(own)
	}
	for n := range t.Partitions {
		if err := b.store.Delete(logstore.ID{Topic: t.ID, Partition: int32(n)}); err != nil {
			return fmt.Errorf("delete %s-%d: %w", t.Name, n, err)
		}
	}
	return nil
}

// retire ends a leadership: whoever waits on the partition is answered.
func (p *partition) retire() {
	if p != nil {
		p.gone.Store(true)
	}
}

// logReopened is called by the store when a poisoned log is back. Its bytes may
// have been cut, so the partition must not go on in the same leader epoch.
func (b *Broker) logReopened(id logstore.ID) {
	if t := b.topics.withID(id.Topic); t != nil {
		if p := t.partition(id.Partition); p != nil {
			p.reopened.Store(true)
			b.reelect.nudge()
		}
	}
}
