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
// mutex around the indexes; a session has its own, which is never waited for with
// this one held.
type fetchSessions struct {
	slots func() int // max.incremental.fetch.session.cache.slots

	mu         sync.Mutex
	byID       map[int32]*fetchSession // guarded by mu
	byFollower map[int32]*fetchSession // of brokers; guarded by mu
}

// fetchSession is one client's set of partitions. mu guards what follows it.
type fetchSession struct {
	id       int32 // 0 when it is for one request
	usesIDs  bool
	follower int32     // below 0: a consumer
	lastUsed time.Time // guarded by fetchSessions.mu
	inbox    fetchInbox

	mu    sync.Mutex
	epoch int32 // that the next request must carry
	parts []*fetchPartition
	index map[fetchKey]*fetchPartition
	hotSet
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
	lastEpoch   int32     // of the last record that the client has, -1 is no claim
	found       bool      // the topic with this id was there
	awaited     time.Time // since when its error is kept back, zero: it is not
	hw, start   int64     // last sent, math.MinInt64 when nothing was
	replica     int32     // the follower that fetches, below 0 a consumer
	followerAt
	fetchWatch
}

// followerAt is what a follower tells of its log.
type followerAt struct {
	flushed  int64
	logStart int64
	seen     int32 // partition epoch
}

const (
	finalEpoch   = -1
	initialEpoch = 0

	// A session that was not used for this long may be evicted for a new one.
	sessionEvictable = 2 * time.Minute
)

func newFetchSessions(slots func() int) *fetchSessions {
	return &fetchSessions{slots: slots, byID: map[int32]*fetchSession{}, byFollower: map[int32]*fetchSession{}}
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
		return s.create(usesIDs, req.ReplicaID, now), nil
	}
	s.mu.Lock()
	session := s.byID[req.SessionID]
	if session != nil {
		session.lastUsed = now
	}
	s.mu.Unlock()
	if session == nil || max(session.follower, -1) != max(req.ReplicaID, -1) {
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
	return session, nil
}

// standalone holds the partitions of a request that has no session.
func standalone(version int16, req *wire.FetchRequest) *fetchSession {
	f := &fetchSession{follower: req.ReplicaID}
	all := make([]fetchPartition, countPartitions(req))
	for i := range req.Topics {
		t := &req.Topics[i]
		var name []byte
		if version < 13 {
			name = append(name, t.Name...)
		}
		for j := range t.Partitions {
			fp := &all[len(f.parts)]
			fp.nameBytes, fp.id, fp.num, fp.inbox = name, t.ID, t.Partitions[j].Index, &f.inbox
			fp.hw, fp.start = math.MinInt64, math.MinInt64
			fp.want(req, &t.Partitions[j])
			f.parts = append(f.parts, fp)
			f.heat(fp)
		}
	}
	return f
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
	gone := s.take(s.byID[id])
	s.mu.Unlock()
	gone.end()
}

// take takes a session out of the indexes; the caller holds mu, and ends it afterwards.
func (s *fetchSessions) take(session *fetchSession) *fetchSession {
	if session == nil {
		return nil
	}
	delete(s.byID, session.id)
	if s.byFollower[session.follower] == session {
		delete(s.byFollower, session.follower)
	}
	return session
}

// create makes a session, or none when all slots are taken by live ones. A
// follower always gets one, in place of the one that it had.
func (s *fetchSessions) create(usesIDs bool, follower int32, now time.Time) *fetchSession {
	session, gone := s.replace(usesIDs, follower, now)
	gone.end()
	return session
}

func (s *fetchSessions) replace(usesIDs bool, follower int32, now time.Time) (made, gone *fetchSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if follower >= 0 {
		gone = s.take(s.byFollower[follower])
	} else if slots := s.slots(); slots <= 0 {
		return nil, nil
	} else if len(s.byID) >= slots {
		if gone = s.take(s.evictable(now)); gone == nil {
			return nil, nil
		}
	}
	id := int32(1 + rand.IntN(math.MaxInt32-1))
	for s.byID[id] != nil {
		id = int32(1 + rand.IntN(math.MaxInt32-1))
	}
	made = &fetchSession{id: id, usesIDs: usesIDs, follower: follower, index: map[fetchKey]*fetchPartition{}, lastUsed: now}
	s.byID[id] = made
	if follower >= 0 {
		s.byFollower[follower] = made
	}
	return made, gone
}

// evictable is the session that was not used for longest, if that is long enough.
func (s *fetchSessions) evictable(now time.Time) *fetchSession {
	var oldest *fetchSession
	for _, session := range s.byID {
		if oldest == nil || session.lastUsed.Before(oldest.lastUsed) {
			oldest = session
		}
	}
	if oldest == nil || now.Sub(oldest.lastUsed) < sessionEvictable {
		return nil
	}
	return oldest
}

// nudge has whoever waits look again: partitions were taken up or given up.
func (s *fetchSessions) nudge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.byID {
		session.inbox.nudge()
	}
}

func (s *fetchSessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// update applies a request to the session and moves its epoch on. The caller
// holds mu.
func (f *fetchSession) update(req *wire.FetchRequest) {
	f.requests++
	f.named = f.named[:0]
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			f.set(req, t, &t.Partitions[j])
		}
	}
	for i := range req.ForgottenTopics {
		t := &req.ForgottenTopics[i]
		for _, n := range t.Partitions {
			key := f.key(t.Name, t.ID, n)
			if fp := f.index[key]; fp != nil {
				fp.forget()
				delete(f.index, key)
			}
		}
	}
	if len(f.index) < len(f.parts) {
		f.forgotten()
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

func (f *fetchSession) set(req *wire.FetchRequest, t *wire.FetchTopic, rp *wire.FetchPartition) {
	key := f.key(t.Name, t.ID, rp.Index)
	fp := f.index[key]
	if fp == nil {
		fp = &fetchPartition{fetchKey: key, nameBytes: []byte(key.name), hw: math.MinInt64, start: math.MinInt64}
		fp.inbox, fp.born = &f.inbox, f.requests
		f.index[key] = fp
		f.parts = append(f.parts, fp)
	}
	fp.want(req, rp)
	f.named = append(f.named, fp)
	f.heat(fp)
}

func (fp *fetchPartition) want(req *wire.FetchRequest, rp *wire.FetchPartition) {
	fp.replica, fp.followerAt = req.ReplicaID, followerAt{rp.FlushedEnd, rp.LogStartOffset, rp.PartitionEpoch}
	fp.offset, fp.maxBytes = rp.FetchOffset, rp.MaxBytes
	fp.leaderEpoch, fp.lastEpoch = max(-1, rp.CurrentLeaderEpoch), rp.LastFetchedEpoch
}

// topicOf finds the topic of a partition as it was asked for.
func (b *Broker) topicOf(version int16, fp *fetchPartition) *topic {
	if version >= 13 {
		return b.topics.withID(fp.id)
	}
	return b.topics.named(fp.nameBytes)
}
