package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Config says how a node takes part in the metadata.
type Config struct {
	NodeID     int32
	Dir        string        // of etcd
	WALDir     string        // of etcd's log, when it is to lie on another disk
	PeerListen string        // host:port of raft; default 127.0.0.1:2380
	EtcdListen string        // host:port for etcdctl; default 127.0.0.1:2379
	Insecure   bool          // allows both to be other than loopback addresses
	ClusterID  string        // that the data directory belongs to; "" when it is new
	Broker     Broker        // what this node registers
	LeaseTTL   time.Duration // default 6 s
	Logger     *slog.Logger

	quota int64 // bytes of etcd's database; default 8 GiB
}

// Meta is this node's part of the metadata: an embedded etcd member, a cache of
// the keyspace and this broker's session.
type Meta struct {
	cfg        Config
	log        *slog.Logger
	listeners  listeners
	node       node
	client     *clientv3.Client // set before ready is closed
	ready      chan struct{}    // etcd answers
	cache      cache
	session    watched[*Session]
	registered chan struct{}
	self       watched[Broker] // what this broker wants to be seen as
	creating   names           // topics that a call of CreateTopic is busy with
	why        atomic.Pointer[string]
}

// New prepares a node. It waits for nothing and starts nothing.
func New(cfg Config) *Meta {
	if cfg.PeerListen == "" {
		cfg.PeerListen = "127.0.0.1:2380"
	}
	if cfg.EtcdListen == "" {
		cfg.EtcdListen = "127.0.0.1:2379"
	}
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = defaultLeaseTTL
	}
	if cfg.quota == 0 {
		cfg.quota = defaultQuota
	}
	m := &Meta{cfg: cfg, log: cfg.Logger, registered: make(chan struct{}), ready: make(chan struct{})}
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
	err := m.node.start(ctx, m.cfg, &m.listeners)
	defer m.node.stop()
	if err != nil {
		return ignoreCancel(ctx, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.node.watchFailure(ctx) })
	g.Go(func() error { return m.serve(ctx) })
	return ignoreCancel(ctx, g.Wait())
}

// serve does what needs an etcd that runs.
func (m *Meta) serve(ctx context.Context) error {
	m.waitsFor("waiting for etcd to elect a leader")
	m.node.lead(ctx)
	soon, cancel := context.WithTimeout(ctx, attemptDeadline)
	err := m.node.awaitLeader(soon)
	cancel()
	if err != nil {
		m.log.Warn("waiting for a quorum of etcd")
		err = m.node.awaitLeader(ctx)
	}
	if err != nil {
		return err
	}
	m.client = m.node.newClient()
	defer m.client.Close()
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
