package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// topicChunk is how many partitions one transaction creates.
const topicChunk = 2000

// NewTopic is a topic to be created.
type NewTopic struct {
	Name     string
	ID       [16]byte
	Replicas [][]int32 // by partition; the first active one leads
	Configs  map[string]string
}

func (t NewTopic) check() error {
	if err := checkTopicName(t.Name); err != nil {
		return err
	}
	if len(t.Replicas) == 0 || len(t.Replicas) > MaxPartitions {
		return fmt.Errorf("%d partitions: a topic has 1 to %d", len(t.Replicas), MaxPartitions)
	}
	return nil
}

// CreateTopic creates the topic, its partitions with their leaders, and its
// settings in one transaction; a topic of more than 2,000 partitions in several,
// and readers see it after the last. ErrExists: there is one of that name, and
// the snapshot shows it unless it is still being created.
func (m *Meta) CreateTopic(ctx context.Context, t NewTopic) (int64, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	if _, err := m.loadedSnapshot(ctx); err != nil {
		return 0, err
	}
	v := topicValue{
		ID: EncodeID(t.ID), Partitions: len(t.Replicas), ReplicationFactor: len(t.Replicas[0]),
		Created: time.Now().UTC().Truncate(time.Millisecond),
	}
	if len(t.Replicas) <= topicChunk {
		ctx, cancel := deadline(ctx)
		defer cancel()
		return m.beginTopic(ctx, t, v)
	}
	if s := m.Session(); s != nil {
		v.Creating = &creating{Broker: m.cfg.NodeID, BrokerEpoch: s.epoch, Replicas: t.Replicas}
	}
	m.creating.add(t.Name)
	defer m.creating.remove(t.Name)
	beginCtx, cancel := deadline(ctx)
	rev, err := m.beginTopic(beginCtx, t, v)
	cancel()
	if err != nil {
		return 0, err
	}
	return m.finishTopic(ctx, t.Name, v, rev)
}

// beginTopic puts the topic, its settings and its first partitions.
func (m *Meta) beginTopic(ctx context.Context, t NewTopic, v topicValue) (int64, error) {
	topic, err := encode(v)
	if err != nil {
		return 0, err
	}
	for {
		c := change{}
		c.when(at(topicKey(t.Name), 0))
		c.put(topicKey(t.Name), topic)
		if len(t.Configs) > 0 {
			configs, err := encode(t.Configs)
			if err != nil {
				return 0, err
			}
			c.put(configsKey(TopicConfigs, t.Name), configs)
		}
		if err := m.addPartitions(&c, t.Name, 0, t.Replicas[:min(topicChunk, len(t.Replicas))]); err != nil {
			return 0, err
		}
		rev, _, err := m.write(ctx, c)
		if !errors.Is(err, ErrConflict) {
			return rev, err
		}
		switch have := m.Snapshot().named(t.Name); {
		case have != nil && have.keys.revision > 0 && have.ID == t.ID: // an attempt that seemed lost
			return have.keys.revision, nil
		case have != nil && have.keys.revision > 0:
			return rev, ErrExists
		case m.Snapshot().bad[topicKey(t.Name)] > 0:
			return rev, fmt.Errorf("%w, but its value cannot be read", ErrExists)
		case ctx.Err() != nil:
			return 0, err
		}
		// A leader or this broker began another life: from the new snapshot.
	}
}

// addPartitions adds the keys of new partitions from number first on, and the
// conditions that their leaders stay what they are.
func (m *Meta) addPartitions(c *change, topic string, first int, replicas [][]int32) error {
	snap := m.Snapshot()
	leaders := map[int32]int64{}
	for i, rs := range replicas {
		if len(rs) == 0 {
			return fmt.Errorf("partition %d has no replicas", first+i)
		}
		p := Partition{Replicas: rs, Leader: -1, ISR: rs}
		if there := active(snap, rs); len(there) > 0 {
			p.Leader, p.ISR = there[0], there
			p.LeaderBrokerEpoch, _ = snap.Live(p.Leader)
			leaders[p.Leader] = p.LeaderBrokerEpoch
		}
		value, err := p.encode()
		if err != nil {
			return err
		}
		c.put(partitionKey(topic, first+i), value)
	}
	for id, epoch := range leaders {
		c.when(at(liveKey(id), epoch))
	}
	return nil
}

// active are those of some brokers that are.
func active(snap *Snapshot, ids []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return !snap.IsActive(id) })
}

// finishTopic puts the partitions behind the first chunk of a topic whose key is
// at revision rev with a creating mark, and takes the mark away with the last. It
// can be done again, and by several at once: until the mark is gone nobody else
// writes these keys.
func (m *Meta) finishTopic(ctx context.Context, name string, v topicValue, rev int64) (int64, error) {
	replicas := v.Creating.Replicas
	v.Creating = nil
	topic, err := encode(v)
	if err != nil {
		return 0, err
	}
	return m.putChunks(ctx, chunks{
		topic: name, first: topicChunk, replicas: replicas[topicChunk:], base: rev, value: topic,
		done: func(t *Topic) bool { return t.shown() && t.keys.value.ID == v.ID },
	})
}

