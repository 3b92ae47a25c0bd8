package broker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chronik/logstore"
	"chronik/meta"
)

// A broker whose logs are gone does not serve empty ones in their place: it takes itself
// out before it is active, and what nobody else has stays without a leader.
func TestLostDirectoryIsNotServed(t *testing.T) {
	dir := t.TempDir()
	b, stop := started(t, dir, nil)
	produceAll(t, client(t, b, kgo.AllowAutoTopicCreation()), "t", 10)
	stop()
	for _, name := range []string{"meta.properties", "checkpoint", "clean-shutdown", "logs"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	b, stop = started(t, dir, nil)
	p := b.snap().Topic("t").Partitions[0]
	if p.Leader != -1 || len(p.ISR)+len(p.ELR) != 0 || !slices.Equal(p.LastKnown, []int32{1}) {
		t.Errorf("%+v", p)
	}
	if _, err := b.partition("t", 0); err == nil {
		t.Error("the partition is served")
	}
	stop() // the verdict outlives this life
	b, _ = started(t, dir, nil)
	if p := b.snap().Topic("t").Partitions[0]; p.Leader != -1 || !slices.Equal(p.LastKnown, []int32{1}) {
		t.Errorf("after another start: %+v", p)
	}
}

func TestWithoutReplica(t *testing.T) {
	for _, c := range []struct {
		p       meta.Partition
		want    meta.Members
		resigns bool
	}{
		{meta.Partition{Leader: 1, ISR: ids(1, 2), ELR: ids()}, meta.Members{ISR: ids(2), ELR: ids()}, true},
		{meta.Partition{Leader: 2, ISR: ids(1, 2), ELR: ids()}, meta.Members{ISR: ids(2), ELR: ids()}, false},
		{meta.Partition{Leader: 2, ISR: ids(2), ELR: ids(3, 1)}, meta.Members{ISR: ids(2), ELR: ids(3)}, false},
		{meta.Partition{Leader: 1, ISR: ids(1), ELR: ids(3)}, meta.Members{ISR: ids(), ELR: ids(3)}, true},
		{meta.Partition{Leader: -1, ISR: ids(), ELR: ids(1), LastKnown: ids(2)}, meta.Members{ISR: ids(), ELR: ids(), LastKnown: ids(2, 1)}, false},
	} {
		ch := withoutReplica(&c.p, 1)
		if fmt.Sprint(ch.Members) != fmt.Sprint(c.want) || ch.Resign != c.resigns {
			t.Errorf("%+v: %+v, resigns %t", c.p, ch.Members, ch.Resign)
		}
	}
}

// A replica whose log lost what only the page cache had leaves the ISR once, and is back
// for good when it has caught up.
func TestSuspectLogLeavesOnce(t *testing.T) {
	ns := startNodes(t, 3, nil)
	ns.created("t", map[string]*string{"segment.bytes": new("1048576"), "flush.messages": new("1000000")}, 1, 2, 3)
	cl := ns.client(kgo.ProducerBatchMaxBytes(1000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	produce := func() {
		t.Helper()
		r := &kgo.Record{Topic: "t", Value: bytes.Repeat([]byte{1}, 500_000)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce()
	produce()
	b := ns.node(3)
	id := logstore.ID{Topic: b.snap().Topic("t").ID}
	log := b.store.Log(id)
	inTheWay := filepath.Join(ns.dir, "3", "logs", id.String(), fmt.Sprintf("%020d", 3)) // of the next segment
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		for log.Err() == nil && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		failed <- os.Remove(inTheWay)
	}()
	produce()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	ns.alike("t", 3)
	began := time.Now()
	eventually(t, func() error {
		if ids := b.store.Doubtful(); len(ids) > 0 {
			return fmt.Errorf("in doubt: %v", ids)
		}
		return nil
	})
	t.Logf("no doubt after %v", time.Since(began))
	ns.isr("t", 1, 2, 3)
}
