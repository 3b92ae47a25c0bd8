package meta

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Snapshot is the metadata at one revision. It never changes; what it returns
// must not be changed either. A later snapshot shares all that stayed the same:
// a topic, a partition or a broker that did not change is the same pointer.
type Snapshot struct {
	revision   int64
	cluster    cluster
	controller seat
	brokers    map[int32]*brokerEntry
	all        []*Broker // registered, by id
	active     []*Broker // by id
	topics     index     // every name of which there is a key, by name
	byID       index     // shown ones, by id
	partitions int       // of shown topics
	configs    map[key]settings
	bad        map[string]int64 // keys whose value cannot be read, and its mod revision
	unfinished int              // topics with a creating mark
}

type cluster struct {
	Cluster
	revision int64
}

// seat is who holds the controller key.
type seat struct {
	controllerValue
	revision int64 // 0: nobody
}

// brokerEntry is what is known of one broker id.
type brokerEntry struct {
	broker   *Broker // nil: not registered
	revision int64   // of broker
	live     live
}

// live is a broker's sign of life.
type live struct {
	liveValue
	epoch int64 // mod revision, 0: not alive
	lease clientv3.LeaseID
}

// settings of a broker or a group.
type settings struct {
	values   map[string]string
	revision int64
}

// Topic is a topic with all its partitions.
type Topic struct {
	Name       string
	ID         [16]byte
	Partitions []*Partition // by number; none is nil
	Configs    map[string]string
	Created    time.Time

	keys topicKeys
}

// topicKeys is what etcd holds under one topic name.
type topicKeys struct {
	value      topicValue   // of topics/<name>
	revision   int64        // mod revision of topics/<name>, 0: not there
	configs    int64        // mod revision of configs/topics/<name>, 0: not there
	partitions []*Partition // by number, nil: not there; more than the topic has while some are added
}

// missing stands for a partition whose key is not there or was never readable.
var missing = &Partition{Leader: -1, LeaderEpoch: -1}

// Revision is the etcd revision up to which the snapshot is complete.
func (s *Snapshot) Revision() int64 { return s.revision }

// Cluster is what is fixed of the cluster.
func (s *Snapshot) Cluster() Cluster { return s.cluster.Cluster }

// Controller is the broker that holds the controller key, in a life that goes on.
func (s *Snapshot) Controller() (id int32, ok bool) {
	epoch, alive := s.Live(s.controller.Broker)
	ok = s.controller.revision > 0 && alive && epoch == s.controller.BrokerEpoch
	return s.controller.Broker, ok
}

// Topic finds a topic by name, nil when there is none.
func (s *Snapshot) Topic(name string) *Topic {
	if t := s.named(name); t != nil && t.shown() {
		return t
	}
	return nil
}

// named finds what is known of a topic name, shown or not.
func (s *Snapshot) named(name string) *Topic {
	return s.topics.get(byName(name))
}

// TopicByID finds a topic by its id, nil when there is none.
func (s *Snapshot) TopicByID(id [16]byte) *Topic {
	return s.byID.get(byID(id))
}

// Topics are all topics, by name.
func (s *Snapshot) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for t := range s.topics.all() {
			if t.shown() && !yield(t) {
				return
			}
		}
	}
}

// NumTopics counts the topics.
func (s *Snapshot) NumTopics() int { return s.byID.size }

// NumPartitions counts the partitions of all topics.
func (s *Snapshot) NumPartitions() int { return s.partitions }

// KnowsTopicID reports whether a topic has this id, one that is being created
// and hidden included. While Unreadable names a key under topics/, an id that is
// not known may still be in use.
func (s *Snapshot) KnowsTopicID(id [16]byte) bool {
	if s.TopicByID(id) != nil {
		return true
	}
	for t := range s.topics.all() {
		if t.keys.revision > 0 && t.ID == id {
			return true
		}
	}
	return false
}

// Unreadable are the keys whose value cannot be read, in order. What they held
// before stays in force.
func (s *Snapshot) Unreadable() []string {
	keys := make([]string, 0, len(s.bad))
	for k := range s.bad {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// AllBrokers are the registered brokers, alive or not, by id.
func (s *Snapshot) AllBrokers() []*Broker { return s.all }

// Brokers are the active brokers, by id.
func (s *Snapshot) Brokers() []*Broker { return s.active }

// Broker finds a registered broker, nil when there is none.
func (s *Snapshot) Broker(id int32) *Broker {
	if e := s.brokers[id]; e != nil {
		return e.broker
	}
	return nil
}

// IsActive reports whether a broker may lead: it is alive in the life that it
// registered, and neither fenced nor draining.
func (s *Snapshot) IsActive(id int32) bool { return s.brokers[id].active() }

func (e *brokerEntry) active() bool {
	return e.present() && e.broker.State == Active
}

// InPresentLife reports whether what a broker says of itself is of the life that
// it is alive in.
func (s *Snapshot) InPresentLife(id int32) bool { return s.brokers[id].present() }

func (e *brokerEntry) present() bool {
	return e != nil && e.broker != nil && e.live.epoch > 0 && e.live.Incarnation == e.broker.Incarnation
}

// Live is the broker epoch of a broker that is alive.
func (s *Snapshot) Live(id int32) (epoch int64, ok bool) {
	l := s.liveOf(id)
	return l.epoch, l.epoch > 0
}

func (s *Snapshot) liveOf(id int32) live {
	if e := s.brokers[id]; e != nil {
		return e.live
	}
	return live{}
}

// Configs are the settings of one resource, nil when it has none.
func (s *Snapshot) Configs(kind ConfigKind, name string) map[string]string {
	values, _ := s.settings(kind, name)
	return values
}

// settings are the settings of one resource and what a change of them compares.
func (s *Snapshot) settings(kind ConfigKind, name string) (values map[string]string, rev int64) {
	if kind != TopicConfigs {
		c := s.configs[key{kind: configsKind, configs: kind, name: name}]
		return c.values, c.revision
	}
	if t := s.named(name); t != nil {
		return t.Configs, t.keys.configs
	}
	return nil, 0
}

// shown reports whether readers see the topic.
func (t *Topic) shown() bool { return t.keys.revision > 0 && t.keys.value.Creating == nil }

// empty reports whether there is no key of this name left.
func (t *Topic) empty() bool {
	return t.keys.revision == 0 && t.keys.configs == 0 && len(t.keys.partitions) == 0
}

func byName(name string) place { return func(t *Topic) int { return strings.Compare(t.Name, name) } }

func byID(id [16]byte) place { return func(t *Topic) int { return bytes.Compare(t.ID[:], id[:]) } }

// keysOf yields every readable key of the snapshot with its mod revision.
func (s *Snapshot) keysOf() iter.Seq2[key, int64] {
	return func(yield func(key, int64) bool) {
		ok := yield(key{kind: clusterKind}, s.cluster.revision) && yield(key{kind: controllerKind}, s.controller.revision)
		for id, e := range s.brokers {
			ok = ok && yield(key{kind: brokerKind, number: id}, e.revision) && yield(key{kind: liveKind, number: id}, e.live.epoch)
		}
		for k, c := range s.configs {
			ok = ok && yield(k, c.revision)
		}
		for t := range s.topics.all() {
			ok = ok && yield(key{kind: topicKind, name: t.Name}, t.keys.revision) &&
				yield(key{kind: configsKind, configs: TopicConfigs, name: t.Name}, t.keys.configs)
			for n, p := range t.keys.partitions {
				ok = ok && (p == nil || yield(key{kind: partitionKind, name: t.Name, number: int32(n)}, p.ModRevision))
			}
			if !ok {
				return
			}
		}
	}
}
