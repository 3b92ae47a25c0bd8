package broker

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Of the followers that may be read from, the one that is furthest is chosen.
func TestNearest(t *testing.T) {
	now := time.Now()
	set := func() *replicaSet {
		s := newReplicaSet(1, ids(1, 2, 3), 0, now)
		s.committed = ids(1, 2, 3)
		for _, id := range ids(2, 3) {
			s.fetched(followerFetch{id: id, brokerEpoch: int64(100 + id), end: 10, logStart: 2}, 10, now)
			s.followers[id].hw = 9
		}
		return s
	}
	all := func(int32, int64) bool { return true }
	for name, c := range map[string]struct {
		change func(*replicaSet)
		offset int64
		may    func(int32, int64) bool
		want   int32
	}{
		"both alike":                  {func(*replicaSet) {}, 5, all, 2},
		"one has more":                {func(s *replicaSet) { s.followers[3].end = 11 }, 5, all, 3},
		"one had it later":            {func(s *replicaSet) { s.followers[3].caughtUp = now.Add(time.Second) }, 5, all, 3},
		"one is not in sync":          {func(s *replicaSet) { s.committed = ids(1, 3) }, 5, all, 3},
		"one lacks the offset":        {func(s *replicaSet) { s.followers[2].end = 4 }, 5, all, 3},
		"one was not told the end":    {func(s *replicaSet) { s.followers[2].hw = 8 }, 5, all, 3},
		"one begins above it":         {func(s *replicaSet) { s.followers[2].logStart = 6 }, 5, all, 3},
		"one has not told":            {func(s *replicaSet) { s.followers[2].end = -1 }, 0, func(id int32, _ int64) bool { return id == 2 }, -1},
		"only one is in the rack":     {func(*replicaSet) {}, 5, func(id int32, life int64) bool { return id == 3 && life == 103 }, 3},
		"none is":                     {func(*replicaSet) {}, 5, func(int32, int64) bool { return false }, -1},
		"none has what is to come":    {func(*replicaSet) {}, 11, all, -1},
		"at the end, where both wait": {func(*replicaSet) {}, 10, all, 2},
	} {
		s := set()
		c.change(s)
		if got, known := s.nearest(c.offset, 9, c.may); got != c.want || known == (got < 0) {
			t.Errorf("%s: %d %v, want %d", name, got, known, c.want)
		}
	}
}

// Who does not know all that is committed is chosen for readers that wait there alone.
func TestNearestKnowsTheEnd(t *testing.T) {
	s := newReplicaSet(1, ids(1, 2), 0, time.Now())
	s.committed = ids(1, 2)
	s.fetched(followerFetch{id: 2, end: 10}, 10, time.Now())
	s.followers[2].hw = 7
	for offset, want := range map[int64]bool{6: false, 7: true, 8: false} {
		if id, known := s.nearest(offset, 9, func(int32, int64) bool { return true }); id != 2 || known != want {
			t.Errorf("at %d: %d, %v", offset, id, known)
		}
	}
}

// told writes down what a fetch of partition 0 tells.
func told(resp *kmsg.FetchResponse) string {
	p := resp.Topics[0].Partitions[0]
	last := int64(-1)
	for rest := p.RecordBatches; len(rest) > 0; {
		b, more, err := batchFirst(rest)
		if err != nil {
			return err.Error()
		}
		last, rest = b.LastOffset(), more
	}
	return fmt.Sprintf("%v preferred %d last %d hw %d", kerr.ErrorForCode(p.ErrorCode), p.PreferredReadReplica, last, p.HighWatermark)
}

func from(offset int64, rack string) func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition) {
	return func(req *kmsg.FetchRequest, rp *kmsg.FetchRequestTopicPartition) {
		req.Rack, rp.FetchOffset = rack, offset
	}
}

// The leader names the in-sync follower in the reader's rack, and gives no records then.
func TestPreferredReadReplica(t *testing.T) {
	ns := startRacks(t, 3, map[string]string{"replica.lag.time.max.ms": "1000", "auto.leader.rebalance.enable": "false"})
	ns.created("t", nil, 1, 2, 3)
	produceEach(t, ns.client(), "t", 10)
	read, sent := "<nil> preferred -1 last 9 hw 10", "<nil> preferred 2 last -1 hw 10"
	expect := func(what string, version int16, offset int64, rack, want string) {
		t.Helper()
		eventually(t, func() error { // a follower may be about to tell that it has all
			if got := told(ns.fetchFrom(1, version, "t", from(offset, rack))); got != want {
				return fmt.Errorf("%s: %s, want %s", what, got, want)
			}
			return nil
		})
	}
	expect("version 10", 10, 0, "r2", read)
	expect("version 11", 11, 0, "r2", sent)
	expect("version 12", 12, 4, "r2", sent)
	expect("version 18", 18, 10, "r2", sent)
	expect("another rack", 18, 10, "r3", "<nil> preferred 3 last -1 hw 10")
	expect("no rack", 18, 0, "", read)
	expect("the leader's rack", 18, 0, "r1", read)
	expect("a rack without brokers", 18, 0, "r9", read)
	expect("above the end", 18, 11, "r2", fmt.Sprint(kerr.OffsetOutOfRange, " preferred -1 last -1 hw -1"))
	release := ns.held(3, "t")
	produceAll(t, ns.client(), "t", 1) // acknowledged when 3 has left
	expect("not in sync", 18, 0, "r3", "<nil> preferred -1 last 10 hw 11")
	release()
	ns.isr("t", 1, 2, 3)
	expect("in sync again", 18, 0, "r3", "<nil> preferred 3 last -1 hw 11")
	ns.stop(3)
	expect("gone", 18, 0, "r3", "<nil> preferred -1 last 10 hw 11")
}

