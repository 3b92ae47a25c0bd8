package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"chronik/logstore"
	"chronik/meta"
)

// apply brings the led partitions to what snap says. known holds the topics of
// the last call. What a full disk hinders is left out, and is the error.
func (b *Broker) apply(ctx context.Context, snap *meta.Snapshot, known map[string]*meta.Topic) error {
	wrong := b.settings.setDynamic(snap.Configs(meta.BrokerConfigs, allBrokers), snap.Configs(meta.BrokerConfigs, fmt.Sprint(b.cfg.NodeID)))
	if len(wrong) > 0 {
		b.log.Warn("settings of brokers in the metadata are wrong and do not count", "settings", wrong)
	}
	defaults := b.settings.version()
	epoch := b.meta.Session().BrokerEpoch()
	var full error
	for t := range snap.Topics() {
		old := known[t.Name]
		if old == t && b.topicApplied(t, epoch, defaults) {
			continue
		}
		if old != nil && old.ID != t.ID {
			if err := b.drop(ctx, old); err != nil {
				return err
			}
		}
		if err := b.applyTopic(ctx, t, epoch, defaults); errors.Is(err, syscall.ENOSPC) {
			full = err
			if own := b.topics.withID(t.ID); own == nil || !own.partial { // not taken up at all
				delete(known, t.Name)
				continue
			}
		} else if err != nil {
			return err
		}
		known[t.Name] = t
	}
	for name, t := range known {
		if snap.Topic(name) == nil {
			if err := b.drop(ctx, t); err != nil {
				return err
			}
			delete(known, name)
		}
	}
	return full
}

// topicApplied reports whether t was applied in this session with these
// broker-wide defaults.
func (b *Broker) topicApplied(t *meta.Topic, epoch int64, defaults int64) bool {
	own := b.topics.withID(t.ID)
	return own != nil && !own.partial && own.session == epoch && own.defaults == defaults
}

// applyTopic takes up the partitions of t that this broker leads or follows, and
// gives up those that it does not lead or follow any more.
func (b *Broker) applyTopic(ctx context.Context, t *meta.Topic, session, defaults int64) error {
	if wrong := unsound(t.Configs, topicSetting); len(wrong) > 0 {
		b.log.Warn("settings of a topic in the metadata are wrong and do not count", "topic", t.Name, "settings", wrong)
	}
	next := &topic{
		name: t.Name, nameBytes: []byte(t.Name), id: t.ID, session: session, defaults: defaults,
		followed: make([]*followed, len(t.Partitions)),
	}
	full := b.nameLogs(t)
	if full != nil && !errors.Is(full, syscall.ENOSPC) {
		return full
	}
	next.partial = full != nil
	a := applying{b: b, t: t, next: next, old: b.topics.withID(t.ID), options: b.logOptions(t.Configs), rules: b.appendRules(t.Configs)}
	a.following, a.leading = b.throttled(t)
	parts := make([]*partition, len(t.Partitions))
	for n, mp := range t.Partitions {
		var err error
		switch {
		case mp == nil, full != nil && !b.named(t, n):
			a.leave(n)
		case mp.Leader == b.cfg.NodeID && mp.LeaderBrokerEpoch == session:
			parts[n], err = a.lead(n, mp)
		case slices.Contains(mp.Replicas, b.cfg.NodeID):
			err = a.follow(ctx, n, mp)
		default:
			a.leave(n)
		}
		if err != nil {
			return fmt.Errorf("take up %s-%d: %w", t.Name, n, err)
		}
	}
	next.partitions.Store(&parts)
	b.topics.put(next)
	if t.Name == offsetsTopic {
		b.groups.apply(ctx, next)
	}
	return full
}

// nameLogs has the logs of t on disk by name before this broker leads or follows them
// past their first leader epoch.
func (b *Broker) nameLogs(t *meta.Topic) error {
	var ids []logstore.ID
	for n, p := range t.Partitions {
		if p == nil || p.LeaderEpoch == 0 || !slices.Contains(p.Replicas, b.cfg.NodeID) {
			continue
		}
		id := logstore.ID{Topic: t.ID, Partition: int32(n)}
		if b.store.Log(id) == nil {
			if _, err := b.store.Take(id, b.logOptions(t.Configs)); err != nil {
				return err
			}
		}
		ids = append(ids, id)
	}
	if err := b.store.NameAll(ids); err != nil {
		return fmt.Errorf("name the logs of %s: %w", t.Name, err)
	}
	return nil
}

// named reports whether nameLogs has done what a partition needs.
func (b *Broker) named(t *meta.Topic, n int) bool {
	l := b.store.Log(logstore.ID{Topic: t.ID, Partition: int32(n)})
	return t.Partitions[n].LeaderEpoch == 0 || l != nil && l.Named()
}

