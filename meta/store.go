package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	// ErrExists means that what was to be created is there.
	ErrExists = errors.New("exists already")
	// ErrNotFound means that what was to be changed is not there.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that another write came in between.
	ErrConflict = errors.New("changed meanwhile")
	// ErrTimeout means that the outcome of a write is unknown.
	ErrTimeout = errors.New("no answer from the metadata in time; the change may or may not be made")
	// ErrNoQuorum means that etcd has no leader; nothing was changed.
	ErrNoQuorum = errors.New("the metadata has no quorum")
	// ErrNotRegistered means that this broker has no session.
	ErrNotRegistered = errors.New("this broker is not registered")
	// ErrTooMany means a topic with more partitions than one transaction holds.
	ErrTooMany = fmt.Errorf("a topic has at most %d partitions", MaxPartitions)
)

// transaction is an etcd transaction with a deadline.
type transaction struct {
	client *clientv3.Client
	conds  []clientv3.Cmp
	then   []clientv3.Op
	orElse []clientv3.Op
}

func (m *Meta) txn() *transaction { return &transaction{client: m.client} }

func (t *transaction) If(c ...clientv3.Cmp) *transaction {
	t.conds = append(t.conds, c...)
	return t
}

func (t *transaction) Then(o ...clientv3.Op) *transaction {
	t.then = append(t.then, o...)
	return t
}

func (t *transaction) Else(o ...clientv3.Op) *transaction {
	t.orElse = append(t.orElse, o...)
	return t
}

// Commit sends the transaction and gives its errors our names.
func (t *transaction) Commit(ctx context.Context) (*clientv3.TxnResponse, error) {
	callCtx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	resp, err := t.client.Txn(callCtx).If(t.conds...).Then(t.then...).Else(t.orElse...).Commit()
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, rpctypes.ErrNoLeader):
		return nil, fmt.Errorf("%w: %w", ErrNoQuorum, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, rpctypes.ErrTimeout):
		return nil, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return nil, err
}

// mine holds while this broker is in the life in which it decided.
func (m *Meta) mine() (clientv3.Cmp, error) {
	s := m.Session()
	if s == nil {
		return clientv3.Cmp{}, ErrNotRegistered
	}
	return clientv3.Compare(clientv3.ModRevision(liveKey(m.cfg.NodeID)), "=", s.epoch), nil
}

// write commits ops under conds and this broker's life. ErrConflict says that
// one of the conditions did not hold.
func (m *Meta) write(ctx context.Context, conds []clientv3.Cmp, ops ...clientv3.Op) (int64, error) {
	mine, err := m.mine()
	if err != nil {
		return 0, err
	}
	resp, err := m.txn().If(mine).If(conds...).Then(ops...).Commit(ctx)
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return resp.Header.Revision, ErrConflict
	}
	return resp.Header.Revision, nil
}

// NewTopic is a topic to be created.
type NewTopic struct {
	Name     string
	ID       [16]byte
	Replicas [][]int32 // by partition; the first alive one leads
	Configs  map[string]string
}

// CreateTopic creates the topic, its partitions with their leaders, and its
// settings in one transaction. ErrExists: there is one of that name. ErrConflict:
// a leader died meanwhile.
func (m *Meta) CreateTopic(ctx context.Context, t NewTopic) (int64, error) {
	if len(t.Replicas) > MaxPartitions {
		return 0, ErrTooMany
	}
	topic, err := json.Marshal(topicValue{
		ID: EncodeID(t.ID), Partitions: len(t.Replicas), ReplicationFactor: len(t.Replicas[0]),
		Created: time.Now().UTC().Truncate(time.Millisecond),
	})
	if err != nil {
		return 0, err
	}
	ops := []clientv3.Op{clientv3.OpPut(topicKey(t.Name), string(topic))}
	conds, parts, err := m.newPartitions(t.Name, 0, t.Replicas)
	if err != nil {
		return 0, err
	}
	ops = append(ops, parts...)
	if len(t.Configs) > 0 {
		configs, err := json.Marshal(t.Configs)
		if err != nil {
			return 0, err
		}
		ops = append(ops, clientv3.OpPut(configsKey(TopicConfigs, t.Name), string(configs)))
	}
	absent := clientv3.Compare(clientv3.CreateRevision(topicKey(t.Name)), "=", 0)
	rev, err := m.write(ctx, append(conds, absent), ops...)
	if errors.Is(err, ErrConflict) {
		if werr := m.WaitRevision(ctx, rev); werr != nil {
			return 0, werr
		}
		if m.Snapshot().Topic(t.Name) != nil {
			return rev, ErrExists
		}
	}
	return rev, err
}