// The setting has all read from the leader; and what is neither is refused.
func TestReplicaSelectorSetting(t *testing.T) {
	ns := startRacks(t, 2, map[string]string{"replica.selector.class": ""})
	ns.created("t", nil, 1, 2)
	produceEach(t, ns.client(), "t", 3)
	if got := told(ns.fetchFrom(1, 18, "t", from(3, "r2"))); got != "<nil> preferred -1 last -1 hw 3" {
		t.Error(got)
	}
	if err := CheckSetting("replica.selector.class", "com.example.Mine"); err == nil {
		t.Error("a class of one's own is accepted")
	}
}

// A follower gives what lies below the high watermark that it knows, and nothing else; in
// its leader's epoch alone.
func TestReadFromFollower(t *testing.T) {
	ns := startRacks(t, 3, map[string]string{"replica.lag.time.max.ms": "60000", "auto.leader.rebalance.enable": "false"})
	ns.created("t", nil, 1, 2, 3)
	produceEach(t, ns.client(), "t", 10)
	log := func(id int32) *partition {
		return ns.node(id).topics.named([]byte("t")).followed[0].reads.Load()
	}
	eventually(t, func() error {
		if hw := log(2).hw(); hw != 10 {
			return fmt.Errorf("high watermark %d", hw)
		}
		return nil
	})
	release := ns.held(3, "t")
	go func() { _ = produceOne(ns, "t", "not committed", 1) }()
	eventually(t, func() error {
		if end := log(2).log.End(); end != 11 {
			return fmt.Errorf("it ends at %d", end)
		}
		return nil
	})
	claim := func(epoch int32) func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition) {
		return func(_ *kmsg.FetchRequest, rp *kmsg.FetchRequestTopicPartition) { rp.CurrentLeaderEpoch = epoch }
	}
	refused := func(err error) string { return fmt.Sprint(err, " preferred -1 last -1 hw -1") }
	for _, c := range []struct {
		what    string
		version int16
		change  func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)
		want    string
	}{
		{"version 10", 10, from(0, ""), refused(kerr.NotLeaderForPartition)},
		{"version 11", 11, from(0, ""), "<nil> preferred -1 last 9 hw 10"},
		{"version 18, with its rack", 18, from(5, "r2"), "<nil> preferred -1 last 9 hw 10"},
		{"with another rack", 18, from(5, "r1"), "<nil> preferred -1 last 9 hw 10"},
		{"at the high watermark", 18, from(10, "r2"), "<nil> preferred -1 last -1 hw 10"},
		{"at its end", 18, from(11, "r2"), "<nil> preferred -1 last -1 hw 10"},
		{"above its end", 18, from(12, "r2"), refused(kerr.OffsetNotAvailable)},
		{"in its epoch", 18, claim(0), "<nil> preferred -1 last 9 hw 10"},
		{"in an epoch to come", 18, claim(1), refused(kerr.UnknownLeaderEpoch)},
	} {
		if got := told(ns.fetchFrom(2, c.version, "t", c.change)); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	release()
	adm := kadm.NewClient(ns.client())
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "t", At: 4})
	if _, err := adm.DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	if got := told(ns.fetchFrom(2, 18, "t", from(3, "r2"))); got != refused(kerr.OffsetOutOfRange) {
		t.Errorf("below its start: %s", got)
	}
	ns.moved("t", 3)
	eventually(t, func() error { // node 2 may go on as in its epoch for a moment
		if got := told(ns.fetchFrom(2, 18, "t", claim(0))); got != refused(kerr.FencedLeaderEpoch) {
			return fmt.Errorf("in an epoch that is over: %s", got)
		}
		return nil
	})
}

