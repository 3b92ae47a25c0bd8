package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// nodeView is the metadata as it counts for who has which replica.
type nodeView struct {
	active     map[int32]activeNode
	partitions []*assignment
}

// activeNode is a node that may lead: at which revisions its keys are, how many replicas it has.
type activeNode struct {
	live, broker int64
	replicas     int
}

// assignment is who has a partition, at a revision of its key. fields is its whole value,
// with what has no name here.
type assignment struct {
	name, key string
	rev       int64
	fields    map[string]json.RawMessage
	partitionValue
}

type partitionValue struct {
	Replicas          []int32 `json:"replicas"`
	ISR               []int32 `json:"isr"`
	ELR               []int32 `json:"elr"`
	LastKnown         []int32 `json:"lastKnown"`
	Offline           []int32 `json:"offline"`
	Leader            int32   `json:"leader"`
	LeaderEpoch       int32   `json:"leaderEpoch"`
	LeaderBrokerEpoch int64   `json:"leaderBrokerEpoch"`
	PartitionEpoch    int32   `json:"partitionEpoch"`
}

// readNodes reads brokers and partitions at one revision.
func readNodes(ctx context.Context, client *clientv3.Client) (*nodeView, error) {
	resp, err := client.Get(ctx, keyspace, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	v := &nodeView{active: map[int32]activeNode{}}
	type life struct{ State, Incarnation string }
	lives := map[string]life{}
	for _, kv := range resp.Kvs { // brokers come before live, and that before topics
		kind, rest, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), keyspace), "/")
		var l life
		switch kind {
		case "brokers", "live":
			if err := json.Unmarshal(kv.Value, &l); err != nil {
				return nil, fmt.Errorf("%s cannot be read: %w", kv.Key, err)
			}
			id, err := strconv.ParseInt(rest, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%s is no broker: %w", kv.Key, err)
			}
			node := v.active[int32(id)]
			if kind == "brokers" {
				lives[rest], node.broker = l, kv.ModRevision
			} else if lives[rest].State == "active" && lives[rest].Incarnation == l.Incarnation {
				node.live = kv.ModRevision
			}
			v.active[int32(id)] = node
		case "topics":
			if err := v.add(string(kv.Key), rest, kv.ModRevision, kv.Value); err != nil {
				return nil, err
			}
		}
	}
	for id, node := range v.active {
		if node.live == 0 {
			delete(v.active, id)
		}
	}
	return v, nil
}

// add takes a key under topics/, which is that of a topic or of a partition.
func (v *nodeView) add(key, rest string, rev int64, value []byte) error {
	topic, n, isPartition := strings.Cut(rest, "/")
	if !isPartition {
		return nil
	}
	a := &assignment{name: topic + "-" + n, key: key, rev: rev}
	if err := json.Unmarshal(value, &a.partitionValue); err != nil {
		return fmt.Errorf("%s cannot be read: %w", key, err)
	}
	if err := json.Unmarshal(value, &a.fields); err != nil {
		return fmt.Errorf("%s cannot be read: %w", key, err)
	}
	for _, id := range a.Replicas {
		if node, ok := v.active[id]; ok {
			node.replicas++
			v.active[id] = node
		}
	}
	v.partitions = append(v.partitions, a)
	return nil
}

// of are the partitions that have a replica on a node, and those of them that no other
// active node has in sync: they block its removal.
func (v *nodeView) of(id int32) (all []*assignment, blocking []string) {
	for _, a := range v.partitions {
		if !slices.Contains(a.Replicas, id) {
			continue
		}
		all = append(all, a)
		if _, ok := a.heir(v, id); !ok {
			blocking = append(blocking, a.name)
		}
	}
	return all, blocking
}

// heir is who leads when a node goes: the leader, or the first replica that is in sync.
func (a *assignment) heir(v *nodeView, gone int32) (int32, bool) {
	may := func(id int32) bool {
		_, active := v.active[id]
		return active && id != gone && slices.Contains(a.ISR, id) && !slices.Contains(a.Offline, id)
	}
	if may(a.Leader) {
		return a.Leader, true
	}
	i := slices.IndexFunc(a.Replicas, may)
	if i < 0 {
		return -1, false
	}
	return a.Replicas[i], true
}

// spare is the active node with the fewest replicas that has none of the partition, -1 when
// all have one.
func (a *assignment) spare(v *nodeView, gone int32) int32 {
	best := int32(-1)
	for id, node := range v.active {
		if id == gone || slices.Contains(a.Replicas, id) {
			continue
		}
		if had := v.active[best]; best < 0 || node.replicas < had.replicas || node.replicas == had.replicas && id < best {
			best = id
		}
	}
	return best
}

// without is the partition when a node has gone: another node takes its place, if there is
// one, and begins without records; a new leader epoch begins, in which it is followed so.
func (a *assignment) without(v *nodeView, gone int32) *assignment {
	next := *a
	leader, _ := a.heir(v, gone)
	next.Replicas = slices.Clone(a.Replicas)
	i := slices.Index(next.Replicas, gone)
	if spare := a.spare(v, gone); spare >= 0 {
		next.Replicas[i] = spare
		node := v.active[spare]
		node.replicas++
		v.active[spare] = node
	} else {
		next.Replicas = slices.Delete(next.Replicas, i, i+1)
	}
	for _, list := range []*[]int32{&next.ISR, &next.ELR, &next.LastKnown, &next.Offline} {
		*list = slices.DeleteFunc(append([]int32{}, *list...), func(id int32) bool { return id == gone })
	}
	next.Leader, next.LeaderBrokerEpoch = leader, v.active[leader].live
	next.LeaderEpoch++
	next.PartitionEpoch++
	return &next
}

// encode writes the value with what else it held.
func (a *assignment) encode() (string, error) {
	fields := map[string]any{
		"replicas": a.Replicas, "isr": a.ISR, "elr": a.ELR, "lastKnown": a.LastKnown, "offline": a.Offline, "leader": a.Leader,
		"leaderEpoch": a.LeaderEpoch, "leaderBrokerEpoch": a.LeaderBrokerEpoch, "partitionEpoch": a.PartitionEpoch,
	}
	for name, value := range a.fields {
		if _, ours := fields[name]; !ours {
			fields[name] = value
		}
	}
	text, err := json.Marshal(fields)
	return string(text), err
}
