//go:build parity

package parity

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsets asks for what a group has committed, of all topics if none are named.
func (s *script) offsets(group string, topics ...kmsg.OffsetFetchRequestGroupTopic) *kmsg.OffsetFetchRequest {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = group, topics
	return offsetsOf(g)
}

// offsetsOf is a request about groups, the first of them for the versions that know one.
func offsetsOf(groups ...kmsg.OffsetFetchRequestGroup) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = groups
	if len(groups) == 0 {
		return req
	}
	req.Group = groups[0].Group
	if groups[0].Topics != nil {
		req.Topics = []kmsg.OffsetFetchRequestTopic{}
	}
	for _, one := range groups[0].Topics {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = one.Topic, one.Partitions
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (s *script) offsetTopic(topic string, partitions ...int32) kmsg.OffsetFetchRequestGroupTopic {
	t := kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic, t.TopicID, t.Partitions = topic, s.ids[topic], partitions
	return t
}

var fetchOffsetsIn = inEach(0, func(s *script, m *member) {
	m.ask(s.offsets(m.group, s.offsetTopic(common, 0, 1)))
	stable := s.offsets(m.group, s.offsetTopic(common, 0, 1))
	stable.RequireStable = true
	m.ask(stable)
	if s.v < 2 {
		return
	}
	m.ask(s.offsets(m.group))
	for _, who := range m.identities() {
		req := s.offsets(m.group, s.offsetTopic(common, 0))
		req.Groups[0].MemberID, req.Groups[0].MemberEpoch = &who.id, who.generation
		m.ask(req)
	}
})

// withOffsets is a group with offsets of two topics.
func (s *script) withOffsets(suffix string) (group, topic string) {
	group, topic = s.group(suffix), s.topic("of-"+suffix, 2)
	p := commitPartition(1, 6, "with an epoch")
	p.LeaderEpoch = 0
	s.committed(s.simply(group, s.commitTopic(common, commitPartition(0, 5, "some text"), p), s.commitTopic(topic, commitPartition(0, 7, ""))))
	return group, topic
}

var offsetFetchScenes = slices.Concat(fetchOffsetsIn, []scene{
	{name: "topics", play: func(s *script) {
		g, topic := s.withOffsets("g")
		s.ask(s.offsets(g, s.offsetTopic(common, 0, 1, 2)))
		s.ask(s.offsets(g, s.offsetTopic(topic, 1, 0), s.offsetTopic(common, 1)))
		s.ask(s.offsets(g, s.offsetTopic(common)))
		s.ask(s.offsets(g, s.offsetTopic(common, 0, 0)))
		s.ask(s.offsets(g, s.offsetTopic(common, 0), s.offsetTopic(common, 0, 1)))
	}},
	{name: "all topics", from: 2, play: func(s *script) {
		g, _ := s.withOffsets("g")
		s.ask(s.offsets(g))
		s.ask(s.offsets(s.group("none")))
	}},
	{name: "no topics", play: func(s *script) {
		g, _ := s.withOffsets("g")
		none := offsetsOf(kmsg.OffsetFetchRequestGroup{Group: g, Topics: []kmsg.OffsetFetchRequestGroupTopic{}})
		s.ask(none)
		s.ask(offsetsOf(kmsg.OffsetFetchRequestGroup{Topics: []kmsg.OffsetFetchRequestGroupTopic{}}))
	}},
	{name: "unknown topics and partitions", play: func(s *script) {
		g, _ := s.withOffsets("g")
		none := s.name("none")
		s.ids[none] = unknownID
		s.tree.names.call("id", string(unknownID[:]), "unknown id")
		s.ask(s.offsets(g, s.offsetTopic(none, 0)))
		s.ask(s.offsets(g, s.offsetTopic(common, 7, -1)))
		s.ask(s.offsets(g, s.offsetTopic("", 0)))
		s.ask(s.offsets(g, s.offsetTopic("two words", 0)))
		s.ask(s.offsets(g, s.offsetTopic(none, 0, 1), s.offsetTopic(common, 0, 9)))
		s.ask(s.offsets(s.group("h"), s.offsetTopic(none, 0, 1), s.offsetTopic(common, 0, 9)))
	}},
	{name: "topic ids", from: 10, play: func(s *script) {
		g, topic := s.withOffsets("g")
		s.ask(s.offsets(g, kmsg.OffsetFetchRequestGroupTopic{Partitions: []int32{0}}))
		s.ask(s.offsets(g, kmsg.OffsetFetchRequestGroupTopic{Partitions: []int32{0}}, s.offsetTopic(topic, 0)))
	}},
	{name: "the empty group id", play: func(s *script) {
		s.group("g")
		s.ask(s.offsets("", s.offsetTopic(s.topic("other", 1), 0)))
	}},
	{name: "several groups", from: 8, play: func(s *script) {
		g, topic := s.withOffsets("g")
		h, _ := s.withOffsets("h")
		none := s.group("none")
		of := func(group string, topics ...kmsg.OffsetFetchRequestGroupTopic) kmsg.OffsetFetchRequestGroup {
			one := kmsg.NewOffsetFetchRequestGroup()
			one.Group, one.Topics = group, topics
			return one
		}
		s.ask(offsetsOf(of(g, s.offsetTopic(topic, 0)), of(h, s.offsetTopic(common, 0, 1))))
		s.ask(offsetsOf(of(g), of(none), of(h)))
		s.ask(offsetsOf(of(none, s.offsetTopic(common, 0)), of(g, s.offsetTopic(topic, 0))))
		s.ask(offsetsOf(of(g, s.offsetTopic(topic, 0)), of(g, s.offsetTopic(common, 0))))
		s.ask(offsetsOf(of(g), of(g)))
		s.ask(offsetsOf())
	}},
	{name: "a topic is deleted", play: func(s *script) {
		g, topic := s.withOffsets("g")
		h := s.group("h")
		s.committed(s.simply(h, s.commitTopic(topic, commitPartition(0, 1, ""))))
		s.quiet(deleteTopics(s, topic))
		s.until("its offsets are gone", func() bool {
			return len(s.offsetsByName(g)) == 1 && len(s.offsetsByName(h)) == 0
		})
		s.ask(s.offsets(g, s.offsetTopic(common, 0, 1)))
		s.ask(s.offsets(g, s.offsetTopic(topic, 0)))
		s.look(s.offsets(g))
		s.look(s.offsets(h))
		again := s.topic("of-g", 1)
		s.ask(s.offsets(g, s.offsetTopic(again, 0)))
	}},
	{name: "a topic is deleted under members", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		topic := s.topic("t", 1)
		a.protocols = protocols("range", subscription("A", topic))
		s.stable(a)
		s.committed(s.commitAs(a.group, a.identity, s.commitTopic(topic, commitPartition(0, 1, ""))))
		s.quiet(deleteTopics(s, topic))
		s.until("its offsets are gone", func() bool { return len(s.offsetsByName(a.group)) == 0 })
		a.ask(a.heartbeat())
		s.ask(s.offsets(a.group, s.offsetTopic(topic, 0)))
	}},
	{name: "what members have committed", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.stable(a)
		s.committed(a.commit(commitPartition(0, 1, "by A")))
		s.ask(s.offsets(a.group, s.offsetTopic(common, 0, 1)))
		a.quiet(a.leave())
		s.ask(s.offsets(a.group, s.offsetTopic(common, 0, 1)))
	}},
})

