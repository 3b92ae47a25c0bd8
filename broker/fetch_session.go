package broker

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/wire"
)

// fetchSessions holds the fetch sessions of this node (KIP-227): a client that
// follows many partitions names them once and then only what changes. State: a
// mutex around the index; a session has its own.
type fetchSessions struct {
	slots func() int // max.incremental.fetch.session.cache.slots

	mu   sync.Mutex
	byID map[int32]*fetchSession // guarded by mu
}

// fetchSession is one client's set of partitions, in the order in which they are
// served next.
type fetchSession struct {
	id      int32
	usesIDs bool

	mu       sync.Mutex
	epoch    int32                        // that the next request must carry; guarded by mu
	parts    []*fetchPartition            // guarded by mu
	index    map[fetchKey]*fetchPartition // guarded by mu
	lastUsed time.Time                    // guarded by fetchSessions.mu
}

// fetchKey names a partition as the session's requests do: by id or by name.
type fetchKey struct {
	id   [16]byte
	name string
	num  int32
}

// fetchPartition is what a client wants of one partition, and what it was last
// told of it.
type fetchPartition struct {
	fetchKey
	nameBytes   []byte
	offset      int64
	maxBytes    int32
	leaderEpoch int32
	hw, start   int64 // last sent, math.MinInt64 when nothing was
}

const (
	finalEpoch   = -1
	initialEpoch = 0

	// A session that was not used for this long may be evicted for a new one.
	sessionEvictable = 2 * time.Minute
)

func newFetchSessions(slots func() int) *fetchSessions {
	return &fetchSessions{slots: slots, byID: map[int32]*fetchSession{}}
}

// open finds, makes or ends the session that a request speaks of. Without an
// error and without a session the request stands alone.
func (s *fetchSessions) open(version int16, req *wire.FetchRequest, now time.Time) (*fetchSession, error) {
	usesIDs := version >= 13
	if version < 7 {
		return nil, nil
	}
	switch req.SessionEpoch {
	case finalEpoch:
		s.remove(req.SessionID)
		return nil, nil
	case initialEpoch:
		s.remove(req.SessionID)
		if countPartitions(req) == 0 {
			return nil, nil
		}
		return s.create(usesIDs, now), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.byID[req.SessionID]
	if session == nil {
		return nil, kerr.FetchSessionIDNotFound
	}
	if session.usesIDs != usesIDs {
		return nil, kerr.FetchSessionTopicIDError
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	if session.epoch != req.SessionEpoch {
		return nil, kerr.InvalidFetchSessionEpoch
	}
	session.lastUsed = now
	return session, nil
}

func countPartitions(req *wire.FetchRequest) int {
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	return n
}

func (s *fetchSessions) remove(id int32) {
	s.mu.Lock()
	delete(s.byID, id)
	s.mu.Unlock()
}

// create makes a session, or none when all slots are taken by live ones.
func (s *fetchSessions) create(usesIDs bool, now time.Time) *fetchSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := s.slots()
	if slots <= 0 || len(s.byID) >= slots && !s.evict(now) {
		return nil
	}
	id := int32(1 + rand.IntN(math.MaxInt32-1))
	for s.byID[id] != nil {
		id = int32(1 + rand.IntN(math.MaxInt32-1))
	}
	session := &fetchSession{id: id, usesIDs: usesIDs, index: map[fetchKey]*fetchPartition{}, lastUsed: now}
	s.byID[id] = session
	return session
}

// evict drops the session that was not used for longest, if that is long enough.
func (s *fetchSessions) evict(now time.Time) bool {
	var oldest *fetchSession
	for _, session := range s.byID {
		if oldest == nil || session.lastUsed.Before(oldest.lastUsed) {
			oldest = session
		}
	}
	if oldest == nil || now.Sub(oldest.lastUsed) < sessionEvictable {
		return false
	}
	delete(s.byID, oldest.id)
	return true
}

func (s *fetchSessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// update applies a request to the session and moves its epoch on. The caller
// holds mu.
func (f *fetchSession) update(req *wire.FetchRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			f.set(t, &t.Partitions[j])
		}
	}
	for i := range req.ForgottenTopics {
		t := &req.ForgottenTopics[i]
		for _, n := range t.Partitions {
			f.forget(f.key(t.Name, t.ID, n))
		}
	}
	if f.epoch++; f.epoch < 0 {
		f.epoch = 1
	}
}

func (f *fetchSession) key(name []byte, id [16]byte, num int32) fetchKey {
	if f.usesIDs {
		return fetchKey{id: id, num: num}
	}
	return fetchKey{name: string(name), num: num}
}

func (f *fetchSession) set(t *wire.FetchTopic, rp *wire.FetchPartition) {
	key := f.key(t.Name, t.ID, rp.Index)
	fp := f.index[key]
	if fp == nil {
		fp = &fetchPartition{fetchKey: key, nameBytes: []byte(key.name), hw: math.MinInt64, start: math.MinInt64}
		f.index[key] = fp
		f.parts = append(f.parts, fp)
	}
	fp.want(rp)
}

func (fp *fetchPartition) want(rp *wire.FetchPartition) {
	fp.offset, fp.maxBytes, fp.leaderEpoch = rp.FetchOffset, rp.MaxBytes, rp.CurrentLeaderEpoch
}

func (f *fetchSession) forget(key fetchKey) {
	fp := f.index[key]
	if fp == nil {
		return
	}
	delete(f.index, key)
	for i, other := range f.parts {
		if other == fp {
			f.parts = append(f.parts[:i], f.parts[i+1:]...)
			return
		}
	}
}

// served moves the partitions that gave records behind the others, so that a
// full answer does not starve those at the end. The caller holds mu.
func (f *fetchSession) served(gave []*fetchPartition) {
	if len(gave) == 0 || len(gave) == len(f.parts) {
		return
	}
	behind := make(map[*fetchPartition]bool, len(gave))
	for _, fp := range gave {
		behind[fp] = true
	}
	next := make([]*fetchPartition, 0, len(f.parts))
	for _, fp := range f.parts {
		if !behind[fp] {
			next = append(next, fp)
		}
	}
	f.parts = append(next, gave...)
}
