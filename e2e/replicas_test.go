package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// createReplicated makes a topic with as many replicas as the cluster's default.
func createReplicated(t testing.TB, addr, topic string, partitions int32, configs map[string]*string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := newAdmin(t, addr).CreateTopic(ctx, partitions, -1, configs, topic); err != nil {
		t.Fatalf("create %s: %v", topic, err)
	}
}

// described is a topic as Metadata of a node tells of it.
func described(t testing.TB, addr, topic string) (kadm.TopicDetail, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	all, err := newAdmin(t, addr).ListTopics(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, err
	}
	d := all[topic]
	return d, d.Err
}

// WaitFullISR waits until every replica of a topic is in sync and there is a leader.
func (c *Cluster) WaitFullISR(topic string) time.Duration {
	c.t.Helper()
	began := time.Now()
	eventually(c.t, 60*time.Second, func() error {
		d, err := described(c.t, c.Running()[0].Kafka, topic)
		if err != nil {
			return err
		}
		for _, p := range d.Partitions {
			if p.Err != nil || p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
				return fmt.Errorf("%s-%d: leader %d, in sync %v of %v: %w", topic, p.Partition, p.Leader, p.ISR, p.Replicas, p.Err)
			}
		}
		return nil
	})
	return time.Since(began)
}

// CheckAlike compares what every node's logs of a topic hold, batch for batch.
func (c *Cluster) CheckAlike(topic string) {
	c.t.Helper()
	d, err := described(c.t, c.Running()[0].Kafka, topic)
	if err != nil {
		c.t.Fatal(err)
	}
	compared := 0
	for _, p := range d.Partitions {
		eventually(c.t, 10*time.Second, func() error {
			var first string
			for i, id := range p.Replicas {
				held, err := c.Node(int(id)).dump(d.ID, p.Partition)
				if err != nil {
					return err
				}
				if i == 0 {
					first = held
				}
				if held != first {
					return fmt.Errorf("%s-%d differs between nodes %d and %d:\n%s", topic, p.Partition, p.Replicas[0], id, firstDifference(first, held))
				}
			}
			compared += len(first)
			return nil
		})
	}
	if compared == 0 {
		c.t.Errorf("no node has a log of %s", topic)
	}
}

// logName is the name of the directory of a partition's log.
func logName(topic kadm.TopicID, partition int32) string {
	return fmt.Sprintf("%s-%d", base64.RawURLEncoding.EncodeToString(topic[:]), partition)
}

// dump is what the node's log of a partition holds, by the tool, without what is local
// to a replica.
func (n *Node) dump(topic kadm.TopicID, partition int32) (string, error) {
	dir := filepath.Join(n.Dir, "logs", logName(topic, partition))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil // never written
	}
	out, err := exec.Command(chronikBin(n.t), "log", "dump", dir).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("node %d: dump %s: %w\n%s", n.ID, dir, err, out)
	}
	var held strings.Builder
	for line := range strings.Lines(string(out)) {
		_, batch, _ := strings.Cut(line, ": ")
		held.WriteString(batch)
	}
	return held.String(), nil
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] + "\n" + y[i]
		}
	}
	return fmt.Sprintf("%d lines and %d", len(x), len(y))
}

// gap is the longest time without an acknowledgement while it watches.
type gap struct {
	longest time.Duration
	stop    chan struct{}
	done    chan struct{}
}

