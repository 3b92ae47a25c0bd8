//go:build parity

package parity

import (
	"bytes"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// filled is a topic of two partitions; partition 0 has batches of 3, 1 and 4 records.
func (s *script) filled(suffix string) string {
	return s.fill(s.topic(suffix, 2), batch(some(3)...), batch(rec("one")), batch(some(4)...))
}

// padded are batches of one record with n bytes of value.
func padded(batches, n int) [][]byte {
	all := make([][]byte, batches)
	for i := range all {
		all[i] = batch(record{key: []byte(strconv.Itoa(i)), value: bytes.Repeat([]byte("x"), n)})
	}
	return all
}

var fetchScenes = []scene{
	{name: "offsets", play: func(s *script) {
		a := s.filled("a")
		for _, offset := range []int64{0, 1, 2, 3, 4, 7, 8, 9, 1 << 40, -1, -2, -1 << 63} {
			s.ask(s.fetch(a, 0, offset))
		}
		s.ask(s.fetch(a, 1, 0))
		s.ask(s.fetch(a, 1, 1))
	}},
	{name: "several partitions", play: func(s *script) {
		a, b := s.filled("a"), s.filled("b")
		req := s.fetch(a, 0, 3)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, s.fetchPartition(1, 0), s.fetchPartition(7, 0))
		req.Topics = append(req.Topics, s.fetchTopic(b, s.fetchPartition(0, 99), s.fetchPartition(1, 0)))
		s.ask(req)
	}},
	{name: "after DeleteRecords", play: func(s *script) {
		a := s.filled("a")
		s.quiet(deleteRecords(a, 0, 5))
		for _, offset := range []int64{0, 4, 5, 7, 8} {
			s.ask(s.fetch(a, 0, offset))
		}
	}},
	{name: "unknown topics and partitions", play: func(s *script) {
		a := s.filled("a")
		s.ids[s.name("none")] = unknownID
		s.ask(s.fetch(s.name("none"), 0, 0))
		s.ask(s.fetch(a, 7, 0))
		s.ask(s.fetch(a, -1, 0))
		s.ask(s.fetch("", 0, 0))
		req := s.fetch(s.name("none"), 0, 0)
		req.Topics = append(req.Topics, s.fetch(a, 0, 0).Topics...)
		s.ask(req)
	}},
	{name: "twice in one request", play: func(s *script) {
		a := s.filled("a")
		req := s.fetch(a, 0, 0)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, s.fetchPartition(0, 4))
		s.ask(req)
		req = s.fetch(a, 0, 0)
		req.Topics = append(req.Topics, s.fetch(a, 0, 4).Topics...)
		s.ask(req)
	}},
	{name: "a topic twice", play: func(s *script) {
		a := s.filled("a")
		req := s.fetch(a, 0, 0)
		req.Topics = append(req.Topics, s.fetch(a, 1, 0).Topics...)
		s.ask(req)
	}},
	{name: "nothing asked", play: func(s *script) {
		req := s.fetch("", 0, 0)
		req.Topics = nil
		s.ask(req)
		s.ask(&kmsg.FetchRequest{ReplicaID: -1, SessionEpoch: -1, ReplicaState: kmsg.FetchRequestReplicaState{ID: -1, Epoch: -1}, Topics: []kmsg.FetchRequestTopic{s.fetchTopic(s.topic("a", 1))}})
	}},
	{name: "bytes of a partition", play: func(s *script) {
		a := s.fill(s.topic("a", 1), padded(5, 1000)...)
		size := len(padded(1, 1000)[0])
		for _, n := range []int{0, 1, size - 1, size, size + 1, 2*size - 1, 2 * size, 3*size + 5, 1 << 30} {
			req := s.fetch(a, 0, 1)
			req.Topics[0].Partitions[0].PartitionMaxBytes = int32(n)
			s.ask(req)
		}
	}},
	{name: "bytes of an answer", play: func(s *script) {
		a, b := s.fill(s.topic("a", 1), padded(3, 1000)...), s.fill(s.topic("b", 1), padded(3, 1000)...)
		size := len(padded(1, 1000)[0])
		for _, n := range []int{0, 1, size, 2 * size, 3 * size, 3*size + 1, 4 * size, 5*size + 7, 6 * size} {
			req := s.fetch(a, 0, 0)
			req.Topics, req.MaxBytes = append(req.Topics, s.fetch(b, 0, 0).Topics...), int32(n)
			s.ask(req)
			req.Topics[0].Partitions[0].PartitionMaxBytes = int32(size)
			s.ask(req)
		}
	}},
	{name: "waiting for bytes", play: func(s *script) {
		a := s.filled("a")
		for _, n := range []int32{0, 1, -1, 1 << 20} {
			for _, offset := range []int64{4, 8} {
				req := s.fetch(a, 0, offset)
				req.MinBytes, req.MaxWaitMillis = n, 50
				s.ask(req)
			}
		}
		req := s.fetch(a, 0, 8)
		req.MaxWaitMillis = -1
		s.ask(req)
		req.MaxWaitMillis = 10_000
		req.Topics = append(req.Topics, s.fetchTopic(a, s.fetchPartition(1, 99)))
		s.ask(req)
	}},
	{name: "isolation levels", play: func(s *script) {
		a := s.filled("a")
		for _, level := range []int8{0, 1, 2, -1} {
			req := s.fetch(a, 0, 3)
			req.IsolationLevel = level
			s.ask(req)
		}
	}},
	{name: "leader epochs", from: 9, play: func(s *script) {
		a := s.filled("a")
		for _, epoch := range []int32{-1, 0, 1, 5, -2} {
			req := s.fetch(a, 0, 3)
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
			s.ask(req)
		}
	}},
	{name: "last fetched epochs", from: 12, play: func(s *script) {
		a := s.filled("a")
		for _, epoch := range []int32{-1, 0, 1, 5, -2} {
			req := s.fetch(a, 0, 4)
			req.Topics[0].Partitions[0].LastFetchedEpoch = epoch
			s.ask(req)
			req.Topics[0].Partitions[0].FetchOffset = 9
			s.ask(req)
		}
	}},
	{name: "codecs", play: func(s *script) {
		for _, codec := range []int16{codecGzip, codecSnappy, codecLZ4, codecZstd} {
			a := s.fill(s.topic("c"+strconv.Itoa(int(codec)), 1), batch(rec("plain")), build(packed(newBatch(some(5)...), codec)))
			s.ask(s.fetch(a, 0, 0))
			s.ask(s.fetch(a, 0, 3))
		}
	}},
	{name: "racks", from: 11, play: func(s *script) {
		a := s.filled("a")
		for _, rack := range []string{"r1", "ünicode"} {
			req := s.fetch(a, 0, 3)
			req.Rack = rack
			s.ask(req)
		}
	}},
	{name: "special replicas", play: func(s *script) {
		a := s.filled("a")
		for _, id := range []int32{-2, -3} {
			req := s.fetch(a, 0, 3)
			if req.ReplicaID = id; s.v >= 15 {
				req.ReplicaState.ID = id
			}
			s.ask(req)
		}
	}},
	{name: "a name and another id", from: 13, play: func(s *script) {
		a := s.filled("a")
		s.quiet(deleteTopics(s, a))
		s.until("deleted", func() bool {
			return s.quiet(metadata(false, a)).(*kmsg.MetadataResponse).Topics[0].ErrorCode != 0
		})
		s.ask(s.fetch(a, 0, 0))
	}},
}

