//go:build parity

package parity

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// enter asks to join, once more when an id comes first.
func (m *member) enter() *kmsg.JoinGroupResponse {
	resp, _ := m.ask(m.join()).(*kmsg.JoinGroupResponse)
	if resp != nil && resp.ErrorCode == 79 { // MEMBER_ID_REQUIRED
		resp, _ = m.ask(m.join()).(*kmsg.JoinGroupResponse)
	}
	return resp
}

// joined is a request to join with changes.
func (m *member) joined(change func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupRequest {
	req := m.join()
	change(req)
	return req
}

// tries joins a group of its own for each variant, which may come to be a member.
func (s *script) tries(n int, change func(i int, m *member)) {
	for i := range n {
		m := s.member(s.group(string(rune('a'+i))), string(rune('A'+i)))
		change(i, m)
		m.enter()
	}
}

var joinGroupScenes = []scene{
	{name: "the first member", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		a.enter()
		s.ask(describeGroups(a.group))
		a.ask(a.sync(a))
		a.ask(a.heartbeat())
		s.ask(describeGroups(a.group))
		a.ask(a.join())
		a.ask(a.sync(a))
		a.ask(a.heartbeat())
		a.ask(a.leave())
		s.ask(describeGroups(a.group))
	}},
	{name: "a member id comes first", from: 4, play: func(s *script) {
		a, b := s.member(s.group("g"), "A"), s.member(s.name("g"), "B")
		a.ask(a.join())
		b.ask(b.join())
		s.ask(describeGroups(a.group))
		b.ask(b.join())
		s.ask(describeGroups(a.group))
		a.begin(a.join())
		s.in(a.group, "PreparingRebalance", 2)
		b.begin(b.join())
		s.receive(b, a)
		s.ask(describeGroups(a.group))
	}},
	{name: "a member id of another group", from: 4, play: func(s *script) {
		a, b := s.member(s.group("g"), "A"), s.member(s.group("h"), "B")
		a.ask(a.join())
		b.id = a.id
		b.ask(b.join())
	}},
	{name: "empty group id", play: func(s *script) {
		s.group("g")
		a := s.member("", "A")
		a.ask(a.join())
		a.id = "nobody"
		a.ask(a.join())
		a.session = 1
		a.ask(a.join())
	}},
	{name: "session timeouts", play: func(s *script) {
		timeouts := []int32{0, -1, 1, 5999, 6000, 1_800_000, 1_800_001, 2147483647, -2147483648}
		s.tries(len(timeouts), func(i int, m *member) { m.session = timeouts[i] })
	}},
	{name: "rebalance timeouts", from: 1, play: func(s *script) {
		timeouts := []int32{0, -1, 2147483647, -2147483648}
		s.tries(len(timeouts), func(i int, m *member) { m.rebalance = timeouts[i] })
	}},
	// Not asked: the same protocol twice, and long metadata that are no subscription of a
	// consumer, since Kafka fails inside and never answers.
	{name: "protocols", play: func(s *script) {
		lists := [][]string{
			{},
			{"", ""},
			{"range", ""},
			{"range", "one", "", "two"},
			{strings.Repeat("x", 1000), "one"},
		}
		s.tries(len(lists), func(i int, m *member) { m.protocols = protocols(lists[i]...) })
	}},
	{name: "protocol types", play: func(s *script) {
		kinds := []string{"", "connect", "Consumer", "two words", strings.Repeat("x", 1000)}
		s.tries(len(kinds), func(i int, m *member) { m.kind = kinds[i] })
	}},
	{name: "which error first", play: func(s *script) {
		s.tries(1, func(_ int, m *member) { m.kind, m.session = "", 1 })
		m := s.member(s.name("a"), "A")
		m.id, m.kind = "nobody", ""
		m.ask(m.join())
		m.kind, m.session = "consumer", 1
		m.ask(m.join())
		m.instance = new("an instance")
		m.ask(m.join())
	}},
	{name: "reasons", from: 8, play: func(s *script) {
		for i, reason := range []string{"", "because", strings.Repeat("long ", 1000)} {
			m := s.member(s.group(string(rune('a'+i))), string(rune('A'+i)))
			m.ask(m.joined(func(req *kmsg.JoinGroupRequest) { req.Reason = &reason }))
			m.ask(m.joined(func(req *kmsg.JoinGroupRequest) { req.Reason = &reason }))
		}
	}},
	{name: "unknown members", play: func(s *script) {
		g := s.group("g")
		nobody := s.nobody(g)
		nobody.ask(nobody.join())
		a := s.member(g, "A")
		a.identify()
		nobody.ask(nobody.join())
		s.grown(a)
		nobody.ask(nobody.join())
		s.assigned(a)
		nobody.ask(nobody.join())
		s.knock(s.member(g, "B"), a)
		nobody.ask(nobody.join())
		nobody.instance = new("an instance")
		nobody.ask(nobody.join())
	}},
	{name: "a member that has left", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.stable(a)
		a.quiet(a.leave())
		a.ask(a.join())
		s.ask(describeGroups(a.group))
		a.id = ""
		a.enter()
		s.ask(describeGroups(a.group))
	}},
	{name: "a group with offsets", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.simple(a.group)
		a.kind, a.protocols = "connect", protocols("compatible", "one")
		a.enter()
		a.ask(a.sync(a))
		s.ask(describeGroups(a.group))
	}},
	{name: "another protocol type, when empty", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.stable(a)
		a.quiet(a.leave())
		b := s.member(a.group, "B")
		b.kind, b.protocols = "connect", protocols("compatible", "one")
		b.enter()
		b.ask(b.sync(b))
		s.ask(describeGroups(a.group))
	}},
	{name: "protocols that do not match", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		s.stable(a)
		b := s.member(a.group, "B")
		b.kind = "connect"
		b.ask(b.join())
		b.kind, b.protocols = "consumer", protocols("sticky", "one")
		b.ask(b.join())
		b.protocols = nil
		b.ask(b.join())
		b.id = "nobody"
		b.ask(b.join())
		s.in(a.group, "Stable", 1)
		s.ask(describeGroups(a.group))
		a.protocols = protocols("sticky", "one")
		a.ask(a.join())
		a.kind = "connect"
		a.ask(a.join())
		a.ask(a.heartbeat())
	}},
}

