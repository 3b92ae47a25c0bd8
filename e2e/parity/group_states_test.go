//go:build parity

package parity

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// common is a topic of three partitions that all scenes of groups share.
const common = "common-topic"

// share makes sure that there is the common topic.
func (s *script) share() string {
	if s.broker.common == [16]byte{} {
		req := createTopics(newTopic(common, 3))
		s.quiet(req)
		s.usable(common, 3)
		s.broker.common = s.quiet(metadata(false, common)).(*kmsg.MetadataResponse).Topics[0].TopicID
	}
	s.ids[common] = s.broker.common
	s.tree.names.call("id", string(s.broker.common[:]), "id of "+common)
	return common
}

// coordinated returns the group when its coordinator answers.
func (s *script) coordinated(group string) string {
	s.share()
	s.until(group+" is coordinated", func() bool {
		found := s.quiet(findCoordinator(0, group)).(*kmsg.FindCoordinatorResponse)
		return len(found.Coordinators) == 1 && found.Coordinators[0].ErrorCode == 0 && s.answers(group)
	})
	return group
}

// answers says whether the coordinator of a group is there and has loaded.
func (s *script) answers(group string) bool {
	described := s.quiet(describeGroups(group)).(*kmsg.DescribeGroupsResponse).Groups[0]
	switch kerr.ErrorForCode(described.ErrorCode) {
	case kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress:
		return false
	}
	return true
}

// group is a coordinated group of this play that does not exist yet.
func (s *script) group(suffix string) string { return s.coordinated(s.name(suffix)) }

func findCoordinator(kind int8, names ...string) *kmsg.FindCoordinatorRequest {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorType, req.CoordinatorKeys = kind, names
	if len(names) > 0 {
		req.CoordinatorKey = names[0]
	}
	return req
}

func describeGroups(groups ...string) *kmsg.DescribeGroupsRequest {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = groups
	return req
}

// in waits until a group is in a state with that many members.
func (s *script) in(group, state string, members int) {
	last := ""
	s.until(fmt.Sprintf("%s is %s with %d members", group, state, members), func() bool {
		g := s.quiet(describeGroups(group)).(*kmsg.DescribeGroupsResponse).Groups[0]
		last = fmt.Sprint(g.State, len(g.Members))
		return last == fmt.Sprint(state, members)
	})
}

// identify gets an id for a member that has none.
func (m *member) identify() {
	if m.id != "" || m.instance != nil {
		return
	}
	resp := m.quiet(m.join()).(*kmsg.JoinGroupResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != kerr.MemberIDRequired {
		m.s.check(fmt.Errorf("%s joins without an id: %v", m.name, err))
	}
}

// grown takes a member into a stable group, quietly: the others join again. It leaves
// the group before the assignment.
func (s *script) grown(newcomer *member, others ...*member) {
	s.knock(newcomer, others...)
	for _, m := range others {
		m.hush(m.join())
	}
	s.admitted(append(slices.Clone(others), newcomer)...)
}

// knock leaves the newcomer waiting for the others to join again.
func (s *script) knock(newcomer *member, others ...*member) {
	newcomer.identify()
	newcomer.hush(newcomer.join())
	if len(others) > 0 {
		s.in(newcomer.group, "PreparingRebalance", len(others)+1)
	}
}

// admitted reads the answers to joins, which must be good.
func (s *script) admitted(members ...*member) {
	for i, resp := range s.gather(members...) {
		if err := kerr.ErrorForCode(resp.(*kmsg.JoinGroupResponse).ErrorCode); err != nil {
			s.check(fmt.Errorf("%s joins: %w", members[i].name, err))
		}
	}
}

// assigned ends a rebalance: the first member leads.
func (s *script) assigned(members ...*member) {
	for i, m := range members {
		if i == 0 {
			m.hush(m.sync(members...))
		} else {
			m.hush(m.sync())
		}
	}
	for i, resp := range s.gather(members...) {
		if err := kerr.ErrorForCode(resp.(*kmsg.SyncGroupResponse).ErrorCode); err != nil {
			s.check(fmt.Errorf("%s syncs: %w", members[i].name, err))
		}
	}
}

// stable makes a stable group of members that come one after the other, the leader
// first, in a generation each.
func (s *script) stable(members ...*member) {
	for i, m := range members {
		s.grown(m, members[:i]...)
		s.assigned(members[:i+1]...)
	}
}

// situation brings a group to where it is asked something, and returns who asks.
type situation struct {
	name string
	make func(s *script) *member
}

// nobody asks with ids that no group knows.
func (s *script) nobody(group string) *member {
	m := s.member(group, "Nobody")
	m.id, m.generation = "nobody", 1
	return m
}

var situations = []situation{
	{"unknown group", func(s *script) *member { return s.nobody(s.group("g")) }},
	{"empty group id", func(s *script) *member {
		s.group("g")
		return s.nobody("")
	}},
	{"simple group", func(s *script) *member {
		g := s.group("g")
		s.simple(g)
		return s.nobody(g)
	}},
	{"empty group", func(s *script) *member {
		m := s.member(s.group("g"), "A")
		s.stable(m)
		m.quiet(m.leave())
		s.in(m.group, "Empty", 0)
		return m
	}},
	{"pending member", func(s *script) *member {
		m := s.member(s.group("g"), "A")
		m.identify()
		s.in(m.group, "Empty", 0)
		return m
	}},
	{"rebalance in progress", func(s *script) *member {
		g := s.group("g")
		a := s.member(g, "A")
		s.stable(a)
		s.knock(s.member(g, "B"), a)
		return a
	}},
	{"before the assignment", func(s *script) *member {
		m := s.member(s.group("g"), "A")
		s.grown(m)
		return m
	}},
	{"stable group", func(s *script) *member {
		m := s.member(s.group("g"), "A")
		s.stable(m)
		return m
	}},
	{"follower", func(s *script) *member {
		g := s.group("g")
		a, b := s.member(g, "A"), s.member(g, "B")
		s.stable(a, b)
		return b
	}},
	{"static member", func(s *script) *member {
		m := s.static(s.group("g"), "A")
		s.stable(m)
		return m
	}},
	{"static member, replaced", func(s *script) *member {
		m := s.static(s.group("g"), "A")
		s.stable(m)
		again := s.static(m.group, "A")
		again.quiet(again.join())
		return m
	}},
}

// inEach is a scene for each situation.
func inEach(from int16, play func(s *script, m *member)) []scene {
	var all []scene
	for _, at := range situations {
		all = append(all, scene{name: at.name, from: from, play: func(s *script) { play(s, at.make(s)) }})
	}
	return all
}

// identities are wrong ways to say who one is, then the right one.
func (m *member) identities() []identity {
	right := m.identity
	with := func(change func(*identity)) identity {
		one := right
		change(&one)
		return one
	}
	return []identity{
		with(func(i *identity) { i.id = "somebody" }),
		with(func(i *identity) { i.id = "" }),
		with(func(i *identity) { i.id, i.generation = "", -1 }),
		with(func(i *identity) { i.generation++ }),
		with(func(i *identity) { i.generation-- }),
		with(func(i *identity) { i.generation = -1 }),
		with(func(i *identity) { i.generation = -2 }),
		with(func(i *identity) { i.instance = new("some instance") }),
		with(func(i *identity) { i.instance, i.id = new("some instance"), "somebody" }),
		with(func(i *identity) { i.instance = new("") }),
		with(func(i *identity) { i.id, i.generation = "somebody", right.generation+1 }),
		right,
	}
}
