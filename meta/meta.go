package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"golang.org/x/sync/errgroup"
)

// Meta is this node's part of the metadata: an embedded etcd member, a cache of
// the keyspace and this broker's session.
type Meta struct {
	cfg Config
	log *slog.Logger
	member
	client     *clientv3.Client // set before ready is closed
	ready      chan struct{}    // etcd answers
	cache      cache
	session    watched[*Session]
	registered chan struct{}
	self       watched[Broker] // what this broker wants to be seen as
	creating   names           // topics that a call of CreateTopic is busy with
	why        atomic.Pointer[string]
}

// member is this node as a member of etcd, or as a client of those.
type member struct {
	listeners listeners
	node      node
	peers     peerClient
	process   string // tells this process from any other
}

// New prepares a node. It waits for nothing and starts nothing.
func New(cfg Config) *Meta {
	cfg = cfg.withDefaults()
	m := &Meta{
		cfg: cfg, log: cfg.Logger, member: member{process: EncodeID(NewID())},
		registered: make(chan struct{}), ready: make(chan struct{}),
	}
	m.cache.init(cfg.Logger)
	m.session.init(nil)
	m.self.init(m.ownBroker(cfg.Broker, Fenced))
	m.waitsFor("metadata is starting")
	return m
}

// Run starts etcd, loads the cache, registers this broker and keeps both fresh
// until ctx ends; then it gives the lease back and stops etcd last. The first
// registration is fenced: SetState makes the broker active.
func (m *Meta) Run(ctx context.Context) error {
	if err := m.Listen(); err != nil {
		return err
	}
	defer m.listeners.close()
	m.waitsFor("etcd is starting")
	m.node.init(m.log)
	defer m.node.stop()
	if err := m.startEtcd(ctx); err != nil {
		return ignoreCancel(ctx, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.node.watchFailure(ctx) })
	g.Go(func() error { return m.serve(ctx) })
	return ignoreCancel(ctx, g.Wait())
}

// startEtcd gets this node into etcd. It waits for other nodes only where there is
// no telling without them how etcd has to start.
func (m *Meta) startEtcd(ctx context.Context) error {
	if err := m.peers.init(m.cfg); err != nil {
		return err
	}
	if err := m.node.port.serve(m, m.listeners.peer, m.node.fail); err != nil {
		return err
	}
	for {
		e, err := m.enter(ctx)
		if err != nil {
			return err
		}
		if len(e.voters) > 0 {
			m.log.Info("the cluster has voters enough; this node is a client of theirs", "voters", e.voters)
			m.listeners.closeEtcd() // there is nothing to see
			m.node.remote, err = m.dial(e.voters)
			return err
		}
		err = m.startMember(ctx, e)
		if err == nil {
			return errors.Join(m.checkMembers(), m.cfg.directory().entered())
		}
		if !e.existing || len(m.node.failed) > 0 || ctx.Err() != nil {
			return err
		}
		m.log.Warn("etcd did not start as the member that was let in; asking again", "err", err)
	}
}

// startMember starts etcd. As one who was let in it tries for a while: the other
// members learn of that one after the other.
func (m *Meta) startMember(ctx context.Context, e entry) error {
	for began := time.Now(); ; {
		err := m.node.start(ctx, m.cfg, e, &m.listeners)
		if err == nil || !e.existing || time.Since(began) > callDeadline || len(m.node.failed) > 0 || !sleep(ctx, askRarely) {
			return err
		}
		if err := m.cfg.directory().clear(); err != nil {
			return err
		}
	}
}

// checkMembers refuses the directory of a cluster where the flags speak of a node alone.
func (m *Meta) checkMembers() error {
	if m.node.etcd == nil {
		return nil
	}
	members := m.node.etcd.Server.Cluster().Members()
	if m.cfg.alone() && len(members) > 1 {
		return fmt.Errorf("the data directory is that of a cluster with %d members of etcd: start it with --peers or --join", len(members))
	}
	return nil
}