// session makes a fetch part of a session.
func session(req *kmsg.FetchRequest, id, epoch int32) *kmsg.FetchRequest {
	req.SessionID, req.SessionEpoch = id, epoch
	return req
}

// open begins a session with a full fetch and returns its id.
func (s *script) open(req *kmsg.FetchRequest) int32 {
	resp, ok := s.ask(session(req, 0, 0)).(*kmsg.FetchResponse)
	if !ok || resp.SessionID == 0 {
		panic(stop{"no session"})
	}
	return resp.SessionID
}

// changes is an incremental fetch of these partitions.
func (s *script) changes(id, epoch int32, topics ...kmsg.FetchRequestTopic) *kmsg.FetchRequest {
	req := s.fetch("", 0, 0)
	req.Topics = topics
	return session(req, id, epoch)
}

func (s *script) forget(topic string, partitions ...int32) kmsg.FetchRequestForgottenTopic {
	f := kmsg.NewFetchRequestForgottenTopic()
	f.Topic, f.TopicID, f.Partitions = topic, s.ids[topic], partitions
	return f
}

var sessionScenes = []scene{
	{name: "session: full, then what changes", from: 7, play: func(s *script) {
		a := s.filled("a")
		full := s.fetch(a, 0, 8)
		full.Topics[0].Partitions = append(full.Topics[0].Partitions, s.fetchPartition(1, 0))
		id := s.open(full)
		s.ask(s.changes(id, 1))
		s.fill(a, batch(rec("new")))
		s.ask(s.changes(id, 2))
		s.ask(s.changes(id, 3))
		s.ask(s.changes(id, 4, s.fetchTopic(a, s.fetchPartition(0, 9))))
		s.ask(s.changes(id, 5))
		s.ask(s.changes(id, 6, s.fetchTopic(a, s.fetchPartition(0, 3))))
		s.ask(s.changes(id, 7, s.fetchTopic(a, s.fetchPartition(0, 9), s.fetchPartition(1, 0))))
		s.quiet(deleteRecords(a, 0, 4))
		s.ask(s.changes(id, 8))
		s.ask(s.changes(id, 9))
	}},
	{name: "session: partitions come and go", from: 7, play: func(s *script) {
		a, b := s.filled("a"), s.filled("b")
		s.ids[s.name("none")] = unknownID
		id := s.open(s.fetch(a, 0, 0))
		s.ask(s.changes(id, 1, s.fetchTopic(b, s.fetchPartition(0, 7))))
		req := s.changes(id, 2)
		req.ForgottenTopics = append(req.ForgottenTopics, s.forget(a, 0))
		s.ask(req)
		req = s.changes(id, 3)
		req.ForgottenTopics = append(req.ForgottenTopics, s.forget(a, 0, 5), s.forget(s.name("none"), 1))
		s.ask(req)
		req = s.changes(id, 4, s.fetchTopic(b, s.fetchPartition(0, 6)))
		req.ForgottenTopics = append(req.ForgottenTopics, s.forget(b, 0))
		s.ask(req)
		s.ask(s.changes(id, 5))
		req = s.changes(id, 6)
		req.ForgottenTopics = append(req.ForgottenTopics, s.forget(b, 0))
		s.ask(req)
		s.ask(s.changes(id, 7))
	}},
	{name: "session: wrong ids and epochs", from: 7, play: func(s *script) {
		a := s.filled("a")
		id := s.open(s.fetch(a, 0, 0))
		s.ask(s.changes(id, 2))
		s.ask(s.changes(id, 1))
		s.ask(s.changes(id, 1))
		s.ask(s.changes(id, -2))
		s.ask(s.changes(id, 3))
		s.ask(s.changes(1, 1))
		s.ask(s.changes(0, 1))
		s.ask(s.changes(-1, 1))
		s.ask(s.changes(12345678, 5, s.fetchTopic(a, s.fetchPartition(0, 0))))
		s.ask(session(s.fetch(a, 0, 0), 12345678, 0))
		s.ask(session(s.fetch(a, 0, 0), 12345678, -1))
		s.ask(s.changes(id, 2))
	}},
	{name: "session: closed and replaced", from: 7, play: func(s *script) {
		a := s.filled("a")
		id := s.open(s.fetch(a, 0, 0))
		s.ask(session(s.fetch(a, 0, 8), id, -1))
		s.ask(s.changes(id, 1))
		id = s.open(s.fetch(a, 0, 0))
		second, _ := s.ask(session(s.fetch(a, 0, 8), id, 0)).(*kmsg.FetchResponse)
		s.ask(s.changes(id, 1))
		s.ask(s.changes(second.SessionID, 1))
		s.ask(session(s.fetch("", 0, 0), second.SessionID, -1))
	}},
	{name: "session: errors of partitions", from: 7, play: func(s *script) {
		a := s.filled("a")
		s.ids[s.name("none")] = unknownID
		full := s.fetch(a, 0, 99)
		full.Topics[0].Partitions = append(full.Topics[0].Partitions, s.fetchPartition(7, 0), s.fetchPartition(1, 0))
		full.Topics = append(full.Topics, s.fetch(s.name("none"), 0, 0).Topics...)
		id := s.open(full)
		s.ask(s.changes(id, 1))
		s.ask(s.changes(id, 2))
		s.ask(s.changes(id, 3, s.fetchTopic(a, s.fetchPartition(0, 0))))
		s.ask(s.changes(id, 4))
	}},
	{name: "session: of nothing", from: 7, play: func(s *script) {
		req := s.fetch("", 0, 0)
		req.Topics = nil
		s.ask(session(req, 0, 0))
		s.ask(s.changes(0, 0))
	}},
	{name: "session: twice in one request", from: 7, play: func(s *script) {
		a := s.filled("a")
		full := s.fetch(a, 0, 0)
		full.Topics[0].Partitions = append(full.Topics[0].Partitions, s.fetchPartition(0, 4))
		id := s.open(full)
		s.ask(s.changes(id, 1))
	}},
	{name: "session: a topic that is deleted", from: 7, play: func(s *script) {
		a, b := s.filled("a"), s.filled("b")
		full := s.fetch(a, 0, 8)
		full.Topics = append(full.Topics, s.fetch(b, 0, 8).Topics...)
		id := s.open(full)
		s.quiet(deleteTopics(s, a))
		s.until("deleted", func() bool {
			return s.quiet(metadata(false, a)).(*kmsg.MetadataResponse).Topics[0].ErrorCode != 0
		})
		s.ask(s.changes(id, 1))
		s.ask(s.changes(id, 2))
	}},
	{name: "session: names, then ids", once: true, play: func(s *script) {
		a := s.filled("a")
		newest := s.v
		s.v = 12
		id := s.open(s.fetch(a, 0, 0))
		s.v = newest
		s.ask(s.changes(id, 1))
		s.ask(s.changes(id, 1, s.fetchTopic(a, s.fetchPartition(0, 8))))
		id = s.open(s.fetch(a, 0, 0))
		s.v = 12
		s.ask(s.changes(id, 1))
		s.ask(s.changes(id, 1, s.fetchTopic(a, s.fetchPartition(0, 8))))
	}},
}
