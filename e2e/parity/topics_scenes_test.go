//go:build parity

package parity

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func createTopics(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.TimeoutMillis = topics, 10_000
	return req
}

// sizedTopic is a topic with any count of partitions and replicas.
func sizedTopic(name string, partitions int32, replicas int16) kmsg.CreateTopicsRequestTopic {
	t := newTopic(name, partitions)
	t.ReplicationFactor = replicas
	return t
}

// assignedTopic is a topic with its replicas placed by hand.
func assignedTopic(name string, assigned ...kmsg.CreateTopicsRequestTopicReplicaAssignment) kmsg.CreateTopicsRequestTopic {
	t := sizedTopic(name, -1, -1)
	t.ReplicaAssignment = assigned
	return t
}

func replicasOf(partition int32, brokers ...int32) kmsg.CreateTopicsRequestTopicReplicaAssignment {
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Partition, a.Replicas = partition, brokers
	return a
}

// create asks for topics, and once more to validate only; then looks at what is there.
func (s *script) create(topics ...kmsg.CreateTopicsRequestTopic) {
	var names []string
	for _, t := range topics {
		names = append(names, t.Topic)
	}
	req := createTopics(topics...)
	req.ValidateOnly = true
	s.ask(req)
	req.ValidateOnly = false
	s.ask(req)
	for _, name := range names {
		if name != "" && s.made(name) {
			s.look(metadata(false, name))
		}
	}
}

// made says whether there is a topic, after a moment if need be.
func (s *script) made(name string) (visible bool) {
	s.until("a topic shows", func() bool {
		t := s.quiet(metadata(false, name)).(*kmsg.MetadataResponse).Topics[0]
		visible = t.ErrorCode == 0
		return visible || s.refused(name)
	})
	return visible
}

// refused asks the one that decides whether a topic is there.
func (s *script) refused(name string) bool {
	req := createTopics(newTopic(name, 1))
	req.ValidateOnly = true
	return s.quiet(req).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != 36 // TOPIC_ALREADY_EXISTS
}

