package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// powered is a cluster whose nodes have a disk each, and lose power all at once.
type powered struct {
	*Cluster
	disks []*disk
	boots []string // files with the boot id of each node's machine
}

// startPowered starts three nodes. Each is told a boot id of its own, by a file in the
// place of the kernel's.
func startPowered(t *testing.T) *powered {
	t.Helper()
	p := &powered{}
	var nodes []NodeConfig
	for i := range 3 {
		d := newDisk(t, 2048)
		boot := filepath.Join(t.TempDir(), fmt.Sprint("boot", i))
		p.disks, p.boots = append(p.disks, d), append(p.boots, boot)
		nodes = append(nodes, NodeConfig{Dir: filepath.Join(d.mount, "data"), Command: onMachine(boot, chronikBin(t))})
	}
	p.boot(t)
	try := onMachine(p.boots[0], "true")
	if out, err := exec.Command(try[0], try[1:]...).CombinedOutput(); err != nil {
		t.Skipf("cannot mount over the boot id here: %v %s", err, out)
	}
	p.Cluster = newCluster(t, nodes)
	p.Start()
	p.WaitAllReady()
	return p
}

// onMachine is a command that sees the boot id that is in a file.
func onMachine(boot, command string) []string {
	return []string{
		"unshare", "--mount", "--propagation", "slave", "sh", "-c",
		`mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"`, "sh", boot, command,
	}
}

// boot gives every machine a new boot id.
func (p *powered) boot(t testing.TB) {
	t.Helper()
	for i, file := range p.boots {
		id := fmt.Sprintf("%08x-0000-4000-8000-%012x\n", rand.Uint32(), i)
		if err := os.WriteFile(file, []byte(id), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// cut takes the power from all nodes; off is done before they have it back, one of them
// earlier than the others. All stand still before the first disk is cut: when power goes,
// nobody acknowledges any more.
func (p *powered) cut(first *Node, off func()) {
	p.t.Helper()
	for _, n := range p.Running() {
		n.Freeze()
	}
	var disks sync.WaitGroup
	for _, d := range p.disks {
		disks.Go(d.cut)
	}
	disks.Wait()
	for _, n := range p.Nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range p.Nodes {
		n.await(syscall.SIGKILL)
	}
	for _, d := range p.disks {
		d.remount()
	}
	p.boot(p.t)
	off()
	first.Start()
	for _, i := range rand.Perm(len(p.Nodes)) {
		if n := p.Nodes[i]; n != first {
			time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond) // machines are not equally fast
			n.Start()
		}
	}
	p.WaitAllReady()
}

// stuck waits until nothing more is acknowledged, and the logs of some nodes have all that
// writers sent without an answer.
func (p *powered) stuck(w *workload, nodes []*Node) {
	p.t.Helper()
	last, quiet := int64(-1), 0
	eventually(p.t, 10*time.Second, func() error {
		sum := int64(w.count()) // neither falls
		for _, n := range nodes {
			files, err := filepath.Glob(filepath.Join(n.Dir, "logs", "*", "0*"))
			if err != nil {
				return err
			}
			for _, f := range files {
				st, err := os.Stat(f)
				if err != nil {
					return err
				}
				sum += st.Size()
			}
		}
		if quiet++; sum != last {
			last, quiet = sum, 0
		}
		if quiet < 20 {
			return errors.New("logs grow")
		}
		return nil
	})
}

// onDisk is where the log of a partition ends that a stopped node has on disk, in whole
// batches, and the leader epoch of the last of them.
func (n *Node) onDisk(topic kadm.TopicID, partition int32) (epoch int32, end int64) {
	n.t.Helper()
	segments, err := filepath.Glob(filepath.Join(n.Dir, "logs", logName(topic, partition), "0*"))
	if err != nil {
		n.t.Fatal(err)
	}
	epoch = -1
	for _, path := range segments {
		p, err := os.ReadFile(path)
		if err != nil {
			n.t.Fatal(err)
		}
		for {
			size, head := binary.Uvarint(p)
			if head <= 0 || size < 61 || uint64(len(p)-head) < size {
				break
			}
			b := p[head : head+int(size)]
			if crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[17:]) {
				break
			}
			epoch = int32(binary.BigEndian.Uint32(b[12:]))
			end = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])) + 1
			p = p[head+int(size):]
		}
	}
	return epoch, end
}

