package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// network is a bridge with a namespace for each node: real addresses, and a packet
// filter between them. Clients stand on the bridge.
type network struct {
	t      testing.TB
	bridge string
	subnet string // the first three numbers
}

// direction is seen from the node that is parted.
type direction int

const (
	bothWays direction = iota
	inbound            // it hears nothing
	outbound           // it is not heard
)

// newNetwork makes the network, or skips the test where that is not possible.
func newNetwork(t testing.TB, nodes int) *network {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, tool := range []string{"ip", "nft", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs iproute2, nftables and util-linux: %v", err)
		}
	}
	n := &network{t: t}
	for {
		id := rand.IntN(250) + 1
		n.bridge, n.subnet = fmt.Sprintf("chbr%d", id), fmt.Sprintf("10.213.%d", id)
		out, err := exec.Command("ip", "link", "add", n.bridge, "type", "bridge").CombinedOutput()
		if err == nil {
			break
		}
		if !bytes.Contains(out, []byte("File exists")) { // of a run that was killed
			t.Skipf("cannot make a bridge here: %v %s", err, out)
		}
	}
	t.Cleanup(func() { n.run("ip", "link", "del", n.bridge) })
	n.run("ip", "addr", "add", n.subnet+".254/24", "dev", n.bridge)
	n.run("ip", "link", "set", n.bridge, "up")
	for id := 1; id <= nodes; id++ {
		n.add(id)
	}
	return n
}

// add makes the namespace of a node and plugs it in.
func (n *network) add(id int) {
	n.t.Helper()
	ns, outer, inner := n.namespace(id), fmt.Sprintf("%so%d", n.bridge, id), fmt.Sprintf("%si%d", n.bridge, id)
	n.run("ip", "netns", "add", ns)
	n.t.Cleanup(func() { n.run("ip", "netns", "del", ns) })
	n.run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", ns)
	n.run("ip", "link", "set", outer, "master", n.bridge, "up")
	for _, argv := range []string{
		"ip link set lo up", "ip addr add " + n.host(id) + "/24 dev " + inner, "ip link set " + inner + " up",
		"nft add table inet chaos",
		"nft add chain inet chaos in { type filter hook input priority 0 ; }",
		"nft add chain inet chaos out { type filter hook output priority 0 ; }",
	} {
		n.run(n.command(id, strings.Fields(argv))...)
	}
}

func (n *network) run(argv ...string) {
	n.t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		n.t.Errorf("%v: %v\n%s", argv, err, out)
	}
}

func (n *network) namespace(id int) string { return fmt.Sprintf("%sn%d", n.bridge, id) }

// host is the address of a node.
func (n *network) host(id int) string { return fmt.Sprintf("%s.%d", n.subnet, id) }

// command runs something in the namespace of a node. It sees the same mounts as all others:
// `ip netns exec` would hold a copy of each, and no disk could be unmounted.
func (n *network) command(id int, argv []string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + n.namespace(id)}, argv...)
}

// block drops packets between a node and others; port: only those of that address of
// either side.
func (n *network) block(node *Node, others []*Node, way direction, port func(*Node) string) {
	n.t.Helper()
	for _, other := range others {
		for chain, side := range map[string]string{"in": "saddr", "out": "daddr"} {
			if way == inbound && chain == "out" || way == outbound && chain == "in" {
				continue
			}
			to := fmt.Sprintf("add rule inet chaos %s ip %s %s", chain, side, n.host(other.ID))
			if port == nil {
				n.filter(node, to+" drop")
				continue
			}
			for _, at := range []string{port(node), port(other)} {
				number := at[strings.LastIndexByte(at, ':')+1:]
				n.filter(node, to+" tcp dport "+number+" drop")
				n.filter(node, to+" tcp sport "+number+" drop")
			}
		}
	}
}

func (n *network) heal(node *Node) {
	n.t.Helper()
	n.filter(node, "flush table inet chaos")
}

// filter changes the packet filter of a node.
func (n *network) filter(node *Node, command string) {
	n.t.Helper()
	n.run(n.command(node.ID, append([]string{"nft"}, strings.Fields(command)...))...)
}

// reaches says whether one node gets an answer from an address.
func (n *network) reaches(node *Node, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	argv := n.command(node.ID, []string{"timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/" + host + "/" + port})
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("node %d does not reach %s: %w %s", node.ID, addr, err, out)
	}
	return nil
}

func TestNetwork(t *testing.T) {
	f := newNetwork(t, 3)
	var nodes []*Node
	for id := 1; id <= 3; id++ {
		n := NewNode(t, NodeConfig{ID: id, Host: f.host(id), Command: f.command(id, []string{chronikBin(t)}), Args: []string{"--insecure"}})
		n.args = append(n.args, "--peers", fmt.Sprintf("%d=%s", id, n.Peer)) // three clusters of one
		n.Start()
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.WaitReady()
	}
	kafka := func(n *Node) string { return n.Kafka }
	want := func(from, to int, kafkaPort, peerPort bool) {
		t.Helper()
		a, b := nodes[from-1], nodes[to-1]
		for addr, open := range map[string]bool{b.Kafka: kafkaPort, b.Peer: peerPort} {
			eventually(t, 10*time.Second, func() error {
				err := f.reaches(a, addr)
				if (err == nil) == open {
					return nil
				}
				return errors.Join(fmt.Errorf("from node %d to %s, want open %v", from, addr, open), err)
			})
		}
	}
	want(1, 2, true, true)
	f.block(nodes[0], nodes[1:], bothWays, nil)
	want(1, 2, false, false)
	want(3, 1, false, false)
	want(2, 3, true, true)
	if err := askApiVersions(nodes[0].Kafka); err != nil {
		t.Errorf("a client does not reach the parted node: %v", err)
	}
	f.heal(nodes[0])
	want(1, 2, true, true)
	f.block(nodes[0], nodes[1:2], inbound, kafka)
	want(2, 1, false, true)
	want(1, 3, true, true)
	f.heal(nodes[0])
}
