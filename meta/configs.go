package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// SetConfigs changes the settings of one resource: edit gets a copy of those in
// force and returns the new ones; it is called again when another write came in
// between. No settings are the same as none. Settings of a topic are changed only
// while it exists. The name of broker settings is the broker's id, or "default".
func (m *Meta) SetConfigs(ctx context.Context, kind ConfigKind, name string, edit func(map[string]string) (map[string]string, error)) (int64, error) {
	ctx, cancel := deadline(ctx)
	defer cancel()
	snap, err := m.loadedSnapshot(ctx)
	if err != nil {
		return 0, err
	}
	if name == "" {
		return 0, ErrNotFound
	}
	for {
		if kind == TopicConfigs && snap.Topic(name) == nil {
			return 0, ErrNotFound
		}
		old, rev := snap.settings(kind, name)
		now := maps.Clone(old)
		if now == nil {
			now = map[string]string{}
		}
		if now, err = edit(now); err != nil {
			return 0, err
		}
		if len(now) == 0 && rev == 0 {
			return snap.Revision(), nil
		}
		c, err := configsChange(kind, name, now, rev)
		if err != nil {
			return 0, err
		}
		written, _, err := m.write(ctx, c)
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return written, err
		}
		snap = m.Snapshot()
	}
}

func configsChange(kind ConfigKind, name string, now map[string]string, rev int64) (c change, err error) {
	key := configsKey(kind, name)
	c.when(at(key, rev))
	if kind == TopicConfigs {
		c.when(clientv3.Compare(clientv3.CreateRevision(topicKey(name)), ">", 0))
	}
	if len(now) == 0 {
		c.do(clientv3.OpDelete(key))
		return c, nil
	}
	value, err := encode(now)
	c.put(key, value)
	return c, err
}

// producerBlock is how many producer ids a broker takes at once.
const producerBlock = 1000

// ProducerIDs takes a block of producer ids that nobody else has.
func (m *Meta) ProducerIDs(ctx context.Context) (first, count int64, err error) {
	ctx, cancel := deadline(ctx)
	defer cancel()
	if !wait(ctx, m.ready) {
		return 0, 0, ErrNoQuorum
	}
	for {
		next, rev, err := m.nextProducer(ctx)
		if err != nil {
			return 0, 0, err
		}
		value, err := encode(producersValue{next + producerBlock})
		if err != nil {
			return 0, 0, err
		}
		c := change{}
		c.when(at(producersKey, rev))
		c.put(producersKey, value)
		_, _, err = m.write(ctx, c)
		if err == nil {
			return next, producerBlock, nil
		}
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return 0, 0, err
		}
	}
}

// nextProducer reads which block is next, from an earlier value if the present
// one cannot be read.
func (m *Meta) nextProducer(ctx context.Context) (next, rev int64, err error) {
	resp, err := m.client.Get(ctx, producersKey)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrNoQuorum, err)
	}
	if len(resp.Kvs) == 0 {
		return 0, 0, nil
	}
	kv := resp.Kvs[0]
	read := func(kv *mvccpb.KeyValue) error {
		var v producersValue
		if err := json.Unmarshal(kv.Value, &v); err != nil {
			return err
		}
		if v.Next <= 0 {
			return fmt.Errorf("next is %d", v.Next)
		}
		next = v.Next
		return nil
	}
	if err := read(kv); err != nil {
		m.log.Error("a metadata value cannot be read; what the key held before stays in force",
			"key", producersKey, "revision", kv.ModRevision, "err", err)
		if err := earlier(ctx, m.client, kv, read); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", producersKey, err)
		}
	}
	return next, kv.ModRevision, nil
}
