package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
	"chronik/meta"
)

func TestStandDown(t *testing.T) {
	three := func(leader int32, isr, elr, offline []int32) meta.Partition {
		return meta.Partition{Replicas: ids(1, 2, 3), Leader: leader, ISR: isr, ELR: elr, Offline: offline}
	}
	for name, c := range map[string]struct {
		p    meta.Partition
		l    replicaLog
		want string // isr elr offline
	}{
		"nothing is wrong":                  {three(2, ids(1, 2, 3), ids(), ids()), replicaLog{fit, true, 2}, "-"},
		"it is back":                        {three(2, ids(2, 3), ids(), ids(3, 1)), replicaLog{fit, true, 2}, "[2 3] [] [3]"},
		"a follower has stopped":            {three(2, ids(1, 2, 3), ids(), ids()), replicaLog{stopped, true, 2}, "[2 3] [] [1]"},
		"the leader has stopped":            {three(1, ids(1, 2, 3), ids(), ids()), replicaLog{stopped, true, 2}, "[2 3] [] [1] resigns"},
		"below the minimum":                 {three(1, ids(1, 2), ids(), ids()), replicaLog{stopped, true, 2}, "[2] [1] [1] resigns"},
		"below it, not flushed":             {three(1, ids(1, 2), ids(), ids()), replicaLog{stopped, false, 2}, "[2] [] [1] resigns"},
		"stopped and eligible":              {three(2, ids(2), ids(1), ids()), replicaLog{stopped, true, 2}, "[2] [1] [1]"},
		"that is known":                     {three(2, ids(2), ids(1), ids(1)), replicaLog{stopped, true, 2}, "-"},
		"the last one has stopped":          {three(1, ids(1), ids(), ids()), replicaLog{stopped, true, 2}, "-"},
		"a damaged leader":                  {three(1, ids(1, 2), ids(), ids()), replicaLog{ruined, true, 2}, "[2] [] [1] resigns"},
		"a damaged leader and an eligible":  {three(1, ids(1), ids(3), ids()), replicaLog{ruined, true, 2}, "[] [3] [1] resigns"},
		"a damaged eligible":                {three(2, ids(2), ids(1), ids(1)), replicaLog{ruined, true, 2}, "[2] [] [1]"},
		"the last one is damaged":           {three(1, ids(1), ids(), ids()), replicaLog{ruined, true, 2}, "-"},
		"damaged, out of sync":              {three(2, ids(2, 3), ids(), ids()), replicaLog{ruined, true, 2}, "[2 3] [] [1]"},
		"damaged, known":                    {three(2, ids(2, 3), ids(), ids(1)), replicaLog{ruined, true, 2}, "-"},
		"it lacks something":                {three(2, ids(1, 2, 3), ids(), ids(1)), replicaLog{lacking, false, 2}, "[2 3] [] []"},
		"the only replica":                  {meta.Partition{Replicas: ids(1), Leader: 1, ISR: ids(1)}, replicaLog{ruined, true, 1}, "-"},
		"nobody leads, a follower's is bad": {three(-1, ids(1, 2), ids(), ids()), replicaLog{ruined, true, 2}, "[2] [] [1]"},
	} {
		ch, due := standDown(&c.p, 1, c.l)
		got := "-"
		if due {
			got = fmt.Sprint(ch.Members.ISR, " ", ch.Members.ELR, " ", ch.Offline)
			if ch.Resign {
				got += " resigns"
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// spoil flips a bit of the records in the middle of a node's log of a topic, once reads check it.
func (b *Broker) spoil(t *testing.T, topic string) {
	t.Helper()
	l := b.store.Log(logstore.ID{Topic: b.snap().Topic(topic).ID})
	eventually(t, func() error {
		if settled := l.Settled(); settled < l.End() {
			return fmt.Errorf("settled up to %d of %d", settled, l.End())
		}
		return nil
	})
	path := filepath.Join(b.cfg.DataDir, "logs", l.ID().String(), fmt.Sprintf("%020d", 1))
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := strings.Index(string(p), "value 50")
	if _, err := f.WriteAt([]byte{p[at] ^ 1}, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// produceEach produces n records, each in a batch of its own.
func produceEach(t testing.TB, cl *kgo.Client, topic string, n int) {
	t.Helper()
	for i := range n {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "value %d", i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// keyOf is the key of partition 0 as the metadata shows it.
func (b *Broker) keyOf(topic string) *meta.Partition { return b.snap().Topic(topic).Partitions[0] }

// A leader that meets a damaged batch gives the leadership away, and its log is built anew:
// consumers get every record, and all replicas are alike.
func TestDamagedLeader(t *testing.T) {
	ns := startNodes(t, 3, nil)
	ns.created("t", nil, 1, 2, 3)
	produceEach(t, ns.client(kgo.ProducerBatchCompression(kgo.NoCompression())), "t", 100)
	ns.node(1).spoil(t, "t")
	began := time.Now()
	consumeAll(t, ns.node(2), "t", 100)
	t.Logf("read in %v", time.Since(began))
	ns.isr("t", 1, 2, 3)
	t.Logf("in sync after %v", time.Since(began))
	ns.alike("t", 100)
	p := ns.node(2).keyOf("t")
	if p.LeaderEpoch == 0 {
		t.Errorf("nothing has changed: %+v", p)
	}
	eventually(t, func() error {
		if p := ns.node(2).keyOf("t"); len(p.Offline) > 0 {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	ns.stop(1) // nothing of it comes back
	ns.begin(1)
	ns.ready(1)
	ns.isr("t", 1, 2, 3)
	ns.alike("t", 100)
}

// Of the only replica all that is whole can be read; the damaged batch is told as such, and
// in the log once.
func TestDamagedOnlyReplica(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	cl := client(t, b, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	produceEach(t, cl, "t", 100)
	b.spoil(t, "t")
	for offset := range int64(100) {
		if code := fetchCode(t, cl, b, "t", offset); code != 0 && offset != 50 || code != kerr.CorruptMessage.Code && offset == 50 {
			t.Errorf("offset %d: error %d", offset, code)
		}
	}
	produceEach(t, cl, "t", 1)
	if p := b.keyOf("t"); p.Leader != 1 || len(p.Offline) > 0 {
		t.Errorf("%+v", p)
	}
}

// A log that came back with less than others have yields to them before it is elected anew;
// the only one does not.
func TestReopenedYields(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	cl := client(t, b, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	produceEach(t, cl, "t", 100)
	p, err := b.partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	several, alone := &meta.Partition{ISR: ids(1, 2)}, &meta.Partition{ISR: ids(1)}
	if b.yields(several, p.log.ID()) {
		t.Error("a whole log yields")
	}
	b.spoil(t, "t")
	fetchCode(t, cl, b, "t", 50)
	if !b.yields(several, p.log.ID()) || b.yields(alone, p.log.ID()) {
		t.Error("a damaged log does not yield to others, or yields to none")
	}
}

// A replica whose beginning anew failed half-way, its old log gone, begins again.
func TestRestartGoesOn(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	log := logOf(t, b)
	f := &followed{id: log.ID(), leader: 2, epoch: 5, store: b.store, logger: b.log, log: log}
	f.show()
	if err := b.store.Delete(log.ID()); err != nil {
		t.Fatal(err)
	}
	if !f.failed() {
		t.Fatal("a deleted log serves")
	}
	b.rebuild(f)
	if f.failed() || f.at() != b.store.Log(log.ID()) {
		t.Errorf("the log of the replica: %v", f.at().Err())
	}
}

// fetchCode is the error of a fetch of one batch.
func fetchCode(t testing.TB, cl *kgo.Client, b *Broker, topic string, offset int64) int16 {
	t.Helper()
	req := kmsg.NewPtrFetchRequest()
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = topic, b.snap().Topic(topic).ID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = offset, 1, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics, req.MaxBytes, req.MinBytes, req.SessionEpoch = append(req.Topics, rt), 1<<20, 1, -1
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	resp, err := cl.Broker(int(b.cfg.NodeID)).Request(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode
}

// A follower whose log stops says so itself: it is out of the ISR long before it lags, and
// back when it has caught up.
func TestStoppedFollowerLeavesAtOnce(t *testing.T) {
	ns := startNodes(t, 3, nil)
	ns.created("t", map[string]*string{"segment.bytes": new("1048576")}, 1, 2, 3)
	cl := ns.client(kgo.ProducerBatchMaxBytes(1000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	produce := func() error {
		return cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: make([]byte, 700_000)}).FirstErr()
	}
	if err := produce(); err != nil {
		t.Fatal(err)
	}
	b := ns.node(3)
	id := logstore.ID{Topic: b.snap().Topic("t").ID}
	inTheWay := filepath.Join(ns.dir, "3", "logs", id.String(), fmt.Sprintf("%020d", 2)) // of the next segment
	if err := os.WriteFile(inTheWay, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- produce() }()
	eventually(t, func() error {
		if p := ns.node(1).keyOf("t"); !slices.Equal(p.Offline, []int32{3}) || slices.Contains(p.ISR, 3) || p.Leader != 1 || p.LeaderEpoch != 0 {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("out of the ISR after %v", took)
	}
	if err := errors.Join(<-done, os.RemoveAll(inTheWay)); err != nil {
		t.Fatal(err)
	}
	t.Logf("acknowledged after %v", time.Since(began))
	ns.isr("t", 1, 2, 3)
	ns.alike("t", 2)
	if p := ns.node(1).keyOf("t"); len(p.Offline) > 0 {
		t.Errorf("%+v", p)
	}
}
