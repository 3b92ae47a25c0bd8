package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"chronik/logstore"
	"chronik/meta"
)

// Config says what a broker is told at its start. The zero value of every field
// but DataDir is right.
type Config struct {
	NodeID     int32  // 0 means 1
	DataDir    string // created when absent
	Listen     string // Kafka clients; default localhost:9092
	Advertise  string // host:port that clients are told; default: what they dialled, or the listen address
	PeerListen string // etcd peers; default 127.0.0.1:2380
	EtcdListen string // etcd clients; default 127.0.0.1:2379
	HTTPListen string // health and metrics; "" is off
	Rack       string
	Settings   map[string]string // static broker settings, by Kafka's names
	Version    string
	Insecure   bool // allow etcd listeners that are not on loopback
	Logger     *slog.Logger
}

// Broker is one node. Its parts own their state; the fields here are set by New
// and do not change.
type Broker struct {
	cfg        Config
	log        *slog.Logger
	settings   *brokerSettings
	store      *logstore.Store
	meta       *meta.Meta
	server     *server
	http       *httpServer
	routes     map[int16]route
	topics     *topicSet
	sessions   *fetchSessions
	limits     *limits
	metrics    *metrics
	ready      chan struct{} // closed when the first elections are applied
	applied    watched[int64]
	reelect    nudge // a log was cut and reopened
	stopping   atomic.Bool
	producerID producerIDs
}

// New builds a broker: it checks cfg, locks the data directory and binds the
// listeners. It waits for nothing; Run does the rest.
func New(cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	settings, err := newBrokerSettings(cfg.Settings)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		cfg: cfg, log: cfg.Logger, settings: settings,
		topics: newTopicSet(), metrics: newMetrics(), ready: make(chan struct{}), reelect: make(nudge, 1),
	}
	b.applied.set(0)
	b.limits = newLimits()
	b.sessions = newFetchSessions(func() int { return int(fetchSessionSlots.of(b.brokerConfigs())) })
	b.routes = b.routeTable()
	b.metrics.serve(b.routes)
	b.metrics.gauge("chronik_fetch_sessions", "Open fetch sessions.", func() float64 { return float64(b.sessions.count()) })
	if b.server, err = listen(cfg.Listen); err != nil {
		return nil, err
	}
	if b.http, err = listenHTTP(cfg.HTTPListen); err != nil {
		return nil, errors.Join(err, b.server.close())
	}
	b.store, err = logstore.Open(b.storeConfig())
	if err != nil {
		return nil, errors.Join(err, b.server.close(), b.http.close())
	}
	b.meta = meta.New(b.metaConfig())
	return b, nil
}

func (c Config) withDefaults() Config {
	if c.NodeID == 0 {
		c.NodeID = 1
	}
	if c.Listen == "" {
		c.Listen = "localhost:9092"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (b *Broker) storeConfig() logstore.Config {
	static := b.settings.static
	return logstore.Config{
		Dir: b.cfg.DataDir, NodeID: b.cfg.NodeID, Logger: b.log,
		RetentionInterval: time.Duration(retentionCheckMs.of(static)) * time.Millisecond,
		OnReopen:          b.logReopened,
	}
}

func (b *Broker) metaConfig() meta.Config {
	host, port := b.advertised(nil)
	id := b.store.Identity()
	return meta.Config{
		NodeID: b.cfg.NodeID, Dir: filepath.Join(b.cfg.DataDir, "etcd"),
		PeerListen: b.cfg.PeerListen, EtcdListen: b.cfg.EtcdListen, Logger: b.log,
		ClusterID: id.ClusterID,
		Broker: meta.Broker{
			ID: b.cfg.NodeID, Host: host, Port: port, Rack: b.cfg.Rack,
			Directory: meta.EncodeID(id.DirectoryID), Version: b.cfg.Version,
		},
	}
}

// Run serves until ctx ends, then stops cleanly. It returns nil after a clean
// stop and an error when the broker cannot go on.
func (b *Broker) Run(ctx context.Context) error {
	// Metadata and the logs outlive the connections, so that the last
	// appends are flushed and the lease is given back at the end.
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInner()
	back, innerCtx := errgroup.WithContext(inner)
	back.Go(func() error { return b.meta.Run(innerCtx) })

	front, frontCtx := errgroup.WithContext(ctx)
	front.Go(func() error { // an inner part that fails stops the front
		select {
		case <-frontCtx.Done():
			return nil
		case <-innerCtx.Done():
			return fmt.Errorf("metadata stopped: %w", context.Cause(innerCtx))
		}
	})
	front.Go(func() error { return b.server.run(frontCtx, b) })
	front.Go(func() error { return b.http.run(frontCtx, b) })
	front.Go(func() error { return b.lead(frontCtx) })
	err := front.Wait()

	b.stopping.Store(true)
	closeErr := b.store.Close()
	stopInner()
	return errors.Join(err, closeErr, back.Wait())
}

// lead brings the broker from cold to ready and then applies every change of
// metadata to the partitions.
func (b *Broker) lead(ctx context.Context) error {
	if !waitFor(ctx, b.meta.Registered()) {
		return nil
	}
	cluster := b.meta.Snapshot().Cluster()
	if err := b.store.SetClusterID(cluster.ID); err != nil {
		return err
	}
	if err := b.store.Recover(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.store.Run(ctx) })
	g.Go(func() error { return b.follow(ctx) })
	g.Go(func() error { return b.control(ctx) })
	return g.Wait()
}

// waitFor reports whether c was closed before ctx ended.
func waitFor(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// snap is the metadata of this moment. Handlers run only once it is there.
func (b *Broker) snap() *meta.Snapshot { return b.meta.Snapshot() }

// brokerConfigs are the broker settings in force: dynamic ones over static ones.
func (b *Broker) brokerConfigs() map[string]string { return b.settings.effective() }

// Ready is closed when the broker leads its partitions and serves every request.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr is the address that Kafka clients reach, host:port.
func (b *Broker) Addr() string { return b.server.addr() }

// HTTPAddr is the address of health and metrics, "" when they are off.
func (b *Broker) HTTPAddr() string { return b.http.addr() }

// Durability says in words what an acknowledgement promises by default.
func (b *Broker) Durability() string {
	if flushMessages.of(b.brokerConfigs()) == 1 {
		return "an acknowledged record is on disk (flush.messages=1)"
	}
	return "an acknowledged record is in the page cache: a power cut may lose it (flush.messages above 1)"
}

// IsLoopback reports whether an address host:port can be reached from this
// machine alone.
func IsLoopback(addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, fmt.Errorf("%q is not host:port", addr)
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}

// EtcdAddr is the address that etcdctl reaches, "" before the metadata runs.
func (b *Broker) EtcdAddr() string { return b.meta.EtcdAddr() }

// advertised is the address that a client on c is told; c may be nil.
func (b *Broker) advertised(c *conn) (string, int32) {
	addr := b.cfg.Advertise
	if addr == "" {
		addr = b.server.addr()
	}
	host, port := splitHostPort(addr)
	if b.cfg.Advertise != "" || !unspecified(host) {
		return host, port
	}
	if c == nil {
		return "localhost", port
	}
	if tcp, ok := c.nc.LocalAddr().(*net.TCPAddr); ok {
		return tcp.IP.String(), int32(tcp.Port)
	}
	return "localhost", port
}