// offsetsByName are the topics that a group has offsets of, as versions before ids show
// them.
func (s *script) offsetsByName(group string) []kmsg.OffsetFetchResponseGroupTopic {
	req := s.offsets(group)
	req.SetVersion(9)
	resp, _, err := s.exchange(req)
	s.check(err)
	return resp.(*kmsg.OffsetFetchResponse).Groups[0].Topics
}

func deleteOffsets(group string, topics ...kmsg.OffsetDeleteRequestTopic) *kmsg.OffsetDeleteRequest {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group, req.Topics = group, topics
	return req
}

func deleteOffsetsOf(topic string, partitions ...int32) kmsg.OffsetDeleteRequestTopic {
	t := kmsg.NewOffsetDeleteRequestTopic()
	t.Topic = topic
	for _, n := range partitions {
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		p.Partition = n
		t.Partitions = append(t.Partitions, p)
	}
	return t
}

var deleteOffsetsIn = inEach(0, func(s *script, m *member) {
	topic := s.topic("other", 1)
	s.ask(deleteOffsets(m.group))
	s.ask(deleteOffsets(m.group, deleteOffsetsOf(common, 0, 1)))
	s.ask(deleteOffsets(m.group, deleteOffsetsOf(topic, 0)))
	s.ask(deleteOffsets(m.group, deleteOffsetsOf(s.name("none"), 0), deleteOffsetsOf(common, 7), deleteOffsetsOf(topic)))
	s.look(s.offsets(m.group))
	s.ask(describeGroups(m.group))
})

