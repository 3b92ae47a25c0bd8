package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"chronik/e2e/chaos"
)

// watchEnds asks for the high watermarks all the time.
func (w *workload) watchEnds(ctx context.Context) {
	admin := kadm.NewClient(w.client(kgo.RequestRetries(0)))
	w.done.Go(func() {
		for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-tick.C:
				w.askEnds(ctx, admin)
			}
		}
	})
}

func (w *workload) askEnds(ctx context.Context, admin *kadm.Client) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	began := w.rec.now()
	ends, err := admin.ListEndOffsets(ctx, w.topic)
	if err != nil {
		return // a fault is at work
	}
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			w.rec.h.Ends = append(w.rec.h.Ends, chaos.End{
				Source: "ends", Partition: o.Partition, Offset: o.Offset, Epoch: o.LeaderEpoch, Read: -1, Begin: began, At: w.rec.now(),
			})
		}
	})
}

// watchLeaders records every revision of the partitions' keys, from their creation on.
func (w *workload) watchLeaders(ctx context.Context, c *Cluster) {
	w.t.Helper()
	var endpoints []string
	for _, n := range c.Nodes {
		endpoints = append(endpoints, n.Etcd)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 2 * time.Second, DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	prefix := "/chronik/topics/" + w.topic
	topic, err := client.Get(ctx, prefix)
	if err != nil || len(topic.Kvs) != 1 {
		w.t.Fatalf("the key of %s: %v", w.topic, err)
	}
	next := topic.Kvs[0].CreateRevision
	w.done.Go(func() {
		defer client.Close()
		for ctx.Err() == nil {
			for resp := range client.Watch(ctx, prefix+"/", clientv3.WithRange(prefix+"0"), clientv3.WithRev(next)) {
				if err := resp.Err(); err != nil {
					w.rec.note("watch of the leaders from revision %d on: %v", next, err)
					next = max(next, resp.CompactRevision)
					break
				}
				for _, e := range resp.Events {
					w.leadership(strings.TrimPrefix(string(e.Kv.Key), prefix+"/"), e.Kv.Value, e.Kv.ModRevision)
					next = e.Kv.ModRevision + 1
				}
			}
		}
	})
}

// leadership records one value of a partition's key.
func (w *workload) leadership(partition string, value []byte, revision int64) {
	var key struct {
		Replicas, ISR     []int32
		Leader            int32
		LeaderEpoch       int32
		LeaderBrokerEpoch int64
	}
	n, err := strconv.ParseInt(partition, 10, 32)
	if err = errors.Join(err, json.Unmarshal(value, &key)); err != nil {
		w.rec.refused(fmt.Errorf("partition %s in the metadata: %w", partition, err))
		return
	}
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	w.rec.h.Leaderships = append(w.rec.h.Leaderships, chaos.Leadership{
		Revision: revision, Partition: int32(n), Leader: key.Leader, Epoch: key.LeaderEpoch, Life: key.LeaderBrokerEpoch,
		Replicas: key.Replicas, ISR: key.ISR, At: w.rec.now(),
	})
}

// dumpReplicas reads the log of every replica. Nobody writes any more, so they are
// equal as soon as the followers have all; after a while what differs is a finding.
func (w *workload) dumpReplicas(c *Cluster) {
	w.t.Helper()
	var dumps []chaos.Dump
	deadline := time.Now().Add(30 * time.Second)
	for {
		dumps = nil
		for p := range w.partitions {
			dumps = append(dumps, c.dump(w.topic, p)...)
		}
		if replicasEqual(dumps) || time.Now().After(deadline) {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	w.rec.h.Dumps = dumps
}

func replicasEqual(dumps []chaos.Dump) bool {
	for i, d := range dumps {
		if i > 0 && d.Partition == dumps[i-1].Partition && !reflect.DeepEqual(d.Entries, dumps[i-1].Entries) {
			return false
		}
	}
	return true
}

// dump reads the logs of a partition's replicas.
func (c *Cluster) dump(topic string, partition int32) (dumps []chaos.Dump) {
	c.t.Helper()
	var id struct{ ID string }
	var key struct{ Replicas []int }
	eventually(c.t, 10*time.Second, func() error {
		return errors.Join(c.Get("topics/"+topic, &id), c.Get(fmt.Sprintf("topics/%s/%d", topic, partition), &key))
	})
	for _, node := range key.Replicas {
		dir := filepath.Join(c.Node(node).Dir, "logs", fmt.Sprintf("%s-%d", id.ID, partition))
		entries, err := dumpLog(c.t, dir)
		if err != nil {
			c.t.Errorf("%s-%d on node %d: %v", topic, partition, node, err)
		}
		dumps = append(dumps, chaos.Dump{Node: strconv.Itoa(node), Partition: partition, Entries: entries})
	}
	return dumps
}

// dumpLog reads a log with `chronik log dump`.
func dumpLog(t testing.TB, dir string) (entries []chaos.Entry, err error) {
	var said bytes.Buffer
	cmd := exec.Command(chronikBin(t), "log", "dump", dir)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, said.String())
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		e, err := parseEntry(lines.Text())
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseEntry reads a line: what comes before the offsets is the replica's own affair,
// what comes behind has to be equal everywhere.
func parseEntry(line string) (e chaos.Entry, err error) {
	_, rest, ok := strings.Cut(line, ": offsets ")
	if !ok || !strings.HasSuffix(rest, " ok") {
		return e, fmt.Errorf("a damaged entry: %s", line)
	}
	if _, err := fmt.Sscanf(rest, "%d..%d epoch %d", &e.Base, &e.Last, &e.Epoch); err != nil {
		return e, fmt.Errorf("%q: %w", line, err)
	}
	_, e.Sum, _ = strings.Cut(rest, " records ")
	return e, nil
}
