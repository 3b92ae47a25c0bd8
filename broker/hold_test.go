package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// Scripts: milliseconds, what happens -> which lives must not be named, and until when.
func TestMourned(t *testing.T) {
	for name, script := range map[string]string{
		"what was over at first is nobody's news": `
			0 lives 1:10 2:20
			100 lives 1:10 2:20`,
		"a life ends, and another begins": `
			0 lives 1:10 2:20
			100 lives 1:10 -> 2:20 until 1600
			300 lives 1:10 2:30 -> 2:20 until 1600
			1599 ask -> 2:20 until 1600
			1600 ask
			1700 lives 1:10 2:30`,
		"a life is replaced in one step": `
			0 lives 1:10 2:20
			50 lives 1:11 2:20 -> 1:10 until 1550`,
		"noticed when it was lost, not when it was over": `
			0 lives 1:10 2:20
			100 lost 2:20 -> 2:20 until 1600
			700 lives 1:10 -> 2:20 until 1600
			1650 ask`,
		"lost for long, then over": `
			0 lives 1:10 2:20
			100 lost 2:20 -> 2:20 until 1600
			1700 ask
			1800 lives 1:10`,
		"lost and found": `
			0 lives 1:10 2:20
			100 lost 2:20 -> 2:20 until 1600
			101 found 2:20
			5000 lives 1:10 2:20`,
		"it dies again and again": `
			0 lives 1:10 2:20
			100 lives 1:10 -> 2:20 until 1600
			1000 lives 1:10 2:30 -> 2:20 until 1600
			1200 lives 1:10 -> 2:20 until 1600, 2:30 until 2700
			2000 ask -> 2:30 until 2700`,
	} {
		t.Run(name, func(t *testing.T) {
			m, lost, base := newMourned(), map[brokerLife]time.Time{}, time.Now()
			for line := range strings.Lines(strings.TrimSpace(script)) {
				event, want, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				fields := strings.Fields(event)
				now := base.Add(sscan(t, fields[0], "%d") * time.Millisecond)
				named := map[int32]int64{}
				for _, f := range fields[2:] {
					var l brokerLife
					if _, err := fmt.Sscanf(f, "%d:%d", &l.id, &l.epoch); err != nil {
						t.Fatal(err)
					}
					named[l.id] = l.epoch
					switch fields[1] {
					case "lost":
						lost[l] = now
					case "found":
						delete(lost, l)
					}
				}
				if fields[1] == "lives" {
					m.see(named, lost, now)
				}
				if got := unnamedText(m.unnamed(lost, now), base); got != want {
					t.Errorf("%s: %q, want %q", event, got, want)
				}
			}
		})
	}
}

// A broker is listed for a while after its life ended, whether another has begun or not.
func TestMournedListed(t *testing.T) {
	m, base := newMourned(), time.Now()
	at := func(ms time.Duration) time.Time { return base.Add(ms * time.Millisecond) }
	m.see(map[int32]int64{1: 10, 2: 20}, nil, at(0))
	if m.listed(1, at(1)) || m.listed(3, at(1)) {
		t.Error("listed without an end")
	}
	m.see(map[int32]int64{1: 10}, nil, at(1000))
	m.see(map[int32]int64{1: 10, 2: 30}, nil, at(1200))
	if !m.listed(2, at(5999)) || m.listed(2, at(6000)) || m.listed(1, at(1300)) {
		t.Error("not listed for five seconds from the end on")
	}
	m.see(map[int32]int64{1: 10}, nil, at(7000))
	if !m.listed(2, at(7001)) {
		t.Error("its second end does not count")
	}
}

func sscan(t *testing.T, text, format string) (n time.Duration) {
	t.Helper()
	if _, err := fmt.Sscanf(text, format, &n); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return n
}

func unnamedText(until map[brokerLife]time.Time, base time.Time) string {
	var all []string
	for l, at := range until {
		all = append(all, fmt.Sprintf("%d:%d until %d", l.id, l.epoch, at.Sub(base).Milliseconds()))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// askMetadata asks a broker for one topic.
func askMetadata(t *testing.T, b *Broker, topic string) kmsg.MetadataResponseTopicPartition {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, client(t, b))
	if err != nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		t.Errorf("metadata of %s: %+v, %v", topic, resp, err)
		return kmsg.NewMetadataResponseTopicPartition()
	}
	return resp.Topics[0].Partitions[0]
}

