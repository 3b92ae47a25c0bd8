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
	Dir        string // of etcd
	WALDir     string // of etcd's log, when it is to lie on another disk
	PeerListen string // host:port; default 127.0.0.1:2380
	EtcdListen string // host:port; default 127.0.0.1:2379
	ClusterID  string // that the data directory belongs to; "" when it is new
	Broker     Broker // what this node registers
	Logger     *slog.Logger
}

// Meta is this node's part of the metadata: an embedded etcd member, a cache of
// the keyspace and this broker's session.
type Meta struct {
	cfg        Config
	log        *slog.Logger
	node       node
	client     *clientv3.Client // set before ready is closed
	cache      cache
	session    atomic.Pointer[Session]
	state      atomic.Pointer[string]
	registered chan struct{}
	ready      chan struct{} // etcd answers
	why        atomic.Pointer[string]
}

const (
	leaseTTL      = 6 // s
	renewInterval = 500 * time.Millisecond
	callDeadline  = 5 * time.Second
)

// New prepares a node. It waits for nothing and starts nothing.
func New(cfg Config) *Meta {
	if cfg.PeerListen == "" {
		cfg.PeerListen = "127.0.0.1:2380"
	}
	if cfg.EtcdListen == "" {
		cfg.EtcdListen = "127.0.0.1:2379"
	}
	m := &Meta{cfg: cfg, log: cfg.Logger, registered: make(chan struct{}), ready: make(chan struct{})}
	m.cache.init(cfg.Logger)
	m.waitsFor("metadata is starting")
	fenced := Fenced
	m.state.Store(&fenced)
	return m
}

// Run starts etcd, loads the cache, registers this broker and keeps both fresh
// until ctx ends; then it gives the lease back and stops etcd last. The first
// registration is fenced: SetState makes the broker active.
func (m *Meta) Run(ctx context.Context) error {
	if err := m.node.start(m.cfg); err != nil {
		return err
	}
	defer m.node.stop()
	m.waitsFor("waiting for etcd to elect a leader")
	select {
	case <-m.node.readyC():
	case err := <-m.node.errC():
		return fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		return nil
	}
	m.client = m.node.client()
	close(m.ready)
	if err := m.settleCluster(ctx); err != nil {
		return ignoreCancel(ctx, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.cache.run(ctx, m.client) })
	g.Go(func() error { return m.live(ctx) })
	g.Go(func() error { return newBallast(m.cfg).run(ctx) })
	g.Go(func() error {
		select {
		case err := <-m.node.errC():
			return fmt.Errorf("etcd: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	return ignoreCancel(ctx, g.Wait())
}

func ignoreCancel(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (m *Meta) waitsFor(what string) { m.why.Store(&what) }

// Why says what the node waits for, "" when it is registered.
func (m *Meta) Why() string { return *m.why.Load() }

// EtcdAddr is the address that etcdctl reaches, "" before etcd runs.
func (m *Meta) EtcdAddr() string { return m.node.addr() }

// Registered is closed when this broker was registered first; the cache is
// loaded then.
func (m *Meta) Registered() <-chan struct{} { return m.registered }

// Loaded is closed when the cache is loaded first.
func (m *Meta) Loaded() <-chan struct{} { return m.cache.loaded }

// Snapshot is the metadata of this moment, nil before Loaded.
func (m *Meta) Snapshot() *Snapshot { return m.cache.snapshot() }

// Watch returns the metadata of this moment and a channel that is closed when
// there is newer.
func (m *Meta) Watch() (*Snapshot, <-chan struct{}) { return m.cache.watch() }

// WaitRevision waits until the snapshot shows revision rev or a later one.
func (m *Meta) WaitRevision(ctx context.Context, rev int64) error {
	for {
		snap, changed := m.Watch()
		if snap != nil && snap.Revision() >= rev {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
