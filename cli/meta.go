package cli

import (
	"context"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// keyspace is where all metadata lies.
const keyspace = "/chronik/"

func metaCommand() *cli.Command {
	return &cli.Command{
		Name: "meta", Usage: "look at the metadata of a running node",
		Subcommands: []*cli.Command{
			{
				Name: "get", Usage: "print keys and values", ArgsUsage: "[PREFIX]", Action: metaGet,
				Flags: append(etcdClientFlags(), outputFlag(), &cli.Int64Flag{Name: "rev", Usage: "as of this revision"}),
			},
			{Name: "watch", Usage: "print changes as they come", ArgsUsage: "[PREFIX]", Action: metaWatch, Flags: etcdClientFlags()},
			{
				Name: "diff", Usage: "what changed between two revisions", ArgsUsage: "[PREFIX]", Action: metaDiff,
				Flags: append(etcdClientFlags(), &cli.Int64Flag{Name: "from", Required: true}, &cli.Int64Flag{Name: "to", Usage: "default: now"}),
			},
		},
	}
}

// etcdClientFlags say where etcd is, and what it wants to be shown.
func etcdClientFlags() []cli.Flag {
	return append(tlsFlags(), &cli.StringFlag{
		Name: "etcd", Usage: "etcd listeners of nodes, host:port,…", Value: "127.0.0.1:2379", EnvVars: env("ETCD"),
	})
}

// etcdClient connects to the etcd listener of a node.
func etcdClient(c *cli.Context) (*clientv3.Client, context.Context, context.CancelFunc, error) {
	config, err := tlsFiles(c).Client()
	if err != nil {
		return nil, nil, nil, err
	}
	scheme := "http://"
	if config != nil {
		scheme = "https://"
	}
	var endpoints []string
	for addr := range strings.SplitSeq(c.String("etcd"), ",") {
		endpoints = append(endpoints, scheme+addr)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: config, DialTimeout: 3 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("etcd at %s: %w", c.String("etcd"), err)
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
	probe, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := client.Get(probe, keyspace+"cluster"); err != nil {
		stop()
		_ = client.Close() // nothing was begun
		return nil, nil, nil, fmt.Errorf("no node's etcd at %s (--etcd names another): %w", c.String("etcd"), err)
	}
	return client, ctx, stop, nil
}

func prefixOf(c *cli.Context) string { return keyspace + c.Args().First() }

func metaGet(c *cli.Context) error {
	client, ctx, stop, err := etcdClient(c)
	if err != nil {
		return err
	}
	defer stop()
	defer client.Close()
	values, err := keysAt(ctx, client, prefixOf(c), c.Int64("rev"))
	if err != nil {
		return err
	}
	rows, all := [][]string{}, map[string]string{}
	for _, kv := range values {
		rows = append(rows, []string{kv[0], kv[1]})
		all[kv[0]] = kv[1]
	}
	return listing(c, all, "KEY VALUE", rows)
}

// keysAt reads all keys with the prefix, in order, at a revision; 0 is now.
func keysAt(ctx context.Context, client *clientv3.Client, prefix string, rev int64) ([][2]string, error) {
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(rev))
	if err != nil {
		return nil, err
	}
	values := make([][2]string, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		values[i] = [2]string{string(kv.Key), string(kv.Value)}
	}
	return values, nil
}

func metaWatch(c *cli.Context) error {
	client, ctx, stop, err := etcdClient(c)
	if err != nil {
		return err
	}
	defer stop()
	defer client.Close()
	for resp := range client.Watch(ctx, prefixOf(c), clientv3.WithPrefix()) {
		if err := resp.Err(); err != nil {
			return err
		}
		for _, ev := range resp.Events {
			if _, err := fmt.Fprintf(c.App.Writer, "%d %s %s %s\n", ev.Kv.ModRevision, ev.Type, ev.Kv.Key, ev.Kv.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

func metaDiff(c *cli.Context) error {
	client, ctx, stop, err := etcdClient(c)
	if err != nil {
		return err
	}
	defer stop()
	defer client.Close()
	before, err := keysAt(ctx, client, prefixOf(c), c.Int64("from"))
	if err != nil {
		return err
	}
	after, err := keysAt(ctx, client, prefixOf(c), c.Int64("to"))
	if err != nil {
		return err
	}
	had := map[string]string{}
	for _, kv := range before {
		had[kv[0]] = kv[1]
	}
	w := c.App.Writer
	for _, kv := range after {
		if old, ok := had[kv[0]]; !ok {
			fmt.Fprintf(w, "+ %s %s\n", kv[0], kv[1])
		} else if old != kv[1] {
			fmt.Fprintf(w, "- %s %s\n+ %s %s\n", kv[0], old, kv[0], kv[1])
		}
		delete(had, kv[0])
	}
	for _, kv := range before {
		if _, gone := had[kv[0]]; gone {
			fmt.Fprintf(w, "- %s %s\n", kv[0], kv[1])
		}
	}
	return nil
}
