//go:build parity

package parity

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// syncIn asks to sync in each way, then in the right one.
var syncIn = inEach(0, func(s *script, m *member) {
	for _, who := range m.identities() {
		m.ask(m.syncAs(who))
	}
	s.ask(describeGroups(m.group))
})

var syncGroupScenes = slices.Concat(syncIn, []scene{
	{name: "protocol types and names", from: 5, play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.grown(a)
		for range 2 {
			for _, c := range [][2]*string{
				{new("connect"), new("range")}, {new("consumer"), new("sticky")}, {nil, new("sticky")}, {new("connect"), nil}, {new(""), new("")},
			} {
				req := a.sync(a)
				req.ProtocolType, req.Protocol = c[0], c[1]
				a.ask(req)
			}
			req := a.sync(a)
			req.ProtocolType, req.Protocol = nil, nil
			a.ask(req)
		}
	}},
	{name: "assignments", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.grown(b, a)
		req := a.sync(a)
		req.GroupAssignment = append(req.GroupAssignment, assignment("somebody", "for somebody"), assignment(a.id, "again for A"), assignment("", "for none"))
		b.begin(b.sync(a, b))
		b.waits()
		a.begin(req)
		s.receive(a, b)
		s.ask(describeGroups(g))
		b.ask(b.sync(b))
		a.ask(a.sync(b))
		s.ask(describeGroups(g))
	}},
	{name: "no assignments", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.grown(a)
		a.ask(a.sync())
		s.ask(describeGroups(a.group))
		b := s.member(s.group("h"), "B")
		s.grown(b)
		req := b.sync()
		req.GroupAssignment = append(req.GroupAssignment, assignment(b.id, ""))
		b.ask(req)
		s.ask(describeGroups(b.group))
	}},
	{name: "the leader first", play: func(s *script) {
		g := s.group("g")
		a, b, c := s.member(g, "A"), s.member(g, "B"), s.member(g, "C")
		s.stable(a, b)
		s.grown(c, a, b)
		a.ask(a.sync(b, a))
		s.ask(describeGroups(g))
		c.ask(c.sync())
		b.ask(b.sync())
		c.ask(c.sync())
		a.ask(a.heartbeat())
	}},
	{name: "again while it waits", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.grown(b, a)
		b.begin(b.sync())
		b.waits()
		again := s.member(g, "B")
		again.identity = b.identity
		again.begin(again.sync())
		again.waits()
		b.waits()
		a.begin(a.sync(a, b))
		s.receive(a, again)
		b.waits()
	}},
	{name: "a member leaves before the assignment", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.grown(b, a)
		b.begin(b.sync())
		b.waits()
		a.ask(a.leave())
		s.receive(b)
		a.ask(a.sync(a, b))
		b.ask(b.join())
		b.ask(b.sync(b))
	}},
	{name: "large assignments", once: true, play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.grown(a)
		req := a.sync()
		req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: a.id, MemberAssignment: make([]byte, 1<<20)})
		a.ask(req)
		s.ask(describeGroups(a.group))
		a.ask(a.heartbeat())
		a.ask(a.join())
		a.ask(a.sync(a))
	}},
	{name: "static: wrong ids", from: 3, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a)
		s.grown(b, a)
		a.ask(a.syncAs(identity{b.id, a.generation, a.instance}))
		a.ask(a.syncAs(identity{a.id, a.generation, b.instance}))
		a.ask(a.syncAs(identity{"", a.generation, a.instance}))
		a.ask(a.syncAs(identity{a.id, a.generation, nil}))
		a.ask(a.sync(a, b))
		b.ask(b.sync())
	}},
})

var heartbeatScenes = slices.Concat(inEach(0, func(s *script, m *member) {
	for _, who := range m.identities() {
		m.ask(m.heartbeatAs(who))
	}
	s.ask(describeGroups(m.group))
}), []scene{
	{name: "of one who waits", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.knock(b, a)
		s.ask(b.heartbeatAs(identity{b.id, a.generation, nil}))
		s.ask(b.heartbeatAs(identity{b.id, -1, nil}))
		s.ask(b.heartbeatAs(identity{b.id, a.generation + 1, nil}))
	}},
	{name: "static: wrong ids", from: 3, play: func(s *script) {
		g := s.group("g")
		a, b := s.static(g, "A"), s.static(g, "B")
		s.stable(a, b)
		s.ask(a.heartbeatAs(identity{b.id, a.generation, a.instance}))
		s.ask(a.heartbeatAs(identity{b.id, b.generation, a.instance}))
		s.ask(a.heartbeatAs(identity{"", b.generation, a.instance}))
		s.ask(a.heartbeatAs(identity{b.id, b.generation, nil}))
	}},
})