func watchGap(w *workload) *gap {
	g := &gap{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(g.done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		last, since := w.count(), time.Now()
		for {
			select {
			case <-g.stop:
				return
			case now := <-tick.C:
				if n := w.count(); n != last {
					last, since = n, now
				}
				g.longest = max(g.longest, now.Sub(since))
			}
		}
	}()
	return g
}

func (g *gap) end() time.Duration {
	close(g.stop)
	<-g.done
	return g.longest
}

// harming is what is done to a cluster while it is written to.
type harming struct {
	c       *Cluster
	configs map[string]*string // of the topic
	harm    func(topic string, w *workload)
	heal    func()
}

// clusterRounds has writers go at full speed, lets harm be done to the cluster, heals it,
// and checks: nothing acknowledged is lost, nothing is there twice, order is kept, and
// all replicas hold the same.
func clusterRounds(t *testing.T, c *Cluster, count int, harm func(topic string), heal func()) {
	t.Helper()
	harming{c: c, harm: func(topic string, _ *workload) { harm(topic) }, heal: heal}.rounds(t, count)
}

func (h harming) rounds(t *testing.T, count int) {
	t.Helper()
	c := h.c
	const partitions = 3
	var gaps []time.Duration
	for round := range count {
		topic := topicName(t, fmt.Sprint("round", round))
		createReplicated(t, c.Bootstrap(), topic, partitions, h.configs)
		w := letWrite(t, c.Bootstrap(), topic, partitions)
		w.waitFor(5_000)
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond) // it comes at any moment
		g := watchGap(w)
		before := w.count()
		h.harm(topic, w)
		w.waitFor(w.count() + 2_000)
		longest := g.end()
		gaps = append(gaps, longest)
		began := time.Now()
		h.heal()
		healed := time.Since(began)
		full := c.WaitFullISR(topic)
		w.waitFor(w.count() + 2_000)
		w.stop()
		w.check()
		c.CheckAlike(topic)
		t.Logf("round %d: %d records acknowledged before, %d in all; longest gap %v; ready again %v after the start, all in sync %v later",
			round, before, w.count(), longest.Round(time.Millisecond), healed.Round(time.Millisecond), full.Round(time.Millisecond))
		if t.Failed() {
			return
		}
	}
	slices.Sort(gaps)
	t.Logf("%d rounds: longest time without an acknowledgement: median %v, longest %v", count, gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond))
}

// A follower is killed: those who write go on without it.
func TestClusterKillFollower(t *testing.T) {
	c := StartCluster(t, 3)
	var victim *Node
	clusterRounds(t, c, rounds(2, 20), func(topic string) {
		leader := c.Leader(topic, 0)
		victim = c.Node(leader.ID%3 + 1)
		victim.Kill9()
		c.waitDead(victim)
	}, func() {
		victim.Start()
		victim.WaitReady()
	})
}

// All nodes are killed at once and come back, without anybody's help.
func TestClusterKillAll(t *testing.T) {
	c := StartCluster(t, 3)
	clusterRounds(t, c, rounds(2, 20), func(string) { c.killAndStart() }, func() {})
}

// killAndStart kills all nodes at once and starts them, one after the other or nearly at
// once.
func (c *Cluster) killAndStart() {
	c.t.Helper()
	for _, n := range c.Nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range c.Nodes {
		n.await(syscall.SIGKILL)
	}
	for _, i := range rand.Perm(len(c.Nodes)) {
		c.Nodes[i].Start()
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
	}
	c.WaitAllReady()
}

// A killed process loses nothing that it wrote: a topic whose acknowledgements wait for no
// flush comes through that too.
func TestClusterKillAllPageCache(t *testing.T) {
	c := StartCluster(t, 3)
	harming{
		c: c, configs: map[string]*string{"flush.messages": new("1000000")},
		harm: func(string, *workload) { c.killAndStart() }, heal: func() {},
	}.rounds(t, rounds(1, 20))
}

// With one node of three left nothing is acknowledged that only one has, and when the
// others are back all goes on by itself.
func TestClusterOneOfThreeLeft(t *testing.T) {
	c := StartCluster(t, 3)
	var victims []*Node
	harming{c: c, harm: func(topic string, w *workload) {
		left := c.Leader(topic, 0)
		victims = nil
		for _, n := range c.Nodes {
			if n != left {
				n.Kill9()
				victims = append(victims, n)
			}
		}
		time.Sleep(time.Second) // what was on every replica by then is answered
		before := w.count()
		time.Sleep(2 * time.Second)
		if now := w.count(); now != before {
			t.Errorf("%d records acknowledged with acks=all by one node of three", now-before)
		}
		for _, n := range victims {
			n.Start()
		}
		c.WaitAllReady()
	}, heal: func() {}}.rounds(t, rounds(1, 5))
}

