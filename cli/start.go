package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"chronik/broker"
	"chronik/meta"
)

func startCommand() *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "run one node",
		ArgsUsage: " ",
		Description: "Settings come from --config, then --set, then the flags: later ones win.\n" +
			"SIGTERM and SIGINT stop the node cleanly; a second one stops it at once.",
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "node-id", Usage: "id of this broker", EnvVars: env("NODE_ID"), Value: 1},
			&cli.StringFlag{Name: "data-dir", Usage: "where everything is kept", EnvVars: env("DATA_DIR"), Value: "./chronik-data"},
			&cli.StringFlag{Name: "listen", Usage: "address for Kafka clients", EnvVars: env("LISTEN"), Value: "localhost:9092"},
			&cli.StringFlag{Name: "advertise", Usage: "host:port that clients are told (default: what they dialled, or --listen)", EnvVars: env("ADVERTISE")},
			&cli.StringFlag{Name: "join", Usage: "etcd listeners, `HOST:PORT,…`, of a cluster that this new node joins", EnvVars: env("JOIN")},
			&cli.StringFlag{Name: "peers", Usage: "the voters of a cluster, `ID=HOST:PORT,…`: peer addresses of 1, 3, 5 or 7 nodes, this one among them", EnvVars: env("PEERS")},
			&cli.StringFlag{Name: "peer-listen", Usage: "address for etcd peers", EnvVars: env("PEER_LISTEN"), DefaultText: "this node's own of --peers, or 127.0.0.1:2380"},
			&cli.StringFlag{Name: "etcd-listen", Usage: "address for etcdctl", EnvVars: env("ETCD_LISTEN"), Value: "127.0.0.1:2379"},
			&cli.StringFlag{Name: "http-listen", Usage: "address for /livez, /readyz and /metrics, \"\" for none", EnvVars: env("HTTP_LISTEN"), Value: "127.0.0.1:9644"},
			&cli.StringFlag{Name: "rack", Usage: "rack of this broker", EnvVars: env("RACK")},
			&cli.StringFlag{Name: "config", Usage: "properties `FILE` with Kafka's names", EnvVars: env("CONFIG")},
			&cli.StringSliceFlag{Name: "set", Usage: "a broker setting, `NAME=VALUE`; may be given again", EnvVars: env("SET")},
			&cli.StringFlag{Name: "log-level", Usage: "debug, info, warn or error", EnvVars: env("LOG_LEVEL"), Value: "info"},
			&cli.StringFlag{Name: "log-format", Usage: "text or json", EnvVars: env("LOG_FORMAT"), Value: "text"},
			&cli.BoolFlag{Name: "insecure", Usage: "allow etcd listeners without TLS that others can reach", EnvVars: env("INSECURE")},
		}, etcdFlags()...),
		Action: start,
	}
}

// etcdFlags are those of a cluster over several hosts.
func etcdFlags() []cli.Flag {
	return append(tlsFlags(),
		&cli.StringFlag{Name: "etcd-wal-dir", Usage: "directory of etcd's log, to have it on another disk", EnvVars: env("ETCD_WAL_DIR")},
		&cli.DurationFlag{Name: "etcd-heartbeat", Usage: "between signs of life of etcd's leader; the same on all nodes", EnvVars: env("ETCD_HEARTBEAT"), DefaultText: "50ms"},
		&cli.DurationFlag{Name: "etcd-election", Usage: "without one, until etcd elects another leader; the same on all nodes", EnvVars: env("ETCD_ELECTION"), DefaultText: "500ms"},
		&cli.DurationFlag{Name: "lease-ttl", Usage: "until a silent broker counts as dead", EnvVars: env("LEASE_TTL"), DefaultText: "6s"},
	)
}

// tlsFlags name what a node, or a client of its etcd, shows and trusts.
func tlsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "peer-cert", Usage: "certificate `FILE` of the etcd listeners, shown to other nodes too", EnvVars: env("PEER_CERT")},
		&cli.StringFlag{Name: "peer-key", Usage: "its key `FILE`", EnvVars: env("PEER_KEY")},
		&cli.StringFlag{Name: "peer-ca", Usage: "`FILE` of the authority that signed the certificates of all nodes", EnvVars: env("PEER_CA")},
	}
}

func tlsFiles(c *cli.Context) meta.TLS {
	return meta.TLS{Cert: c.String("peer-cert"), Key: c.String("peer-key"), CA: c.String("peer-ca")}
}

func env(name string) []string { return []string{"CHRONIK_" + name} }