var joinGroupTogetherScenes = []scene{
	{name: "two members", play: func(s *script) {
		a, b := s.member(s.group("g"), "A"), s.member(s.name("g"), "B")
		s.stable(a)
		b.identify()
		b.begin(b.join())
		s.in(a.group, "PreparingRebalance", 2)
		b.waits()
		s.ask(describeGroups(a.group))
		a.ask(a.heartbeat())
		a.begin(a.join())
		s.receive(b, a)
		s.ask(describeGroups(a.group))
		b.begin(b.sync())
		b.waits()
		a.begin(a.sync(a, b))
		s.receive(a, b)
		s.ask(describeGroups(a.group))
		a.ask(a.heartbeat())
		b.ask(b.heartbeat())
	}},
	{name: "three members, one leaves", play: func(s *script) {
		g := s.group("g")
		a, b, c := s.member(g, "A"), s.member(g, "B"), s.member(g, "C")
		s.stable(a, b)
		c.identify()
		c.begin(c.join())
		s.in(g, "PreparingRebalance", 3)
		b.begin(b.join())
		a.begin(a.join())
		s.receive(b, c, a)
		c.begin(c.sync())
		b.begin(b.sync())
		a.begin(a.sync(a, c))
		s.receive(a, b, c)
		s.ask(describeGroups(g))
		b.ask(b.leave())
		a.ask(a.heartbeat())
		c.ask(c.heartbeat())
		b.ask(b.heartbeat())
		c.begin(c.join())
		c.waits()
		a.begin(a.join())
		s.receive(c, a)
		s.assigned(a, c)
		s.ask(describeGroups(g))
	}},
	{name: "the leader leaves", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a, b)
		a.ask(a.leave())
		b.ask(b.heartbeat())
		b.ask(b.join())
		b.ask(b.sync(b))
		s.ask(describeGroups(g))
	}},
	{name: "the last one who is missed leaves", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.knock(b, a)
		a.ask(a.leave())
		s.receive(b)
		b.ask(b.sync(b))
	}},
	{name: "one who waits leaves", play: func(s *script) {
		g := s.group("g")
		a, b, c := s.member(g, "A"), s.member(g, "B"), s.member(g, "C")
		s.stable(a)
		s.knock(b, a)
		c.ask(b.leave())
		s.receive(b)
		s.ask(describeGroups(g))
		a.ask(a.heartbeat())
		a.ask(a.join())
	}},
	{name: "a member joins again", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a, b)
		b.ask(b.join()) // the same as before
		a.ask(a.heartbeat())
		b.protocols = protocols("range", "other")
		b.begin(b.join())
		s.in(g, "PreparingRebalance", 2)
		b.waits()
		a.ask(a.heartbeat())
		a.begin(a.join())
		s.receive(b, a)
		s.ask(describeGroups(g))
	}},
	{name: "the leader joins again", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a, b)
		a.begin(a.join())
		s.in(g, "PreparingRebalance", 2)
		a.waits()
		b.ask(b.heartbeat())
		b.begin(b.join())
		s.receive(b, a)
		s.ask(describeGroups(g))
	}},
	{name: "again before the assignment", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.grown(b, a)
		b.ask(b.join())
		a.ask(a.join())
		s.ask(describeGroups(g))
		b.protocols = protocols("range", "other")
		b.begin(b.join())
		s.in(g, "PreparingRebalance", 2)
		b.waits()
		a.ask(a.sync(a, b))
		a.begin(a.join())
		s.receive(b, a)
	}},
	{name: "one joins before the assignment", play: func(s *script) {
		g := s.group("g")
		a, b, c := s.member(g, "A"), s.member(g, "B"), s.member(g, "C")
		s.stable(a)
		s.grown(b, a)
		b.begin(b.sync())
		b.waits()
		s.knock(c, a, b)
		s.receive(b)
		a.ask(a.sync(a, b))
		b.begin(b.join())
		a.begin(a.join())
		s.admitted(c)
		s.receive(b, a)
	}},
	{name: "twice while it waits", play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a)
		s.knock(b, a)
		again := s.member(g, "B")
		again.identity = b.identity
		again.begin(again.join())
		again.waits()
		b.waits()
		a.begin(a.join())
		s.receive(again, a)
		b.waits()
		s.ask(describeGroups(g))
	}},
	{name: "votes", play: func(s *script) {
		g := s.group("g")
		a, b, c := s.member(g, "A"), s.member(g, "B"), s.member(g, "C")
		a.protocols = protocols("x", "A's x", "y", "A's y", "z", "A's z")
		b.protocols = protocols("z", "B's z", "w", "B's w", "y", "B's y")
		c.protocols = protocols("w", "C's w", "z", "C's z", "y", "C's y")
		s.stable(a)
		s.in(g, "Stable", 1)
		s.knock(b, a)
		s.ask(describeGroups(g))
		a.protocols = protocols("z", "A's z", "x", "A's x", "y", "A's y")
		a.begin(a.join())
		s.receive(b, a)
		s.assigned(withProtocol("z", a, b)...)
		s.knock(c, a, b)
		a.protocols = protocols("y", "A's y")
		a.begin(a.join())
		b.begin(b.join())
		s.receive(c, b, a)
		s.ask(describeGroups(g))
	}},
}

