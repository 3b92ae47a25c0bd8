//go:build parity

package parity

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const offsetsTopic = "__consumer_offsets"

// firstScene is the first of all that are about groups: nobody has looked for a
// coordinator, and the topic of groups does not exist.
var firstScene = scene{name: "before there is a coordinator", once: true, play: func(s *script) {
	s.share()
	s.look(metadata(false, offsetsTopic))
	g := s.name("g")
	m := s.nobody(g)
	all := s.offsets(g)
	for _, req := range []kmsg.Request{
		m.join(), m.sync(), m.heartbeat(), m.leave(), m.commit(commitPartition(0, 5, ""), commitPartition(7, 5, "")),
		s.offsets(g, s.offsetTopic(common, 0, 7)), all, deleteOffsets(g, deleteOffsetsOf(common, 0)),
		describeGroups(g, ""), listGroups(nil, nil), deleteGroups(g, ""),
	} {
		oldest, newest := s.broker.oldest[req.Key()], s.broker.newest[req.Key()]
		if req == all {
			oldest = max(oldest, 2)
		}
		for v := oldest; v <= newest; v++ {
			req.SetVersion(v)
			s.record(req)
		}
	}
	empty := s.nobody("")
	for _, req := range []kmsg.Request{empty.join(), empty.sync(), empty.heartbeat(), empty.leave(), empty.commit(commitPartition(0, 5, "")), s.offsets("", s.offsetTopic(common, 0))} {
		s.look(req)
	}
}}

// found asks for coordinators and waits until they are there: their topic is made on
// the first request.
func (s *script) found(kind int8, names ...string) {
	s.until("coordinators are found", func() bool {
		all := s.quiet(findCoordinator(kind, names...)).(*kmsg.FindCoordinatorResponse).Coordinators
		for _, c := range all {
			if kerr.ErrorForCode(c.ErrorCode) == kerr.CoordinatorNotAvailable {
				return false
			}
		}
		return true
	})
	s.ask(findCoordinator(kind, names...))
}

var findCoordinatorScenes = []scene{
	{name: "groups", play: func(s *script) {
		s.found(0, s.name("g"))
		s.ask(findCoordinator(0, s.name("h")))
		s.ask(findCoordinator(0, strings.Repeat("x", 1000)))
		s.ask(findCoordinator(0, "ünicode and two words"))
		s.ask(findCoordinator(0, ""))
	}},
	{name: "several", from: 4, play: func(s *script) {
		s.found(0, s.name("g"), s.name("h"), "")
		s.ask(findCoordinator(0, s.name("g"), s.name("g")))
		s.ask(findCoordinator(0))
	}},
	{name: "kinds", from: 1, play: func(s *script) {
		s.group("g")
		for _, kind := range []int8{-1, 3, 127, -128} {
			s.ask(findCoordinator(kind, s.name("g")))
			s.ask(findCoordinator(kind, ""))
			s.ask(findCoordinator(kind))
		}
	}},
	{name: "transactions", from: 1, play: func(s *script) {
		s.found(1, s.name("t"))
		s.ask(findCoordinator(1, ""))
		if s.v >= 4 {
			s.ask(findCoordinator(1, s.name("t"), s.name("u")))
		}
	}},
	{name: "share groups", from: 1, play: func(s *script) {
		s.group("g")
		for _, key := range []string{s.name("g"), "", "a:b", "a:b:c", ":AAAAAAAAAAAAAAAAAAAAAQ:0", "a:AAAAAAAAAAAAAAAAAAAAAQ:b"} {
			s.ask(findCoordinator(2, key))
		}
	}},
	{name: "the topic of offsets", once: true, play: func(s *script) {
		s.group("g")
		s.look(metadata(false, offsetsTopic))
		s.look(describePartitions(2000, nil, offsetsTopic))
		s.look(describe(ofTopic, offsetsTopic, nil))
		s.look(createTopics(newTopic(offsetsTopic, 1)))
		s.look(s.produce(offsetsTopic, 0, batch(keyed("a", "b"))))
	}},
	{name: "what is written", once: true, play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.static(g, "B")
		s.stable(a, b)
		s.committed(a.commit(commitPartition(0, 5, "by A"), commitPartition(1, 6, "")))
		s.quiet(leave(g, a.identity, b.identity))
		s.until("the empty generation is written", func() bool { return s.ends(g) })
		s.written(g)
		s.quiet(deleteOffsets(g, deleteOffsetsOf(common, 0)))
		s.written(g)
		s.quiet(deleteGroups(g))
		s.written(g)
		h := s.simple(s.group("h"))
		p := commitPartition(2, 7, "with an epoch")
		p.LeaderEpoch = 0
		s.committed(s.simply(h, s.commitTopic(common, p)))
		s.written(h)
	}},
}
