package meta

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// draft is a snapshot in the making: it starts as the one before and copies of it
// only what changes. Use: put and remove for each key of a revision, endRevision
// after it, finish at the end.
type draft struct {
	Snapshot
	base   Snapshot
	log    *slog.Logger
	owned  map[string]*Topic // copies that may be changed, by name
	ids    map[[16]byte]string
	lost   []lostPartition
	copied struct{ brokers, configs, bad bool }
}

// lostPartition is a partition whose key was deleted in the present revision.
type lostPartition struct {
	topic  string
	number int
	was    *Partition
}

// newDraft starts from base; nil is the empty keyspace.
func newDraft(base *Snapshot, log *slog.Logger) *draft {
	d := &draft{log: log, owned: map[string]*Topic{}, ids: map[[16]byte]string{}}
	if base != nil {
		d.base, d.Snapshot = *base, *base
	}
	return d
}

// put applies one key. A value that cannot be read is logged and the one before
// it stays in force: a person may have typed it. The error is that of the value.
func (d *draft) put(kv *mvccpb.KeyValue) error {
	text := string(kv.Key)
	k, err := parseKey(text)
	if err == nil {
		if err = d.set(k, kv); err != nil {
			d.keep(k, kv)
		}
	}
	d.judge(text, kv.ModRevision, err)
	return err
}

// judge notes whether a key can be read. Each bad value is logged once: a list
// does not put again what is known.
func (d *draft) judge(text string, rev int64, err error) {
	if _, known := d.bad[text]; err == nil && !known {
		return
	}
	d.ownBad()
	if err == nil {
		delete(d.bad, text)
		return
	}
	d.bad[text] = rev
	d.log.Error("a metadata value cannot be read; what the key held before stays in force",
		"key", text, "revision", rev, "err", err)
}

func (d *draft) ownBad() {
	if d.copied.bad {
		return
	}
	d.copied.bad = true
	if d.bad = maps.Clone(d.bad); d.bad == nil {
		d.bad = map[string]int64{}
	}
}

// set applies a value that can be read, or changes nothing.
func (d *draft) set(k key, kv *mvccpb.KeyValue) error {
	switch k.kind {
	case clusterKind:
		c, err := decodeCluster(kv.Value)
		if err == nil {
			d.cluster = cluster{c, kv.ModRevision}
		}
		return err
	case controllerKind:
		s := seat{revision: kv.ModRevision}
		err := json.Unmarshal(kv.Value, &s.controllerValue)
		if err == nil {
			d.controller = s
		}
		return err
	case brokerKind:
		b, err := decodeBroker(kv.Value, k.number)
		if err == nil {
			e := d.ownBroker(k.number)
			e.broker, e.revision = b, kv.ModRevision
		}
		return err
	case liveKind:
		l := live{epoch: kv.ModRevision, lease: clientv3.LeaseID(kv.Lease)}
		err := json.Unmarshal(kv.Value, &l.liveValue)
		if err == nil {
			d.ownBroker(k.number).live = l
		}
		return err
	case topicKind:
		return d.setTopic(k.name, kv)
	case partitionKind:
		p, err := decodePartition(kv.Value, kv.ModRevision)
		if err == nil {
			d.ownTopic(k.name).place(int(k.number), p)
		}
		return err
	case configsKind:
		values, err := decodeConfigs(kv.Value)
		if err == nil {
			d.setConfigs(k, values, kv.ModRevision)
		}
		return err
	}
	return nil
}

// keep leaves what a key held before in force, at the revision of the value that
// cannot be read: the next change then replaces that value. Who is alive and who
// is controller is not kept: the revision says that this life is over.
func (d *draft) keep(k key, kv *mvccpb.KeyValue) {
	rev := kv.ModRevision
	switch k.kind {
	case clusterKind:
		d.cluster.revision = rev
	case controllerKind:
		d.controller = seat{controllerValue{Broker: -1}, rev}
	case brokerKind:
		if d.Broker(k.number) != nil {
			d.ownBroker(k.number).revision = rev
		}
	case liveKind:
		d.ownBroker(k.number).live = live{epoch: rev, lease: clientv3.LeaseID(kv.Lease)}
	case topicKind:
		if t := d.named(k.name); t != nil && t.keys.revision > 0 {
			d.ownTopic(k.name).keys.revision = rev
		}
	case partitionKind:
		if p := d.partition(k); p != nil {
			kept := *p
			kept.ModRevision = rev
			d.ownTopic(k.name).place(int(k.number), &kept)
		}
	case configsKind:
		values, _ := d.settings(k)
		d.setConfigs(k, values, rev)
	}
}

