//go:build parity

package parity

import (
	"slices"
	"strings"
)

var leaveGroupScenes = slices.Concat(inEach(0, func(s *script, m *member) {
	for _, who := range m.identities() {
		m.ask(leave(m.group, who))
	}
	s.ask(describeGroups(m.group))
	m.ask(m.leave())
}), []scene{
	{name: "several", from: 3, play: func(s *script) {
		g := s.group("g")
		a, b, c := s.member(g, "A"), s.member(g, "B"), s.static(g, "C")
		s.stable(a, b, c)
		s.ask(leave(g, identity{id: "somebody"}, b.identity, identity{instance: new("some instance")}, b.identity))
		s.ask(describeGroups(g))
		s.ask(leave(g, a.identity, identity{instance: c.instance}, identity{}))
		s.ask(describeGroups(g))
		s.ask(leave(g, a.identity, b.identity, c.identity))
	}},
	{name: "nobody", from: 3, play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.ask(leave(a.group))
		s.stable(a)
		s.ask(leave(a.group))
		s.ask(leave(""))
		s.ask(describeGroups(a.group))
	}},
	{name: "by instance", from: 3, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a, b)
		for _, who := range []identity{
			{id: "somebody", instance: a.instance},
			{id: a.id, instance: b.instance},
			{id: a.id, instance: new("some instance")},
			{id: "somebody", instance: new("some instance")},
			{instance: new("")},
			{instance: a.instance},
			{instance: a.instance},
			{id: b.id, instance: b.instance},
			{id: b.id},
		} {
			s.ask(leave(g, who))
		}
		s.ask(describeGroups(g))
	}},
	{name: "static, by its id alone", from: 3, play: func(s *script) {
		a := s.static(s.group("g"), "A")
		s.stable(a)
		s.ask(leave(a.group, identity{id: a.id}))
		s.ask(describeGroups(a.group))
	}},
	{name: "the same twice", from: 3, play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.static(g, "B")
		s.stable(a, b)
		s.ask(leave(g, a.identity, a.identity, identity{instance: b.instance}, identity{instance: b.instance}, b.identity))
		s.ask(describeGroups(g))
	}},
	{name: "reasons", from: 5, play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a, b)
		req := leave(g, a.identity, b.identity)
		req.Members[0].Reason = new("")
		req.Members[1].Reason = new(strings.Repeat("long ", 1000))
		s.ask(req)
	}},
	{name: "pending members and others", from: 3, play: func(s *script) {
		g := s.group("g")
		a, b, c := s.member(g, "A"), s.member(g, "B"), s.member(g, "C")
		s.stable(a)
		b.identify()
		s.ask(describeGroups(g))
		c.identify()
		c.begin(c.join())
		s.in(g, "PreparingRebalance", 2)
		a.begin(a.join())
		a.waits() // for B, whose id is taken
		s.ask(leave(g, b.identity))
		s.receive(c, a)
	}},
	{name: "one who waits, twice", from: 3, play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.knock(b, a)
		s.ask(leave(g, b.identity, b.identity))
		s.receive(b)
	}},
	{name: "all, then what is left", play: func(s *script) {
		g := s.group("g")
		a := s.member(g, "A")
		s.stable(a)
		a.commit(commitPartition(0, 5, "by A"))
		a.ask(a.leave())
		s.ask(describeGroups(g))
		s.look(s.offsets(g))
	}},
})
