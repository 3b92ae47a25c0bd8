package broker

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
)

// topicSet holds the topics of which this broker leads partitions. Every
// produce and fetch looks here: a lookup is one atomic load and one map read,
// by the bytes of the frame, without allocation. State: immutable maps behind
// atomic pointers, in shards so that a change copies little; mu serializes
// writers.
type topicSet struct {
	mu      sync.Mutex
	seed    maphash.Seed
	byName  [setShards]atomic.Pointer[map[string]*topic]
	byID    [setShards]atomic.Pointer[map[[16]byte]*topic]
	version watched[int64] // counts the changes, after each
}

const setShards = 256

// topic is a topic as the data plane sees it. partitions is indexed by
// partition number; an entry is nil while this broker does not lead it.
type topic struct {
	name       string
	nameBytes  []byte // for answers
	id         [16]byte
	session    int64 // broker epoch in which it was applied
	partial    bool  // a full disk hindered some partitions
	defaults   int64 // version of the broker-wide settings that it was applied with
	partitions atomic.Pointer[[]*partition]
	followed   []*followed // by number, nil where this broker does not follow; as it is when the topic is put
}

func newTopicSet() *topicSet {
	s := &topicSet{seed: maphash.MakeSeed()}
	s.version.set(0)
	for i := range setShards {
		s.byName[i].Store(&map[string]*topic{})
		s.byID[i].Store(&map[[16]byte]*topic{})
	}
	return s
}

// named finds a topic by the bytes of its name.
func (s *topicSet) named(name []byte) *topic {
	return (*s.byName[maphash.Bytes(s.seed, name)%setShards].Load())[string(name)]
}

// withID finds a topic by its id.
func (s *topicSet) withID(id [16]byte) *topic {
	return (*s.byID[id[0]].Load())[id]
}

// put adds t or replaces the topic of the same name.
func (s *topicSet) put(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed()
	name := &s.byName[maphash.String(s.seed, t.name)%setShards]
	if old := (*name.Load())[t.name]; old != nil && old.id != t.id {
		edit(&s.byID[old.id[0]], func(m map[[16]byte]*topic) { delete(m, old.id) })
	}
	edit(name, func(m map[string]*topic) { m[t.name] = t })
	edit(&s.byID[t.id[0]], func(m map[[16]byte]*topic) { m[t.id] = t })
}

// remove takes t out, unless its name has gone to a newer topic.
func (s *topicSet) remove(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed()
	edit(&s.byName[maphash.String(s.seed, t.name)%setShards], func(m map[string]*topic) {
		if m[t.name] == t {
			delete(m, t.name)
		}
	})
	edit(&s.byID[t.id[0]], func(m map[[16]byte]*topic) { delete(m, t.id) })
}

// changed counts a change; the caller holds mu.
func (s *topicSet) changed() {
	v, _ := s.version.get()
	s.version.set(v + 1)
}

// all calls f for every topic.
func (s *topicSet) all(f func(*topic)) {
	for i := range setShards {
		for _, t := range *s.byName[i].Load() {
			f(t)
		}
	}
}

func edit[K comparable](p *atomic.Pointer[map[K]*topic], change func(map[K]*topic)) {
	m := maps.Clone(*p.Load())
	change(m)
	p.Store(&m)
}

// partition finds partition n, nil when this broker does not lead it.
func (t *topic) partition(n int32) *partition {
	ps := *t.partitions.Load()
	if n < 0 || int(n) >= len(ps) {
		return nil
	}
	return ps[n]
}

// count is the number of partitions of the topic, led here or not.
func (t *topic) count() int { return len(*t.partitions.Load()) }
