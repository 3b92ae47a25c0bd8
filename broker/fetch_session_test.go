package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/wire"
)

func sessionRequest(id, epoch int32, partitions ...int32) *wire.FetchRequest {
	req := &wire.FetchRequest{ReplicaID: -1, SessionID: id, SessionEpoch: epoch}
	t := wire.FetchTopic{ID: [16]byte{1}}
	for _, n := range partitions {
		t.Partitions = append(t.Partitions, wire.FetchPartition{Index: n, CurrentLeaderEpoch: -1, MaxBytes: 1})
	}
	req.Topics = append(req.Topics, t)
	return req
}

// opened opens a session with partitions and applies the request.
func opened(t *testing.T, s *fetchSessions, now time.Time, partitions ...int32) *fetchSession {
	t.Helper()
	req := sessionRequest(0, initialEpoch, partitions...)
	f, err := s.open(13, req, now)
	if err != nil {
		t.Fatal(err)
	}
	if f != nil {
		f.update(req)
	}
	return f
}

func TestFetchSessionErrors(t *testing.T) {
	s := newFetchSessions(func() int { return 10 })
	now := time.Unix(0, 0)
	f := opened(t, s, now, 0, 1)
	for _, c := range []struct {
		name      string
		version   int16
		id, epoch int32
		want      error
	}{
		{"unknown id", 13, f.id + 1, 1, kerr.FetchSessionIDNotFound},
		{"wrong epoch", 13, f.id, 2, kerr.InvalidFetchSessionEpoch},
		{"names for a session of ids", 12, f.id, 1, kerr.FetchSessionTopicIDError},
		{"right", 13, f.id, 1, nil},
	} {
		if _, err := s.open(c.version, sessionRequest(c.id, c.epoch), now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	follower := sessionRequest(f.id, 1)
	follower.ReplicaID = 2
	if _, err := s.open(13, follower, now); !errors.Is(err, kerr.FetchSessionIDNotFound) {
		t.Errorf("a follower in a consumer's session: %v", err)
	}
	if _, err := s.open(13, sessionRequest(f.id, finalEpoch), now); err != nil || s.count() != 0 {
		t.Errorf("final epoch: %v, %d sessions left", err, s.count())
	}
}

func TestFetchSessionUpdate(t *testing.T) {
	s := newFetchSessions(func() int { return 10 })
	f := opened(t, s, time.Unix(0, 0), 0, 1, 2)
	req := sessionRequest(f.id, 1, 1, 7)
	req.Topics[0].Partitions[0].FetchOffset = 55
	req.ForgottenTopics = []wire.ForgottenTopic{{ID: [16]byte{1}, Partitions: []int32{0, 9}}}
	f.update(req)
	var got []int32
	for _, fp := range f.parts {
		got = append(got, fp.num)
	}
	if len(got) != 3 || got[0] != 1 || got[1] != 2 || got[2] != 7 || f.parts[0].offset != 55 || f.epoch != 2 {
		t.Errorf("partitions %v, offset %d, next epoch %d", got, f.parts[0].offset, f.epoch)
	}
}

func TestFetchSessionEviction(t *testing.T) {
	s := newFetchSessions(func() int { return 1 })
	start := time.Unix(0, 0)
	if opened(t, s, start, 0) == nil {
		t.Fatal("no first session")
	}
	if opened(t, s, start.Add(sessionEvictable/2), 0) != nil {
		t.Error("a session that is in use was evicted")
	}
	if opened(t, s, start.Add(sessionEvictable), 0) == nil || s.count() != 1 {
		t.Error("an unused session was not evicted for a new one")
	}
}

func TestFetchSessionEpochWraps(t *testing.T) {
	s := newFetchSessions(func() int { return 1 })
	f := opened(t, s, time.Unix(0, 0), 0)
	f.epoch = 1<<31 - 1
	f.update(sessionRequest(f.id, f.epoch))
	if f.epoch != 1 {
		t.Errorf("epoch after the largest is %d, want 1", f.epoch)
	}
}
