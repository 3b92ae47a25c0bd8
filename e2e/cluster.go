package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Cluster is nodes that are each other's peers. Their ids count from 1.
type Cluster struct {
	Nodes []*Node
	t     testing.TB
}

// NewCluster prepares n nodes that are not started. args are further arguments
// of each.
func NewCluster(t testing.TB, n int, args ...string) *Cluster {
	t.Helper()
	return newCluster(t, make([]NodeConfig, n), args...)
}

// newCluster is NewCluster of nodes that are configured one by one, but for their ids.
func newCluster(t testing.TB, nodes []NodeConfig, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i, config := range nodes {
		config.ID = i + 1
		c.Nodes = append(c.Nodes, NewNode(t, config))
	}
	for _, node := range c.Nodes {
		node.args = append(node.args, "--peers", c.Peers())
		node.args = append(node.args, args...)
	}
	return c
}

// StartCluster starts n new nodes and waits until all are ready.
func StartCluster(t testing.TB, n int, args ...string) *Cluster {
	t.Helper()
	c := NewCluster(t, n, args...)
	c.Start()
	c.WaitAllReady()
	return c
}

// Start begins a life of every node and waits for nothing.
func (c *Cluster) Start() {
	c.t.Helper()
	for _, n := range c.Nodes {
		n.Start()
	}
}

// Peers is the --peers of every node.
func (c *Cluster) Peers() string {
	var peers []string
	for _, n := range c.Nodes {
		peers = append(peers, fmt.Sprintf("%d=%s", n.ID, n.Peer))
	}
	return strings.Join(peers, ",")
}

// Bootstrap is the list of servers for a client.
func (c *Cluster) Bootstrap() string { return addresses(c.Nodes) }

func addresses(nodes []*Node) string {
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Kafka)
	}
	return strings.Join(addrs, ",")
}

// Node is the one with an id.
func (c *Cluster) Node(id int) *Node { return c.Nodes[id-1] }

// Running are the nodes that have a process.
func (c *Cluster) Running() (running []*Node) {
	for _, n := range c.Nodes {
		if n.Running() {
			running = append(running, n)
		}
	}
	return running
}

// Awake are the nodes that run and are not frozen: those that answer. A client asks any of
// its servers and may wait 10 s for one that does not.
func (c *Cluster) Awake() (awake []*Node) {
	for _, n := range c.Running() {
		if !n.frozen.Load() {
			awake = append(awake, n)
		}
	}
	return awake
}

// WaitAllReady waits until every node that runs is ready and lists all of them.
func (c *Cluster) WaitAllReady() {
	c.t.Helper()
	running := c.Running()
	for _, n := range running {
		n.WaitReady()
	}
	for _, n := range running {
		eventually(c.t, 30*time.Second, func() error {
			return n.alive(n.counts(len(running)))
		})
	}
}

// counts is an error unless so many brokers are active, as the node knows it. Its Metadata may
// list others: those that stop, and for a while those that died.
func (n *Node) counts(active int) error {
	resp, err := n.asked(kmsg.NewPtrDescribeClusterRequest())
	if err != nil {
		return err
	}
	if got := resp.(*kmsg.DescribeClusterResponse).Brokers; len(got) != active {
		return fmt.Errorf("node %d knows of %d active brokers, want %d", n.ID, len(got), active)
	}
	return nil
}

// lists is an error unless the node's Metadata lists so many brokers.
func (n *Node) lists(want int) error {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := n.asked(req)
	if err != nil {
		return err
	}
	if got := resp.(*kmsg.MetadataResponse).Brokers; len(got) != want {
		return fmt.Errorf("node %d lists %d brokers, want %d", n.ID, len(got), want)
	}
	return nil
}

// asked is what the node itself answers to a request.
func (n *Node) asked(req kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), 5*time.Second)
	defer cancel()
	client := newClient(n.t, n.Kafka)
	defer client.Close()
	return client.SeedBrokers()[0].Request(ctx, req)
}

// Leader is the node that leads a partition.
func (c *Cluster) Leader(topic string, partition int) (leader *Node) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func() error {
		var value struct{ Leader int }
		if err := c.Get(fmt.Sprintf("topics/%s/%d", topic, partition), &value); err != nil {
			return err
		}
		if value.Leader < 1 {
			return fmt.Errorf("%s-%d has leader %d", topic, partition, value.Leader)
		}
		leader = c.Node(value.Leader)
		return nil
	})
	return leader
}

// Controller is the node that does the controller's work.
func (c *Cluster) Controller() (controller *Node) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func() error {
		var value struct{ Broker int }
		if err := c.Get("controller", &value); err != nil {
			return err
		}
		controller = c.Node(value.Broker)
		return nil
	})
	return controller
}

// Coordinator is the node that coordinates a group.
func (c *Cluster) Coordinator(group string) (coordinator *Node) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		defer cancel()
		found := newAdmin(c.t, addresses(c.Awake())).FindGroupCoordinators(ctx, group)
		if err := found.Error(); err != nil {
			return err
		}
		coordinator = c.Node(int(found[group].NodeID))
		return nil
	})
	return coordinator
}

// Get reads a key under /chronik/, through any node that runs.
func (c *Cluster) Get(key string, value any) error {
	client, err := c.etcd()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	resp, err := client.Get(ctx, "/chronik/"+key)
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		return fmt.Errorf("no key /chronik/%s", key)
	}
	return json.Unmarshal(resp.Kvs[0].Value, value)
}

// etcd is a client of the metadata, through some nodes or all.
func (c *Cluster) etcd(through ...*Node) (*clientv3.Client, error) {
	if len(through) == 0 {
		through = c.Awake()
	}
	var endpoints []string
	for _, n := range through {
		endpoints = append(endpoints, n.Etcd)
	}
	return clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
}

// EtcdLeader is the node whose etcd leads the others.
func (c *Cluster) EtcdLeader() (leader *Node) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func() error {
		client, err := c.etcd()
		if err != nil {
			return err
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		defer cancel()
		for _, n := range c.Running() {
			status, err := client.Status(ctx, n.Etcd)
			if err == nil && status.Leader == status.Header.MemberId {
				leader = n
				return nil
			}
		}
		return fmt.Errorf("no node of %d leads etcd", len(c.Running()))
	})
	return leader
}

// Members says of each member of etcd what it is: learner or voter.
func (c *Cluster) Members() string {
	client, err := c.etcd()
	if err != nil {
		return err.Error()
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return err.Error()
	}
	var kinds []string
	for _, m := range list.Members {
		kind := "voter"
		if m.IsLearner {
			kind = "learner"
		}
		kinds = append(kinds, kind)
	}
	return strings.Join(kinds, " ")
}

// StopAll asks every node to end, all at once.
func (c *Cluster) StopAll() time.Duration {
	c.t.Helper()
	began := time.Now()
	running := c.Running()
	for _, n := range running {
		n.signal(syscall.SIGTERM)
	}
	for _, n := range running {
		n.ended()
	}
	return time.Since(began)
}
