package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/broker/group"
)

// askGroup hands an event to the group's coordinator. The event's token is reply;
// refuse is called instead when there is no coordinator here, or no such group may be.
func (b *Broker) askGroup(id string, ev group.Event, refuse func(error)) {
	if id == "" {
		refuse(kerr.InvalidGroupID)
		return
	}
	c, err := b.groups.of(id)
	if err != nil {
		refuse(err)
		return
	}
	c.ask(op{group: id, event: ev, refuse: refuse})
}

// joinGroup makes a member of a group take part in its next generation; it answers
// when that begins. Member ids are given out first from version 4 on (KIP-394),
// static members are known from 5 on (KIP-345), a returning static leader may be
// told to skip the assignment from 9 on (KIP-814).
func (b *Broker) joinGroup(ctx context.Context, c *conn, req *kmsg.JoinGroupRequest, resp *kmsg.JoinGroupResponse, done func()) error {
	if req.Version == 0 {
		req.RebalanceTimeoutMillis = req.SessionTimeoutMillis
	}
	if req.Reason != nil {
		b.log.Log(ctx, slog.LevelDebug, "member joins", "group", req.Group, "member", req.MemberID, "reason", *req.Reason)
	}
	ev := group.Join{
		MemberID: req.MemberID, InstanceID: req.InstanceID, NewMemberID: newMemberID(c, req.InstanceID),
		ClientID: c.clientID, ClientHost: "/" + remoteIP(c.nc),
		SessionTimeout:     time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		RebalanceTimeout:   time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond,
		ProtocolType:       req.ProtocolType,
		RequireKnownMember: req.Version >= 4, SkipAssignment: req.Version >= 9,
	}
	for _, p := range req.Protocols {
		ev.Protocols = append(ev.Protocols, group.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	req.Protocols = nil // they lie in the read buffer, and this may wait
	answer := func(r group.JoinResponse) {
		resp.ErrorCode, resp.MemberID, resp.Generation = errorCode(r.Err), r.MemberID, r.Generation
		resp.ProtocolType, resp.Protocol, resp.LeaderID, resp.SkipAssignment = r.ProtocolType, r.Protocol, r.Leader, r.SkipAssignment
		switch {
		case req.Version < 7 && r.Protocol == nil:
			resp.Protocol = new("")
		case req.Version >= 7 && r.Protocol != nil && *r.Protocol == "":
			resp.Protocol = nil
		}
		for _, m := range r.Members {
			rm := kmsg.NewJoinGroupResponseMember()
			rm.MemberID, rm.InstanceID, rm.ProtocolMetadata = m.MemberID, m.InstanceID, m.Metadata
			resp.Members = append(resp.Members, rm)
		}
		done()
	}
	ev.Token = func(r group.Response) { answer(r.(group.JoinResponse)) }
	b.askGroup(req.Group, ev, func(err error) {
		refused := group.JoinResponse{Err: err, Generation: -1}
		if req.Group == "" {
			refused.MemberID = req.MemberID
		}
		answer(refused)
	})
	return nil
}

// newMemberID is Kafka's form: a name that a person knows, and something unique.
func newMemberID(c *conn, instance *string) string {
	name := c.clientID
	if instance != nil {
		name = *instance
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	s := hex.EncodeToString(id[:])
	return name + "-" + s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// syncGroup takes the leader's assignments and gives each member its own, once the
// generation is on disk.
func (b *Broker) syncGroup(_ context.Context, _ *conn, req *kmsg.SyncGroupRequest, resp *kmsg.SyncGroupResponse, done func()) error {
	ev := group.Sync{
		MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
		ProtocolType: req.ProtocolType, Protocol: req.Protocol, ProtocolRequired: req.Version >= 5,
	}
	for _, a := range req.GroupAssignment {
		ev.Assignments = append(ev.Assignments, group.Assignment{MemberID: a.MemberID, Assignment: bytes.Clone(a.MemberAssignment)})
	}
	req.GroupAssignment = nil // as above
	answer := func(r group.SyncResponse) {
		if errors.Is(r.Err, kerr.CoordinatorLoadInProgress) {
			r.Err = kerr.RebalanceInProgress // as Kafka: old clients know no other
		}
		resp.ErrorCode, resp.ProtocolType, resp.Protocol, resp.MemberAssignment = errorCode(r.Err), r.ProtocolType, r.Protocol, r.Assignment
		done()
	}
	ev.Token = func(r group.Response) { answer(r.(group.SyncResponse)) }
	b.askGroup(req.Group, ev, func(err error) { answer(group.SyncResponse{Err: err}) })
	return nil
}

// heartbeat keeps a member in its group and tells it of a rebalance.
func (b *Broker) heartbeat(_ context.Context, _ *conn, req *kmsg.HeartbeatRequest, resp *kmsg.HeartbeatResponse, done func()) error {
	answer := func(err error) {
		if errors.Is(err, kerr.CoordinatorLoadInProgress) {
			err = nil // it is no member's fault (KAFKA-4237)
		}
		resp.ErrorCode = errorCode(err)
		done()
	}
	ev := group.Heartbeat{MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation}
	ev.Token = func(r group.Response) { answer(r.(group.HeartbeatResponse).Err) }
	b.askGroup(req.Group, ev, answer)
	return nil
}

// leaveGroup takes members out of their group: one up to version 2, several from 3
// on, static ones by their instance id (KIP-345).
func (b *Broker) leaveGroup(ctx context.Context, _ *conn, req *kmsg.LeaveGroupRequest, resp *kmsg.LeaveGroupResponse, done func()) error {
	var ev group.Leave
	if req.Version < 3 {
		ev.Members = []group.LeavingMember{{MemberID: req.MemberID}}
	}
	for _, m := range req.Members {
		if m.Reason != nil {
			b.log.Log(ctx, slog.LevelDebug, "member leaves", "group", req.Group, "member", m.MemberID, "reason", *m.Reason)
		}
		ev.Members = append(ev.Members, group.LeavingMember{MemberID: m.MemberID, InstanceID: m.InstanceID})
	}
	answer := func(r group.LeaveResponse) {
		resp.ErrorCode = errorCode(r.Err)
		for i, err := range r.Errs {
			if req.Version < 3 {
				resp.ErrorCode = errorCode(err)
				continue
			}
			m := kmsg.NewLeaveGroupResponseMember()
			m.MemberID, m.InstanceID, m.ErrorCode = ev.Members[i].MemberID, ev.Members[i].InstanceID, errorCode(err)
			resp.Members = append(resp.Members, m)
		}
		done()
	}
	ev.Token = func(r group.Response) { answer(r.(group.LeaveResponse)) }
	b.askGroup(req.Group, ev, func(err error) { answer(group.LeaveResponse{Err: err}) })
	return nil
}
