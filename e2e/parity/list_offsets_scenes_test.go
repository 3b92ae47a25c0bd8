//go:build parity

package parity

import "github.com/twmb/franz-go/pkg/kmsg"

// listOffset asks for one timestamp of one partition.
func listOffset(topic string, partition int32, timestamp int64) *kmsg.ListOffsetsRequest {
	return listOffsets(listTopic(topic, listPartition(partition, timestamp)))
}

func listOffsets(topics ...kmsg.ListOffsetsRequestTopic) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics, req.TimeoutMillis = -1, topics, 5000
	return req
}

func listTopic(topic string, partitions ...kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsRequestTopic {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topic, partitions
	return t
}

func listPartition(partition int32, timestamp int64) kmsg.ListOffsetsRequestTopicPartition {
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = partition, timestamp
	return p
}

// hours fills a topic with batches an hour apart, the third being the latest.
func (s *script) hours(suffix string) string {
	const hour = 3_600_000
	return s.fill(
		s.topic(suffix, 2, "retention.ms", "-1"),
		batch(record{value: []byte("0"), ago: 0}, record{value: []byte("1"), ago: 1000}),
		batch(record{value: []byte("2"), ago: hour}),
		batch(record{value: []byte("3"), ago: 3 * hour}, record{value: []byte("4"), ago: 5 * hour}, record{value: []byte("5"), ago: 4 * hour}),
		batch(record{value: []byte("6"), ago: 2 * hour}),
	)
}

var listOffsetsScenes = []scene{
	{name: "special timestamps", play: func(s *script) {
		a := s.hours("a")
		for ts := int64(-1); ts >= -8; ts-- {
			s.ask(listOffset(a, 0, ts))
			s.ask(listOffset(a, 1, ts))
		}
		s.ask(listOffset(a, 0, -1<<63))
	}},
	{name: "timestamps", play: func(s *script) {
		const hour = 3_600_000
		a := s.hours("a")
		for _, ts := range []int64{
			0, 1, then - 1, then, then + 1, then + 1000, then + 1001, then + hour, then + hour + 1, then + 2*hour,
			then + 3*hour + 1, then + 4*hour, then + 5*hour, then + 5*hour + 1, 1<<63 - 1,
		} {
			s.ask(listOffset(a, 0, ts))
		}
		s.ask(listOffset(a, 1, then))
	}},
	{name: "timestamps of compressed batches", play: func(s *script) {
		b := newBatch(record{value: []byte("0"), ago: 0}, record{value: []byte("1"), ago: 1000}, record{value: []byte("2"), ago: 2000})
		a := s.fill(s.topic("a", 1, "retention.ms", "-1"), build(gzipped(b)))
		for _, ts := range []int64{then, then + 500, then + 1000, then + 1500, then + 2000, then + 2001, -1, -2, -3} {
			s.ask(listOffset(a, 0, ts))
		}
	}},
	{name: "after DeleteRecords", play: func(s *script) {
		a := s.hours("a")
		s.quiet(deleteRecords(a, 0, 2))
		for _, ts := range []int64{0, then, then + 1000, -1, -2, -3, -4, -5} {
			s.ask(listOffset(a, 0, ts))
		}
		s.quiet(deleteRecords(a, 0, -1))
		for _, ts := range []int64{0, then, then + 1000, -1, -2, -3, -4, -5} {
			s.ask(listOffset(a, 0, ts))
		}
	}},
	{name: "unknown topics and partitions", play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(listOffset(s.name("none"), 0, -1))
		s.ask(listOffset(a, 1, -1))
		s.ask(listOffset(a, -1, -1))
		s.ask(listOffset("", 0, -1))
		s.ask(listOffset("two words", 0, -1))
		s.ask(listOffsets(listTopic(s.name("none"), listPartition(0, -2)), listTopic(a, listPartition(0, -2), listPartition(7, 5))))
	}},
	{name: "twice in one request", play: func(s *script) {
		a := s.topic("a", 2)
		s.ask(listOffsets(listTopic(a, listPartition(0, -1), listPartition(0, -2), listPartition(1, -1))))
		s.ask(listOffsets(listTopic(a, listPartition(0, -1)), listTopic(a, listPartition(0, -2))))
		s.ask(listOffsets(listTopic(a, listPartition(0, -1)), listTopic(a, listPartition(1, -2))))
		none := s.name("none")
		s.ask(listOffsets(listTopic(none, listPartition(0, -1), listPartition(0, -1))))
	}},
	{name: "nothing asked", play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(listOffsets())
		s.ask(listOffsets(listTopic(a)))
	}},
	{name: "leader epochs", from: 4, play: func(s *script) {
		a := s.hours("a")
		for _, epoch := range []int32{-1, 0, 1, 5, -2} {
			p := listPartition(0, -1)
			p.CurrentLeaderEpoch = epoch
			s.ask(listOffsets(listTopic(a, p)))
			p.Timestamp = then
			s.ask(listOffsets(listTopic(a, p)))
		}
	}},
	{name: "isolation levels", from: 2, play: func(s *script) {
		a := s.hours("a")
		for _, level := range []int8{0, 1, 2, -1} {
			for _, ts := range []int64{-1, -3, then} {
				req := listOffset(a, 0, ts)
				req.IsolationLevel = level
				s.ask(req)
			}
		}
	}},
	{name: "replicas", play: func(s *script) {
		a := s.hours("a")
		for _, id := range []int32{-2, -3, 1, 7} {
			req := listOffset(a, 0, -1)
			req.ReplicaID = id
			s.ask(req)
			req = listOffset(a, 0, then)
			req.ReplicaID = id
			s.ask(req)
		}
	}},
}