// start runs a node until a signal or an error ends it.
func start(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("start takes no argument, got %q", c.Args().First())
	}
	log, err := logger(c.App.ErrWriter, c.String("log-level"), c.String("log-format"))
	if err != nil {
		return err
	}
	node, err := nodeConfig(c)
	if err != nil {
		return err
	}
	cfg := node.config
	cfg.Settings, cfg.Logger, cfg.Version = node.settings, log, versionText()
	if len(node.ignored) > 0 {
		slices.Sort(node.ignored)
		log.Info("settings without meaning here", "names", strings.Join(slices.Compact(node.ignored), " "))
	}
	limitHeap()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	b, err := broker.New(cfg)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-b.Ready():
			greet(c.App.Writer, b, cfg)
		case <-ctx.Done():
		}
	}()
	if err := b.Run(ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// limitHeap has the collector work harder before the heap takes what the page cache
// needs. GOMEMLIMIT in the environment wins; the budgets of requests follow it.
func limitHeap() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(broker.MachineMemory() / 4 * 3)
	}
}

// nodeConfig puts together what file, --set and flags say.
func nodeConfig(c *cli.Context) (*nodeSettings, error) {
	n := &nodeSettings{settings: map[string]string{}}
	if path := c.String("config"); path != "" {
		var err error
		if n, err = loadConfig(path); err != nil {
			return nil, err
		}
	}
	for _, kv := range c.StringSlice("set") {
		name, value, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, usagef("--set %s: it is NAME=VALUE", kv)
		}
		if err := n.set(name, value); err != nil {
			return nil, fmt.Errorf("--set: %w", err)
		}
	}
	for flag, field := range map[string]*string{
		"data-dir": &n.config.DataDir, "listen": &n.config.Listen, "advertise": &n.config.Advertise,
		"peer-listen": &n.config.Etcd.PeerListen, "etcd-listen": &n.config.Etcd.EtcdListen,
		"http-listen": &n.config.HTTPListen, "rack": &n.config.Rack,
	} {
		if c.IsSet(flag) || *field == "" {
			*field = c.String(flag)
		}
	}
	if c.IsSet("node-id") || n.config.NodeID == 0 {
		if c.Int("node-id") < 1 {
			return nil, usagef("--node-id %d: it is a number from 1 on", c.Int("node-id"))
		}
		n.config.NodeID = int32(c.Int("node-id"))
	}
	return n, clusterConfig(c, &n.config)
}

// clusterConfig takes the flags that make several nodes one cluster.
func clusterConfig(c *cli.Context, cfg *broker.Config) (err error) {
	etcd := &cfg.Etcd
	etcd.Insecure, etcd.TLS, etcd.WALDir = c.Bool("insecure"), tlsFiles(c), c.String("etcd-wal-dir")
	etcd.Heartbeat, etcd.Election, etcd.LeaseTTL = c.Duration("etcd-heartbeat"), c.Duration("etcd-election"), c.Duration("lease-ttl")
	if join := c.String("join"); join != "" {
		etcd.Join = strings.Split(join, ",")
	}
	if peers := c.String("peers"); peers != "" {
		if etcd.Peers, err = meta.ParsePeers(peers); err != nil {
			return usagef("--peers: %w", err)
		}
		if etcd.Peers[cfg.NodeID] == "" {
			return usagef("--peers %s does not name this node: its --node-id is %d", peers, cfg.NodeID)
		}
	}
	if err := etcd.Check(); err != nil {
		return usageError{err}
	}
	if len(etcd.Peers) > 1 || len(etcd.Join) > 0 {
		return checkAdvertised(cfg)
	}
	return nil
}

// checkAdvertised refuses an address by which no other node can be reached.
func checkAdvertised(cfg *broker.Config) error {
	told := cfg.Advertise
	if told == "" {
		told = cfg.Listen
	}
	host, _, err := net.SplitHostPort(told)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return usagef("the nodes of a cluster cannot be told to reach this one at %s: give --advertise HOST:PORT", told)
	}
	return nil
}

// logger writes to w at the given level, in the given form.
func logger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %s: it is debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				a.Value = slog.StringValue(a.Value.Time().Format("15:04:05.000"))
			}
			return a
		}
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return nil, usagef("--log-format %s: it is text or json", format)
}

// greet tells a person how to go on.
func greet(w io.Writer, b *broker.Broker, cfg broker.Config) {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		dir = cfg.DataDir
	}
	lines := []string{
		fmt.Sprintf("chronik %s, broker %d, is ready", versionText(), cfg.NodeID),
		"  clients     " + b.Addr(),
		"  data        " + dir,
		"  durability  " + b.Durability(),
		"  metadata    etcdctl --endpoints " + b.EtcdAddr() + " get --prefix /chronik/",
	}
	if http := b.HTTPAddr(); http != "" {
		lines = append(lines, "  health      http://"+http+"/readyz  metrics: /metrics")
	}
	lines = append(lines, "  try         chronik topic list --bootstrap-servers "+b.Addr())
	// Nobody may be reading: that must not stop the node.
	_, _ = fmt.Fprintln(w, strings.Join(lines, "\n"))
}
