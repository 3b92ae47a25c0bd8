//go:build parity

package parity

import "github.com/twmb/franz-go/pkg/kmsg"

// staticScenes are of JoinGroup.
var staticScenes = []scene{
	{name: "static: the first member", from: 5, play: func(s *script) {
		a := s.static(s.group("g"), "A")
		a.ask(a.join())
		a.ask(a.sync(a))
		a.ask(a.heartbeat())
		s.ask(describeGroups(a.group))
		a.ask(a.join())
	}},
	{name: "static: instance ids", from: 5, play: func(s *script) {
		ids := []string{"", "two words", ".", "ünicode"}
		s.tries(len(ids), func(i int, m *member) { m.instance = &ids[i] })
	}},
	{name: "static: replaced", from: 5, play: func(s *script) {
		a := s.static(s.group("g"), "A")
		s.stable(a)
		again := s.static(a.group, "A")
		again.ask(again.join())
		a.ask(a.heartbeat())
		a.ask(a.join())
		again.generation = a.generation
		again.ask(again.heartbeat())
		again.ask(again.sync())
		s.ask(describeGroups(a.group))
	}},
	{name: "static: a follower is replaced", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a, b)
		again := s.static(g, "B")
		again.ask(again.join())
		again.ask(again.sync())
		a.ask(a.heartbeat())
		b.ask(b.heartbeat())
		s.ask(describeGroups(g))
	}},
	{name: "static: the leader is replaced", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a, b)
		again := s.static(g, "A")
		again.ask(again.join())
		again.ask(again.sync(again, b))
		b.ask(b.heartbeat())
		b.ask(b.sync())
		s.ask(describeGroups(g))
		again.begin(again.join())
		again.waits()
	}},
	{name: "static: replaced by another subscription", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a, b)
		again := s.static(g, "B")
		again.protocols = protocols("range", subscription("B again", common))
		again.ask(again.join())
		a.ask(a.heartbeat())
		a.protocols = protocols("range", subscription("A again", common))
		a.begin(a.join())
		a.waits()
		again.begin(again.join())
		s.receive(again, a)
	}},
	{name: "static: replaced by other protocols", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		for _, m := range []*member{a, b} {
			m.protocols = protocols("range", "one", "sticky", "one")
		}
		s.stable(a, b)
		again := s.static(g, "B")
		again.protocols = protocols("roundrobin", "other")
		again.ask(again.join())
		again.protocols = protocols("sticky", "other")
		again.begin(again.join())
		s.in(g, "PreparingRebalance", 2)
		again.waits()
		b.ask(b.heartbeat())
		a.begin(a.join())
		s.receive(again, a)
	}},
	{name: "static: replaced while it waits", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a)
		s.knock(b, a)
		again := s.static(g, "B")
		again.begin(again.join())
		s.receive(b)
		again.waits()
		a.begin(a.join())
		s.receive(again, a)
		s.ask(describeGroups(g))
	}},
	{name: "static: replaced before the assignment", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a)
		s.grown(b, a)
		b.begin(b.sync())
		b.waits()
		again := s.static(g, "B")
		again.begin(again.join())
		s.receive(b)
		s.in(g, "PreparingRebalance", 2)
		again.waits()
		a.ask(a.sync(a, b))
		a.begin(a.join())
		s.receive(again, a)
	}},
	{name: "static: while another waits", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a)
		s.knock(b, a)
		again := s.static(g, "A")
		again.begin(again.join())
		s.receive(again, b)
		a.ask(a.heartbeat())
		s.ask(describeGroups(g))
	}},
	{name: "static: wrong ids", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a, b)
		for _, id := range []string{"somebody", b.id} {
			a.ask(a.joined(func(req *kmsg.JoinGroupRequest) { req.MemberID = id }))
			a.ask(a.joined(func(req *kmsg.JoinGroupRequest) { req.MemberID, req.InstanceID = id, new("some instance") }))
		}
		a.ask(a.joined(func(req *kmsg.JoinGroupRequest) { req.InstanceID = new("some instance") }))
		s.in(g, "Stable", 2)
		a.ask(a.heartbeat())
	}},
	{name: "static: without its instance", from: 5, play: func(s *script) {
		a := s.static(s.group("g"), "A")
		s.stable(a)
		a.ask(a.joined(func(req *kmsg.JoinGroupRequest) { req.InstanceID = nil }))
		s.ask(describeGroups(a.group))
	}},
	{name: "static: a dynamic member takes an instance", from: 5, play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.stable(a)
		a.ask(a.joined(func(req *kmsg.JoinGroupRequest) { req.InstanceID = new("instance of A") }))
		s.ask(describeGroups(a.group))
	}},
	{name: "static: leaves and comes back", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a, b)
		b.ask(leave(g, identity{instance: b.instance}))
		a.ask(a.heartbeat())
		b.ask(b.heartbeat())
		again := s.static(g, "B")
		again.begin(again.join())
		s.in(g, "PreparingRebalance", 2)
		a.begin(a.join())
		s.receive(again, a)
	}},
	{name: "static: two joins at once", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b, c := s.member(g, "A"), s.static(g, "B"), s.static(g, "C")
		s.stable(a)
		s.knock(b, a)
		c.begin(c.join())
		s.in(g, "PreparingRebalance", 3)
		a.begin(a.join())
		s.receive(b, c, a)
		s.ask(describeGroups(g))
	}},
}
