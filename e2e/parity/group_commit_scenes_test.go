//go:build parity

package parity

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *script) commitAs(group string, who identity, topics ...kmsg.OffsetCommitRequestTopic) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.MemberID, req.InstanceID = group, who.generation, who.id, who.instance
	req.Topics = topics
	return req
}

// simply is a commit of a consumer that is in no group.
func (s *script) simply(group string, topics ...kmsg.OffsetCommitRequestTopic) *kmsg.OffsetCommitRequest {
	return s.commitAs(group, identity{generation: -1}, topics...)
}

func (s *script) commitTopic(topic string, partitions ...kmsg.OffsetCommitRequestTopicPartition) kmsg.OffsetCommitRequestTopic {
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, s.ids[topic], partitions
	return t
}

func commitPartition(partition int32, offset int64, metadata string) kmsg.OffsetCommitRequestTopicPartition {
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata = partition, offset, &metadata
	return p
}

// committed commits quietly.
func (s *script) committed(req *kmsg.OffsetCommitRequest) {
	for _, t := range s.quiet(req).(*kmsg.OffsetCommitResponse).Topics {
		for _, p := range t.Partitions {
			s.check(kerr.ErrorForCode(p.ErrorCode))
		}
	}
}

// simple makes a group that has offsets and no members.
func (s *script) simple(group string) string {
	s.committed(s.simply(group, s.commitTopic(common, commitPartition(0, 5, "simple"))))
	return group
}

// commit is the member's commit for partitions of the common topic.
func (m *member) commit(partitions ...kmsg.OffsetCommitRequestTopicPartition) *kmsg.OffsetCommitRequest {
	return m.s.commitAs(m.group, m.identity, m.s.commitTopic(common, partitions...))
}

// commits asks to commit and looks at what all groups' offsets are after.
func (s *script) commits(req *kmsg.OffsetCommitRequest) {
	s.ask(req)
	s.look(s.offsets(req.Group))
}

var commitIn = inEach(0, func(s *script, m *member) {
	for i, who := range m.identities() {
		s.ask(s.commitAs(m.group, who, s.commitTopic(common, commitPartition(1, int64(i), "by "+who.id))))
	}
	s.look(s.offsets(m.group))
	s.ask(describeGroups(m.group))
})

