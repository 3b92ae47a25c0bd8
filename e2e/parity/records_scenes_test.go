//go:build parity

package parity

import "github.com/twmb/franz-go/pkg/kmsg"

// deleteRecords asks for one partition; offsets after the first repeat it.
func deleteRecords(topic string, partition int32, offsets ...int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	for _, offset := range offsets {
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = partition, offset
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

var deleteRecordsScenes = []scene{
	{name: "offsets", play: func(s *script) {
		a := s.fill(s.topic("a", 1), batch(some(3)...), batch(some(3)...), batch(some(4)...))
		for _, offset := range []int64{0, 4, 2, 4, 11, -2, -1 << 63, 6, 1 << 62, -1, -1, 10, 9} {
			s.ask(deleteRecords(a, 0, offset))
			s.look(listOffset(a, 0, -2))
		}
	}},
	{name: "in the middle of a batch", play: func(s *script) {
		a := s.fill(s.topic("a", 1), batch(some(10)...))
		s.ask(deleteRecords(a, 0, 4))
		s.look(s.fetch(a, 0, 3))
		s.look(s.fetch(a, 0, 4))
		s.look(listOffset(a, 0, -1))
	}},
	{name: "an empty partition", play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(deleteRecords(a, 0, 0))
		s.ask(deleteRecords(a, 0, -1))
		s.ask(deleteRecords(a, 0, 1))
	}},
	{name: "compacted topics", play: func(s *script) {
		for i, policy := range []string{"compact", "compact,delete", ""} {
			a := s.fill(s.topic(string(rune('a'+i)), 1, "cleanup.policy", policy), batch(keyed("k", "1"), keyed("l", "2"), keyed("k", "3")))
			s.ask(deleteRecords(a, 0, 1))
			s.ask(deleteRecords(a, 0, 9))
			s.look(listOffset(a, 0, -2))
		}
	}},
	{name: "unknown topics and partitions", play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(deleteRecords(s.name("none"), 0, 0))
		s.ask(deleteRecords(a, 1, 0))
		s.ask(deleteRecords(a, -1, 0))
		s.ask(deleteRecords("", 0, 0))
		s.ask(deleteRecords("two words", 0, 0))
		req := deleteRecords(a, 0, 0)
		req.Topics = append(req.Topics, deleteRecords(s.name("none"), 3, 5).Topics...)
		s.ask(req)
	}},
	{name: "twice in one request", play: func(s *script) {
		a := s.fill(s.topic("a", 1), batch(some(3)...))
		s.ask(deleteRecords(a, 0, 2, 2))
		req := deleteRecords(a, 0, 3)
		req.Topics = append(req.Topics, deleteRecords(a, 0, 3).Topics...)
		s.ask(req)
	}},
	{name: "nothing asked", play: func(s *script) {
		s.ask(deleteRecords(s.topic("a", 1), 0))
		req := deleteRecords("", 0)
		req.Topics = nil
		s.ask(req)
	}},
	{name: "timeouts", play: func(s *script) {
		a := s.fill(s.topic("a", 1), batch(some(3)...))
		for _, ms := range []int32{0, -1} {
			req := deleteRecords(a, 0, 1)
			req.TimeoutMillis = ms
			s.ask(req)
		}
	}},
}

func initProducer(id int64, epoch int16) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch, req.TransactionTimeoutMillis = id, epoch, 60_000
	return req
}

var initProducerIDScenes = []scene{
	{name: "good", play: func(s *script) {
		s.ask(initProducer(-1, -1))
		s.ask(initProducer(-1, -1))
	}},
	{name: "ids and epochs", from: 3, play: func(s *script) {
		got := s.ask(initProducer(-1, -1)).(*kmsg.InitProducerIDResponse)
		s.ask(initProducer(got.ProducerID, got.ProducerEpoch))
		s.ask(initProducer(got.ProducerID, 5))
		s.ask(initProducer(got.ProducerID, -1))
		s.ask(initProducer(-1, 0))
		s.ask(initProducer(1<<40, 0))
		s.ask(initProducer(0, 0))
		s.ask(initProducer(-2, -1))
		s.ask(initProducer(-2, -2))
	}},
	{name: "timeouts", play: func(s *script) {
		for _, ms := range []int32{0, -1, 2147483647} {
			req := initProducer(-1, -1)
			req.TransactionTimeoutMillis = ms
			s.ask(req)
		}
	}},
	{name: "an empty transactional id", play: func(s *script) {
		req := initProducer(-1, -1)
		req.TransactionalID = new("")
		s.ask(req)
	}},
}

func epochEnd(topic string, partition, current, epoch int32) *kmsg.OffsetForLeaderEpochRequest {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = partition, current, epoch
	t.Partitions = append(t.Partitions, p)
	req.ReplicaID, req.Topics = -1, append(req.Topics, t)
	return req
}

var offsetForLeaderEpochScenes = []scene{
	{name: "epochs", play: func(s *script) {
		a := s.fill(s.topic("a", 2), batch(some(3)...))
		for _, epoch := range []int32{0, 1, 5, -1} {
			s.ask(epochEnd(a, 0, -1, epoch))
			s.ask(epochEnd(a, 1, -1, epoch))
		}
	}},
	{name: "current epochs", play: func(s *script) {
		a := s.fill(s.topic("a", 1), batch(some(3)...))
		for _, current := range []int32{-1, 0, 1, 5, -2} {
			s.ask(epochEnd(a, 0, current, 0))
		}
	}},
	{name: "unknown topics and partitions", play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(epochEnd(s.name("none"), 0, -1, 0))
		s.ask(epochEnd(a, 1, -1, 0))
		s.ask(epochEnd(a, -1, -1, 0))
		s.ask(epochEnd("", 0, -1, 0))
		req := epochEnd(a, 0, -1, 0)
		req.Topics = append(req.Topics, epochEnd(s.name("none"), 3, 0, 5).Topics...)
		s.ask(req)
	}},
	{name: "twice in one request", play: func(s *script) {
		a := s.topic("a", 1)
		req := epochEnd(a, 0, -1, 0)
		req.Topics = append(req.Topics, epochEnd(a, 0, -1, 1).Topics...)
		s.ask(req)
		req = epochEnd(a, 0, -1, 0)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, req.Topics[0].Partitions...)
		s.ask(req)
	}},
	{name: "replicas", from: 3, play: func(s *script) {
		a := s.fill(s.topic("a", 1), batch(some(3)...))
		for _, id := range []int32{-2, 1, 7} {
			req := epochEnd(a, 0, -1, 0)
			req.ReplicaID = id
			s.ask(req)
		}
	}},
	{name: "after DeleteRecords", play: func(s *script) {
		a := s.fill(s.topic("a", 1), batch(some(3)...))
		s.quiet(deleteRecords(a, 0, -1))
		s.ask(epochEnd(a, 0, -1, 0))
		s.ask(epochEnd(a, 0, -1, 1))
	}},
	{name: "nothing asked", play: func(s *script) {
		req := epochEnd("", 0, 0, 0)
		req.Topics = nil
		s.ask(req)
	}},
}
