package meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Schema is the version of the keyspace that this build reads and writes.
const Schema = 1

// The states of a broker.
const (
	Fenced   = "fenced"
	Active   = "active"
	Draining = "draining"
)

// Cluster is what is fixed when a cluster is made.
type Cluster struct {
	ID       string            `json:"id"`
	Schema   int               `json:"schema"`
	Features map[string]string `json:"features"`
}

// Broker is a registered broker.
type Broker struct {
	ID          int32             `json:"id"`
	Host        string            `json:"host"`
	Port        int32             `json:"port"`
	Rack        string            `json:"rack"`
	Listeners   map[string]string `json:"listeners"`
	Directory   string            `json:"directory"`
	Incarnation string            `json:"incarnation"`
	State       string            `json:"state"`
	Version     string            `json:"version"`
}

// liveValue is the value of live/<id>, a broker's sign of life.
type liveValue struct {
	Incarnation string `json:"incarnation"`
	Directory   string `json:"directory"`
}

// controllerValue is the value of controller.
type controllerValue struct {
	Broker      int32 `json:"broker"`
	BrokerEpoch int64 `json:"brokerEpoch"`
}

// topicValue is the value of topics/<name>.
type topicValue struct {
	ID                string    `json:"id"`
	Partitions        int       `json:"partitions"`
	ReplicationFactor int       `json:"replicationFactor"`
	Created           time.Time `json:"created"`
	Creating          *creating `json:"creating,omitempty"`
}

// creating marks a topic that takes several transactions. Readers hide it, and
// whoever finishes it needs what is here.
type creating struct {
	Broker      int32     `json:"broker"` // who does it, in which life
	BrokerEpoch int64     `json:"brokerEpoch"`
	Replicas    [][]int32 `json:"replicas"` // by partition
}

// producersValue is the value of producers.
type producersValue struct {
	Next int64 `json:"next"`
}

// Partition says who has a partition and who leads it.
type Partition struct {
	Replicas          []int32 `json:"replicas"`
	Leader            int32   `json:"leader"` // -1 is none
	LeaderEpoch       int32   `json:"leaderEpoch"`
	LeaderBrokerEpoch int64   `json:"leaderBrokerEpoch"` // the life of the leader that won
	ISR               []int32 `json:"isr"`
	ELR               []int32 `json:"elr"`
	LastKnown         []int32 `json:"lastKnown"`
	Offline           []int32 `json:"offline"`
	PartitionEpoch    int32   `json:"partitionEpoch"`

	// ModRevision is what a change of the key compares.
	ModRevision int64 `json:"-"`
}

// encode makes a value of the keyspace.
func encode(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

// encode writes lists that are empty as [], never as null.
func (p Partition) encode() (string, error) {
	for _, list := range []*[]int32{&p.Replicas, &p.ISR, &p.ELR, &p.LastKnown, &p.Offline} {
		if *list == nil {
			*list = []int32{}
		}
	}
	return encode(p)
}

func decodePartition(value []byte, rev int64) (*Partition, error) {
	p := &Partition{ModRevision: rev}
	if err := json.Unmarshal(value, p); err != nil {
		return nil, err
	}
	if len(p.Replicas) == 0 {
		return nil, errors.New("no replicas")
	}
	if p.Leader < -1 || p.LeaderEpoch < 0 || p.PartitionEpoch < 0 {
		return nil, errors.New("a leader or an epoch is negative")
	}
	if p.Leader >= 0 && !slices.Contains(p.Replicas, p.Leader) {
		return nil, fmt.Errorf("the leader %d is no replica", p.Leader)
	}
	for i, id := range p.Replicas {
		if id < 0 || slices.Contains(p.Replicas[:i], id) {
			return nil, fmt.Errorf("replica %d is negative or named twice", id)
		}
	}
	for _, list := range [][]int32{p.ISR, p.ELR, p.LastKnown, p.Offline} {
		for i, id := range list {
			if !slices.Contains(p.Replicas, id) || slices.Contains(list[:i], id) {
				return nil, fmt.Errorf("%d is no replica or named twice", id)
			}
		}
	}
	if slices.Equal(p.ISR, p.Replicas) {
		p.ISR = p.Replicas // the usual case, shared: there are many partitions
	}
	return p, nil
}

func decodeTopic(value []byte) (v topicValue, id [16]byte, err error) {
	if err = json.Unmarshal(value, &v); err != nil {
		return v, id, err
	}
	if id, err = DecodeID(v.ID); err != nil {
		return v, id, err
	}
	if v.Partitions < 1 || v.Partitions > MaxPartitions {
		return v, id, fmt.Errorf("%d partitions", v.Partitions)
	}
	if c := v.Creating; c != nil && len(c.Replicas) != v.Partitions {
		return v, id, fmt.Errorf("replicas of %d of %d partitions", len(c.Replicas), v.Partitions)
	}
	return v, id, nil
}

func decodeBroker(value []byte, id int32) (*Broker, error) {
	b := &Broker{}
	if err := json.Unmarshal(value, b); err != nil {
		return nil, err
	}
	if b.ID != id {
		return nil, fmt.Errorf("the value is of broker %d", b.ID)
	}
	if b.Port < 0 || b.Port > 65535 {
		return nil, fmt.Errorf("port %d", b.Port)
	}
	if b.State != Fenced && b.State != Active && b.State != Draining {
		return nil, fmt.Errorf("state %.40q", b.State)
	}
	return b, nil
}

// errNewerSchema means that a later build wrote the keyspace.
var errNewerSchema = errors.New("a newer build wrote the metadata")

func decodeCluster(value []byte) (c Cluster, err error) {
	if err = json.Unmarshal(value, &c); err != nil {
		return c, err
	}
	if c.Schema > Schema {
		return c, fmt.Errorf("%w: schema %d, this build knows %d", errNewerSchema, c.Schema, Schema)
	}
	if c.Schema < 1 || c.ID == "" {
		return c, errors.New("no id or no schema")
	}
	return c, nil
}

func decodeConfigs(value []byte) (map[string]string, error) {
	var configs map[string]string
	if err := json.Unmarshal(value, &configs); err != nil {
		return nil, err
	}
	if configs == nil {
		return nil, errors.New("not an object")
	}
	return configs, nil
}
