package meta

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

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

// live is a broker's sign of life.
type live struct {
	Incarnation string `json:"incarnation"`
	Directory   string `json:"directory"`
	epoch       int64
}

// Topic is a topic with all its partitions.
type Topic struct {
	Name       string
	ID         [16]byte
	Partitions []*Partition // by number; none is nil in what a Snapshot shows
	Configs    map[string]string
	Created    time.Time

	declared int // partitions that the topic key names; 0 while there is none
}

// Partition says who has a partition and who leads it.
type Partition struct {
	Replicas          []int32 `json:"replicas"`
	Leader            int32   `json:"leader"`
	LeaderEpoch       int32   `json:"leaderEpoch"`
	LeaderBrokerEpoch int64   `json:"leaderBrokerEpoch"`
	ISR               []int32 `json:"isr"`
	ELR               []int32 `json:"elr"`
	LastKnown         []int32 `json:"lastKnown"`
	Offline           []int32 `json:"offline"`
	PartitionEpoch    int32   `json:"partitionEpoch"`

	ModRevision int64 `json:"-"`
}

// ConfigKind says whose settings they are.
type ConfigKind string

// The kinds of settings.
const (
	TopicConfigs  ConfigKind = "topics"
	BrokerConfigs ConfigKind = "brokers"
	GroupConfigs  ConfigKind = "groups"
)

type configKey struct {
	kind ConfigKind
	name string
}

// Snapshot is the metadata at one revision. It never changes; what it returns
// must not be changed either.
type Snapshot struct {
	revision   int64
	cluster    Cluster
	controller int32 // -1 is none
	brokers    map[int32]*Broker
	lives      map[int32]live
	topics     []*Topic // by name, incomplete ones too
	byID       []*Topic // complete ones, by id
	configs    map[configKey]map[string]string
}

// Revision is the etcd revision up to which the snapshot is complete.
func (s *Snapshot) Revision() int64 { return s.revision }

// Cluster is what is fixed of the cluster.
func (s *Snapshot) Cluster() Cluster { return s.cluster }

// Controller is the broker that holds the controller key and is alive.
func (s *Snapshot) Controller() (id int32, ok bool) {
	_, alive := s.lives[s.controller]
	return s.controller, alive
}

func (t *Topic) complete() bool {
	return t.declared > 0 && len(t.Partitions) == t.declared && !slices.Contains(t.Partitions, nil)
}

func findName(topics []*Topic, name string) (int, bool) {
	return slices.BinarySearchFunc(topics, name, func(t *Topic, n string) int { return strings.Compare(t.Name, n) })
}

func findID(topics []*Topic, id [16]byte) (int, bool) {
	return slices.BinarySearchFunc(topics, id, func(t *Topic, id [16]byte) int { return slices.Compare(t.ID[:], id[:]) })
}

// Topic finds a topic by name, nil when there is none.
func (s *Snapshot) Topic(name string) *Topic {
	if i, ok := findName(s.topics, name); ok && s.topics[i].complete() {
		return s.topics[i]
	}
	return nil
}

// TopicByID finds a topic by its id, nil when there is none.
func (s *Snapshot) TopicByID(id [16]byte) *Topic {
	if i, ok := findID(s.byID, id); ok {
		return s.byID[i]
	}
	return nil
}

// Topics are all topics, by name.
func (s *Snapshot) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for _, t := range s.topics {
			if t.complete() && !yield(t) {
				return
			}
		}
	}
}

// NumTopics counts the topics.
func (s *Snapshot) NumTopics() int { return len(s.byID) }

// NumPartitions counts the partitions of all topics.
func (s *Snapshot) NumPartitions() int {
	n := 0
	for _, t := range s.byID {
		n += len(t.Partitions)
	}
	return n
}

// AllBrokers are the registered brokers, alive or not, by id.
func (s *Snapshot) AllBrokers() []*Broker {
	return slices.SortedFunc(maps.Values(s.brokers), func(a, b *Broker) int { return cmp.Compare(a.ID, b.ID) })
}

// Brokers are the active brokers, by id.
func (s *Snapshot) Brokers() []*Broker {
	return slices.DeleteFunc(s.AllBrokers(), func(b *Broker) bool { return !s.active(b) })
}

// active reports whether a broker is alive in the life that it registered, and
// neither fenced nor draining.
func (s *Snapshot) active(b *Broker) bool {
	l, ok := s.lives[b.ID]
	return ok && b.State == Active && l.Incarnation == b.Incarnation
}

// Broker finds a registered broker, nil when there is none.
func (s *Snapshot) Broker(id int32) *Broker { return s.brokers[id] }

// IsActive reports whether a broker may lead: it is alive and active.
func (s *Snapshot) IsActive(id int32) bool {
	b := s.brokers[id]
	return b != nil && s.active(b)
}

// Live is the broker epoch of a broker that is alive.
func (s *Snapshot) Live(id int32) (epoch int64, ok bool) {
	l, ok := s.lives[id]
	return l.epoch, ok
}

// Configs are the settings of one resource, nil when it has none.
func (s *Snapshot) Configs(kind ConfigKind, name string) map[string]string {
	return s.configs[configKey{kind, name}]
}