var offsetCommitScenes = slices.Concat([]scene{firstScene}, commitIn, []scene{
	{name: "good", play: func(s *script) {
		g := s.group("g")
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(0, 5, ""))))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(0, 6, "some text"), commitPartition(2, 0, "ünicode"))))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(0, 4, "back"))))
		s.ask(describeGroups(g))
	}},
	{name: "offsets and epochs", play: func(s *script) {
		g := s.group("g")
		for _, offset := range []int64{0, -1, -2, 1 << 40, 1<<63 - 1, -1 << 63} {
			s.commits(s.simply(g, s.commitTopic(common, commitPartition(0, offset, ""))))
		}
		for _, epoch := range []int32{0, 1, 7, -1, -2, 2147483647} {
			p := commitPartition(1, 5, "")
			p.LeaderEpoch = epoch
			s.commits(s.simply(g, s.commitTopic(common, p)))
		}
	}},
	{name: "metadata", play: func(s *script) {
		g := s.group("g")
		none := commitPartition(0, 5, "")
		none.Metadata = nil
		s.commits(s.simply(g, s.commitTopic(common, none)))
		for _, n := range []int{4096, 4097, 30_000} {
			s.commits(s.simply(g, s.commitTopic(common, commitPartition(1, int64(n), strings.Repeat("x", n)))))
		}
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(2, 2048, strings.Repeat("ü", 2048)))))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(2, 2049, strings.Repeat("ü", 2049)))))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(0, 1, strings.Repeat("x", 4097)), commitPartition(1, 1, "good"))))
		h := s.group("h")
		s.ask(s.simply(h, s.commitTopic(common, commitPartition(0, 1, strings.Repeat("x", 4097)))))
		s.ask(describeGroups(h))
	}},
	{name: "unknown topics and partitions", play: func(s *script) {
		g, none := s.group("g"), s.name("none")
		s.ids[none] = unknownID
		s.tree.names.call("id", string(unknownID[:]), "unknown id")
		s.commits(s.simply(g, s.commitTopic(none, commitPartition(0, 5, ""))))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(3, 5, ""))))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(-1, 5, ""))))
		s.commits(s.simply(g, s.commitTopic("", commitPartition(0, 5, ""))))
		s.commits(s.simply(g, s.commitTopic("two words", commitPartition(0, 5, ""))))
		s.commits(s.simply(g,
			s.commitTopic(none, commitPartition(0, 5, ""), commitPartition(9, 5, "")),
			s.commitTopic(common, commitPartition(1, 6, ""), commitPartition(3, 7, strings.Repeat("x", 5000)), commitPartition(2, 8, strings.Repeat("x", 5000))),
		))
	}},
	{name: "unknown topics of unknown members", play: func(s *script) {
		g, none := s.group("g"), s.name("none")
		s.ids[none] = unknownID
		nobody := identity{id: "nobody", generation: 1}
		s.ask(s.commitAs(g, nobody, s.commitTopic(none, commitPartition(0, 5, "")), s.commitTopic(common, commitPartition(0, 5, ""), commitPartition(3, 5, ""))))
		s.ask(s.commitAs(g, nobody, s.commitTopic(none, commitPartition(0, 5, ""))))
		s.ask(s.commitAs("", nobody, s.commitTopic(none, commitPartition(0, 5, ""))))
	}},
	{name: "internal topics", play: func(s *script) {
		g := s.group("g")
		s.ids["__consumer_offsets"] = s.quiet(metadata(false, "__consumer_offsets")).(*kmsg.MetadataResponse).Topics[0].TopicID
		s.commits(s.simply(g, s.commitTopic("__consumer_offsets", commitPartition(0, 5, ""))))
	}},
	{name: "topic ids", from: 10, play: func(s *script) {
		g := s.group("g")
		byID := func(id [16]byte) kmsg.OffsetCommitRequestTopic {
			t := s.commitTopic(common, commitPartition(0, 5, ""))
			t.TopicID = id
			return t
		}
		s.tree.names.call("id", string(unknownID[:]), "unknown id")
		s.commits(s.simply(g, byID([16]byte{})))
		s.commits(s.simply(g, byID(unknownID)))
		s.commits(s.simply(g, byID(unknownID), byID(s.ids[common]), byID([16]byte{})))
	}},
	{name: "twice in one request", play: func(s *script) {
		g := s.group("g")
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(0, 5, "first"), commitPartition(0, 6, "second"))))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(1, 5, "first")), s.commitTopic(common, commitPartition(1, 6, "second"))))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(0, 5, "first")), s.commitTopic(common, commitPartition(2, 6, "second"))))
	}},
	{name: "nothing asked", play: func(s *script) {
		g := s.group("g")
		s.ask(s.simply(g))
		s.ask(s.simply(g, s.commitTopic(common)))
		s.ask(describeGroups(g))
		s.ask(s.commitAs(g, identity{id: "nobody", generation: 1}))
		s.ask(s.simply(""))
		a := s.member(g, "A")
		s.stable(a)
		s.ask(s.commitAs(g, identity{id: "nobody", generation: 1}))
		s.ask(s.commitAs(g, a.identity))
	}},
	{name: "the empty group id", play: func(s *script) {
		s.coordinated("")
		s.commits(s.simply("", s.commitTopic(common, commitPartition(0, 5, "of the empty group"))))
	}},
	{name: "retention", to: 4, play: func(s *script) {
		g := s.group("g")
		for i, ms := range []int64{-1, 0, 1, 3_600_000} {
			req := s.simply(g, s.commitTopic(common, commitPartition(int32(i%3), int64(i), "")))
			req.RetentionTimeMillis = ms
			s.commits(req)
		}
	}},
	{name: "members and others", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.commits(a.commit(commitPartition(0, 5, "by A"), commitPartition(1, 5, "by A")))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(1, 6, "by none"))))
		s.knock(b, a)
		s.commits(a.commit(commitPartition(2, 6, "by A, while B waits")))
		s.commits(b.commit(commitPartition(2, 7, "by B, that waits")))
		a.hush(a.join())
		s.admitted(a, b)
		s.commits(a.commit(commitPartition(0, 8, "by A, before the assignment")))
		s.assigned(a, b)
		s.commits(a.commit(commitPartition(0, 9, "by A")))
		s.commits(b.commit(commitPartition(1, 9, "by B")))
		a.quiet(a.leave())
		b.quiet(b.leave())
		s.commits(a.commit(commitPartition(0, 10, "by A, that has left")))
		s.commits(s.simply(g, s.commitTopic(common, commitPartition(1, 11, "by none"))))
	}},
	{name: "static: wrong ids", from: 7, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a, b)
		for i, who := range []identity{
			{b.id, a.generation, a.instance},
			{b.id, b.generation, a.instance},
			{"", b.generation, a.instance},
			{"", -1, a.instance},
			{b.id, b.generation, nil},
		} {
			s.commits(s.commitAs(g, who, s.commitTopic(common, commitPartition(0, int64(i), ""))))
		}
	}},
	{name: "many", once: true, play: func(s *script) {
		g := s.group("g")
		wide := s.topic("wide", 100)
		var all []kmsg.OffsetCommitRequestTopicPartition
		for i := range int32(100) {
			all = append(all, commitPartition(i, int64(i), strings.Repeat("x", 4000)))
		}
		s.commits(s.simply(g, s.commitTopic(wide, all...)))
	}},
})