var createTopicsScenes = []scene{
	{name: "good", play: func(s *script) {
		s.create(newTopic(s.name("a"), 1))
		s.create(newTopic(s.name("b"), 3), newTopic(s.name("c"), 2, "retention.ms", "1000"))
	}},
	{name: "there already", play: func(s *script) {
		a := s.topic("a", 1)
		s.create(newTopic(a, 1))
		s.create(newTopic(a, 1), newTopic(s.name("b"), 1))
		s.create(sizedTopic(a, 0, 9))
		s.create(newTopic(a, 1, "no.such.config", "1"))
	}},
	{name: "twice in one request", play: func(s *script) {
		s.create(newTopic(s.name("a"), 1), newTopic(s.name("a"), 2))
		s.create(newTopic(s.name("a"), 1), newTopic(s.name("a"), 2), newTopic(s.name("b"), 1))
	}},
	{name: "bad names", play: func(s *script) {
		for _, name := range badNames {
			s.ask(createTopics(newTopic(name, 1)))
		}
		s.ask(createTopics(newTopic("two words", 0, "no.such.config", "1")))
		s.ask(createTopics(newTopic(strings.Repeat("y", 249-len(s.prefix))+s.prefix, 1)))
	}},
	{name: "colliding names", play: func(s *script) {
		s.topic("a.b", 1)
		s.create(newTopic(s.name("a_b"), 1))
		s.create(newTopic(s.name("c.d"), 1), newTopic(s.name("c_d"), 1))
	}},
	{name: "counts of partitions", play: func(s *script) {
		for i, n := range []int32{0, -1, -2, -2147483648, 10_001, 2147483647} {
			s.create(sizedTopic(s.name(string(rune('a'+i))), n, 1))
		}
	}},
	{name: "replication factors", play: func(s *script) {
		for i, n := range []int16{0, -1, -2, 2, 32767} {
			s.create(sizedTopic(s.name(string(rune('a'+i))), 1, n))
		}
		s.create(sizedTopic(s.name("z"), -1, -1))
		s.create(sizedTopic(s.name("y"), 0, 0))
	}},
	{name: "assigned by hand", play: func(s *script) {
		s.create(assignedTopic(s.name("a"), replicasOf(0, 1)))
		s.create(assignedTopic(s.name("b"), replicasOf(1, 1), replicasOf(0, 1)))
	}},
	{name: "assigned by hand and wrong", play: func(s *script) {
		s.create(assignedTopic(s.name("a"), replicasOf(1, 1)))
		s.create(assignedTopic(s.name("b"), replicasOf(0, 1), replicasOf(2, 1)))
		s.create(assignedTopic(s.name("c"), replicasOf(0, 1), replicasOf(0, 1)))
		s.create(assignedTopic(s.name("d"), replicasOf(0, 1, 1)))
		s.create(assignedTopic(s.name("e"), replicasOf(0, 2)))
		s.create(assignedTopic(s.name("f"), replicasOf(0)))
		s.create(assignedTopic(s.name("g"), replicasOf(-1, 1)))
		s.create(assignedTopic(s.name("h"), replicasOf(0, -1)))
		s.create(assignedTopic(s.name("i"), replicasOf(0, 1), replicasOf(1, 1, 2)))
	}},
	{name: "assigned by hand and counted", play: func(s *script) {
		for i, c := range []struct {
			partitions int32
			replicas   int16
		}{{1, -1}, {-1, 1}, {1, 1}, {2, -1}, {0, -1}, {-1, 0}} {
			t := assignedTopic(s.name(string(rune('a'+i))), replicasOf(0, 1))
			t.NumPartitions, t.ReplicationFactor = c.partitions, c.replicas
			s.create(t)
		}
	}},
	{name: "configs", play: func(s *script) {
		s.create(newTopic(s.name("a"), 1, "retention.ms", "86400000", "max.message.bytes", "2000", "message.timestamp.type", "LogAppendTime"))
		s.create(newTopic(s.name("b"), 1, "retention.ms", "1000", "retention.ms", "2000"))
		none := newTopic(s.name("c"), 1, "retention.ms", "")
		none.Configs[0].Value = nil
		s.create(none)
	}},
	{name: "bad configs", play: func(s *script) {
		for i, c := range [][]string{
			{"no.such.config", "1"},
			{"", "1"},
			{"retention.ms", "soon"},
			{"retention.ms", "-2"},
			{"retention.ms", ""},
			{"retention.bytes", "1.5"},
			{"max.message.bytes", "-1"},
			{"cleanup.policy", "shred"},
			{"cleanup.policy", "none"},
			{"compression.type", "brotli"},
			{"message.timestamp.type", "createtime"},
			{"min.insync.replicas", "0"},
			{"segment.bytes", "13"},
			{"unclean.leader.election.enable", "maybe"},
			{"log.retention.ms", "1000"},
			{"retention.ms", "9223372036854775808"},
			{"Retention.ms", "5"},
			{"retention.ms", " 5"},
			{"flush.messages", "0"},
			{"message.timestamp.before.max.ms", "-1"},
			{"index.interval.bytes", "-1"},
			{"message.format.version", "3.0"},
		} {
			s.create(newTopic(s.name(string(rune('a'+i))), 1, c...))
		}
		s.create(newTopic(s.name("z"), 1, "retention.ms", "1000", "no.such.config", "1"))
	}},
	{name: "which error first", play: func(s *script) {
		s.create(sizedTopic(s.name("a"), 0, 0))
		t := sizedTopic(s.name("b"), 0, 7)
		t.Configs = newTopic("", 1, "no.such.config", "1").Configs
		s.create(t)
		t = sizedTopic(s.name("c"), 1, 7)
		t.Configs = newTopic("", 1, "no.such.config", "1").Configs
		s.create(t)
	}},
	{name: "nothing asked", play: func(s *script) { s.create() }},
	{name: "timeouts", play: func(s *script) {
		for _, ms := range []int32{0, -1} {
			req := createTopics(sizedTopic(s.name("a"), 0, 1))
			req.TimeoutMillis = ms
			s.ask(req)
		}
	}},
}

func deleteTopics(s *script, names ...string) *kmsg.DeleteTopicsRequest {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames, req.TimeoutMillis = names, 10_000
	for _, name := range names {
		req.Topics = append(req.Topics, deleteTopic(&name, [16]byte{}))
	}
	return req
}

func deleteTopic(name *string, id [16]byte) kmsg.DeleteTopicsRequestTopic {
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic, t.TopicID = name, id
	return t
}

func deleteByID(topics ...kmsg.DeleteTopicsRequestTopic) *kmsg.DeleteTopicsRequest {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics, req.TimeoutMillis = topics, 10_000
	return req
}

