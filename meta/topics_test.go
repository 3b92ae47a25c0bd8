package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestRacingCreators(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := m.CreateTopic(t.Context(), NewTopic{Name: "race", ID: NewID(), Replicas: here(2)})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrExists):
				t.Error(err)
			case m.Snapshot().Topic("race") == nil:
				t.Error("a loser does not see the winner's topic")
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d creators won", n)
	}
}

func TestTopic(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	a := created(t, m, "a", 1)
	created(t, m, "a-b", 2)
	created(t, m, "a.b", 2)
	epoch := m.Session().BrokerEpoch()
	if p := a.Partitions[0]; p.Leader != 1 || p.LeaderEpoch != 0 || p.LeaderBrokerEpoch != epoch || !slices.Equal(p.ISR, []int32{1}) {
		t.Errorf("a new partition: %+v", p)
	}

	rev, err := m.AddPartitions(t.Context(), "a", 1, here(2))
	written(t, m, rev, err)
	if n := len(m.Snapshot().Topic("a").Partitions); n != 3 {
		t.Errorf("%d partitions after 2 were added", n)
	}
	if _, err := m.AddPartitions(t.Context(), "a", 1, here(1)); !errors.Is(err, ErrConflict) {
		t.Errorf("added on a wrong count: %v", err)
	}
	if _, err := m.AddPartitions(t.Context(), "none", 1, here(1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("added to none: %v", err)
	}

	if _, err := m.DeleteTopic(t.Context(), "a", NewID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted by a wrong id: %v", err)
	}
	rev, err = m.DeleteTopic(t.Context(), "a", a.ID)
	written(t, m, rev, err)
	snap := m.Snapshot()
	if snap.Topic("a") != nil || snap.TopicByID(a.ID) != nil || snap.KnowsTopicID(a.ID) || snap.NumTopics() != 2 || snap.NumPartitions() != 4 {
		t.Errorf("after the deletion of a: %d topics, %d partitions", snap.NumTopics(), snap.NumPartitions())
	}
	var names []string
	for topic := range snap.Topics() {
		names = append(names, topic.Name)
	}
	if !slices.Equal(names, []string{"a-b", "a.b"}) {
		t.Errorf("topics %v", names)
	}
	if again := created(t, m, "a", 1); again.ID == a.ID || again.Configs != nil {
		t.Errorf("a new topic is the old one: %+v", again)
	}
	for _, bad := range []NewTopic{
		{Name: "a/b", Replicas: here(1)},
		{Name: "", Replicas: here(1)},
		{Name: strings.Repeat("x", 250), Replicas: here(1)},
		{Name: "none"},
		{Name: "much", Replicas: here(MaxPartitions + 1)},
		{Name: "nobody", Replicas: [][]int32{{}}},
	} {
		if _, err := m.CreateTopic(t.Context(), bad); err == nil {
			t.Errorf("created %.20q with %d partitions", bad.Name, len(bad.Replicas))
		}
	}
}

func TestLeaderless(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	rev, err := m.CreateTopic(t.Context(), NewTopic{Name: "t", ID: NewID(), Replicas: [][]int32{{7, 1}, {7}}})
	written(t, m, rev, err)
	parts := m.Snapshot().Topic("t").Partitions
	if parts[0].Leader != 1 || parts[1].Leader != -1 || parts[1].LeaderBrokerEpoch != 0 {
		t.Errorf("leaders %d and %d", parts[0].Leader, parts[1].Leader)
	}
}

func TestConfigs(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	topic := created(t, m, "a", 1)
	set := func(kind ConfigKind, name, value string) error {
		rev, err := m.SetConfigs(t.Context(), kind, name, func(old map[string]string) (map[string]string, error) {
			if value == "" {
				return nil, nil
			}
			return map[string]string{"retention.ms": value, "was": old["retention.ms"]}, nil
		})
		if err != nil {
			return err
		}
		return m.WaitRevision(t.Context(), rev)
	}
	for _, what := range []struct {
		kind ConfigKind
		name string
	}{{TopicConfigs, "a"}, {BrokerConfigs, "default"}, {GroupConfigs, "with/slash %41"}} {
		for _, value := range []string{"5", "6"} {
			if err := set(what.kind, what.name, value); err != nil {
				t.Fatal(err)
			}
		}
		if c := m.Snapshot().Configs(what.kind, what.name); c["was"] != "5" || c["retention.ms"] != "6" {
			t.Errorf("%s %s: %v", what.kind, what.name, c)
		}
	}
	changed := m.Snapshot().Topic("a")
	if changed == topic || changed.Configs["was"] != "5" || changed.Partitions[0] != topic.Partitions[0] {
		t.Errorf("the topic shows %v", changed.Configs)
	}
	if err := set(TopicConfigs, "none", "5"); !errors.Is(err, ErrNotFound) {
		t.Errorf("settings of no topic: %v", err)
	}
	if err := set(TopicConfigs, "a", ""); err != nil || m.Snapshot().Configs(TopicConfigs, "a") != nil {
		t.Errorf("removed: %v, %v", m.Snapshot().Configs(TopicConfigs, "a"), err)
	}
	if err := set(TopicConfigs, "a", ""); err != nil {
		t.Errorf("removed once more: %v", err)
	}
	boom := errors.New("no such setting")
	if _, err := m.SetConfigs(t.Context(), TopicConfigs, "a", func(map[string]string) (map[string]string, error) { return nil, boom }); !errors.Is(err, boom) {
		t.Errorf("edit failed: %v", err)
	}
}

// Every one of racing changes counts.
func TestRacingConfigs(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	created(t, m, "a", 1)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			rev, err := m.SetConfigs(t.Context(), TopicConfigs, "a", func(c map[string]string) (map[string]string, error) {
				c[fmt.Sprint(i)] = "set"
				return c, nil
			})
			if err != nil || m.WaitRevision(t.Context(), rev) != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c := m.Snapshot().Topic("a").Configs; len(c) != 10 {
		t.Errorf("%d changes are left: %v", len(c), c)
	}
}

func TestProducerBlocks(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	seen := map[int64]bool{}
	block := func() {
		t.Helper()
		first, count, err := m.ProducerIDs(t.Context())
		if err != nil || count != producerBlock || first%producerBlock != 0 || seen[first] {
			t.Fatalf("block at %d of %d: %v", first, count, err)
		}
		seen[first] = true
	}
	block()
	block()
	for _, garbage := range []string{"garbage", "null", `{"next":-1}`} {
		etcdPut(t, m, producersKey, garbage)
	}
	block()
	if !seen[0] || !seen[1000] || !seen[2000] {
		t.Errorf("blocks %v", seen)
	}
}

func elections(topic *Topic) (all []Election) {
	for n, p := range topic.Partitions {
		all = append(all, Election{Topic: topic.Name, Partition: int32(n), Leader: 1, Base: p})
	}
	return all
}

func TestElect(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	topic := created(t, m, "t", 3)
	rev, err := m.Elect(t.Context(), append(elections(topic), elections(topic)[0]))
	written(t, m, rev, err)
	topic = m.Snapshot().Topic("t")
	for n, p := range topic.Partitions {
		if p.LeaderEpoch != 1 || p.PartitionEpoch != 1 || p.LeaderBrokerEpoch != m.Session().BrokerEpoch() {
			t.Errorf("partition %d: %+v", n, p)
		}
	}

	// One of them is overtaken: the others are elected.
	stale := elections(topic)
	rev, err = m.Elect(t.Context(), stale[1:2])
	written(t, m, rev, err)
	if _, err := m.Elect(t.Context(), stale); !errors.Is(err, ErrConflict) {
		t.Errorf("an election from an old base: %v", err)
	}
	eventually(t, patience, func() error {
		for n, p := range m.Snapshot().Topic("t").Partitions {
			if p.LeaderEpoch != 2 {
				return fmt.Errorf("partition %d: %+v", n, p)
			}
		}
		return nil
	})

	none := Election{Topic: "t", Partition: 0, Leader: -1, Base: m.Snapshot().Topic("t").Partitions[0]}
	rev, err = m.Elect(t.Context(), []Election{none})
	written(t, m, rev, err)
	if p := m.Snapshot().Topic("t").Partitions[0]; p.Leader != -1 || p.LeaderEpoch != 3 || p.LeaderBrokerEpoch != 0 {
		t.Errorf("without a leader: %+v", p)
	}
	dead := elections(m.Snapshot().Topic("t"))[:1]
	dead[0].Leader = 9
	if _, err := m.Elect(t.Context(), dead); !errors.Is(err, ErrConflict) {
		t.Errorf("elected a dead broker: %v", err)
	}
}

// Only the controller elects, by a condition in the transaction.
func TestElectNotController(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	topic := created(t, m, "t", 1)
	seatless := *m.Snapshot()
	if _, err := m.election(&seatless, elections(topic), m.asController); err != nil {
		t.Fatal(err)
	}
	seatless.controller.Broker = 2
	if _, err := m.election(&seatless, elections(topic), m.asController); !errors.Is(err, ErrConflict) {
		t.Errorf("elected without the office: %v", err)
	}
	seatless.controller.Broker = 1
	seatless.controller.revision--
	c, err := m.election(&seatless, elections(topic), m.asController)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.write(t.Context(), c); !errors.Is(err, ErrConflict) {
		t.Errorf("elected in an office that is over: %v", err)
	}
}

// Who is elected, or leads a new partition, must be in the life of the decision.
func TestLeaderOfAnotherLife(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	lease, err := m.client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	appear := func(incarnation string) {
		t.Helper()
		resp, err := m.client.Put(t.Context(), liveKey(2), `{"incarnation":"`+incarnation+`","directory":"dir-2"}`, withLease(lease.ID))
		if err != nil {
			t.Fatal(err)
		}
		written(t, m, resp.Header.Revision, nil)
	}
	appear("a")
	etcdPut(t, m, brokerKey(2), `{"id":2,"incarnation":"a","state":"active"}`)
	rev, err := m.CreateTopic(t.Context(), NewTopic{Name: "t", ID: NewID(), Replicas: [][]int32{{1, 2}}})
	written(t, m, rev, err)
	move := elections(m.Snapshot().Topic("t"))
	move[0].Leader = 2
	moved, err := m.election(m.Snapshot(), move, m.asController)
	if err != nil {
		t.Fatal(err)
	}
	var added change
	if err := m.addPartitions(&added, "t", 1, [][]int32{{2}}); err != nil {
		t.Fatal(err)
	}
	appear("b")
	for what, c := range map[string]change{"election": moved, "new partition": added} {
		if _, _, err := m.write(t.Context(), c); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: the leader began another life, and it was written: %v", what, err)
		}
	}
	rev, err = m.Elect(t.Context(), move) // decides anew
	written(t, m, rev, err)
	if p, epoch := m.Snapshot().Topic("t").Partitions[0], rev; p.Leader != 2 || p.LeaderBrokerEpoch >= epoch {
		t.Errorf("moved: %+v", p)
	}
}

