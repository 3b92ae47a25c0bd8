package meta

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
)

// endRevision completes a revision. A partition whose key was deleted while its
// topic stays goes on as it was: that is a mistake of a person, and the next
// change of the partition writes the key anew.
func (d *draft) endRevision() {
	for _, l := range d.lost {
		t := d.owned[l.topic]
		if t.keys.revision > 0 && l.number < t.keys.value.Partitions && t.keys.partitions[l.number] == nil {
			kept := *l.was
			kept.ModRevision = 0
			t.keys.partitions[l.number] = &kept
			d.log.Error("a partition's key was deleted but its topic was not; the partition goes on as it was",
				"topic", l.topic, "partition", l.number)
		}
	}
	for _, l := range d.lost {
		t := d.owned[l.topic]
		parts := t.keys.partitions
		for len(parts) > 0 && parts[len(parts)-1] == nil {
			parts = parts[:len(parts)-1]
		}
		t.keys.partitions = parts
	}
	d.lost = d.lost[:0]
}

// finish returns the snapshot, complete up to revision rev.
func (d *draft) finish(rev int64) *Snapshot {
	d.revision = rev
	if len(d.owned) > 0 {
		d.finishTopics()
	}
	if d.copied.brokers {
		d.finishBrokers()
	}
	s := d.Snapshot
	return &s
}

func (d *draft) finishTopics() {
	for name, t := range d.owned {
		t.showPartitions()
		d.count(t, 1)
		if old := d.base.named(name); old != nil {
			d.count(old, -1)
		}
	}
	if len(d.owned) > d.topics.size/16+16 {
		d.indexAnew()
		return
	}
	for name, t := range d.owned {
		if old := d.base.Topic(name); old != nil && (old.ID != t.ID || !t.shown()) {
			d.byID = d.byID.without(byID(old.ID))
		}
		if t.empty() {
			d.topics = d.topics.without(byName(name))
		} else {
			d.topics = d.topics.with(t, byName(name))
		}
	}
	for _, t := range d.owned {
		if t.shown() {
			d.byID = d.byID.with(t, byID(t.ID))
		}
	}
}

// indexAnew makes the indexes when much has changed.
func (d *draft) indexAnew() {
	named, withID := make([]*Topic, 0, d.topics.size+len(d.owned)), make([]*Topic, 0, d.topics.size+len(d.owned))
	for t := range d.topics.all() {
		if d.owned[t.Name] == nil {
			named = append(named, t)
		}
	}
	for _, t := range d.owned {
		if !t.empty() {
			named = append(named, t)
		}
	}
	for _, t := range named {
		if t.shown() {
			withID = append(withID, t)
		}
	}
	slices.SortFunc(named, func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(withID, func(a, b *Topic) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	d.topics, d.byID = newIndex(named), newIndex(withID)
}

// showPartitions sets what readers see.
func (t *Topic) showPartitions() {
	t.Partitions = nil
	if !t.shown() {
		return
	}
	n := t.keys.value.Partitions
	have := t.keys.partitions[:min(n, len(t.keys.partitions))]
	if len(have) == n && !slices.Contains(have, nil) {
		t.Partitions = have[:n:n]
		return
	}
	t.Partitions = make([]*Partition, n)
	for i := range t.Partitions {
		if t.Partitions[i] = missing; i < len(have) && have[i] != nil {
			t.Partitions[i] = have[i]
		}
	}
}

func (d *draft) count(t *Topic, sign int) {
	d.partitions += sign * len(t.Partitions)
	if t.keys.value.Creating != nil {
		d.unfinished += sign
	}
}

func (d *draft) finishBrokers() {
	maps.DeleteFunc(d.brokers, func(_ int32, e *brokerEntry) bool { return e.broker == nil && e.live.epoch == 0 })
	d.all, d.active = nil, nil
	for _, e := range d.brokers {
		if e.broker != nil {
			d.all = append(d.all, e.broker)
		}
	}
	slices.SortFunc(d.all, func(a, b *Broker) int { return cmp.Compare(a.ID, b.ID) })
	for _, b := range d.all {
		if d.IsActive(b.ID) {
			d.active = append(d.active, b)
		}
	}
}

// revisionOf is the mod revision at which the draft has a key, one whose value
// cannot be read included; 0 if it has not.
func (d *draft) revisionOf(text string) int64 {
	if rev, ok := d.bad[text]; ok {
		return rev
	}
	k, err := parseKey(text)
	if err != nil {
		return 0
	}
	switch k.kind {
	case clusterKind:
		return d.cluster.revision
	case controllerKind:
		return d.controller.revision
	case brokerKind, liveKind:
		e := d.brokers[k.number]
		switch {
		case e == nil:
			return 0
		case k.kind == liveKind:
			return e.live.epoch
		}
		return e.revision
	case topicKind:
		if t := d.named(k.name); t != nil {
			return t.keys.revision
		}
	case partitionKind:
		if p := d.partition(k); p != nil {
			return p.ModRevision
		}
	case configsKind:
		_, rev := d.settings(k)
		return rev
	}
	return 0
}
