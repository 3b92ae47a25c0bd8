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
	Etcd       meta.Etcd
	HTTPListen string // health and metrics; "" is off
	Rack       string
	Settings   map[string]string // static broker settings, by Kafka's names
	Version    string
	Logger     *slog.Logger
}

// Broker is one node. Its parts own their state; the fields here are set by New
// and do not change.
type Broker struct {
	cfg      Config
	log      *slog.Logger
	settings *brokerSettings
	store    *logstore.Store
	meta     *meta.Meta
	topics   *topicSet
	groups   *coordinators
	sessions *fetchSessions
	replicas
	producerID producerIDs
	front
	life
}

// replicas is what keeps the replicas of partitions alike.
type replicas struct {
	fetchers  *fetchers
	isr       *isrChanges
	peers     *peers
	inquiries inquiries
	throttles throttles
}

// front is what clients and people meet.
type front struct {
	server  *server
	http    *httpServer
	routes  map[int16]route
	limits  *limits
	metrics *metrics
	everyTopic
}

// life is how far the broker has come.
type life struct {
	recovered chan struct{}  // closed when the logs are open
	ready     chan struct{}  // closed when the first elections are applied
	applied   watched[int64] // revision of the metadata that the partitions follow
	reelect   nudge          // a log was cut and reopened
	stopping  atomic.Bool
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
		topics: newTopicSet(), front: front{metrics: newMetrics(), limits: newLimits(requestDecodeMaxBytes.of(settings.effective()))},
		life: life{ready: make(chan struct{}), recovered: make(chan struct{}), reelect: make(nudge, 1)},
	}
	b.applied.set(0)
	b.groups = newCoordinators(b)
	b.fetchers, b.isr, b.peers = newFetchers(b), newISRChanges(b), newPeers(b)
	b.inquiries.b = b
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
	b.metrics.compaction(b.store.Compactions)
	b.meta = meta.New(b.metaConfig())
	if err := b.meta.Listen(); err != nil {
		return nil, errors.Join(err, b.server.close(), b.http.close(), b.store.Close())
	}
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
		RetentionInterval: lasting(retentionCheckMs.of(static), time.Millisecond),
		MinFree:           diskMinFreeBytes.of(static),
		Compaction:        compactionConfig(static),
		OnReopen:          b.logReopened,
		OnTrouble:         b.logTroubled,
	}
}

func (b *Broker) metaConfig() meta.Config {
	host, port := b.advertised(nil)
	id := b.store.Identity()
	return meta.Config{
		NodeID: b.cfg.NodeID, Dir: filepath.Join(b.cfg.DataDir, "etcd"),
		Etcd: b.cfg.Etcd, Logger: b.log, ClusterID: id.ClusterID,
		Broker: meta.Broker{
			ID: b.cfg.NodeID, Host: host, Port: port, Rack: b.cfg.Rack,
			Directory: meta.EncodeID(id.DirectoryID), Version: b.cfg.Version,
		},
	}
}

// Run serves until ctx ends, then stops cleanly. It returns nil after a clean
// stop and an error when the broker cannot go on.
//
// First others take over what this broker leads, while it goes on serving.
// The parts stop in turn: connections, whose last answers may wait for a flush;
// the logs; the metadata, which gives the lease back.
func (b *Broker) Run(ctx context.Context) error {
	metadata := inBackground(ctx, b.meta.Run)
	logs := inBackground(ctx, b.runLogs)

	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	front, frontCtx := errgroup.WithContext(serving)
	front.Go(func() error {
		if waitFor(frontCtx, ctx.Done()) {
			b.drain(frontCtx)
			stop()
		}
		return nil
	})
	front.Go(func() error { return metadata.failed(frontCtx, "metadata") })
	front.Go(func() error { return logs.failed(frontCtx, "logs") })
	front.Go(func() error { return b.server.run(frontCtx, b) })
	front.Go(func() error { return b.http.run(frontCtx, b) })
	front.Go(func() error { return b.peers.run(frontCtx) })
	front.Go(func() error { return b.lead(frontCtx) })
	err := front.Wait()

	b.stopping.Store(true)
	b.limits.pipes.close()
	return errors.Join(err, logs.stop(), b.store.Close(), metadata.stop())
}

// background is a part that outlives the context of Run, until it is stopped.
type background struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // what it returned; read after done
}

func inBackground(ctx context.Context, run func(context.Context) error) *background {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &background{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = run(ctx)
	}()
	return p
}

// failed waits until ctx ends, or says that the part ended before.
func (p *background) failed(ctx context.Context, what string) error {
	select {
	case <-p.done:
		return fmt.Errorf("%s stopped: %w", what, p.err)
	case <-ctx.Done():
		return nil
	}
}

// stop ends the part and waits for it. What failed told.
func (p *background) stop() error {
	defer p.cancel()
	select {
	case <-p.done:
		return nil // failed has told why
	default:
	}
	p.cancel()
	<-p.done
	return p.err
}

// runLogs recovers the logs once this broker is registered, and does their
// background work.
func (b *Broker) runLogs(ctx context.Context) error {
	if !waitFor(ctx, b.meta.Registered()) {
		return nil
	}
	if err := b.store.SetClusterID(b.meta.Snapshot().Cluster().ID); err != nil {
		return err
	}
	if err := b.store.Recover(ctx); err != nil {
		return err
	}
	close(b.recovered)
	return b.store.Run(ctx)
}

// lead applies every change of metadata to the partitions, once the logs are
// recovered, and does the controller's work while this broker is it.
func (b *Broker) lead(ctx context.Context) error {
	if !waitFor(ctx, b.recovered) {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.groups.run(ctx) })
	g.Go(func() error { return b.fetchers.run(ctx) })
	g.Go(func() error { return b.isr.run(ctx) })
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