// Metadata that would name a leader that is missing waits until it is found; what names
// nobody that is missing does not, nor what has waited long enough.
func TestMetadataHeld(t *testing.T) {
	ns := startNodes(t, 3, nil)
	b := ns.node(1)
	for topic, leader := range map[string]int32{"held": 2, "other": 1} {
		if err := b.createTopic(t.Context(), meta.NewTopic{Name: topic, ID: meta.NewID(), Replicas: [][]int32{{leader, 3}}}); err != nil {
			t.Fatal(err)
		}
	}
	life, lose := ns.losing(1, 2)
	lose(time.Now().Add(time.Minute))
	if p := askMetadata(t, b, "other"); p.Leader != 1 {
		t.Errorf("another topic: leader %d", p.Leader)
	}
	answer := make(chan kmsg.MetadataResponseTopicPartition, 1)
	go func() { answer <- askMetadata(t, b, "held") }()
	select {
	case p := <-answer:
		t.Errorf("answered with leader %d, error code %d", p.Leader, p.ErrorCode)
	case <-time.After(300 * time.Millisecond):
	}
	b.peers.note(2, func(o *observed) { o.answered(life.epoch, false, time.Now()) })
	if p := <-answer; p.Leader != 2 || p.ErrorCode != 0 {
		t.Errorf("leader %d, error code %d after it was found", p.Leader, p.ErrorCode)
	}

	lose(time.Now().Add(-holdMost))
	if p := askMetadata(t, b, "held"); p.Leader != -1 || p.ErrorCode != kerr.LeaderNotAvailable.Code {
		t.Errorf("leader %d, error code %d of a leader that nobody listens for", p.Leader, p.ErrorCode)
	}
}

// losing has a test say from when on one node misses another, in which life.
func (ns *nodes) losing(at, id int32) (life brokerLife, lose func(at time.Time)) {
	ns.t.Helper()
	b := ns.node(at)
	life = brokerLife{id, ns.node(id).meta.Session().BrokerEpoch()}
	eventually(ns.t, func() error {
		if !b.peers.reaches(life) {
			return fmt.Errorf("node %d is not reached", id)
		}
		return nil
	})
	b.peers.mu.Lock()
	pr := b.peers.probes[life]
	b.peers.mu.Unlock()
	pr.cancel()
	eventually(ns.t, func() error { // an answer may be on its way
		b.peers.mu.Lock()
		defer b.peers.mu.Unlock()
		if pr.link != nil {
			return fmt.Errorf("node %d is still asked", id)
		}
		return nil
	})
	return life, func(at time.Time) { b.peers.note(id, func(o *observed) { o.missing = missing{life.epoch, at} }) }
}

// So do the other answers that name leaders.
func TestLeadersHeld(t *testing.T) {
	ns := startNodes(t, 3, nil)
	b := ns.node(1)
	for _, topic := range []string{"held", offsetsTopic} {
		if err := b.createTopic(t.Context(), meta.NewTopic{Name: topic, ID: meta.NewID(), Replicas: [][]int32{{2, 3}}}); err != nil {
			t.Fatal(err)
		}
	}
	life, lose := ns.losing(1, 2)
	cl := client(t, b)
	for what, ask := range map[string]func() (leader int32, code int16){
		"FindCoordinator": func() (int32, int16) {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g"}
			resp := direct[*kmsg.FindCoordinatorResponse](t, cl, req)
			return resp.Coordinators[0].NodeID, resp.Coordinators[0].ErrorCode
		},
		"DescribeTopicPartitions": func() (int32, int16) {
			req := kmsg.NewPtrDescribeTopicPartitionsRequest()
			req.ResponsePartitionLimit, req.Topics = 10, []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "held"}}
			resp := direct[*kmsg.DescribeTopicPartitionsResponse](t, cl, req)
			return resp.Topics[0].Partitions[0].LeaderID, resp.Topics[0].Partitions[0].ErrorCode
		},
	} {
		lose(time.Now().Add(time.Minute))
		type answer struct {
			leader int32
			code   int16
		}
		answers := make(chan answer, 1)
		go func() {
			defer close(answers)
			leader, code := ask()
			answers <- answer{leader, code}
		}()
		select {
		case a := <-answers:
			t.Errorf("%s: answered with %+v", what, a)
		case <-time.After(300 * time.Millisecond):
			b.peers.note(2, func(o *observed) { o.answered(life.epoch, false, time.Now()) })
			if a := <-answers; a.leader != 2 || a.code != 0 {
				t.Errorf("%s: %+v after it was found", what, a)
			}
		}
		lose(time.Now().Add(-holdMost))
		if leader, code := ask(); leader != -1 || code == 0 {
			t.Errorf("%s: leader %d, error code %d of one that nobody listens for", what, leader, code)
		}
	}
}

// A node alone never waits, whatever became of its earlier lives.
func TestMetadataOfOneNode(t *testing.T) {
	dir := t.TempDir()
	b, stop := started(t, dir, nil)
	produceAll(t, client(t, b, kgo.AllowAutoTopicCreation()), "t", 10)
	stop()
	b, _ = started(t, dir, nil)
	topics := func(snap *meta.Snapshot, each func(*meta.Topic)) { askedTopics(snap, &kmsg.MetadataRequest{}, each) }
	if until := b.peers.heldUntil(b.snap(), topics, time.Now()); !until.IsZero() {
		t.Errorf("held for %v", time.Until(until))
	}
	if p := askMetadata(t, b, "t"); p.Leader != 1 || p.LeaderEpoch < 1 {
		t.Errorf("leader %d in epoch %d", p.Leader, p.LeaderEpoch)
	}
}