// newPartitions makes the keys of new partitions from number first on, and the
// conditions that their leaders are alive.
func (m *Meta) newPartitions(topic string, first int, replicas [][]int32) ([]clientv3.Cmp, []clientv3.Op, error) {
	snap := m.Snapshot()
	leaders := map[int32]int64{}
	var ops []clientv3.Op
	for i, rs := range replicas {
		p := Partition{Replicas: rs, Leader: -1, ISR: rs, ELR: []int32{}, LastKnown: []int32{}, Offline: []int32{}}
		for _, id := range rs {
			if epoch, ok := snap.Live(id); ok {
				p.Leader, p.LeaderBrokerEpoch = id, epoch
				leaders[id] = epoch
				break
			}
		}
		value, err := json.Marshal(p)
		if err != nil {
			return nil, nil, err
		}
		ops = append(ops, clientv3.OpPut(partitionKey(topic, first+i), string(value)))
	}
	var conds []clientv3.Cmp
	for id, epoch := range leaders {
		conds = append(conds, clientv3.Compare(clientv3.ModRevision(liveKey(id)), "=", epoch))
	}
	return conds, ops, nil
}

// DeleteTopic deletes the topic with that id, its partitions and its settings.
func (m *Meta) DeleteTopic(ctx context.Context, name string, id [16]byte) (int64, error) {
	kv, v, err := m.topicKV(ctx, name)
	if err != nil {
		return 0, err
	}
	if v.ID != EncodeID(id) {
		return 0, ErrNotFound
	}
	from, to := partitionRange(name)
	return m.write(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(topicKey(name)), "=", kv)},
		clientv3.OpDelete(topicKey(name)),
		clientv3.OpDelete(from, clientv3.WithRange(to)),
		clientv3.OpDelete(configsKey(TopicConfigs, name)))
}

// topicKV reads a topic's own key: its mod revision and its value.
func (m *Meta) topicKV(ctx context.Context, name string) (int64, topicValue, error) {
	var v topicValue
	callCtx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	resp, err := m.client.Get(callCtx, topicKey(name))
	if err != nil {
		return 0, v, err
	}
	if len(resp.Kvs) == 0 {
		return 0, v, ErrNotFound
	}
	return resp.Kvs[0].ModRevision, v, json.Unmarshal(resp.Kvs[0].Value, &v)
}

// AddPartitions adds one partition for each list of replicas to a topic that has
// had partitions so far.
func (m *Meta) AddPartitions(ctx context.Context, name string, had int, replicas [][]int32) (int64, error) {
	if had+len(replicas) > MaxPartitions {
		return 0, ErrTooMany
	}
	rev, v, err := m.topicKV(ctx, name)
	if err != nil {
		return 0, err
	}
	if v.Partitions != had {
		return 0, ErrConflict
	}
	v.Partitions += len(replicas)
	value, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	conds, ops, err := m.newPartitions(name, had, replicas)
	if err != nil {
		return 0, err
	}
	conds = append(conds, clientv3.Compare(clientv3.ModRevision(topicKey(name)), "=", rev))
	return m.write(ctx, conds, append(ops, clientv3.OpPut(topicKey(name), string(value)))...)
}

