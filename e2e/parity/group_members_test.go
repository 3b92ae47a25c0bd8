//go:build parity

package parity

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// identity is how a member says who it is.
type identity struct {
	id         string
	generation int32
	instance   *string
}

// member is a member of a group. It has a connection of its own, since a join waits for
// the other members.
type member struct {
	identity
	s         *script
	name      string // in what is written down, and in its subscription
	group     string
	kind      string // protocol type
	protocols []kmsg.JoinGroupRequestProtocol
	session   int32
	rebalance int32
	conn      *conn
	sent      []sent // without an answer so far
}

type sent struct {
	req         kmsg.Request
	correlation int32
}

// member is one that has not joined yet: a consumer of the common topic.
func (s *script) member(group, name string) *member {
	m := &member{
		identity: identity{generation: -1}, s: s, name: name, group: group,
		kind: "consumer", session: 30_000, rebalance: 60_000,
	}
	m.protocols = protocols("range", subscription(name, common))
	s.members = append(s.members, m)
	return m
}

// static is a member with an instance id.
func (s *script) static(group, name string) *member {
	m := s.member(group, name)
	m.instance = new("instance of " + name)
	return m
}

// protocols are name, metadata, …
func protocols(all ...string) []kmsg.JoinGroupRequestProtocol {
	var list []kmsg.JoinGroupRequestProtocol
	for i := 0; i < len(all); i += 2 {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = all[i], []byte(all[i+1])
		list = append(list, p)
	}
	return list
}

// subscription is what a consumer sends with its protocol.
func subscription(member string, topics ...string) string {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics, m.UserData = 1, topics, []byte("about "+member)
	return string(m.AppendTo(nil))
}

func (m *member) hangUp() {
	if m.conn != nil {
		m.conn.Close()
	}
	m.conn, m.sent = nil, nil
}

// begin sends a request, in the script's version, that is answered later.
func (m *member) begin(req kmsg.Request) {
	m.s.versioned(req)
	m.transmit(req)
}

func (m *member) transmit(req kmsg.Request) {
	if m.conn == nil {
		c, err := dial(m.s.broker.addr)
		m.s.check(err)
		m.conn = c
	}
	m.s.check(m.conn.send(m.conn.frame(req)))
	m.sent = append(m.sent, sent{req, m.conn.correlation})
}

// next reads the answer to the oldest request.
func (m *member) next() (kmsg.Response, []byte, error) {
	if len(m.sent) == 0 {
		m.s.check(fmt.Errorf("%s has asked nothing", m.name))
	}
	oldest := m.sent[0]
	m.sent = m.sent[1:]
	p, err := m.conn.read()
	if err != nil {
		return nil, nil, err
	}
	resp, body, err := decode(oldest.req, oldest.correlation, p)
	m.s.check(err)
	m.take(resp)
	return resp, body, nil
}

// take keeps what the answer to a join says about the member.
func (m *member) take(resp kmsg.Response) {
	join, ok := resp.(*kmsg.JoinGroupResponse)
	if !ok {
		return
	}
	m.s.tree.names.callMember(join.MemberID, m.name)
	switch kerr.ErrorForCode(join.ErrorCode) {
	case nil:
		m.id, m.generation = join.MemberID, join.Generation
	case kerr.MemberIDRequired:
		m.id = join.MemberID
	}
}

// callMember names the id of a member after it, when it is new.
func (n *names) callMember(id, name string) {
	if u := uuid.FindString(id); u != "" && n.known["member="+u] == "" {
		n.count[name]++
		n.call("member", u, fmt.Sprintf("%s#%d", name, n.count[name]))
	}
}

// receive writes down the next answer for each of the members. All are read first: the
// leader's names the others.
func (s *script) receive(members ...*member) []kmsg.Response {
	type answer struct {
		resp kmsg.Response
		body []byte
		err  error
	}
	answers, resps := make([]answer, len(members)), make([]kmsg.Response, len(members))
	for i, m := range members {
		a := &answers[i]
		a.resp, a.body, a.err = m.next()
	}
	for i, m := range members {
		s.step++
		at := fmt.Sprintf("%d.%s.", s.step, m.name)
		if err := answers[i].err; err != nil {
			s.tree.add(at+"outcome", outcome(err))
			m.hangUp()
			continue
		}
		resps[i] = answers[i].resp
		s.tree.answer(at, answers[i].resp, answers[i].body)
	}
	return resps
}

// ask is begin and receive.
func (m *member) ask(req kmsg.Request) kmsg.Response {
	m.begin(req)
	return m.s.receive(m)[0]
}

// quiet asks in the newest version and writes nothing down.
func (m *member) quiet(req kmsg.Request) kmsg.Response {
	m.hush(req)
	return m.s.gather(m)[0]
}

// hush is begin in the newest version.
func (m *member) hush(req kmsg.Request) {
	req.SetVersion(m.s.broker.newest[req.Key()])
	m.transmit(req)
}

// gather is receive without writing down.
func (s *script) gather(members ...*member) []kmsg.Response {
	var all []kmsg.Response
	for _, m := range members {
		resp, _, err := m.next()
		if err != nil {
			s.check(fmt.Errorf("%s: %w", m.name, err))
		}
		all = append(all, resp)
	}
	return all
}

// waits writes down whether the member's oldest request is still without an answer
// after a moment.
func (m *member) waits() {
	m.s.check(m.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)))
	_, err := m.conn.in.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		m.s.note(m.name, "waits")
		return
	}
	m.s.note(m.name, "does not wait")
}

// join is the member's request to join, with the id that it has.
func (m *member) join() *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.InstanceID = m.group, m.id, m.instance
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = m.session, m.rebalance
	req.ProtocolType, req.Protocols = m.kind, m.protocols
	return req
}

// sync is the member's request to sync, with assignments to members if it leads.
func (m *member) sync(to ...*member) *kmsg.SyncGroupRequest {
	req := m.syncAs(m.identity)
	for _, one := range to {
		req.GroupAssignment = append(req.GroupAssignment, assignment(one.id, "for "+one.name))
	}
	return req
}

func (m *member) syncAs(who identity) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.Generation, req.MemberID, req.InstanceID = m.group, who.generation, who.id, who.instance
	req.ProtocolType, req.Protocol = &m.kind, new(m.protocols[0].Name)
	return req
}

func assignment(id, text string) kmsg.SyncGroupRequestGroupAssignment {
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = id, []byte(text)
	return a
}

func (m *member) heartbeat() *kmsg.HeartbeatRequest { return m.heartbeatAs(m.identity) }

func (m *member) heartbeatAs(who identity) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.Generation, req.MemberID, req.InstanceID = m.group, who.generation, who.id, who.instance
	return req
}

// leave is the request of members to leave: to version 2 of the first.
func leave(group string, who ...identity) *kmsg.LeaveGroupRequest {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for i, one := range who {
		if i == 0 {
			req.MemberID = one.id
		}
		l := kmsg.NewLeaveGroupRequestMember()
		l.MemberID, l.InstanceID = one.id, one.instance
		req.Members = append(req.Members, l)
	}
	return req
}

func (m *member) leave() *kmsg.LeaveGroupRequest { return leave(m.group, m.identity) }