// Power goes at all nodes at once, at any moment.
func TestPowerCutOfAllNodesAtOnce(t *testing.T) {
	p := startPowered(t)
	harming{c: p.Cluster, harm: func(string, *workload) {
		p.cut(p.Nodes[rand.IntN(3)], func() {})
	}, heal: func() {}}.rounds(t, rounds(1, 10))
}

// Power goes at all nodes at once, while a slow disk keeps the leader of a partition from
// flushing what followers have flushed: all comes back without an operator, nothing acknowledged is lost, and
// nothing that was not is there twice.
func TestPowerCutOfAllNodesUnflushed(t *testing.T) {
	p := startPowered(t)
	harming{c: p.Cluster, harm: func(topic string, w *workload) {
		d, err := described(t, p.Nodes[0].Kafka, topic)
		if err != nil {
			t.Fatal(err)
		}
		leader := p.Leader(topic, 0)
		var others []*Node
		for _, n := range p.Nodes {
			if n != leader {
				others = append(others, n)
			}
		}
		endTracing := injectSyncs(t, leader, "delay_enter=60s")
		p.stuck(w, others)
		for _, n := range others {
			n.Freeze()
		}
		leader.signal(syscall.SIGKILL) // no sync comes through, and nothing else writes to a disk so soon
		endTracing(syscall.SIGKILL)
		leader.await(syscall.SIGKILL)
		p.cut(leader, func() { // it may be elected, and lacks most
			_, had := leader.onDisk(d.ID, 0)
			ahead := int64(0)
			for _, n := range others {
				_, end := n.onDisk(d.ID, 0)
				ahead = max(ahead, end-had)
			}
			t.Logf("node %d led and had %d records on disk, a follower %d more", leader.ID, had, ahead)
			if ahead == 0 {
				t.Error("no record was flushed only by a follower")
			}
		})
	}, heal: func() {}}.rounds(t, rounds(2, 10))
}

// A topic that leaves flushing to the page cache loses what no disk had, and comes back
// with what the fullest replica has, without an operator too.
func TestPowerCutOfAllNodesPageCache(t *testing.T) {
	const partitions = 3
	p := startPowered(t)
	for round := range rounds(1, 10) {
		topic := topicName(t, fmt.Sprint("round", round))
		createReplicated(t, p.Bootstrap(), topic, partitions, map[string]*string{"flush.messages": new("500")})
		var d kadm.TopicDetail
		eventually(t, 10*time.Second, func() (err error) { // another node may have made it
			d, err = described(t, p.Nodes[0].Kafka, topic)
			return err
		})
		w := startLoad(t, load{servers: p.Bootstrap(), topic: topic, partitions: partitions, hasty: 2})
		w.waitFor(5_000)
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond) // it comes at any moment
		var fullest [partitions]int64
		p.cut(p.Nodes[rand.IntN(3)], func() {
			w.quit()
			for n := range int32(partitions) {
				best := int32(-1)
				for _, node := range p.Nodes {
					epoch, end := node.onDisk(d.ID, n)
					t.Logf("%s-%d: node %d has %d records on disk, epoch %d", topic, n, node.ID, end, epoch)
					if epoch > best {
						best, fullest[n] = epoch, end
					} else if epoch == best {
						fullest[n] = max(fullest[n], end)
					}
				}
			}
		})
		full := p.WaitFullISR(topic)
		t.Logf("round %d: %d records acknowledged, %v are left; all in sync %v after all were ready", round, w.count(), fullest, full.Round(time.Millisecond))
		client := newClient(t, p.Bootstrap(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		for n := range int32(partitions) {
			if o, _ := ends.Lookup(topic, n); o.Err != nil || o.Offset != fullest[n] {
				t.Errorf("%s-%d ends at %d (%v), the fullest replica at %d", topic, n, o.Offset, o.Err, fullest[n])
			}
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: n, Value: []byte("after")}).FirstErr(); err != nil {
				t.Error(err)
			}
		}
		cancel()
		p.CheckAlike(topic)
	}
}