// applying is one topic on its way from old, nil when it is new here, to next.
type applying struct {
	b         *Broker
	t         *meta.Topic
	old, next *topic
	options   logstore.Options
	rules     *appendRules

	following, leading listed // throttled
}

func (a *applying) had(n int) (*partition, *followed) {
	if a.old == nil || n >= len(a.old.followed) {
		return nil, nil
	}
	return a.old.partition(int32(n)), a.old.followed[n]
}

// lead takes up a partition that this broker leads.
func (a *applying) lead(n int, mp *meta.Partition) (*partition, error) {
	had, followed := a.had(n)
	if had != nil && had.epoch == mp.LeaderEpoch {
		had.log.Configure(a.options)
		had.rules.Store(a.rules)
		if had.repl != nil {
			had.repl.throttled.Store(a.leading.has(n))
			had.repl.see(mp, a.b.minISR(a.t, mp))
		}
		return had, nil
	}
	had.retire()
	a.b.fetchers.leave(followed)
	log, err := a.b.store.Take(logstore.ID{Topic: a.t.ID, Partition: int32(n)}, a.options)
	if err != nil {
		return nil, err
	}
	log.Fence(mp.LeaderEpoch)
	p := &partition{topic: a.next, num: int32(n), epoch: mp.LeaderEpoch, log: log, begin: log.End()}
	p.rules.Store(a.rules)
	if len(mp.Replicas) > 1 {
		p.repl = newReplication(p, a.b.isr.add, a.b.sessions.nudgeFollowers)
		p.repl.throttled.Store(a.leading.has(n))
		p.repl.lead(a.b.cfg.NodeID, mp, a.b.minISR(a.t, mp))
	}
	return p, nil
}

// follow takes up a partition that another broker leads, or nobody does.
func (a *applying) follow(ctx context.Context, n int, mp *meta.Partition) error {
	led, had := a.had(n)
	led.retire()
	options := a.options
	options.RetentionMs, options.RetentionBytes = -1, -1 // the leader says where the log starts
	if had != nil && had.epoch == mp.LeaderEpoch && had.leader == mp.Leader {
		had.configure(options)
		had.see(a.b.cfg.NodeID, mp, a.following.has(n))
		a.next.followed[n] = had
		if had.seen.Swap(mp.PartitionEpoch) != mp.PartitionEpoch && !slices.Contains(mp.ISR, a.b.cfg.NodeID) {
			a.b.fetchers.again(had)
		}
		return nil
	}
	a.b.fetchers.leave(had)
	log, err := a.b.store.Take(logstore.ID{Topic: a.t.ID, Partition: int32(n)}, options)
	if err != nil {
		return err
	}
	log.Fence(mp.LeaderEpoch)
	if len(mp.Replicas) > 1 {
		log.SetHighWatermark(log.KnownHighWatermark())
	}
	p := &followed{id: log.ID(), name: a.t.Name, leader: mp.Leader, epoch: mp.LeaderEpoch, store: a.b.store, logger: a.b.log, log: log, options: options}
	p.seen.Store(mp.PartitionEpoch)
	p.see(a.b.cfg.NodeID, mp, a.following.has(n))
	p.show()
	a.next.followed[n] = p
	if mp.Leader >= 0 && mp.Leader != a.b.cfg.NodeID {
		a.b.fetchers.follow(ctx, p)
	}
	return nil
}

// counts reports whether this broker's log may be needed: it may lead, or is the
// last one that was known, or nobody leads.
func (b *Broker) counts(mp *meta.Partition) bool {
	return mp.Leader < 0 || mayLead(mp, b.cfg.NodeID) || slices.Contains(mp.LastKnown, b.cfg.NodeID)
}

// leave gives up a partition of which this broker is no replica.
func (a *applying) leave(n int) {
	led, followed := a.had(n)
	led.retire()
	a.b.fetchers.leave(followed)
}

// drop gives up a deleted topic and its records.
func (b *Broker) drop(ctx context.Context, t *meta.Topic) error {
	if t.Name == offsetsTopic {
		b.groups.apply(ctx, nil)
	}
	b.groups.topicDeleted(t)
	if own := b.topics.withID(t.ID); own != nil {
		for n, p := range *own.partitions.Load() {
			p.retire()
			b.fetchers.leave(own.followed[n])
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
	if p == nil {
		return
	}
	p.gone.Store(true)
	if p.repl != nil {
		p.repl.end()
	}
}

// logReopened is called by the store when a poisoned log is back. Its bytes may
// have been cut, so the partition must not go on in the same leader epoch.
func (b *Broker) logReopened(id logstore.ID) {
	b.isr.logs.nudge()
	if t := b.topics.withID(id.Topic); t != nil {
		if p := t.partition(id.Partition); p != nil {
			p.reopened.Store(true)
			b.reelect.nudge()
		}
	}
}
