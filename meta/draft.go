package meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// draft is a snapshot in the making. It copies of the old one only what changes.
type draft struct {
	Snapshot
	log      *slog.Logger
	previous *Snapshot // values that a list may fall back to when it meets a bad one
	owned    map[string]*Topic
	cloned   struct{ brokers, lives, topics, configs bool }
}

func newDraft(old *Snapshot, log *slog.Logger) *draft {
	d := &draft{log: log, owned: map[string]*Topic{}, previous: old}
	if old != nil {
		d.Snapshot = *old
		return d
	}
	d.controller = -1
	d.brokers, d.lives, d.configs = map[int32]*Broker{}, map[int32]live{}, map[configKey]map[string]string{}
	d.cloned.brokers, d.cloned.lives, d.cloned.topics, d.cloned.configs = true, true, true, true
	return d
}

// finish returns the snapshot at the revision.
func (d *draft) finish(rev int64) *Snapshot {
	d.revision = rev
	if len(d.owned) > 0 {
		d.indexIDs()
	}
	s := d.Snapshot
	return &s
}

// indexIDs renews the index of complete topics for those that changed.
func (d *draft) indexIDs() {
	ids := make([]*Topic, 0, len(d.topics))
	if len(d.owned) > len(d.topics)/8 {
		for _, t := range d.topics {
			if t.complete() {
				ids = append(ids, t)
			}
		}
		slices.SortFunc(ids, func(a, b *Topic) int { return slices.Compare(a.ID[:], b.ID[:]) })
		d.byID = ids
		return
	}
	for _, t := range d.byID {
		if _, changed := d.owned[t.Name]; !changed {
			ids = append(ids, t)
		}
	}
	for _, t := range d.owned {
		if t != nil && t.complete() {
			i, _ := findID(ids, t.ID)
			ids = slices.Insert(ids, i, t)
		}
	}
	d.byID = ids
}

// put applies one key. A value that cannot be read is logged and the one before
// it stays in force: a person may have typed it.
func (d *draft) put(kv *mvccpb.KeyValue) {
	key := strings.TrimPrefix(string(kv.Key), prefix)
	kind, rest, _ := strings.Cut(key, "/")
	if err := d.set(kind, rest, kv); err != nil {
		d.log.Error("a metadata value cannot be read; the one before it stays in force",
			"key", string(kv.Key), "revision", kv.ModRevision, "err", err)
	}
}

func (d *draft) set(kind, rest string, kv *mvccpb.KeyValue) error {
	switch kind {
	case "cluster":
		return d.setCluster(kv.Value)
	case "controller":
		var v controllerValue
		if err := json.Unmarshal(kv.Value, &v); err != nil {
			return err
		}
		d.controller = v.Broker
		return nil
	case "brokers":
		return d.setBroker(rest, kv.Value)
	case "live":
		return d.setLive(rest, kv)
	case "topics":
		return d.setTopic(rest, kv)
	case "configs":
		return d.setConfigs(rest, kv.Value)
	}
	return nil // another's key, or one of a later build
}

func (d *draft) setCluster(value []byte) error {
	var c Cluster
	if err := json.Unmarshal(value, &c); err != nil {
		return err
	}
	if c.Schema > Schema {
		return fmt.Errorf("schema %d, known is %d", c.Schema, Schema)
	}
	d.cluster = c
	return nil
}

func (d *draft) setBroker(rest string, value []byte) error {
	id, err := brokerID(rest)
	if err != nil {
		return err
	}
	b := &Broker{}
	if err := json.Unmarshal(value, b); err != nil {
		return err
	}
	if b.ID != id {
		return fmt.Errorf("the value is of broker %d", b.ID)
	}
	if !d.cloned.brokers {
		d.brokers, d.cloned.brokers = maps.Clone(d.brokers), true
	}
	d.brokers[id] = b
	return nil
}

func (d *draft) setLive(rest string, kv *mvccpb.KeyValue) error {
	id, err := brokerID(rest)
	if err != nil {
		return err
	}
	l := live{epoch: kv.ModRevision}
	if err := json.Unmarshal(kv.Value, &l); err != nil {
		return err
	}
	d.cloneLives()
	d.lives[id] = l
	return nil
}

func (d *draft) cloneLives() {
	if !d.cloned.lives {
		d.lives, d.cloned.lives = maps.Clone(d.lives), true
	}
}

func brokerID(text string) (int32, error) {
	id, err := strconv.ParseInt(text, 10, 32)
	if err == nil && (id < 0 || strconv.FormatInt(id, 10) != text) {
		err = fmt.Errorf("no broker id: %q", text)
	}
	return int32(id), err
}

func (d *draft) setConfigs(rest string, value []byte) error {
	key, err := parseConfigKey(rest)
	if err != nil {
		return err
	}
	configs := map[string]string{}
	if err := json.Unmarshal(value, &configs); err != nil {
		return err
	}
	d.replaceConfigs(key, configs)
	return nil
}