// A write whose answer is lost is settled by sending it again: it happened once.
func TestLostAnswers(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	kv := m.client.KV
	lose := &losing{KV: kv}
	m.client.KV = lose
	defer func() { m.client.KV = kv }()

	once := func(what string, write func() (int64, error)) {
		t.Helper()
		for _, arrives := range []bool{true, false} {
			lose.next(arrives)
			rev, err := write()
			if err != nil {
				t.Fatalf("%s, lost one arrives %v: %v", what, arrives, err)
			}
			written(t, m, rev, nil)
			if lose.armed.Load() {
				t.Fatalf("%s wrote nothing", what)
			}
		}
	}
	n := 0
	once("create", func() (int64, error) {
		n++
		return m.CreateTopic(t.Context(), NewTopic{Name: fmt.Sprint("t", n), ID: NewID(), Replicas: here(1)})
	})
	once("add partitions", func() (int64, error) {
		return m.AddPartitions(t.Context(), "t1", len(m.Snapshot().Topic("t1").Partitions), here(2))
	})
	once("configs", func() (int64, error) {
		return m.SetConfigs(t.Context(), TopicConfigs, "t1", func(c map[string]string) (map[string]string, error) {
			return map[string]string{"n": c["n"] + "x"}, nil
		})
	})
	once("elect", func() (int64, error) { return m.Elect(t.Context(), elections(m.Snapshot().Topic("t1"))) })
	once("delete", func() (int64, error) {
		name := fmt.Sprint("t", n)
		n--
		if name == "t1" {
			return m.DeleteTopic(t.Context(), name, m.Snapshot().Topic(name).ID)
		}
		topic := m.Snapshot().Topic("t1")
		if len(topic.Partitions) != 5 || topic.Partitions[4].LeaderEpoch != 2 {
			t.Errorf("t1 has %d partitions, the last is %+v", len(topic.Partitions), topic.Partitions[4])
		}
		return m.DeleteTopic(t.Context(), name, m.Snapshot().Topic(name).ID)
	})
	if m.Snapshot().NumTopics() != 0 {
		t.Errorf("%d topics are left", m.Snapshot().NumTopics())
	}
}