var deleteTopicsScenes = []scene{
	{name: "good", play: func(s *script) {
		a, b, c := s.topic("a", 1), s.topic("b", 2), s.topic("c", 1)
		s.ask(deleteTopics(s, a))
		s.ask(deleteTopics(s, b, c))
		s.ask(deleteTopics(s, a))
		s.until("deleted", func() bool {
			return s.quiet(metadata(false, a)).(*kmsg.MetadataResponse).Topics[0].ErrorCode != 0
		})
		s.look(metadata(false, a))
	}},
	{name: "unknown", play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(deleteTopics(s, s.name("none")))
		s.ask(deleteTopics(s, s.name("none"), a))
	}},
	{name: "twice in one request", play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(deleteTopics(s, a, a))
		s.ask(deleteTopics(s, s.name("none"), s.name("none")))
		s.ask(deleteTopics(s, a, a, s.name("none")))
		s.ask(deleteTopics(s, a))
	}},
	{name: "bad names", play: func(s *script) {
		for _, name := range badNames {
			s.ask(deleteTopics(s, name))
		}
	}},
	{name: "nothing asked", play: func(s *script) { s.ask(deleteTopics(s)) }},
	{name: "by id", from: 6, play: func(s *script) {
		a, b := s.topic("a", 1), s.topic("b", 1)
		s.tree.names.call("id", string(unknownID[:]), "unknown id")
		s.ask(deleteByID(deleteTopic(nil, unknownID)))
		s.ask(deleteByID(deleteTopic(nil, [16]byte{})))
		s.ask(deleteByID(deleteTopic(&a, s.ids[a])))
		s.ask(deleteByID(deleteTopic(nil, s.ids[a]), deleteTopic(nil, s.ids[a])))
		s.ask(deleteByID(deleteTopic(&a, [16]byte{}), deleteTopic(nil, s.ids[a])))
		s.ask(deleteByID(deleteTopic(nil, s.ids[a])))
		s.ask(deleteByID(deleteTopic(nil, s.ids[b]), deleteTopic(new(s.name("none")), [16]byte{})))
	}},
	{name: "twice by id", from: 6, play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(deleteByID(deleteTopic(nil, s.ids[a]), deleteTopic(nil, s.ids[a])))
		s.ask(deleteByID(deleteTopic(nil, unknownID), deleteTopic(nil, unknownID)))
		s.ask(deleteByID(deleteTopic(&a, [16]byte{})))
	}},
}

func createPartitions(topic string, count int32, assigned ...[]int32) *kmsg.CreatePartitionsRequest {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 10_000
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, count
	for _, replicas := range assigned {
		a := kmsg.NewCreatePartitionsRequestTopicAssignment()
		a.Replicas = replicas
		t.Assignment = append(t.Assignment, a)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// grow asks for partitions, after validating only.
func (s *script) grow(topic string, count int32, assigned ...[]int32) {
	req := createPartitions(topic, count, assigned...)
	req.ValidateOnly = true
	s.ask(req)
	req.ValidateOnly = false
	s.ask(req)
}

// counted looks at a topic when it has that many partitions.
func (s *script) counted(topic string, partitions int) {
	s.until("partitions are added", func() bool {
		return len(s.quiet(metadata(false, topic)).(*kmsg.MetadataResponse).Topics[0].Partitions) == partitions
	})
	s.look(metadata(false, topic))
}

var createPartitionsScenes = []scene{
	{name: "good", play: func(s *script) {
		a := s.topic("a", 1)
		s.grow(a, 3)
		s.counted(a, 3)
		s.grow(a, 5, []int32{1}, []int32{1})
		s.counted(a, 5)
	}},
	{name: "wrong counts", play: func(s *script) {
		a := s.topic("a", 2)
		// Above 10,000 Kafka's controller resigns, and everything waits for the next.
		for _, n := range []int32{2, 1, 0, -1, -2147483648} {
			s.grow(a, n)
		}
		s.counted(a, 2)
	}},
	{name: "wrong assignments", play: func(s *script) {
		a := s.topic("a", 1)
		s.grow(a, 3, []int32{1})
		s.grow(a, 2, []int32{1}, []int32{1})
		s.grow(a, 2, []int32{2})
		s.grow(a, 2, []int32{1, 1})
		s.grow(a, 2, []int32{1, 2})
		s.grow(a, 2, []int32{})
		s.grow(a, 2, []int32{-1})
		s.grow(a, 1, []int32{1})
		s.counted(a, 1)
		req := createPartitions(a, 2)
		req.Topics[0].Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{}
		s.ask(req)
	}},
	{name: "unknown topics", play: func(s *script) {
		s.grow(s.name("none"), 2)
		for _, name := range badNames {
			s.grow(name, 2)
		}
		s.grow(s.name("none"), 0)
	}},
	{name: "twice in one request", play: func(s *script) {
		a := s.topic("a", 1)
		req := createPartitions(a, 2)
		req.Topics = append(req.Topics, createPartitions(a, 3).Topics[0], createPartitions(s.name("none"), 3).Topics[0])
		s.ask(req)
		s.counted(a, 1)
	}},
	{name: "nothing asked", play: func(s *script) {
		req := createPartitions("", 1)
		req.Topics = nil
		s.ask(req)
	}},
}
