package broker

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reader is a consumer that speaks Fetch itself, in one session.
type reader struct {
	t    *testing.T
	b    *Broker
	cl   *kgo.Client
	out  *kgo.Client // that produces
	id   int32
	next int32
	most int32
	wait time.Duration
}

func newReader(t *testing.T, b *Broker, wait time.Duration) *reader {
	return &reader{
		t: t, b: b, cl: client(t, b, kgo.RequestRetries(0)), most: 1 << 20, wait: wait,
		out: client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner())),
	}
}

// fetch names partitions of topic t with their offsets, and returns what was told.
func (r *reader) fetch(named map[int32]int64, forget ...int32) map[int32]kmsg.FetchResponseTopicPartition {
	r.t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxBytes, req.MaxWaitMillis = 1, r.most, int32(r.wait.Milliseconds())
	req.SessionID, req.SessionEpoch = r.id, r.next
	id := r.b.snap().Topic("t").ID
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = "t", id
	for n, offset := range named {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = n, offset, 1<<20, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	if len(named) > 0 {
		req.Topics = append(req.Topics, rt)
	}
	if len(forget) > 0 {
		ft := kmsg.NewFetchRequestForgottenTopic()
		ft.Topic, ft.TopicID, ft.Partitions = "t", id, forget
		req.ForgottenTopics = append(req.ForgottenTopics, ft)
	}
	answer, err := r.cl.Broker(int(r.b.cfg.NodeID)).Request(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	resp := answer.(*kmsg.FetchResponse)
	if resp.ErrorCode != 0 {
		r.t.Fatalf("error %d in session %d at %d", resp.ErrorCode, r.id, r.next)
	}
	r.id, r.next = resp.SessionID, r.next+1
	told := map[int32]kmsg.FetchResponseTopicPartition{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			told[p.Partition] = p
		}
	}
	return told
}

// hot is how many partitions of the session the next answer looks at.
func (r *reader) hot() int {
	r.b.sessions.mu.Lock()
	f := r.b.sessions.byID[r.id]
	r.b.sessions.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.hot)
}

func (r *reader) produce(n int32) {
	r.t.Helper()
	if err := r.out.ProduceSync(r.t.Context(), &kgo.Record{Topic: "t", Partition: n, Value: []byte("value")}).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// An answer of a session looks at what has changed: records, a high watermark, a log
// start, a partition that is not led here any more.
func TestSessionTellsWhatChanges(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	adm := created(t, b, "t", 20)
	r := newReader(t, b, 0)
	all := map[int32]int64{}
	for n := range int32(20) {
		all[n] = 0
	}
	if told := r.fetch(all); len(told) != 20 {
		t.Fatalf("the first answer tells of %d partitions", len(told))
	}
	if n := r.hot(); n != 0 {
		t.Errorf("%d partitions are looked at though the client knows all of them", n)
	}

	r.wait = 5 * time.Second
	var produced sync.WaitGroup
	produced.Go(func() { r.produce(7) })
	told := r.fetch(nil)
	produced.Wait()
	if len(told) != 1 || told[7].HighWatermark != 1 || len(told[7].RecordBatches) == 0 {
		t.Fatalf("after a record in partition 7: %+v", told)
	}
	if told = r.fetch(nil); len(told) != 1 || len(told[7].RecordBatches) == 0 {
		t.Errorf("the record is not given again to who did not move on: %+v", told)
	}

	r.wait = 0
	r.fetch(map[int32]int64{7: 1})
	var upTo kadm.Offsets
	upTo.AddOffset("t", 7, 1, -1)
	if _, err := adm.DeleteRecords(t.Context(), upTo); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if told = r.fetch(nil); len(told) != 1 || told[7].LogStartOffset != 1 {
			return fmt.Errorf("after records were deleted: %+v", told)
		}
		return nil
	})

	r.wait = 5 * time.Second
	var deleted sync.WaitGroup
	deleted.Go(func() {
		if _, err := adm.DeleteTopic(t.Context(), "t"); err != nil {
			t.Error(err)
		}
	})
	defer deleted.Wait()
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxBytes, req.MaxWaitMillis, req.SessionID, req.SessionEpoch = 1, 1<<20, 5000, r.id, r.next
	began := time.Now()
	answer, err := r.cl.Broker(int(b.cfg.NodeID)).Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if resp := answer.(*kmsg.FetchResponse); len(resp.Topics) == 0 || time.Since(began) > 4*time.Second {
		t.Errorf("a deleted topic is not told of: %+v, %v", resp, time.Since(began))
	}
}

// Where an answer has no room for all, each partition gets its turn.
func TestSessionServesAllInTurn(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	created(t, b, "t", 3)
	r := newReader(t, b, 0)
	for n := range int32(3) {
		r.produce(n)
	}
	r.most = 1
	seen := map[int32]bool{}
	named := map[int32]int64{0: 0, 1: 0, 2: 0}
	for range 3 {
		for n, p := range r.fetch(named) {
			if len(p.RecordBatches) > 0 {
				seen[n] = true
			}
		}
		named = nil
	}
	if len(seen) != 3 {
		t.Errorf("three answers of one batch gave of partitions %v", seen)
	}
}

// What is forgotten, or in a session that ended, waits at no log any more.
func TestSessionsLeaveNoWaiters(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	created(t, b, "t", 2)
	r := newReader(t, b, 0)
	r.fetch(map[int32]int64{0: 0, 1: 0})
	r.fetch(nil, 1)
	r.fetch(nil)
	session := b.sessions.byID[r.id]
	armed := func() (n int) {
		for _, fp := range session.parts {
			if fp.isArmed() {
				n++
			}
		}
		return n
	}
	if n := armed(); len(session.parts) != 1 || n != 1 {
		t.Fatalf("%d of %d partitions wait", n, len(session.parts))
	}
	b.sessions.remove(r.id)
	if n := armed(); n != 0 {
		t.Errorf("%d partitions of a session that ended wait", n)
	}
}

// A follower has one session: another one ends it.
func TestFollowerHasOneSession(t *testing.T) {
	s := newFetchSessions(func() int { return 0 })
	for i := range 3 {
		req := sessionRequest(0, initialEpoch, 0)
		req.ReplicaID = 2
		if f, err := s.open(17, req, time.Unix(int64(i), 0)); err != nil || f == nil {
			t.Fatal(f, err)
		}
	}
	if s.count() != 1 {
		t.Errorf("%d sessions", s.count())
	}
	if opened(t, s, time.Unix(9, 0), 0) != nil {
		t.Error(fmt.Errorf("a consumer got a session where there are no slots"))
	}
}

// A fetch without a session is told of every partition that it names, of an empty one too,
// also when it had to wait, and when another one grew meanwhile.
func TestFetchWithoutSession(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	created(t, b, "t", 3)
	r := newReader(t, b, 200*time.Millisecond)
	named := map[int32]int64{0: 0, 1: 0, 2: 0}
	for _, grows := range []bool{false, true} {
		r.id, r.next = 0, finalEpoch
		var produced sync.WaitGroup
		if grows {
			r.wait = 5 * time.Second
			produced.Go(func() { r.produce(1) })
		}
		if told := r.fetch(named); len(told) != 3 {
			t.Errorf("another grows %t: told of %d partitions", grows, len(told))
		}
		produced.Wait()
	}
}
