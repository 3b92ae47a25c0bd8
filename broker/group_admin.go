package broker

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/broker/group"
	"chronik/meta"
)

// What a coordinator is asked for.
const (
	groupCoordinator       = 0
	transactionCoordinator = 1
)

// findCoordinator tells who coordinates groups; the first request makes
// __consumer_offsets. Several at once from version 4 on. An answer that would name a
// coordinator that died a moment ago waits until there is another. Not done:
// transactions and share groups, which are refused with errors that clients do not retry.
func (b *Broker) findCoordinator(ctx context.Context, c *conn, req *kmsg.FindCoordinatorRequest, resp *kmsg.FindCoordinatorResponse, done func()) error {
	asked := func(snap *meta.Snapshot, each func(*meta.Topic)) { coordinating(snap, req, each) }
	return c.onceLed(ctx, asked, func() error {
		b.findCoordinators(ctx, c, req, resp)
		done()
		return nil
	})
}

// coordinating are the partitions of __consumer_offsets that the keys of a request belong
// to, as a topic.
func coordinating(snap *meta.Snapshot, req *kmsg.FindCoordinatorRequest, each func(*meta.Topic)) {
	t := snap.Topic(offsetsTopic)
	if t == nil || req.CoordinatorType != groupCoordinator {
		return
	}
	keys := req.CoordinatorKeys
	if req.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	some := meta.Topic{Name: t.Name, ID: t.ID}
	for _, key := range keys {
		some.Partitions = append(some.Partitions, t.Partitions[groupPartition(key, len(t.Partitions))])
	}
	each(&some)
}

func (b *Broker) findCoordinators(ctx context.Context, c *conn, req *kmsg.FindCoordinatorRequest, resp *kmsg.FindCoordinatorResponse) {
	if req.Version < 4 {
		found := b.coordinatorOf(ctx, c, req.CoordinatorType, req.CoordinatorKey)
		resp.NodeID, resp.Host, resp.Port = found.NodeID, found.Host, found.Port
		resp.ErrorCode, resp.ErrorMessage = found.ErrorCode, found.ErrorMessage
		return
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, b.coordinatorOf(ctx, c, req.CoordinatorType, key))
	}
}

func (b *Broker) coordinatorOf(ctx context.Context, c *conn, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	found := kmsg.NewFindCoordinatorResponseCoordinator()
	found.Key, found.NodeID, found.Port = key, -1, -1
	n, err := b.findGroupCoordinator(ctx, c, kind, key)
	if err == nil {
		found.NodeID, found.Host, found.Port = n.id, n.host, n.port
	}
	found.ErrorCode, found.ErrorMessage = errorCode(err), errorMessage(err)
	return found
}

func (b *Broker) findGroupCoordinator(ctx context.Context, c *conn, kind int8, key string) (node, error) {
	switch kind {
	case groupCoordinator:
	case transactionCoordinator:
		return node{}, explain(kerr.TransactionalIDAuthorizationFailed, "transactions are not supported")
	default:
		return node{}, explain(kerr.InvalidRequest, "there is no coordinator of type %d", kind)
	}
	t, err := b.offsets(ctx)
	switch {
	case errors.Is(err, kerr.CoordinatorNotAvailable):
		return node{}, err
	case err != nil:
		b.log.Warn("no topic for offsets", "err", err)
		return node{}, kerr.CoordinatorNotAvailable
	}
	p := t.Partitions[groupPartition(key, len(t.Partitions))]
	if led(b.snap(), p) && !b.peers.isLost(p) {
		for _, n := range b.nodes(c, b.snap().Brokers()) {
			if n.id == p.Leader {
				return n, nil
			}
		}
	}
	return node{}, kerr.CoordinatorNotAvailable
}

// countdown calls done after as many calls as there are parts.
func countdown(parts int, done func()) func() {
	var left atomic.Int32
	left.Store(int32(parts))
	return func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
}