func parseConfigKey(rest string) (configKey, error) {
	kind, escaped, _ := strings.Cut(rest, "/")
	name, err := url.PathUnescape(escaped)
	return configKey{ConfigKind(kind), name}, err
}

// replaceConfigs sets or, with nil, removes the settings of one resource.
func (d *draft) replaceConfigs(key configKey, configs map[string]string) {
	if !d.cloned.configs {
		d.configs, d.cloned.configs = maps.Clone(d.configs), true
	}
	if configs == nil {
		delete(d.configs, key)
	} else {
		d.configs[key] = configs
	}
	if _, known := findName(d.topics, key.name); known && key.kind == TopicConfigs {
		d.topic(key.name).Configs = configs
	}
}

// topic returns the topic of that name, made if need be, to be changed.
func (d *draft) topic(name string) *Topic {
	if t := d.owned[name]; t != nil {
		return t
	}
	if !d.cloned.topics {
		d.topics, d.cloned.topics = slices.Clone(d.topics), true
	}
	i, known := findName(d.topics, name)
	t := &Topic{Name: name, Configs: d.configs[configKey{TopicConfigs, name}]}
	if known {
		copied := *d.topics[i]
		copied.Partitions = slices.Clone(copied.Partitions)
		t = &copied
		d.topics[i] = t
	} else {
		d.topics = slices.Insert(d.topics, i, t)
	}
	d.owned[name] = t
	return t
}

func (d *draft) setTopic(rest string, kv *mvccpb.KeyValue) error {
	name, n, err := splitTopic(rest)
	if err != nil {
		return err
	}
	if n >= 0 {
		return d.setPartition(name, n, kv)
	}
	var v topicValue
	if err := json.Unmarshal(kv.Value, &v); err != nil {
		return err
	}
	id, err := DecodeID(v.ID)
	if err != nil {
		return err
	}
	if v.Partitions < 1 || v.Partitions > MaxPartitions {
		return fmt.Errorf("%d partitions", v.Partitions)
	}
	t := d.topic(name)
	t.ID, t.declared, t.Created = id, v.Partitions, v.Created
	t.grow(v.Partitions)
	return nil
}

// grow makes room for n partitions.
func (t *Topic) grow(n int) {
	if n > len(t.Partitions) {
		t.Partitions = append(t.Partitions, make([]*Partition, n-len(t.Partitions))...)
	}
}

func (d *draft) setPartition(name string, n int, kv *mvccpb.KeyValue) error {
	p := &Partition{ModRevision: kv.ModRevision}
	err := json.Unmarshal(kv.Value, p)
	if err == nil && len(p.Replicas) == 0 {
		err = errors.New("no replicas")
	}
	if err != nil {
		// A list starts from nothing: what was known before still holds.
		if old := d.previousPartition(name, n); old != nil {
			t := d.topic(name)
			t.grow(n + 1)
			t.Partitions[n] = old
		}
		return err
	}
	t := d.topic(name)
	t.grow(n + 1)
	t.Partitions[n] = p
	return nil
}

func (d *draft) previousPartition(name string, n int) *Partition {
	if d.previous == nil {
		return nil
	}
	if t := d.previous.Topic(name); t != nil && n < len(t.Partitions) {
		return t.Partitions[n]
	}
	return nil
}

// remove applies the deletion of one key.
func (d *draft) remove(key string) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
	switch kind {
	case "controller":
		d.controller = -1
	case "brokers":
		if id, err := brokerID(rest); err == nil {
			if !d.cloned.brokers {
				d.brokers, d.cloned.brokers = maps.Clone(d.brokers), true
			}
			delete(d.brokers, id)
		}
	case "live":
		if id, err := brokerID(rest); err == nil {
			d.cloneLives()
			delete(d.lives, id)
		}
	case "topics":
		d.removeTopic(rest)
	case "configs":
		if key, err := parseConfigKey(rest); err == nil {
			d.replaceConfigs(key, nil)
		}
	}
}

func (d *draft) removeTopic(rest string) {
	name, n, err := splitTopic(rest)
	if err != nil {
		return
	}
	if _, known := findName(d.topics, name); !known {
		return
	}
	t := d.topic(name)
	switch {
	case n < 0:
		t.declared = 0
	case n < len(t.Partitions):
		t.Partitions[n] = nil
	}
	if t.declared > 0 {
		return
	}
	for len(t.Partitions) > 0 && t.Partitions[len(t.Partitions)-1] == nil {
		t.Partitions = t.Partitions[:len(t.Partitions)-1]
	}
	if len(t.Partitions) == 0 {
		i, _ := findName(d.topics, name)
		d.topics = slices.Delete(d.topics, i, i+1)
		d.owned[name] = nil
	}
}