// What was being read when a follower's log is cut is not given, and who waits looks again.
func TestNoReadsOfACutLog(t *testing.T) {
	ns := startRacks(t, 2, nil)
	ns.created("t", nil, 1, 2)
	produceEach(t, ns.client(), "t", 3)
	b := ns.node(2)
	top := b.topics.named([]byte("t"))
	a := &fetchAnswer{c: &conn{b: b, queue: newAnswers()}, until: time.Now().Add(time.Hour), minBytes: 1}
	a.h.Version = 18
	fp := &fetchPartition{fetchKey: fetchKey{id: top.id}, leaderEpoch: -1, lastEpoch: -1, replica: -1, maxBytes: 1 << 20}
	var r fetchResult
	eventually(t, func() error {
		if r = a.look(&fetchWriter{out: &outbox{}}, fp, 1<<20, true); r.read == nil {
			return errors.New("nothing to read")
		}
		return nil
	})
	if got, _, err := r.read(nil); err != nil || len(got) == 0 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	a.replica, a.session = -1, &fetchSession{follower: -1}
	fp.offset, fp.inbox = 3, &a.session.inbox
	a.session.parts = append(a.session.parts, fp)
	a.session.heat(fp)
	eventually(t, func() error {
		if top.followed[0].reads.Load().hw() < 3 || a.settled(time.Now()) {
			return errors.New("it does not wait")
		}
		return nil
	})
	top.followed[0].hide()
	select {
	case <-a.c.queue.wake:
	case <-time.After(10 * time.Second):
		t.Error("who waits is not told")
	}
	if got, _, err := r.read(nil); !errors.Is(err, kerr.NotLeaderForPartition) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A client that heard of a leader before the leader itself did is answered when that has.
func TestEpochEndIsAwaited(t *testing.T) {
	ns := startNodes(t, 2, map[string]string{"auto.leader.rebalance.enable": "false"})
	ns.created("t", nil, 1, 2)
	produceAll(t, ns.client(), "t", 3)
	b := ns.node(2)
	rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rp.CurrentLeaderEpoch = 1
	if _, _, err := b.epochEnd("t", &rp); !errors.Is(err, kerr.NotLeaderForPartition) {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() {
		_, end, err := b.awaitEpochEnd(t.Context(), "t", &rp)
		if err == nil && end != 3 {
			err = fmt.Errorf("it ends at %d", end)
		}
		answer <- err
	}()
	ns.moved("t", 2)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

// A follower that is out of sync sends its readers back to the leader.
func TestNoReadsOutOfSync(t *testing.T) {
	ns := startRacks(t, 3, map[string]string{"replica.lag.time.max.ms": "1000", "auto.leader.rebalance.enable": "false"})
	ns.created("t", nil, 1, 2, 3)
	produceEach(t, ns.client(), "t", 3)
	release := ns.held(3, "t")
	produceAll(t, ns.client(), "t", 1)
	ns.isr("t", 1, 2)
	release()
	f := ns.node(3).topics.named([]byte("t")).followed[0]
	if err := f.change(func() error { f.ended = true; return nil }); err != nil { // it fetches no more
		t.Fatal(err)
	}
	eventually(t, func() error {
		resp := ns.fetchFrom(3, 18, "t", from(0, "r3"))
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != 1 {
			return errors.New(told(resp))
		}
		return nil
	})
}

// fetchesFrom counts by broker the fetches that gave records.
type fetchesFrom struct {
	mu sync.Mutex
	n  map[int32]int
}

func (f *fetchesFrom) OnFetchBatchRead(b kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	f.mu.Lock()
	f.n[b.NodeID] += m.NumRecords
	f.mu.Unlock()
}

// only reports whether all records since the last look came from one broker.
func (f *fetchesFrom) only(id int32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.n
	if f.n = map[int32]int{}; len(was) == 1 && was[id] > 0 {
		return nil
	}
	return fmt.Errorf("records by broker: %v", was)
}

// A client reads from the follower in its rack, as soon as records are committed, and goes
// on when leader and follower change.
func TestClientReadsInItsRack(t *testing.T) {
	ns := startRacks(t, 3, map[string]string{"auto.leader.rebalance.enable": "false"})
	ns.created("t", nil, 1, 2, 3)
	count := &fetchesFrom{n: map[int32]int{}}
	cl := ns.client(kgo.Rack("r2"), kgo.ConsumeTopics("t"), kgo.WithHooks(count), kgo.FetchMaxWait(200*time.Millisecond))
	producer := ns.client()
	var seen []string
	consume := func(want int) {
		t.Helper()
		for len(seen) < want {
			fs := cl.PollFetches(t.Context())
			if err := fs.Err0(); err != nil {
				t.Fatal(err)
			}
			fs.EachRecord(func(r *kgo.Record) { seen = append(seen, fmt.Sprint(r.Offset)) })
		}
	}
	produceAll(t, producer, "t", 100)
	consume(100)
	one := func() {
		produceAll(t, producer, "t", 1)
		consume(len(seen) + 1)
	}
	eventually(t, func() error { // it is sent there when that knows what is committed
		one()
		return count.only(2)
	})
	before, least := len(seen), time.Hour // of three: a disk may stand still for a moment
	for range 3 {
		began := time.Now()
		for range 5 {
			one()
		}
		least = min(least, time.Since(began))
	}
	if t.Logf("five records, one after the other, in %v", least.Round(time.Millisecond)); least > 1500*time.Millisecond {
		t.Error("that is the time of the follower's fetches, not of the records")
	}
	if err := count.only(2); err != nil || len(seen) != before+15 {
		t.Errorf("%d records, %v", len(seen), err)
	}
	for _, leader := range ids(3, 2) {
		ns.moved("t", leader)
		produceAll(t, producer, "t", 10)
		consume(len(seen) + 10)
	}
	for i, offset := range seen {
		if offset != fmt.Sprint(i) {
			t.Fatalf("record %d has offset %s", i, offset)
		}
	}
}