// named finds what is known of a topic name, changed or not.
func (d *draft) named(name string) *Topic {
	if t := d.owned[name]; t != nil {
		return t
	}
	return d.Snapshot.named(name)
}

// settings are those of one resource, changed or not.
func (d *draft) settings(k key) (values map[string]string, rev int64) {
	if t := d.owned[k.name]; t != nil && k.configs == TopicConfigs {
		return t.Configs, t.keys.configs
	}
	return d.Snapshot.settings(k.configs, k.name)
}

func (d *draft) partition(k key) *Partition {
	if t := d.named(k.name); t != nil && int(k.number) < len(t.keys.partitions) {
		return t.keys.partitions[k.number]
	}
	return nil
}

func (d *draft) setTopic(name string, kv *mvccpb.KeyValue) error {
	v, id, err := decodeTopic(kv.Value)
	if err != nil {
		return err
	}
	if other := d.holder(id); other != "" && other != name {
		return fmt.Errorf("the id is that of topic %s", other)
	}
	t := d.ownTopic(name)
	t.ID, t.Created = id, v.Created
	t.keys.value, t.keys.revision = v, kv.ModRevision
	d.ids[id] = name
	return nil
}

// holder is the name of the topic that has an id.
func (d *draft) holder(id [16]byte) string {
	name, ok := d.ids[id]
	if t := d.TopicByID(id); !ok && t != nil { // as it was before this draft
		name = t.Name
	}
	if t := d.named(name); t != nil && t.ID == id && t.keys.revision > 0 {
		return name
	}
	return ""
}

func (d *draft) setConfigs(k key, values map[string]string, rev int64) {
	if k.configs == TopicConfigs {
		t := d.ownTopic(k.name)
		t.Configs, t.keys.configs = values, rev
		return
	}
	if !d.copied.configs {
		d.copied.configs = true
		if d.configs = maps.Clone(d.configs); d.configs == nil {
			d.configs = map[key]settings{}
		}
	}
	if d.configs[k] = (settings{values, rev}); rev == 0 {
		delete(d.configs, k)
	}
}

// place sets a partition of a topic that may be changed.
func (t *Topic) place(n int, p *Partition) {
	if n >= len(t.keys.partitions) {
		t.keys.partitions = append(t.keys.partitions, make([]*Partition, n+1-len(t.keys.partitions))...)
	}
	t.keys.partitions[n] = p
}

// ownTopic returns the topic of that name, made if need be, to be changed.
func (d *draft) ownTopic(name string) *Topic {
	if t := d.owned[name]; t != nil {
		return t
	}
	t := &Topic{Name: name}
	if old := d.Snapshot.named(name); old != nil {
		*t = *old
		t.keys.partitions = slices.Clone(t.keys.partitions)
	}
	d.owned[name] = t
	return t
}

// ownBroker returns the entry of a broker id, made if need be, to be changed.
func (d *draft) ownBroker(id int32) *brokerEntry {
	if !d.copied.brokers {
		d.copied.brokers = true
		if d.brokers = maps.Clone(d.brokers); d.brokers == nil {
			d.brokers = map[int32]*brokerEntry{}
		}
	}
	e := brokerEntry{}
	if old := d.brokers[id]; old != nil {
		e = *old
	}
	d.brokers[id] = &e
	return &e
}

// remove applies the deletion of one key.
func (d *draft) remove(text string) {
	if _, known := d.bad[text]; known {
		d.ownBad()
		delete(d.bad, text)
	}
	k, err := parseKey(text)
	if err != nil {
		return
	}
	switch k.kind {
	case clusterKind:
		d.cluster.revision = 0
	case controllerKind:
		d.controller = seat{}
	case brokerKind:
		e := d.ownBroker(k.number)
		e.broker, e.revision = nil, 0
	case liveKind:
		d.ownBroker(k.number).live = live{}
	case topicKind:
		t := d.ownTopic(k.name)
		t.ID = [16]byte{}
		t.keys.value, t.keys.revision = topicValue{}, 0
	case partitionKind:
		if p := d.partition(k); p != nil {
			d.ownTopic(k.name).keys.partitions[k.number] = nil
			d.lost = append(d.lost, lostPartition{k.name, int(k.number), p})
		}
	case configsKind:
		d.setConfigs(k, nil, 0)
	}
}