// describeGroups tells the state and the members of groups. An unknown group is Dead,
// from version 6 on with GROUP_ID_NOT_FOUND (KIP-1043).
func (b *Broker) describeGroups(_ context.Context, _ *conn, req *kmsg.DescribeGroupsRequest, resp *kmsg.DescribeGroupsResponse, done func()) error {
	part := countdown(len(req.Groups)+1, done)
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(req.Groups))
	for i, id := range req.Groups {
		g := &resp.Groups[i]
		*g = kmsg.NewDescribeGroupsResponseGroup()
		g.Group = id
		if req.IncludeAuthorizedOperations {
			g.AuthorizedOperations = groupOperations
		}
		refuse := func(err error) {
			g.ErrorCode = errorCode(err)
			part()
		}
		b.askOffsets(id, op{refuse: refuse, do: func(c *coordinator) {
			c.describe(req.Version, id, g)
			part()
		}})
	}
	part()
	return nil
}

// groupOperations are those of groups that everyone may do: read, delete, describe,
// describe and alter configs.
const groupOperations = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

// describe fills in one group.
func (c *coordinator) describe(version int16, id string, g *kmsg.DescribeGroupsResponseGroup) {
	h := c.groups[id]
	if h == nil || h.group.Gone() {
		if g.State = group.Dead.String(); version >= 6 {
			err := explain(kerr.GroupIDNotFound, "Group %s not found.", id)
			g.ErrorCode, g.ErrorMessage, g.AuthorizedOperations = errorCode(err), errorMessage(err), math.MinInt32
		}
		return
	}
	d := h.group.Describe()
	g.State, g.ProtocolType, g.Protocol = d.State.String(), d.ProtocolType, d.Protocol
	for _, m := range d.Members {
		rm := kmsg.NewDescribeGroupsResponseGroupMember()
		rm.MemberID, rm.InstanceID, rm.ClientID, rm.ClientHost = m.MemberID, m.InstanceID, m.ClientID, m.ClientHost
		rm.ProtocolMetadata, rm.MemberAssignment = m.Metadata, m.Assignment
		g.Members = append(g.Members, rm)
	}
}

// listGroups lists the groups that this broker coordinates: by state from version 4
// on (KIP-518), by type from 5 on (KIP-848).
func (b *Broker) listGroups(_ context.Context, _ *conn, req *kmsg.ListGroupsRequest, resp *kmsg.ListGroupsResponse, done func()) error {
	coordinators, loading := b.groups.led()
	if loading {
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		done()
		return nil
	}
	lists := make([][]kmsg.ListGroupsResponseGroup, len(coordinators))
	part := countdown(len(coordinators)+1, func() {
		resp.Groups = slices.Concat(lists...)
		done()
	})
	for i, c := range coordinators {
		c.ask(op{refuse: func(error) { part() }, do: func(c *coordinator) {
			lists[i] = c.list(req)
			part()
		}})
	}
	part()
	return nil
}

// classicType is the type of every group here.
const classicType = "classic"

func (c *coordinator) list(req *kmsg.ListGroupsRequest) []kmsg.ListGroupsResponseGroup {
	anyOf := func(filter []string, value string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(s string) bool { return strings.EqualFold(s, value) })
	}
	var found []kmsg.ListGroupsResponseGroup
	if !anyOf(req.TypesFilter, classicType) {
		return nil
	}
	for id, h := range c.groups {
		if state := h.group.State().String(); anyOf(req.StatesFilter, state) {
			g := kmsg.NewListGroupsResponseGroup()
			g.Group, g.ProtocolType, g.GroupState, g.GroupType = id, h.group.ProtocolType(), state, classicType
			found = append(found, g)
		}
	}
	return found
}

// deleteGroups deletes groups without members, and their offsets.
func (b *Broker) deleteGroups(_ context.Context, _ *conn, req *kmsg.DeleteGroupsRequest, resp *kmsg.DeleteGroupsResponse, done func()) error {
	part := countdown(len(req.Groups)+1, done)
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, 0, len(req.Groups))
	for id := range distinct(req.Groups, func(id *string) string { return *id }) {
		resp.Groups = append(resp.Groups, kmsg.DeleteGroupsResponseGroup{Group: *id})
		code := &resp.Groups[len(resp.Groups)-1].ErrorCode
		answer := func(err error) {
			*code = errorCode(err)
			part()
		}
		ev := group.Delete{Token: func(r group.Response) { answer(r.(group.DeleteResponse).Err) }}
		b.askOffsets(*id, op{group: *id, event: ev, refuse: answer})
	}
	for range len(req.Groups) - len(resp.Groups) { // named twice
		part()
	}
	part()
	return nil
}