// withProtocol lets members sync with a protocol other than their first.
func withProtocol(name string, members ...*member) []*member {
	for _, m := range members {
		for i, p := range m.protocols {
			if p.Name == name {
				m.protocols[0], m.protocols[i] = m.protocols[i], m.protocols[0]
			}
		}
	}
	return members
}

// Those that wait for a timeout are played once or are short.
var joinGroupLateScenes = []scene{
	{name: "one does not come back", from: 1, play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		a.rebalance, b.rebalance = 300, 300
		s.stable(a)
		b.identify()
		b.begin(b.join())
		s.receive(b)
		a.ask(a.heartbeat())
		a.ask(a.join())
		b.ask(b.sync(b))
		s.ask(describeGroups(g))
	}},
	{name: "the longest rebalance timeout counts", once: true, play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		a.rebalance, b.rebalance = 60_000, 1
		s.stable(a)
		s.knock(b, a)
		b.waits()
		a.begin(a.join())
		s.receive(b, a)
	}},
	{name: "the leader does not sync", from: 1, play: func(s *script) {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		a.rebalance, b.rebalance = 300, 300
		s.stable(a)
		s.grown(b, a)
		b.begin(b.sync())
		s.receive(b)
		s.in(g, "PreparingRebalance", 1)
		a.ask(a.heartbeat())
		b.ask(b.heartbeat())
		b.ask(b.join())
		s.ask(describeGroups(g))
	}},
	{name: "sessions end", once: true, play: func(s *script) {
		g, h, i := s.group("g"), s.group("h"), s.group("i")
		a, b, pending, waiting := s.member(g, "A"), s.member(g, "B"), s.member(h, "P"), s.member(i, "W")
		static := s.static(i, "S")
		for _, m := range []*member{a, pending, static} {
			m.session = 6000
		}
		s.stable(a, b)
		pending.identify()
		s.stable(static)
		s.knock(waiting, static) // Kafka waits for a static member as for any other
		s.in(g, "PreparingRebalance", 1)
		b.ask(b.heartbeat())
		b.ask(b.join())
		a.ask(a.heartbeat())
		pending.ask(pending.join())
		s.receive(waiting)
		s.ask(describeGroups(g, h, i))
	}},
}