// waitDead waits until the metadata shows that a node's life is over.
func (c *Cluster) waitDead(victim *Node) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func() error {
		var live struct{ Incarnation string }
		if err := c.Get(fmt.Sprintf("live/%d", victim.ID), &live); err == nil {
			return fmt.Errorf("node %d passes for alive", victim.ID)
		} else if !strings.Contains(err.Error(), "no key") {
			return err
		}
		return nil
	})
}

// Every node is stopped in order and started again: others lead meanwhile.
func TestClusterRollingRestart(t *testing.T) {
	c := StartCluster(t, 3)
	next := 0
	clusterRounds(t, c, 3, func(string) {
		took := c.Nodes[next].Stop()
		t.Logf("node %d stopped in %v", next+1, took.Round(time.Millisecond))
	}, func() {
		c.Nodes[next].Start()
		c.Nodes[next].WaitReady()
		next++
	})
}

// A leader is paused until others have taken over, and wakes up: what it still has in
// hand is refused, and what it had written alone is cut.
func TestClusterPauseLeader(t *testing.T) {
	c := StartCluster(t, 3)
	var victim *Node
	clusterRounds(t, c, rounds(1, 5), func(topic string) {
		victim = c.Leader(topic, 0)
		victim.Freeze()
		c.waitDead(victim)
	}, func() {
		victim.signal(syscall.SIGCONT)
		victim.WaitReady()
	})
}

// A node whose logs are gone is not taken for one that has them: what was acknowledged is
// still there after the others were killed too.
func TestClusterLostLogs(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"logs":           func(dir string) error { return os.RemoveAll(filepath.Join(dir, "logs")) },
		"first segments": func(dir string) error { return removeAll(filepath.Join(dir, "logs", "*", "00000000000000000001")) },
		"identity": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "meta.properties")), os.RemoveAll(filepath.Join(dir, "logs")), os.Remove(filepath.Join(dir, "checkpoint")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := StartCluster(t, 3)
			var victim *Node
			clusterRounds(t, c, 1, func(topic string) {
				c.waitNamed(topic)
				for _, n := range c.Nodes {
					n.signal(syscall.SIGKILL)
				}
				for _, n := range c.Nodes {
					n.await(syscall.SIGKILL)
				}
				victim = c.Nodes[rand.IntN(3)]
				if err := lose(victim.Dir); err != nil {
					t.Fatal(err)
				}
				victim.Start() // first: it could be elected before the others are there
				for _, n := range c.Nodes {
					if n != victim {
						n.Start()
					}
				}
				c.WaitAllReady()
			}, func() {})
		})
	}
}

// waitNamed waits until every node's checkpoint names a topic, which tells a log that is
// lost from one that never was.
func (c *Cluster) waitNamed(topic string) {
	c.t.Helper()
	d, err := described(c.t, c.Running()[0].Kafka, topic)
	if err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, 30*time.Second, func() error {
		for _, n := range c.Nodes {
			checkpoint, err := os.ReadFile(filepath.Join(n.Dir, "checkpoint"))
			if err != nil || !bytes.Contains(checkpoint, d.ID[:]) {
				return fmt.Errorf("the checkpoint of node %d does not name %s: %w", n.ID, topic, err)
			}
		}
		return nil
	})
}

