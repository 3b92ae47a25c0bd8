package meta

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// node is the embedded etcd server.
type node struct {
	etcd   *embed.Etcd
	listen atomic.Pointer[string]
}

// MaxPartitions bounds a topic: it is created in one transaction, which has to
// hold all its partitions.
const MaxPartitions = 10_000

// start returns before etcd has a leader.
func (n *node) start(cfg Config) error {
	ec := embed.NewConfig()
	ec.Name = strconv.Itoa(int(cfg.NodeID))
	ec.Dir, ec.WalDir = cfg.Dir, cfg.WALDir
	peer, client := hostURL(cfg.PeerListen), hostURL(cfg.EtcdListen)
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	ec.ListenClientUrls, ec.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	ec.InitialCluster = ec.Name + "=" + peer.String()

	// A single voter needs no time to hear from others.
	ec.TickMs, ec.ElectionMs = 20, 200
	ec.MaxTxnOps = MaxPartitions + 16
	ec.MaxRequestBytes = 8 << 20
	ec.QuotaBackendBytes = 8 << 30
	ec.AutoCompactionMode, ec.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	ec.WatchProgressNotifyInterval = 500 * time.Millisecond
	ec.EnableGRPCGateway = false
	ec.SnapshotCount = 5000
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(foldedZap(cfg.Logger))
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("create the metadata directory: %w", err)
	}
	if err := checkFree(cfg.PeerListen, "--peer-listen"); err != nil {
		return err
	}
	if err := checkFree(cfg.EtcdListen, "--etcd-listen"); err != nil {
		return err
	}
	etcd, err := embed.StartEtcd(ec)
	if err != nil {
		return fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}
	n.etcd = etcd
	addr := etcd.Clients[0].Addr().String()
	n.listen.Store(&addr)
	return nil
}

func hostURL(addr string) url.URL { return url.URL{Scheme: "http", Host: addr} }

// checkFree says by which flag an address in use can be changed.
func checkFree(addr, flag string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for etcd on %s (change it with %s): %w", addr, flag, err)
	}
	return l.Close()
}

func (n *node) stop() {
	n.etcd.Close()
}

func (n *node) readyC() <-chan struct{} { return n.etcd.Server.ReadyNotify() }
func (n *node) errC() <-chan error      { return n.etcd.Err() }

func (n *node) client() *clientv3.Client { return v3client.New(n.etcd.Server) }

func (n *node) addr() string {
	if a := n.listen.Load(); a != nil {
		return *a
	}
	return ""
}
