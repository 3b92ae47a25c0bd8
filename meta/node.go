package meta

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// node is the embedded etcd server with its two ports.
type node struct {
	etcd   *embed.Etcd // nil before it is started
	rpc    *grpc.Server
	peers  *http.Server
	log    *foldedLog
	failed chan error // why etcd cannot go on
}

const (
	// A lone voter is made leader by lead and answers to nobody, so its clock may
	// tick slowly: ticks are most of what an idle etcd costs.
	loneTickMs, loneElectionMs = 500, 2500
	// Written entries are safe in etcd's log before a write is answered; the
	// database behind it may follow at leisure.
	batchInterval = 500 * time.Millisecond
	batchLimit    = 5000
	defaultQuota  = 8 << 30
	// walSegment is preallocated, twice.
	walSegment = 16 << 20
	// A node replays at most snapshotCount entries at its start, and keeps
	// catchUpEntries in memory.
	snapshotCount, catchUpEntries = 5000, 1000
	keepFiles                     = 2 // old segments and snapshots that etcd does not need

	stopDeadline = 3 * time.Second
)

func init() { wal.SegmentSizeBytes = walSegment }

// start returns before etcd has a leader. stop is called in any case.
func (n *node) start(ctx context.Context, cfg Config, l *listeners) error {
	n.failed = make(chan error, 1)
	n.log = foldLog(cfg.Logger)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("create the metadata directory: %w", err)
	}
	releaseWhenFull(cfg)
	type started struct {
		etcd *embed.Etcd
		err  error
	}
	// In a goroutine of its own: where etcd gives up, it ends the goroutine, or it
	// panics over files that make no sense.
	done := make(chan started, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				n.fail(fmt.Errorf("its files cannot be read: %v", p))
			}
		}()
		etcd, err := embed.StartEtcd(n.etcdConfig(cfg, l))
		done <- started{etcd, err}
	}()
	select {
	case s := <-done:
		if s.err != nil {
			return fmt.Errorf("start etcd in %s: %w", cfg.Dir, s.err)
		}
		n.etcd = s.etcd
	case err := <-n.failed:
		return fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	case <-ctx.Done():
		select {
		case s := <-done:
			n.etcd = s.etcd
		case <-time.After(stopDeadline):
		}
		return ctx.Err()
	}
	n.servePorts(l)
	return nil
}

func (n *node) etcdConfig(cfg Config, l *listeners) *embed.Config {
	ec := embed.NewConfig()
	ec.Name = strconv.Itoa(int(cfg.NodeID))
	ec.Dir, ec.WalDir = cfg.Dir, cfg.WALDir
	peer := url.URL{Scheme: "http", Host: l.peer.Addr().String()}
	client := url.URL{Scheme: "http", Host: l.etcd.Addr().String()}
	ec.AdvertisePeerUrls, ec.AdvertiseClientUrls = []url.URL{peer}, []url.URL{client}
	ec.InitialCluster = ec.Name + "=" + peer.String()
	// The ports are served here and not by etcd: they are bound already, and they
	// carry neither metrics nor profiles nor a gateway.
	ec.ListenPeerUrls, ec.ListenClientUrls, ec.EnableGRPCGateway = nil, nil, false

	ec.TickMs, ec.ElectionMs = loneTickMs, loneElectionMs
	ec.BackendBatchInterval, ec.BackendBatchLimit = batchInterval, batchLimit
	ec.SnapshotCount, ec.SnapshotCatchUpEntries = snapshotCount, catchUpEntries
	ec.MaxWalFiles, ec.MaxSnapFiles = keepFiles, keepFiles
	ec.MaxTxnOps = 4096
	ec.MaxRequestBytes = 8 << 20 // 2,000 partitions with long names and many replicas
	ec.QuotaBackendBytes = cfg.quota
	ec.AutoCompactionMode, ec.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	ec.WatchProgressNotifyInterval = progressEvery
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(n.log.zap(n.fail))
	return ec
}

