package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// node is one broker with its directory and ports, which stay the same over restarts.
type node struct {
	id    int
	kafka string // host:port of clients
	ports [3]string
	dir   string
	args  []string
	life  *process
}

func (n *node) data() string { return filepath.Join(n.dir, "data") }
func (n *node) log() string  { return filepath.Join(n.dir, "log") }

// cluster is the nodes of a system; often one.
type cluster struct {
	sys   *system
	nodes []*node
	dir   string
}

// newCluster prepares nodes that are not started.
func newCluster(sys *system, n int, args ...string) (*cluster, error) {
	if sys.running != nil {
		return &cluster{sys: sys, nodes: []*node{sys.running}}, nil
	}
	dir, err := os.MkdirTemp(options.dir, "chronik-bench-")
	if err != nil {
		return nil, err
	}
	c := &cluster{sys: sys, dir: dir}
	ports, err := freePorts(4 * n)
	for i := range n {
		if err != nil {
			break
		}
		p := ports[4*i:]
		node := &node{id: i + 1, kafka: p[0], ports: [3]string(p[1:4]), dir: filepath.Join(dir, fmt.Sprint("node", i+1)), args: args}
		c.nodes = append(c.nodes, node)
		err = os.MkdirAll(node.dir, 0o755)
	}
	for _, node := range c.nodes {
		if err == nil && sys.prepare != nil {
			err = sys.prepare(node, c.nodes)
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, nil
}

// startCluster starts new nodes and waits until they know each other.
func startCluster(ctx context.Context, sys *system, n int, args ...string) (*cluster, error) {
	c, err := newCluster(sys, n, args...)
	if err != nil {
		return nil, err
	}
	if err = c.start(); err == nil {
		err = c.registered(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *cluster) start() error {
	if c.sys.running != nil {
		return nil
	}
	for _, n := range c.nodes {
		if err := c.startNode(n); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) startNode(n *node) (err error) {
	n.life, err = startProcess(c.sys.command(n, c.nodes), n.log())
	return err
}

// end ends all nodes at once.
func (c *cluster) end(sig syscall.Signal) error {
	var errs []error
	for _, n := range c.nodes {
		if n.life != nil {
			_ = n.life.cmd.Process.Signal(sig) // again below, where the error counts
		}
	}
	for _, n := range c.nodes {
		if n.life != nil {
			errs = append(errs, n.life.end(sig))
		}
	}
	return errors.Join(errs...)
}

// close kills what runs and removes the directory.
func (c *cluster) close() error {
	if c.sys.running != nil {
		return nil
	}
	return errors.Join(c.end(syscall.SIGKILL), os.RemoveAll(c.dir))
}

func (c *cluster) bootstrap() string {
	var servers []string
	for _, n := range c.nodes {
		servers = append(servers, n.kafka)
	}
	return strings.Join(servers, ",")
}

func (c *cluster) pids() (pids []int) {
	if c.sys.running != nil {
		return c.sys.pids
	}
	for _, n := range c.nodes {
		pids = append(pids, n.life.pid())
	}
	return pids
}

// failed adds the end of a node's log to an error.
func (c *cluster) failed(err error) error {
	if err == nil || c.sys.running != nil {
		return err
	}
	for _, n := range c.nodes {
		if text, _ := os.ReadFile(n.log()); n.life != nil && n.life.gone() != nil {
			err = fmt.Errorf("%w; node %d has ended: %s", err, n.id, text[max(0, len(text)-1000):])
		}
	}
	return err
}

// client is one of franz-go; with no brokers named it knows all.
func (c *cluster) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(opts, kgo.SeedBrokers(strings.Split(c.bootstrap(), ",")...))...)
}

// fresh has a client ask each time; by default it remembers for five seconds what it was told.
var fresh = kgo.MetadataMinAge(10 * time.Millisecond)

// admin calls do with a client that lives for it.
func (c *cluster) admin(do func(*kadm.Client) error) error {
	client, err := c.client(fresh)
	if err != nil {
		return err
	}
	defer client.Close()
	return do(kadm.NewClient(client))
}

// answered waits for the first ApiVersions of every node.
func (c *cluster) answered(ctx context.Context) error {
	for _, n := range c.nodes {
		for addr := range strings.SplitSeq(n.kafka, ",") {
			if err := c.until(ctx, time.Millisecond, func() error { return askApiVersions(addr) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// registered waits until every node lists all of them.
func (c *cluster) registered(ctx context.Context) error {
	if err := c.answered(ctx); err != nil || c.sys.running != nil {
		return err
	}
	for _, n := range c.nodes {
		client, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), fresh)
		if err != nil {
			return err
		}
		err = c.until(ctx, 10*time.Millisecond, func() error {
			brokers, err := kadm.NewClient(client).ListBrokers(ctx)
			if err == nil && len(brokers) < len(c.nodes) {
				err = fmt.Errorf("node %d lists brokers %v", n.id, brokers.NodeIDs())
			}
			return err
		})
		client.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// until polls, at most five minutes and while all nodes run.
func (c *cluster) until(ctx context.Context, every time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("not within five minutes"))
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		for _, n := range c.nodes {
			if n.life != nil && n.life.gone() != nil {
				return c.failed(err)
			}
		}
		if !pause(ctx, every) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// pause reports whether ctx has outlived it.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// freePorts finds ports below the range of outgoing connections, which could else take one.
func freePorts(n int) ([]string, error) {
	var found []string
	for try := 0; len(found) < n; try++ {
		if try == 1000 {
			return nil, errors.New("no free port found")
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(18000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer l.Close() // at the end, so that none is found twice
		found = append(found, addr)
	}
	return found, nil
}

// askApiVersions makes one exchange over a connection of its own.
func askApiVersions(addr string) error {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := nc.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)); err != nil {
		return err
	}
	answer := make([]byte, 10) // size, correlation id, error
	n, err := nc.Read(answer)
	if err == nil && (n < 10 || answer[8] != 0 || answer[9] != 0) {
		err = fmt.Errorf("%s answers %x to ApiVersions", addr, answer[:n])
	}
	return err
}