// losing is etcd behind a connection that loses an answer or a request.
type losing struct {
	clientv3.KV
	armed, arrives atomic.Bool
}

func (l *losing) next(arrives bool) {
	l.arrives.Store(arrives)
	l.armed.Store(true)
}

func (l *losing) Txn(ctx context.Context) clientv3.Txn { return &losingTxn{l.KV.Txn(ctx), l} }

type losingTxn struct {
	clientv3.Txn
	l *losing
}

func (t *losingTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.Txn = t.Txn.If(c...); return t }
func (t *losingTxn) Then(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(o...); return t }
func (t *losingTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }

func (t *losingTxn) Commit() (*clientv3.TxnResponse, error) {
	if !t.l.armed.CompareAndSwap(true, false) {
		return t.Txn.Commit()
	}
	if t.l.arrives.Load() {
		if _, err := t.Txn.Commit(); err != nil {
			return nil, err
		}
	}
	return nil, context.DeadlineExceeded
}

// A topic of many partitions is seen whole or not at all, and its creation goes
// on after a break.
func TestTopicInChunks(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	const n = 2*topicChunk + 1
	stop := make(chan struct{})
	var seen sync.WaitGroup
	seen.Go(func() {
		for {
			snap, changed := m.Watch()
			if topic := snap.Topic("wide"); topic != nil && len(topic.Partitions) != n {
				t.Errorf("seen with %d partitions", len(topic.Partitions))
			}
			select {
			case <-changed:
			case <-stop:
				return
			}
		}
	})
	began := time.Now()
	wide := created(t, m, "wide", n)
	t.Logf("%d partitions in %v", n, time.Since(began))
	close(stop)
	seen.Wait()
	rev, err := m.AddPartitions(t.Context(), "wide", n, here(topicChunk+1))
	written(t, m, rev, err)
	if got := m.Snapshot().NumPartitions(); got != n+topicChunk+1 {
		t.Errorf("%d partitions", got)
	}
	rev, err = m.DeleteTopic(t.Context(), "wide", wide.ID)
	written(t, m, rev, err)
	if m.Snapshot().NumPartitions() != 0 || m.Snapshot().topics.size != 0 {
		t.Errorf("%d partitions are left", m.Snapshot().NumPartitions())
	}
}

