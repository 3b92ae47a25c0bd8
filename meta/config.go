package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says how a node takes part in the metadata.
type Config struct {
	NodeID    int32
	Dir       string // of etcd
	ClusterID string // that the data directory belongs to; "" when it is new
	Broker    Broker // what this node registers
	Logger    *slog.Logger
	Etcd

	quota       int64         // bytes of etcd's database; default 8 GiB
	maxVoters   int           // default MaxVoters
	resendAfter time.Duration // default defaultResendAfter
}

// Etcd says where the etcd of a node listens and with which others it is one
// cluster. The zero value is a node alone.
type Etcd struct {
	PeerListen string        // host:port of raft; default: this node's own of Peers, or 127.0.0.1:2380
	EtcdListen string        // host:port for etcdctl; default 127.0.0.1:2379
	Insecure   bool          // allows both to be other than loopback addresses
	WALDir     string        // of etcd's log, when it is to lie on another disk
	Peers      Peers         // the voters that form the cluster, this node among them
	Join       []string      // etcd listeners, host:port, of a cluster that a new node joins
	TLS        TLS           // of both ports
	Heartbeat  time.Duration // of etcd's leader; default 50 ms, more for a node alone
	Election   time.Duration // after that much silence; default 500 ms, more for a node alone
	LeaseTTL   time.Duration // default 6 s
}

// Peers are the peer addresses, host:port, of voters by node id.
type Peers map[int32]string

// MaxVoters is how many voters a cluster has at most: each costs every write an
// answer more.
const MaxVoters = 7

// ParsePeers reads 1=host:port,2=host:port,…
func ParsePeers(text string) (Peers, error) {
	peers := Peers{}
	for entry := range strings.SplitSeq(text, ",") {
		number, addr, _ := strings.Cut(strings.TrimSpace(entry), "=")
		id, err := strconv.ParseInt(number, 10, 32)
		if err != nil || id < 1 {
			return nil, fmt.Errorf("%q is no peer: it is ID=HOST:PORT", entry)
		}
		if err := checkPeer(addr); err != nil {
			return nil, fmt.Errorf("peer %d: %w", id, err)
		}
		if peers[int32(id)] != "" {
			return nil, fmt.Errorf("peer %d is named twice", id)
		}
		for other, taken := range peers {
			if taken == addr {
				return nil, fmt.Errorf("peers %d and %d have the same address %s", other, id, addr)
			}
		}
		peers[int32(id)] = addr
	}
	if len(peers) > MaxVoters {
		return nil, fmt.Errorf("%d voters are too many: at most %d", len(peers), MaxVoters)
	}
	return peers, nil
}

// checkPeer holds an address to what others can connect to.
func checkPeer(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port: %w", addr, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q has no port", addr)
	}
	if unspecified(host) {
		return errors.New("nobody can connect to " + addr + ": name the host as the other nodes reach it")
	}
	return nil
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// ids are the voters in order.
func (p Peers) ids() []int32 { return slices.Sorted(maps.Keys(p)) }

// String is what ParsePeers reads.
func (p Peers) String() string {
	var entries []string
	for _, id := range p.ids() {
		entries = append(entries, fmt.Sprintf("%d=%s", id, p[id]))
	}
	return strings.Join(entries, ",")
}

// initialCluster is how etcd wants to be told of the first members.
func (c Config) initialCluster() string {
	var members []string
	for _, id := range c.Peers.ids() {
		members = append(members, fmt.Sprintf("%d=%s://%s", id, c.scheme(), c.Peers[id]))
	}
	return strings.Join(members, ",")
}

func (e Etcd) scheme() string {
	if e.TLS == (TLS{}) {
		return "http"
	}
	return "https"
}

func (c Config) withDefaults() Config {
	if c.PeerListen == "" {
		c.PeerListen = c.Peers[c.NodeID]
	}
	if c.PeerListen == "" {
		c.PeerListen = "127.0.0.1:2380"
	}
	if c.EtcdListen == "" {
		c.EtcdListen = "127.0.0.1:2379"
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = defaultLeaseTTL
	}
	if c.quota == 0 {
		c.quota = defaultQuota
	}
	if c.maxVoters == 0 {
		c.maxVoters = MaxVoters
	}
	if c.resendAfter == 0 {
		c.resendAfter = defaultResendAfter
	}
	return c
}

// alone reports whether no other node may ever come.
func (e Etcd) alone() bool { return len(e.Peers) == 0 && len(e.Join) == 0 }

// check refuses what cannot be meant.
func (c Config) check() error {
	if err := c.Check(); err != nil {
		return err
	}
	if _, err := c.TLS.server(); err != nil {
		return err
	}
	if len(c.Peers) > 0 && c.Peers[c.NodeID] == "" {
		return fmt.Errorf("--peers %s does not name this node: its --node-id is %d", c.Peers, c.NodeID)
	}
	if n := len(c.Peers); n > 0 && n%2 == 0 {
		c.Logger.Warn("an even number of voters survives no more failures than one voter less", "voters", n)
	}
	return nil
}

// Check refuses what cannot be meant on any node.
func (e Etcd) Check() error {
	if len(e.Peers) > 0 && len(e.Join) > 0 {
		return errors.New("--peers forms a cluster, --join enters one that is there: give one of the two")
	}
	if err := e.TLS.check(); err != nil {
		return err
	}
	for _, addr := range e.Join {
		if err := checkPeer(addr); err != nil {
			return fmt.Errorf("--join: %w", err)
		}
	}
	if host, _, err := net.SplitHostPort(e.PeerListen); len(e.Join) > 0 && err == nil && unspecified(host) {
		return fmt.Errorf("--peer-listen %s: with --join it has to be an address by which the other nodes reach this one", e.PeerListen)
	}
	heartbeat, election := e.timing()
	if heartbeat < 10*time.Millisecond || election < 5*heartbeat || election > 50*time.Second {
		return fmt.Errorf("--etcd-heartbeat %v, --etcd-election %v: a heartbeat is at least 10ms, an election at least 5 heartbeats and at most 50s", heartbeat, election)
	}
	if e.LeaseTTL != 0 && (e.LeaseTTL < time.Second || e.LeaseTTL%time.Second != 0) {
		return fmt.Errorf("--lease-ttl %v: it is a number of whole seconds", e.LeaseTTL)
	}
	return nil
}

// timing is that of etcd's elections.
func (e Etcd) timing() (heartbeat, election time.Duration) {
	heartbeat, election = defaultHeartbeat, defaultElection
	if e.alone() {
		heartbeat, election = loneHeartbeat, loneElection
	}
	if e.Heartbeat != 0 {
		heartbeat = e.Heartbeat
	}
	if e.Election != 0 {
		election = e.Election
	}
	return heartbeat, election
}