func removeAll(pattern string) error {
	found, err := filepath.Glob(pattern)
	for _, path := range found {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// A group goes on when the broker that coordinates it is killed: no commit is lost, and
// no record that came after a commit is missed.
func TestClusterKillCoordinator(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "read")
	createReplicated(t, c.Bootstrap(), topic, 3, nil)
	w := letWrite(t, c.Bootstrap(), topic, 3)
	next, committed := map[int32]int64{}, map[int32]int64{}
	client := newClient(t, c.Bootstrap(), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		// A client that finds no coordinator gives up, joins anew and reads on from what is committed.
		kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsLost(func(context.Context, *kgo.Client, map[string][]int32) { next = maps.Clone(committed) }))
	defer client.AllowRebalance() // its end waits for that
	read := func(n int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		for got := 0; got < n; {
			client.AllowRebalance() // not between the last poll and its commit
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				t.Fatalf("%d of %d records", got, n)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if r.Offset != next[r.Partition] {
					t.Errorf("%s-%d: offset %d after %d", topic, r.Partition, r.Offset, next[r.Partition]-1)
				}
				next[r.Partition] = r.Offset + 1
				got++
			})
		}
	}
	commit := func() {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return client.CommitUncommittedOffsets(ctx)
		})
		committed = maps.Clone(next)
	}
	read(2_000)
	commit()
	coordinator := func() *Node {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		found := kadm.NewClient(client).FindGroupCoordinators(ctx, "readers")
		if found["readers"].Err != nil {
			t.Fatal(found["readers"].Err)
		}
		return c.Node(int(found["readers"].NodeID))
	}
	for range rounds(2, 20) {
		victim := coordinator()
		victim.Kill9()
		read(2_000)
		commit()
		kept := map[int32]int64{}
		eventually(t, 30*time.Second, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			offsets, err := newAdmin(t, c.Running()[0].Kafka).FetchOffsets(ctx, "readers")
			if err != nil {
				return err
			}
			for p := range int32(3) {
				o, _ := offsets.Lookup(topic, p)
				if o.Err != nil {
					return o.Err
				}
				kept[p] = o.At
			}
			return nil
		})
		for p := range int32(3) {
			if kept[p] != next[p] {
				t.Errorf("%s-%d: committed %d, kept %d", topic, p, next[p], kept[p])
			}
		}
		victim.Start()
		victim.WaitReady()
		c.WaitFullISR(topic)
		c.WaitFullISR("__consumer_offsets")
	}
	w.stop()
	c.CheckAlike(topic)
	c.CheckAlike("__consumer_offsets")
}

// A leader that was paused does not answer for itself alone what came to it while others
// took over: acks=1 is refused, and what it refuses or not, all logs are alike.
func TestClusterPausedLeaderRefuses(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "paused")
	createReplicated(t, c.Bootstrap(), topic, 1, nil)
	leader := c.Leader(topic, 0)
	ask := func(acks int16, value string) *kmsg.ProduceRequest {
		req := produceRequest(9, topic, 0, seal(newBatch([]byte(value))))
		req.Acks = acks
		return req
	}
	answer := func(conn *rawConn) int16 {
		t.Helper()
		frame, err := conn.readFrame(30 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 9
		if err := resp.ReadFrom(frame[5:]); err != nil {
			t.Fatal(err)
		}
		return resp.Topics[0].Partitions[0].ErrorCode
	}
	conns := map[int16]*rawConn{}
	for _, acks := range []int16{1, -1} {
		conns[acks] = dialRaw(t, leader.Kafka)
		eventually(t, 10*time.Second, func() error { // the topic is on its way to the leader
			conns[acks].send(conns[acks].frame(ask(acks, "before")))
			if code := answer(conns[acks]); code != 0 {
				return fmt.Errorf("acks %d before the pause: error %d", acks, code)
			}
			return nil
		})
	}
	leader.Freeze()
	for acks, conn := range conns {
		conn.send(conn.frame(ask(acks, "while paused")))
	}
	c.waitDead(leader)
	leader.signal(syscall.SIGCONT)
	for acks, conn := range conns {
		if code := answer(conn); code != kerr.NotLeaderForPartition.Code {
			t.Errorf("acks %d after others took over: error %d", acks, code)
		}
	}
	leader.WaitReady()
	c.WaitFullISR(topic)
	c.CheckAlike(topic)
}
