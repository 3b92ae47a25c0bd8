package meta

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// admission asks a member of the cluster to let a node with an empty directory in.
type admission struct {
	Node    int32  `json:"node"`
	Addr    string `json:"addr"`    // where its peers reach it
	Process string `json:"process"` // that answers there
	Cluster string `json:"cluster"` // that its data directory belongs to, "" for none
}

// errForeign means that a node belongs to another cluster.
var errForeign = errors.New("another cluster")

// admitted is the cluster with the node as a learner in it, or where to be its
// client.
type admitted struct {
	Members []memberAddr `json:"members,omitempty"`
	Voters  []string     `json:"voters,omitempty"` // etcd listeners, when there are voters enough
}

// memberAddr is a member of etcd. One that never started has no name.
type memberAddr struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// entry says how etcd starts: the zero value as the directory says.
type entry struct {
	initialCluster string   // of a new cluster, or
	existing       bool     // of one that is there
	voters         []string // not at all: the node is a client of these
}

// apply asks members one after the other until one lets this node in.
func (m *Meta) apply(ctx context.Context, addrs []string) (entry, error) {
	a := admission{m.cfg.NodeID, m.peerAddr(), m.process, m.cfg.ClusterID}
	var failed error
	for _, addr := range addrs {
		callCtx, cancel := deadline(ctx)
		ok, err := m.peers.admit(callCtx, addr, a)
		cancel()
		switch {
		case err != nil:
		case len(ok.Voters) > 0:
			return entry{voters: ok.Voters}, nil
		default:
			return m.entryInto(ok.Members), m.cfg.directory().mark(joining)
		}
		failed = errors.Join(failed, fmt.Errorf("%s does not let this node in: %w", addr, err))
	}
	return entry{}, failed
}

// entryInto tells etcd of the members. It compares addresses, not names.
func (m *Meta) entryInto(members []memberAddr) entry {
	e := entry{existing: true}
	own := m.cfg.scheme() + "://" + m.peerAddr()
	for i, member := range members {
		name := member.Name
		switch {
		case member.URL == own:
			name = strconv.Itoa(int(m.cfg.NodeID))
		case name == "":
			name = fmt.Sprintf("unstarted-%d", i)
		}
		if e.initialCluster != "" {
			e.initialCluster += ","
		}
		e.initialCluster += name + "=" + member.URL
	}
	return e
}

// admit makes a node with an empty directory a learner. A member of that name or
// address is removed before: raft counts on what it had acknowledged, and that is
// gone.
func (m *Meta) admit(ctx context.Context, a admission) (*admitted, error) {
	ctx, cancel := deadline(ctx)
	defer cancel()
	if !isClosed(m.ready) {
		return nil, ErrNoQuorum
	}
	if m.cfg.alone() {
		return nil, errors.New("it runs alone; start it with --peers " + fmt.Sprintf("%d=HOST:PORT", m.cfg.NodeID) + " to let others in")
	}
	snap, err := m.loadedSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	if id := snap.Cluster().ID; a.Cluster != "" && a.Cluster != id {
		return nil, fmt.Errorf("%w: its data directory belongs to cluster %s, this is cluster %s", errForeign, a.Cluster, id)
	}
	if err := m.checkApplicant(ctx, a); err != nil {
		return nil, err
	}
	own := m.cfg.scheme() + "://" + a.Addr
	others, err := m.makeRoom(ctx, a, own)
	if err != nil {
		return nil, err
	}
	if len(others) >= m.cfg.maxVoters {
		return votersOf(others), nil
	}
	added, err := m.client.MemberAddAsLearner(ctx, []string{own})
	if err != nil {
		return nil, fmt.Errorf("add it as a learner: %w", err)
	}
	m.log.Info("added a learner", "node", a.Node, "address", a.Addr)
	ok := &admitted{}
	for _, member := range added.Members {
		ok.Members = append(ok.Members, memberAddr{member.Name, member.PeerURLs[0]})
	}
	return ok, nil
}