func TestHalfDoneCreation(t *testing.T) {
	t.Parallel()
	m := started(t, testConfig(t.TempDir()))
	half := func(name string, brokerEpoch int64) [16]byte {
		t.Helper()
		topic := NewTopic{Name: name, ID: NewID(), Replicas: here(topicChunk + 5)}
		v := topicValue{ID: EncodeID(topic.ID), Partitions: topicChunk + 5, ReplicationFactor: 1, Created: time.Now()}
		v.Creating = &creating{Broker: 1, BrokerEpoch: brokerEpoch, Replicas: topic.Replicas}
		rev, err := m.beginTopic(t.Context(), topic, v)
		written(t, m, rev, err)
		return topic.ID
	}
	m.creating.add("busy")
	busy := half("busy", m.Session().BrokerEpoch())
	if snap := m.Snapshot(); snap.Topic("busy") != nil || !snap.KnowsTopicID(busy) || snap.NumTopics() != 0 || snap.unfinished != 1 {
		t.Errorf("a topic that is being created is shown")
	}
	if _, err := m.CreateTopic(t.Context(), NewTopic{Name: "busy", ID: NewID(), Replicas: here(1)}); !errors.Is(err, ErrExists) {
		t.Errorf("created over one that is being created: %v", err)
	}
	half("dead", 1) // of a life that is over: the controller goes on
	eventually(t, patience, func() error {
		if topic := m.Snapshot().Topic("dead"); topic == nil || len(topic.Partitions) != topicChunk+5 {
			return fmt.Errorf("dead is %v", topic)
		}
		return nil
	})
	if m.Snapshot().Topic("busy") != nil {
		t.Error("finished for a creator who is alive and busy")
	}
	m.creating.remove("busy")
	eventually(t, patience, func() error {
		if m.Snapshot().Topic("busy") == nil || m.Snapshot().unfinished != 0 {
			return errors.New("busy is still hidden")
		}
		return nil
	})
}