// chunks are partitions that are put in as many transactions as it takes. Each
// compares the topic's key; the last one puts its new value.
type chunks struct {
	topic    string
	first    int
	replicas [][]int32
	base     int64 // mod revision of the topic's key
	value    string
	done     func(*Topic) bool // whether an attempt that seemed lost had the effect of all
}

func (m *Meta) putChunks(ctx context.Context, ch chunks) (rev int64, err error) {
	for len(ch.replicas) > 0 {
		n := min(len(ch.replicas), topicChunk)
		c := change{}
		c.when(at(topicKey(ch.topic), ch.base))
		if n == len(ch.replicas) {
			c.put(topicKey(ch.topic), ch.value)
		}
		if err := m.addPartitions(&c, ch.topic, ch.first, ch.replicas[:n]); err != nil {
			return 0, err
		}
		callCtx, cancel := deadline(ctx)
		rev, _, err = m.write(callCtx, c)
		cancel()
		if errors.Is(err, ErrConflict) {
			switch t := m.Snapshot().named(ch.topic); {
			case t == nil || t.keys.revision == 0:
				return 0, ErrNotFound
			case ch.done(t):
				return t.keys.revision, nil
			}
		}
		if err != nil {
			return 0, err
		}
		ch.first, ch.replicas = ch.first+n, ch.replicas[n:]
	}
	return rev, nil
}

// AddPartitions adds one partition for each list of replicas to a topic that has
// had partitions so far. Readers see all of them at once. ErrConflict: it has
// another number of partitions.
func (m *Meta) AddPartitions(ctx context.Context, name string, had int, replicas [][]int32) (int64, error) {
	if had+len(replicas) > MaxPartitions {
		return 0, fmt.Errorf("%d partitions: a topic has at most %d", had+len(replicas), MaxPartitions)
	}
	snap, err := m.loadedSnapshot(ctx)
	if err != nil {
		return 0, err
	}
	t := snap.Topic(name)
	if t == nil {
		return 0, ErrNotFound
	}
	if len(t.Partitions) != had || len(replicas) == 0 {
		return 0, ErrConflict
	}
	v := t.keys.value
	v.Partitions = had + len(replicas)
	topic, err := encode(v)
	if err != nil {
		return 0, err
	}
	return m.putChunks(ctx, chunks{
		topic: name, first: had, replicas: replicas, base: t.keys.revision, value: topic,
		done: func(now *Topic) bool {
			return now.ID == t.ID && now.keys.value.Partitions == v.Partitions && sameReplicas(now.Partitions[had:], replicas)
		},
	})
}

func sameReplicas(partitions []*Partition, replicas [][]int32) bool {
	return slices.EqualFunc(partitions, replicas, func(p *Partition, rs []int32) bool { return slices.Equal(p.Replicas, rs) })
}

// DeleteTopic deletes the topic with that id, its partitions and its settings in
// one transaction.
func (m *Meta) DeleteTopic(ctx context.Context, name string, id [16]byte) (int64, error) {
	ctx, cancel := deadline(ctx)
	defer cancel()
	snap, err := m.loadedSnapshot(ctx)
	if err != nil {
		return 0, err
	}
	from, to := partitionRange(name)
	for wasSent := false; ; {
		t := snap.named(name)
		if t == nil || t.keys.revision == 0 || t.ID != id {
			if wasSent {
				return snap.Revision(), nil
			}
			return 0, ErrNotFound
		}
		c := change{}
		c.when(at(topicKey(name), t.keys.revision))
		c.do(clientv3.OpDelete(topicKey(name)), clientv3.OpDelete(from, clientv3.WithRange(to)),
			clientv3.OpDelete(configsKey(TopicConfigs, name)))
		rev, resent, err := m.write(ctx, c)
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return rev, err
		}
		snap, wasSent = m.Snapshot(), wasSent || resent
	}
}

// resumeTopics finishes creations that stopped half-way: its own that failed, and
// as controller those of brokers whose life is over.
func (m *Meta) resumeTopics(ctx context.Context) error {
	if !wait(ctx, m.registered) {
		return nil
	}
	for {
		snap, changed := m.Watch()
		var again <-chan time.Time
		if snap.unfinished > 0 {
			again = time.After(time.Second)
			for t := range snap.topics.all() {
				if m.mayFinish(snap, t) {
					m.resumeTopic(ctx, t)
				}
			}
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *Meta) mayFinish(snap *Snapshot, t *Topic) bool {
	mark := t.keys.value.Creating
	if mark == nil || len(mark.Replicas) <= topicChunk || m.creating.has(t.Name) {
		return false
	}
	controller, ok := snap.Controller()
	epoch, _ := snap.Live(mark.Broker)
	ended := epoch != mark.BrokerEpoch
	return !ended && mark.Broker == m.cfg.NodeID || ended && ok && controller == m.cfg.NodeID
}

func (m *Meta) resumeTopic(ctx context.Context, t *Topic) {
	_, err := m.finishTopic(ctx, t.Name, t.keys.value, t.keys.revision)
	switch {
	case err == nil:
		m.log.Info("finished the creation of a topic that had stopped half-way", "topic", t.Name, "partitions", t.keys.value.Partitions)
	case ctx.Err() == nil && !errors.Is(err, ErrNotFound):
		m.log.Warn("creation of a topic not finished; trying again", "topic", t.Name, "err", err)
	}
}