// makeRoom removes the member that the applicant was, by its name or its address,
// and returns the others.
func (m *Meta) makeRoom(ctx context.Context, a admission, own string) (others []*etcdserverpb.Member, err error) {
	list, err := m.client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the members: %w", err)
	}
	for _, old := range list.Members {
		if old.Name != strconv.Itoa(int(a.Node)) && !slices.Contains(old.PeerURLs, own) {
			others = append(others, old)
			continue
		}
		if err := m.checkGone(ctx, a, old); err != nil {
			return nil, err
		}
		if _, err := m.client.MemberRemove(ctx, old.ID); err != nil {
			return nil, fmt.Errorf("remove the member whose directory is gone: %w", err)
		}
		m.log.Info("removed the member of a node that came back empty", "node", a.Node, "member", strconv.FormatUint(old.ID, 16))
	}
	return others, nil
}

// votersOf is where voters listen for clients.
func votersOf(members []*etcdserverpb.Member) *admitted {
	ok := &admitted{}
	for _, member := range members {
		if !member.IsLearner && len(member.ClientURLs) > 0 {
			ok.Voters = append(ok.Voters, hostOf(member.ClientURLs[0]))
		}
	}
	return ok
}

// checkApplicant makes sure that who asks is reached at its address, and has
// nothing.
func (m *Meta) checkApplicant(ctx context.Context, a admission) error {
	there, err := m.peers.ask(ctx, a.Addr)
	if err != nil {
		return fmt.Errorf("it is not reached at %s: %w", a.Addr, err)
	}
	if there.Process != a.Process || there.Stage == inEtcd {
		return fmt.Errorf("another node answers at %s", a.Addr)
	}
	return nil
}

// checkGone makes sure that nobody is the member old any more: its address is now
// the applicant's, or its broker is not alive.
func (m *Meta) checkGone(ctx context.Context, a admission, old *etcdserverpb.Member) error {
	if old.Name != "" && old.Name != strconv.Itoa(int(a.Node)) {
		return fmt.Errorf("%s is the address of node %s", a.Addr, old.Name)
	}
	if slices.ContainsFunc(old.PeerURLs, func(text string) bool { return hostOf(text) == a.Addr }) {
		return nil
	}
	resp, err := m.client.Get(ctx, liveKey(a.Node))
	if err != nil {
		return err
	}
	if len(resp.Kvs) > 0 {
		return fmt.Errorf("broker %d is alive elsewhere, or was until less than %v ago", a.Node, m.cfg.LeaseTTL)
	}
	return nil
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// move tells the others where to reach this member, when that is another address
// than before.
func (m *Meta) move(ctx context.Context) error {
	if m.node.etcd == nil || m.cfg.alone() {
		return nil
	}
	s := m.node.etcd.Server
	own := m.cfg.scheme() + "://" + m.peerAddr()
	for {
		self := s.Cluster().Member(s.MemberID())
		if self == nil || slices.Contains(self.PeerURLs, own) {
			return nil
		}
		callCtx, cancel := deadline(ctx)
		_, err := m.client.MemberUpdate(callCtx, uint64(s.MemberID()), []string{own})
		cancel()
		if err == nil {
			m.log.Info("this node has another peer address", "was", self.PeerURLs, "is", own)
			return nil
		}
		m.log.Warn("the new peer address is not announced; trying again", "address", own, "err", err)
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}

// promote makes this node a voter once it is in sync. Etcd refuses a change of the
// members for a while after another one, and one that lags.
func (m *Meta) promote(ctx context.Context) error {
	if m.node.etcd == nil {
		return nil
	}
	s := m.node.etcd.Server
	for s.IsLearner() {
		callCtx, cancel := deadline(ctx)
		_, err := m.client.MemberPromote(callCtx, uint64(s.MemberID()))
		cancel()
		if err == nil {
			m.log.Info("this node votes in etcd")
			return nil
		}
		m.log.Debug("not a voter yet", "err", err)
		if !sleep(ctx, askRarely) {
			return nil
		}
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