var offsetDeleteScenes = slices.Concat(deleteOffsetsIn, []scene{
	{name: "good", play: func(s *script) {
		g, topic := s.withOffsets("g")
		for range 2 {
			s.ask(deleteOffsets(g, deleteOffsetsOf(topic, 0, 1)))
			s.look(s.offsets(g))
		}
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0), deleteOffsetsOf(common, 1)))
		s.look(s.offsets(g))
		s.ask(describeGroups(g))
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0)))
	}},
	{name: "twice in one request", play: func(s *script) {
		g, _ := s.withOffsets("g")
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0, 0)))
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 1), deleteOffsetsOf(common, 1)))
		s.look(s.offsets(g))
	}},
	{name: "good and bad", play: func(s *script) {
		g, topic := s.withOffsets("g")
		s.ask(deleteOffsets(g, deleteOffsetsOf(s.name("none"), 0, 1), deleteOffsetsOf(common, 0, 7, -1), deleteOffsetsOf(topic, 1), deleteOffsetsOf("", 0), deleteOffsetsOf("two words", 0)))
		s.look(s.offsets(g))
	}},
	{name: "subscribed topics", play: func(s *script) {
		g, topic := s.withOffsets("g")
		a := s.member(g, "A")
		s.stable(a)
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0), deleteOffsetsOf(topic, 0, 1)))
		s.look(s.offsets(g))
		a.quiet(a.leave())
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0)))
		s.look(s.offsets(g))
	}},
	{name: "subscriptions that cannot be read", play: func(s *script) {
		g, topic := s.withOffsets("g")
		a := s.member(g, "A")
		a.protocols = protocols("range", "one")
		s.stable(a)
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0), deleteOffsetsOf(topic, 0, 1)))
		s.look(s.offsets(g))
	}},
	{name: "another protocol type", play: func(s *script) {
		g, topic := s.withOffsets("g")
		a := s.member(g, "A")
		a.kind = "connect"
		s.stable(a)
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0), deleteOffsetsOf(topic, 0, 1), deleteOffsetsOf(s.name("none"), 0)))
		s.look(s.offsets(g))
		a.quiet(a.leave())
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0)))
	}},
	{name: "subscriptions of several members", play: func(s *script) {
		g, topic := s.withOffsets("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		b.protocols = protocols("range", subscription("B", topic))
		s.stable(a)
		s.knock(b, a)
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0), deleteOffsetsOf(topic, 0)))
		a.hush(a.join())
		s.admitted(a, b)
		s.assigned(a, b)
		s.ask(deleteOffsets(g, deleteOffsetsOf(common, 0), deleteOffsetsOf(topic, 0)))
		s.look(s.offsets(g))
	}},
})
