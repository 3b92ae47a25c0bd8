package meta

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// node is the embedded etcd server with its two ports, or what stands for it on a
// node that is a client of the voters.
type node struct {
	etcd   *embed.Etcd      // nil before it is started, and on a client of the voters
	remote *clientv3.Client // nil on a member
	rpc    *grpc.Server
	port   peerPort
	log    *foldedLog
	failed chan error // why etcd cannot go on
	handed sync.Once  // leadership of etcd, at the end
}

const (
	// A lone voter is made leader by lead and answers to nobody, so its clock may
	// tick slowly: ticks are most of what an idle etcd costs.
	loneHeartbeat, loneElection       = 500 * time.Millisecond, 2500 * time.Millisecond
	defaultHeartbeat, defaultElection = 50 * time.Millisecond, 500 * time.Millisecond
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

	stopDeadline     = 3 * time.Second
	handOverDeadline = time.Second
)

func init() { wal.SegmentSizeBytes = walSegment }

func (n *node) init(log *slog.Logger) {
	n.failed = make(chan error, 1)
	n.log = foldLog(log)
}

// start returns before etcd has a leader. stop is called in any case.
func (n *node) start(ctx context.Context, cfg Config, e entry, l *listeners) error {
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
		etcd, err := embed.StartEtcd(n.etcdConfig(cfg, e, l))
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
	return n.servePorts(cfg.TLS, l)
}

func (n *node) etcdConfig(cfg Config, e entry, l *listeners) *embed.Config {
	ec := embed.NewConfig()
	ec.Name = strconv.Itoa(int(cfg.NodeID))
	ec.Dir, ec.WalDir = cfg.Dir, cfg.WALDir
	peer := url.URL{Scheme: cfg.scheme(), Host: l.peer.Addr().String()}
	client := url.URL{Scheme: cfg.scheme(), Host: l.etcd.Addr().String()}
	heartbeat, election := cfg.timing()
	ec.TickMs, ec.ElectionMs = uint(heartbeat.Milliseconds()), uint(election.Milliseconds())
	if addr := cfg.Peers[cfg.NodeID]; addr != "" {
		peer.Host = addr
	}
	if l.etcd.Addr().(*net.TCPAddr).IP.IsUnspecified() {
		client.Host = net.JoinHostPort(peer.Hostname(), client.Port())
	}
	ec.PeerTLSInfo = cfg.TLS.etcd()
	ec.InitialCluster = ec.Name + "=" + peer.String()
	if e.initialCluster != "" {
		ec.InitialCluster = e.initialCluster
	}
	if e.existing {
		ec.ClusterState = embed.ClusterStateFlagExisting
	}
	ec.AdvertisePeerUrls, ec.AdvertiseClientUrls = []url.URL{peer}, []url.URL{client}
	// The ports are served here and not by etcd: they are bound already, and they
	// carry neither metrics nor profiles nor a gateway.
	ec.ListenPeerUrls, ec.ListenClientUrls, ec.EnableGRPCGateway = nil, nil, false

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
	var stopped <-chan struct{}
	if n.etcd != nil {
		stopped = n.etcd.Server.StopNotify()
	}
	select {
	case err := <-n.failed:
		n.failed <- err // for stop
		if errors.Is(err, errRemoved) {
			return err
		}
		return fmt.Errorf("etcd gave up: %w", err)
	case <-stopped:
		select {
		case err := <-n.failed:
			return err
		default:
			return errors.New("etcd stopped by itself")
		}
	case <-ctx.Done():
		return nil
	}
}

// servePorts answers etcdctl and, on the port that is open already, other members. A port that breaks ends the node.
func (n *node) servePorts(t TLS, l *listeners) error {
	config, err := t.server()
	if err != nil {
		return err
	}
	n.rpc = v3rpc.Server(n.etcd.Server, config, nil, grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: embed.DefaultGRPCKeepAliveMinTime}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: embed.DefaultGRPCKeepAliveInterval, Timeout: embed.DefaultGRPCKeepAliveTimeout,
		}))
	peers := etcdhttp.NewPeerHandler(n.etcd.GetLogger(), n.etcd.Server)
	n.port.etcd.Store(&peers)
	go func() {
		if err := n.rpc.Serve(l.etcd); err != nil {
			n.fail(fmt.Errorf("serve --etcd-listen: %w", err))
		}
	}()
	return nil
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
	if n.etcd == nil || len(n.etcd.Server.Cluster().Members()) != 1 {
		return
	}
	s := n.etcd.Server
	id, kind := uint64(s.MemberID()), raftpb.MsgTimeoutNow
	for range loneElection / time.Millisecond {
		changed := s.LeaderChangedNotify()
		if s.Leader() != 0 {
			return
		}
		if applied(id) {
			if len(s.Cluster().Members()) != 1 {
				return // its log told of others
			}
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

// awaitLeader waits until etcd knows a leader. A client of the voters learns from
// the answers that there is none.
func (n *node) awaitLeader(ctx context.Context) error {
	if n.etcd == nil {
		return nil
	}
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

// newClient is a client of this member, in the process, or of the voters.
func (n *node) newClient() *clientv3.Client {
	if n.etcd == nil {
		return n.remote
	}
	return v3client.New(n.etcd.Server)
}

// source is this node as the cache reads it.
func (n *node) source(client *clientv3.Client) source {
	from := source{client: client, leaderless: func() bool { return false }, silence: doubtAfter}
	if n.etcd != nil {
		s := n.etcd.Server
		from.leaderless = func() bool { return s.Leader() == 0 }
		from.election = time.Duration(s.Cfg.ElectionTicks) * time.Duration(s.Cfg.TickMs) * time.Millisecond
	}
	return from
}

// handOver gives the leadership of etcd to another member, so that the others need
// not wait for an election, nor for answers to what they sent to a leader that stops.
// When all stop together nobody takes it. It does so once.
func (n *node) handOver() {
	if n.etcd != nil {
		n.handed.Do(n.tryHandOver)
	}
}

func (n *node) tryHandOver() {
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		if err := n.etcd.Server.TryTransferLeadershipOnShutdown(); err != nil {
			n.etcd.GetLogger().Debug("leadership not handed over", zap.Error(err))
		}
	}()
	select {
	case <-handed:
	case <-time.After(handOverDeadline):
	}
}

// stop ends etcd. One that gave up may never end: it is left behind.
func (n *node) stop() {
	n.log.closing.Store(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.handOver()
		n.port.close()
		if n.rpc != nil {
			n.rpc.Stop()
		}
		if n.etcd != nil {
			n.etcd.Server.HardStop() // the leader has handed over, or nobody takes over
			n.etcd.Close()
		}
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