// refuseLone ends a node of a cluster whose directory is that of a node alone. After a crash etcd
// learns of its members from its log, one after the other, so that one which sees itself alone
// first asks for all that is committed.
func (m *Meta) refuseLone(ctx context.Context) error {
	lone := func() bool {
		return m.node.etcd != nil && len(m.cfg.Peers) > 1 && len(m.node.etcd.Server.Cluster().Members()) == 1
	}
	for lone() {
		callCtx, cancel := deadline(ctx)
		_, err := m.client.Get(callCtx, clusterKey)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && lone():
			return fmt.Errorf("the data directory is that of a node alone: --peers %s forms a cluster of new nodes only; start this one with --peers %d=%s, then let others in",
				m.cfg.Peers, m.cfg.NodeID, m.cfg.Peers[m.cfg.NodeID])
		}
	}
	return nil
}

// tellStrangers warns of peers that are no members of etcd.
func (m *Meta) tellStrangers() {
	if m.node.etcd == nil {
		return
	}
	members := m.node.etcd.Server.Cluster().Members()
	for _, id := range m.cfg.Peers.ids() {
		own := m.cfg.scheme() + "://" + m.cfg.Peers[id]
		isPeer := func(member *membership.Member) bool {
			return member.Name == strconv.Itoa(int(id)) || slices.Contains(member.PeerURLs, own)
		}
		if !slices.ContainsFunc(members, isPeer) {
			m.log.Warn("--peers names a node that is no member of etcd", "node", id, "address", m.cfg.Peers[id])
		}
	}
}

// peerAddr is where other nodes reach this node's peer port.
func (m *Meta) peerAddr() string {
	if addr := m.cfg.Peers[m.cfg.NodeID]; addr != "" {
		return addr
	}
	return m.listeners.peer.Addr().String()
}

// serve does what needs an etcd that runs.
func (m *Meta) serve(ctx context.Context) error {
	m.node.lead(ctx)
	if err := m.checkMembers(); err != nil { // by now a lone one has read its log
		return err
	}
	if err := m.awaitQuorum(ctx); err != nil {
		return err
	}
	m.client = m.node.newClient()
	defer m.client.Close()
	if err := m.refuseLone(ctx); err != nil {
		return err
	}
	m.tellStrangers()
	close(m.ready)
	if err := m.settleCluster(ctx); err != nil {
		return err
	}
	m.waitsFor("reading the metadata")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.cache.run(ctx, m.node.source(m.client)) })
	g.Go(func() error { return m.live(ctx) })
	g.Go(func() error { return m.resumeTopics(ctx) })
	g.Go(func() error { return m.watchSpace(ctx) })
	g.Go(func() error { return errors.Join(m.move(ctx), m.promote(ctx)) })
	return g.Wait()
}

// ignoreCancel drops the error that the end of ctx caused.
func ignoreCancel(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// waitsFor notes what the node waits for and reports whether that is new.
func (m *Meta) waitsFor(what string) bool {
	was := m.why.Swap(&what)
	return was == nil || *was != what
}

// Why says what the node waits for, "" when it is registered and its metadata is
// up to date.
func (m *Meta) Why() string {
	if doubt, _ := m.cache.doubt.get(); doubt != "" {
		return "metadata may be out of date: " + doubt
	}
	return *m.why.Load()
}

// Registered is closed when this broker was registered first; the cache is
// loaded then.
func (m *Meta) Registered() <-chan struct{} { return m.registered }

// Loaded is closed when the cache is loaded first.
func (m *Meta) Loaded() <-chan struct{} { return m.cache.loaded }

// Snapshot is the metadata of this moment, nil before Loaded.
func (m *Meta) Snapshot() *Snapshot { return m.cache.snapshot() }

// Watch returns the metadata of this moment and a channel that is closed when
// there is newer.
func (m *Meta) Watch() (*Snapshot, <-chan struct{}) { return m.cache.now.get() }

// WaitRevision waits until the snapshot shows revision rev or a later one.
func (m *Meta) WaitRevision(ctx context.Context, rev int64) error {
	for {
		snap, changed := m.Watch()
		if snap != nil && snap.Revision() >= rev {
			return nil
		}
		if !wait(ctx, changed) {
			return fmt.Errorf("the metadata has not reached revision %d: %w", rev, ctx.Err())
		}
	}
}
