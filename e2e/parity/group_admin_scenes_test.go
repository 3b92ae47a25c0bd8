//go:build parity

package parity

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var describeIn = inEach(0, func(s *script, m *member) {
	s.ask(describeGroups(m.group))
	req := describeGroups(m.group)
	req.IncludeAuthorizedOperations = true
	s.ask(req)
})

var describeGroupsScenes = slices.Concat(describeIn, []scene{
	{name: "several", play: func(s *script) {
		g, h, none := s.simple(s.group("g")), s.group("h"), s.group("none")
		s.stable(s.member(h, "A"), s.static(h, "B"))
		s.ask(describeGroups(g, h, none, ""))
		s.ask(describeGroups(h, g))
		s.ask(describeGroups(g, g))
		s.ask(describeGroups(none, none))
	}},
	{name: "nothing asked", play: func(s *script) {
		s.group("g")
		s.ask(describeGroups())
	}},
	{name: "after the group is deleted", play: func(s *script) {
		g := s.simple(s.group("g"))
		s.quiet(deleteGroups(g))
		s.ask(describeGroups(g))
	}},
	{name: "protocols and member data", play: func(s *script) {
		a := s.member(s.group("g"), "A")
		a.kind, a.protocols = "connect", protocols("x", "A's x", "y", "A's y")
		s.stable(a)
		s.ask(describeGroups(a.group))
	}},
})

func listGroups(states, types []string) *kmsg.ListGroupsRequest {
	req := kmsg.NewPtrListGroupsRequest()
	req.StatesFilter, req.TypesFilter = states, types
	return req
}

// allStates are groups in all states.
func (s *script) allStates() {
	s.simple(s.group("simple"))
	left := s.member(s.group("left"), "A")
	s.stable(left)
	left.quiet(left.leave())
	s.in(left.group, "Empty", 0)
	s.stable(s.member(s.group("stable"), "A"))
	s.grown(s.member(s.group("completing"), "A"))
	a := s.member(s.group("preparing"), "A")
	s.stable(a)
	s.knock(s.member(a.group, "B"), a)
	other := s.member(s.group("other"), "A")
	other.kind = "connect"
	s.stable(other)
	pending := s.member(s.group("pending"), "A")
	pending.identify()
	s.in(pending.group, "Empty", 0)
}

var listGroupsScenes = []scene{
	{name: "all", play: func(s *script) {
		s.allStates()
		s.askMine(listGroups(nil, nil))
	}},
	{name: "by state", from: 4, play: func(s *script) {
		s.allStates()
		for _, states := range [][]string{
			{"Stable"},
			{"Empty"},
			{"PreparingRebalance"},
			{"CompletingRebalance"},
			{"Dead"},
			{"Stable", "Empty"},
			{"Stable", "Stable"},
			{"stable"},
			{"STABLE"},
			{"preparing_rebalance"},
			{"Unknown"},
			{"NoSuchState"},
			{"Stable", "NoSuchState"},
			{""},
			{"Assigning"},
			{"Reconciling"},
		} {
			s.askMine(listGroups(states, nil))
		}
	}},
	{name: "by type", from: 5, play: func(s *script) {
		s.allStates()
		for _, types := range [][]string{
			{"classic"}, {"consumer"}, {"share"}, {"streams"}, {"Classic"}, {"CLASSIC"}, {"classic", "consumer"}, {"no such type"}, {"unknown"}, {"classic", "no such type"}, {""},
		} {
			s.askMine(listGroups(nil, types))
		}
		s.askMine(listGroups([]string{"Stable"}, []string{"classic"}))
		s.askMine(listGroups([]string{"Empty", "Stable"}, []string{"consumer"}))
	}},
	{name: "after the group is deleted", play: func(s *script) {
		g := s.simple(s.group("g"))
		s.simple(s.group("h"))
		s.quiet(deleteGroups(g))
		s.askMine(listGroups(nil, nil))
	}},
	{name: "unknown groups that were asked", play: func(s *script) {
		g := s.group("g")
		s.quiet(s.offsets(g, s.offsetTopic(common, 0)))
		s.quiet(s.nobody(g).heartbeat())
		s.quiet(s.nobody(g).join())
		s.quiet(s.commitAs(g, identity{id: "nobody", generation: 1}, s.commitTopic(common, commitPartition(0, 5, ""))))
		s.askMine(listGroups(nil, nil))
	}},
}

func deleteGroups(groups ...string) *kmsg.DeleteGroupsRequest {
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Groups = groups
	return req
}

var deleteIn = inEach(0, func(s *script, m *member) {
	s.ask(deleteGroups(m.group))
	s.ask(describeGroups(m.group))
	s.ask(deleteGroups(m.group))
	m.ask(m.heartbeat())
})

var deleteGroupsScenes = slices.Concat(deleteIn, []scene{
	{name: "good and bad", play: func(s *script) {
		g, h, none := s.simple(s.group("g")), s.group("h"), s.group("none")
		s.stable(s.member(h, "A"))
		s.ask(deleteGroups(h, g, none, ""))
		s.askMine(listGroups(nil, nil))
		s.look(s.offsets(g))
	}},
	{name: "twice in one request", play: func(s *script) {
		g := s.simple(s.group("g"))
		s.ask(deleteGroups(g, g))
		s.ask(deleteGroups(g, g))
		h := s.group("h")
		s.stable(s.member(h, "A"))
		s.ask(deleteGroups(h, h))
	}},
	{name: "nothing asked", play: func(s *script) {
		s.group("g")
		s.ask(deleteGroups())
	}},
	{name: "used again", play: func(s *script) {
		g := s.simple(s.group("g"))
		a := s.member(g, "A")
		s.stable(a)
		s.committed(a.commit(commitPartition(1, 5, "by A")))
		a.quiet(a.leave())
		s.ask(deleteGroups(g))
		s.look(s.offsets(g))
		b := s.member(g, "B")
		s.stable(b)
		s.ask(describeGroups(g))
		b.ask(b.heartbeat())
		s.look(s.offsets(g))
	}},
})
