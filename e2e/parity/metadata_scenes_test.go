//go:build parity

package parity

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func metadataTopic(name string) kmsg.MetadataRequestTopic {
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &name
	return t
}

func metadata(create bool, topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = create
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range topics {
		req.Topics = append(req.Topics, metadataTopic(name))
	}
	return req
}

// byID asks for a topic by id, or by name and id.
func byID(name *string, id [16]byte) *kmsg.MetadataRequest {
	req := metadata(false)
	t := kmsg.NewMetadataRequestTopic()
	t.Topic, t.TopicID = name, id
	req.Topics = append(req.Topics, t)
	return req
}

// badNames are refused as names of topics.
var badNames = []string{"", ".", "..", "two words", "a/b", "ünicode", "a\x00b", strings.Repeat("x", 250)}

// unknownID is the id of no topic.
var unknownID = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

var metadataScenes = []scene{
	{name: "topics", play: func(s *script) {
		a, b := s.topic("a", 1), s.topic("b", 3)
		s.ask(metadata(false, a))
		s.ask(metadata(false, b, a))
		s.ask(metadata(false, a, a))
	}},
	{name: "all topics", play: func(s *script) {
		s.topic("a", 2)
		req := metadata(true)
		if s.v > 0 {
			req.Topics = nil
		}
		s.askMine(req)
	}},
	{name: "no topics", from: 1, play: func(s *script) { s.ask(metadata(true)) }},
	{name: "unknown topics", from: 4, play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(metadata(false, s.name("none")))
		s.ask(metadata(false, s.name("none"), a, s.name("neither")))
		s.ask(metadata(false, s.name("none"), s.name("none")))
	}},
	{name: "bad names", play: func(s *script) {
		for _, name := range badNames {
			s.ask(metadata(false, name))
			s.ask(metadata(true, name))
		}
		s.ask(metadata(true, badNames...))
	}},
	{name: "auto-create", play: func(s *script) {
		name := s.name("new")
		s.until("auto-created", func() bool {
			topics := s.quiet(metadata(true, name)).(*kmsg.MetadataResponse).Topics
			return topics[0].ErrorCode == 0 && len(topics[0].Partitions) > 0
		})
		s.usable(name, 1)
		s.ask(metadata(true, name))
	}},
	{name: "auto-create, the first answer", play: func(s *script) {
		s.ask(metadata(true, s.name("new")))
	}},
	{name: "auto-create of a colliding name", play: func(s *script) {
		s.topic("a.b", 1)
		s.ask(metadata(true, s.name("a_b")))
	}},
	{name: "authorized operations", from: 8, play: func(s *script) {
		a := s.topic("a", 1)
		req := metadata(false, a)
		req.IncludeTopicAuthorizedOperations = true
		s.ask(req)
		req = metadata(false, a, s.name("none"))
		req.IncludeClusterAuthorizedOperations = true
		req.IncludeTopicAuthorizedOperations = true
		s.ask(req)
	}},
	{name: "by id", from: 10, play: func(s *script) {
		a := s.topic("a", 1)
		s.tree.names.call("id", string(unknownID[:]), "unknown id")
		s.ask(byID(nil, s.ids[a]))
		s.ask(byID(nil, unknownID))
		s.ask(byID(nil, [16]byte{}))
		s.ask(byID(&a, s.ids[a]))
		s.ask(byID(&a, unknownID))
		s.ask(byID(new(s.name("none")), s.ids[a]))
		twice := byID(nil, s.ids[a])
		twice.Topics = append(twice.Topics, twice.Topics[0])
		s.ask(twice)
		mixed := byID(nil, unknownID)
		mixed.Topics = append(mixed.Topics, metadataTopic(a), metadataTopic(s.name("none")))
		s.ask(mixed)
	}},
	{name: "after a delete", from: 4, play: func(s *script) {
		a := s.topic("a", 1)
		id := s.ids[a]
		s.quiet(deleteTopics(s, a))
		s.until("deleted", func() bool {
			return s.quiet(metadata(false, a)).(*kmsg.MetadataResponse).Topics[0].ErrorCode != 0
		})
		s.ask(metadata(false, a))
		if s.v >= 12 {
			s.ask(byID(nil, id))
		}
		again := s.topic("a", 2)
		s.ask(metadata(false, again))
	}},
}
