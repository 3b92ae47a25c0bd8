package broker

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
	"chronik/meta"
)

// asksToAppend has a node asked to append; the error code comes.
func (ns *nodes) asksToAppend(id int32, topic string) <-chan int16 {
	answer := make(chan int16, 1)
	go func() { answer <- ns.produceTo(id, 12, topic).Topics[0].Partitions[0].ErrorCode }()
	return answer
}

// asksToRead has a node asked to read in an epoch that it does not know yet; the error code
// comes.
func (ns *nodes) asksToRead(id int32, topic string) <-chan int16 {
	answer := make(chan int16, 1)
	go func() {
		answer <- ns.fetchFrom(id, 12, topic, func(req *kmsg.FetchRequest, rp *kmsg.FetchRequestTopicPartition) {
			req.MaxWaitMillis, req.MinBytes, rp.CurrentLeaderEpoch = 10_000, 1, 1
		}).Topics[0].Partitions[0].ErrorCode
	}()
	return answer
}

// quiet fails when an answer comes within a moment.
func quiet(t *testing.T, answers ...<-chan int16) {
	t.Helper()
	time.Sleep(300 * time.Millisecond) // the moment
	for i, a := range answers {
		select {
		case code := <-a:
			t.Fatalf("answer %d: error code %d", i, code)
		default:
		}
	}
}

// elected has a node win the first partition of a topic, and know of it.
func (ns *nodes) elected(topic string, leader int32) {
	ns.t.Helper()
	snap := ns.node(leader).snap
	eventually(ns.t, func() error {
		id, _ := snap().Controller()
		p := snap().Topic(topic).Partitions[0]
		if p.Leader == leader {
			return nil
		}
		_, err := ns.node(id).meta.Elect(ns.t.Context(), []meta.Election{{Topic: topic, Leader: leader, Base: p}})
		return errors.Join(err, fmt.Errorf("node %d leads", p.Leader))
	})
}

// A leader that has not taken up what it won lets those wait who know already, and serves
// them when it has.
func TestNewLeaderTakesUp(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": "false"})
	ns.created("t", nil, 1, 2)
	b := ns.node(2)
	b.topics.mu.Lock()
	taken := sync.OnceFunc(b.topics.mu.Unlock)
	defer taken() // before the nodes stop
	ns.elected("t", 2)
	l := b.store.Log(logstore.ID{Topic: b.snap().Topic("t").ID})
	eventually(t, func() error { // the disk is not part of what they wait for
		if !l.Named() {
			return errors.New("the log is not noted yet")
		}
		return nil
	})
	produced, fetched := ns.asksToAppend(2, "t"), ns.asksToRead(2, "t")
	quiet(t, produced, fetched)
	taken()
	for i, answer := range []<-chan int16{produced, fetched} {
		if code := <-answer; code != 0 {
			t.Errorf("answer %d after it was taken up: error code %d", i, code)
		}
	}
}

// A replica lets those wait who ask it for what a leader led that died, until somebody
// leads, or for as long as Metadata would be held.
func TestReplicaOfTheDead(t *testing.T) {
	ns := startNodes(t, 3, nil)
	ns.created("t", nil, 1, 2)
	life, lose := ns.losing(2, 1)
	lose(time.Now().Add(time.Minute))
	produced, fetched := ns.asksToAppend(2, "t"), ns.asksToRead(2, "t")
	quiet(t, produced, fetched)
	ns.node(2).peers.note(1, func(o *observed) { o.answered(life.epoch, false, time.Now()) })
	if code := <-produced; code != kerr.NotLeaderForPartition.Code {
		t.Errorf("error code %d of a replica whose leader was found", code)
	}
	if code := <-fetched; code == 0 {
		t.Error("a replica whose leader was found serves an epoch that it does not know")
	}
	lose(time.Now().Add(-holdMost))
	began := time.Now()
	produced = ns.asksToAppend(2, "t")
	if code := <-produced; code != kerr.NotLeaderForPartition.Code || time.Since(began) > time.Second {
		t.Errorf("error code %d after %v of a leader that nobody waits for", code, time.Since(began))
	}
	lose(time.Now().Add(time.Minute))
	if code := <-ns.asksToAppend(2, "t"); code != kerr.NotLeaderForPartition.Code {
		t.Errorf("error code %d after the wait", code)
	}
}

// So does a replica of a leader that stops: that may have told already who follows it.
func TestReplicaOfOneThatStops(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"replica.lag.time.max.ms": "1000"})
	ns.created("t", nil, 1, 2)
	release := ns.held(2, "t") // so that nobody can follow
	defer release()
	if err := produceOne(ns, "t", "node 2 lags", 1); err != nil {
		t.Fatal(err)
	}
	ns.isr("t", 1)
	if err := ns.node(1).meta.SetState(t.Context(), meta.Draining); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if ns.node(2).snap().IsActive(1) {
			return errors.New("node 1 does not stop")
		}
		return nil
	})
	produced := ns.asksToAppend(2, "t")
	quiet(t, produced)
	if code := <-produced; code != kerr.NotLeaderForPartition.Code {
		t.Errorf("error code %d after the wait", code)
	}
}

// While a partition is waited for, a consumer is given what others have, and nothing of it;
// what lasts is told.
func TestErrorKeptBack(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	makeTopics(t, b, "awaited", "other")
	c := wired(t, b)
	defer c.Close()
	session := kmsg.NewFetchResponse()
	fetch := func(epoch, claimed int32, topics ...string) (codes map[string]int16) {
		t.Helper()
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MinBytes, req.MaxBytes, req.MaxWaitMillis = 11, 1, 1<<20, 100
		req.SessionID, req.SessionEpoch = session.SessionID, epoch
		for _, topic := range topics {
			ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
			ft.Topic, fp.PartitionMaxBytes, fp.CurrentLeaderEpoch = topic, 1<<20, claimed
			ft.Partitions = append(ft.Partitions, fp)
			req.Topics = append(req.Topics, ft)
		}
		frame, _ := framed(req)
		answer, err := c.exchange(frame)
		session = kmsg.NewFetchResponse()
		session.Version = req.Version
		if err := errors.Join(err, session.ReadFrom(answer[4:])); err != nil {
			t.Fatal(err)
		}
		codes = map[string]int16{}
		for _, rt := range session.Topics {
			codes[rt.Topic] = rt.Partitions[0].ErrorCode
		}
		return codes
	}
	fetch(0, -1, "awaited", "other")
	record, _ := framed(oneRecord(t, "other"))
	if _, err := c.exchange(record); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if codes := fetch(1, 1000, "awaited"); len(codes) != 1 || codes["other"] != 0 {
		t.Errorf("told %v, want the records of another partition alone", codes)
	}
	for epoch := int32(2); ; epoch++ {
		code := fetch(epoch, -1)["awaited"]
		switch waited := time.Since(began); {
		case code != 0 && waited < holdMost, waited > 2*holdMost:
			t.Fatalf("error code %d after %v", code, waited)
		case code != 0:
			return
		}
	}
}