// SetConfigs changes the settings of one resource: change gets those in force
// and returns the new ones, and may be called again when another write came in
// between. Settings of a topic are changed only while it exists.
func (m *Meta) SetConfigs(ctx context.Context, kind ConfigKind, name string, change func(map[string]string) (map[string]string, error)) (int64, error) {
	key := configsKey(kind, name)
	for {
		callCtx, cancel := context.WithTimeout(ctx, callDeadline)
		resp, err := m.client.Get(callCtx, key)
		cancel()
		if err != nil {
			return 0, err
		}
		old, rev := map[string]string{}, int64(0)
		if len(resp.Kvs) > 0 {
			rev = resp.Kvs[0].ModRevision
			if err := json.Unmarshal(resp.Kvs[0].Value, &old); err != nil {
				return 0, fmt.Errorf("%s: %w", key, err)
			}
		}
		next, err := change(old)
		if err != nil {
			return 0, err
		}
		value, err := json.Marshal(next)
		if err != nil {
			return 0, err
		}
		conds := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", rev)}
		if kind == TopicConfigs {
			if m.Snapshot().Topic(name) == nil {
				return 0, ErrNotFound
			}
			conds = append(conds, clientv3.Compare(clientv3.CreateRevision(topicKey(name)), ">", 0))
		}
		op := clientv3.OpPut(key, string(value))
		if len(next) == 0 {
			op = clientv3.OpDelete(key)
		}
		at, err := m.write(ctx, conds, op)
		if !errors.Is(err, ErrConflict) {
			return at, err
		}
		if err := m.WaitRevision(ctx, at); err != nil {
			return 0, err
		}
	}
}

// producerBlock is how many producer ids a broker takes at once.
const producerBlock = 1000

// ProducerIDs takes a block of producer ids that nobody else has.
func (m *Meta) ProducerIDs(ctx context.Context) (first, count int64, err error) {
	var v struct {
		Next int64 `json:"next"`
	}
	for {
		callCtx, cancel := context.WithTimeout(ctx, callDeadline)
		resp, err := m.client.Get(callCtx, producersKey)
		cancel()
		if err != nil {
			return 0, 0, err
		}
		rev := int64(0)
		if len(resp.Kvs) > 0 {
			rev = resp.Kvs[0].ModRevision
			if err := json.Unmarshal(resp.Kvs[0].Value, &v); err != nil {
				return 0, 0, fmt.Errorf("%s: %w", producersKey, err)
			}
		}
		first = v.Next
		value := fmt.Sprintf(`{"next":%d}`, first+producerBlock)
		_, err = m.write(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(producersKey), "=", rev)}, clientv3.OpPut(producersKey, value))
		if !errors.Is(err, ErrConflict) {
			return first, producerBlock, err
		}
	}
}

// Election gives a partition a new leader.
type Election struct {
	Topic     string
	Partition int32
	Leader    int32
	Base      *Partition // what the decision is based on
}

// electionBatch is how many partitions one transaction elects.
const electionBatch = 1000

// Elect writes new leaders, each in a new leader epoch, as the controller.
// ErrConflict: a partition, a leader or the controller changed meanwhile; what
// came before it in the list is written.
func (m *Meta) Elect(ctx context.Context, elections []Election) (rev int64, err error) {
	snap := m.Snapshot()
	for len(elections) > 0 {
		n := min(len(elections), electionBatch)
		if rev, err = m.electBatch(ctx, snap, elections[:n]); err != nil {
			return rev, err
		}
		elections = elections[n:]
	}
	return rev, nil
}

func (m *Meta) electBatch(ctx context.Context, snap *Snapshot, elections []Election) (int64, error) {
	leaders := map[int32]int64{}
	var conds []clientv3.Cmp
	var ops []clientv3.Op
	for _, e := range elections {
		epoch, ok := snap.Live(e.Leader)
		if !ok {
			return 0, ErrConflict
		}
		leaders[e.Leader] = epoch
		p := *e.Base
		p.Leader, p.LeaderBrokerEpoch = e.Leader, epoch
		p.LeaderEpoch++
		p.PartitionEpoch++
		value, err := json.Marshal(p)
		if err != nil {
			return 0, err
		}
		key := partitionKey(e.Topic, int(e.Partition))
		conds = append(conds, clientv3.Compare(clientv3.ModRevision(key), "=", e.Base.ModRevision))
		ops = append(ops, clientv3.OpPut(key, string(value)))
	}
	for id, epoch := range leaders {
		conds = append(conds, clientv3.Compare(clientv3.ModRevision(liveKey(id)), "=", epoch))
	}
	return m.write(ctx, conds, ops...)
}