// fail notes that etcd cannot go on.
func (n *node) fail(err error) {
	select {
	case n.failed <- err:
	default: // the first reason is the one
	}
}

// watchFailure returns the reason when etcd cannot go on.
func (n *node) watchFailure(ctx context.Context) error {
	select {
	case err := <-n.failed:
		n.failed <- err // for stop
		return fmt.Errorf("etcd gave up: %w", err)
	case <-n.etcd.Server.StopNotify():
		return errors.New("etcd stopped by itself")
	case <-ctx.Done():
		return nil
	}
}

// servePorts answers etcdctl and other members. A port that breaks ends the node.
func (n *node) servePorts(l *listeners) {
	n.rpc = v3rpc.Server(n.etcd.Server, nil, nil, grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: embed.DefaultGRPCKeepAliveMinTime}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: embed.DefaultGRPCKeepAliveInterval, Timeout: embed.DefaultGRPCKeepAliveTimeout,
		}))
	n.peers = &http.Server{
		Handler:     etcdhttp.NewPeerHandler(n.etcd.GetLogger(), n.etcd.Server),
		ReadTimeout: 5 * time.Minute, // a member sends its whole database
	}
	go func() {
		if err := n.rpc.Serve(l.etcd); err != nil {
			n.fail(fmt.Errorf("serve --etcd-listen: %w", err))
		}
	}()
	go func() {
		if err := n.peers.Serve(l.peer); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("serve --peer-listen: %w", err))
		}
	}()
}

// lead makes a lone voter leader at once, by the message with which a leader
// hands over. Waiting for its election timeout would be most of the start. It
// returns when there is a leader, or when that has to come the usual way.
//
// The message must not come before raft has applied what is committed: raft then
// looks through its log for changes of the membership, and panics when etcd, which
// applies ahead of it, has cut that log already. Afterwards nothing more can be
// committed without a leader.
func (n *node) lead(ctx context.Context) {
	s := n.etcd.Server
	if len(s.Cluster().Members()) != 1 || s.IsLearner() {
		return
	}
	id, kind := uint64(s.MemberID()), raftpb.MsgTimeoutNow
	for range loneElectionMs {
		changed := s.LeaderChangedNotify()
		if s.Leader() != 0 {
			return
		}
		if applied(id) {
			if err := s.Process(ctx, &raftpb.Message{Type: &kind, To: &id, From: &id}); err != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// applied reports whether raft has applied all that is committed. etcd tells its
// raft status through expvar alone: that of the server started last.
func applied(id uint64) bool {
	status, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return false
	}
	st, ok := status.Value().(raft.Status)
	return ok && st.ID == id && st.GetCommit() > 0 && st.Applied == st.GetCommit()
}

// awaitLeader waits until etcd knows a leader.
func (n *node) awaitLeader(ctx context.Context) error {
	s := n.etcd.Server
	for {
		changed := s.LeaderChangedNotify()
		if s.Leader() != 0 {
			return nil
		}
		if !wait(ctx, changed) {
			return ctx.Err()
		}
	}
}

func (n *node) newClient() *clientv3.Client { return v3client.New(n.etcd.Server) }

// source is this node as the cache reads it.
func (n *node) source(client *clientv3.Client) source {
	return source{
		client:     client,
		leaderless: func() bool { return n.etcd.Server.Leader() == 0 },
		election:   time.Duration(n.etcd.Server.Cfg.ElectionTicks) * time.Duration(n.etcd.Server.Cfg.TickMs) * time.Millisecond,
		silence:    doubtAfter,
	}
}

// stop ends etcd. One that gave up may never end: it is left behind.
func (n *node) stop() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if n.etcd == nil {
			return
		}
		if n.rpc != nil {
			n.rpc.Stop()
			n.peers.Close()
		}
		n.etcd.Close()
	}()
	deadline := stopDeadline
	if len(n.failed) > 0 {
		deadline = 100 * time.Millisecond
	}
	select {
	case <-ended:
	case <-time.After(deadline):
	}
	n.log.close()
}
