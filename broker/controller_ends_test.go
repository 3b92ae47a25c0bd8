package broker

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
	"chronik/meta"
)

// controller is the node that does the controller's work.
func (ns *nodes) controller() (b *Broker) {
	ns.t.Helper()
	eventually(ns.t, func() error {
		id, ok := ns.brokers[0].snap().Controller()
		if !ok {
			return errors.New("no controller")
		}
		b = ns.node(id)
		return nil
	})
	return b
}

// members writes who may lead partition 0 of a topic, and that nobody does.
func (ns *nodes) members(topic string, m meta.Members) {
	ns.t.Helper()
	eventually(ns.t, func() error {
		b := ns.controller()
		p := b.snap().Topic(topic).Partitions[0]
		rev, err := b.meta.Elect(ns.t.Context(), []meta.Election{{Topic: topic, Leader: -1, Members: &m, Base: p}})
		if err != nil {
			return err
		}
		for _, b := range ns.brokers {
			if err := b.waitApplied(ns.t.Context(), rev); err != nil {
				return err
			}
		}
		return nil
	})
}

// grow appends a record to the logs of some replicas, while nobody leads.
func (ns *nodes) grow(topic string, replicas ...int32) {
	ns.t.Helper()
	var record []byte
	for _, id := range replicas {
		mt := ns.node(id).snap().Topic(topic)
		l, epoch := ns.node(id).store.Log(logstore.ID{Topic: mt.ID}), mt.Partitions[0].LeaderEpoch
		if record == nil {
			record = oneBatch(ns.t, l.End(), epoch)
		}
		if err := l.AppendReplica(epoch, record); err != nil {
			ns.t.Fatal(err)
		}
	}
}

// leaveToPageCache sets that acknowledgements of a topic wait for no flush.
func (ns *nodes) leaveToPageCache(topic string) {
	ns.t.Helper()
	flush := altering(kmsg.ConfigResourceTypeTopic, topic, "flush.messages", new("1000000"))
	if code := direct[*kmsg.IncrementalAlterConfigsResponse](ns.t, ns.client(), flush).Resources[0].ErrorCode; code != 0 {
		ns.t.Fatal(kerr.ErrorForCode(code))
	}
}

// leads waits until a broker leads partition 0 of a topic.
func (ns *nodes) leads(topic string, id int32) {
	ns.t.Helper()
	eventually(ns.t, func() error {
		if p := ns.controller().snap().Topic(topic).Partitions[0]; p.Leader != id {
			return fmt.Errorf("%+v", *p)
		}
		return nil
	})
}

// The controller asks those that may lead where their logs end, and elects the fullest.
func TestElectFullest(t *testing.T) {
	ns := startNodes(t, 3, nil)
	cl := ns.client(kgo.MetadataMinAge(100 * time.Millisecond))
	for topic, may := range map[string]func(topic string){
		"eligible":   func(topic string) { ns.members(topic, meta.Members{ISR: ids(), ELR: ids(1, 2, 3)}) },
		"page-cache": ns.leaveToPageCache,
	} {
		ns.created(topic, nil, 1, 2, 3)
		produceAll(t, cl, topic, 5)
		ns.members(topic, meta.Members{ISR: ids(), LastKnown: ids(1)}) // nobody leads
		ns.grow(topic, 2, 3)
		ns.grow(topic, 3)
		may(topic)
		ns.leads(topic, 3)
		produceAll(t, cl, topic, 5)
		ns.isr(topic, 1, 2, 3)
		ns.alike(topic, 12)
	}
}

// What is on no disk any more is not made up by a log that happens to be there: without an
// operator only topics that leave flushing to the page cache are led again, and of those
// only when all have told, or others have not for long.
func TestElectionWaitsForAll(t *testing.T) {
	ns := startNodes(t, 3, nil)
	for _, topic := range []string{"durable", "page-cache"} {
		ns.created(topic, nil, 1, 2, 3)
		produceAll(t, ns.client(), topic, 5)
		ns.members(topic, meta.Members{ISR: ids(), LastKnown: ids(3)})
		ns.grow(topic, 3)
	}
	ns.stop(3)
	eventually(t, func() error {
		if b := ns.controller(); b == ns.node(3) || b.snap().IsActive(3) {
			return errors.New("node 3 is there")
		}
		return nil
	})
	ns.brokers = ns.brokers[:2]
	ns.leaveToPageCache("page-cache")
	b := ns.node(1)
	snap, questions := b.snap(), []question(nil)
	eventually(t, func() error {
		snap = b.snap()
		if _, questions = plan(snap, b.planRules); len(questions) == 0 {
			return errors.New("nobody is to be asked")
		}
		return nil
	})
	if len(questions) != 1 || questions[0].topic.Name != "page-cache" || !slices.Equal(questions[0].ask, ids(1, 2)) {
		t.Fatalf("questions %+v", questions)
	}
	q := inquiries{b: b}
	var in *inquiry
	eventually(t, func() error {
		if early := q.decide(t.Context(), snap, questions); len(early) > 0 || len(q.open) != 1 {
			t.Fatalf("elected %+v before all have told", early)
		}
		if in = q.open[questions[0].p]; len(in.answers) != 2 {
			return fmt.Errorf("answers %+v", in.answers)
		}
		return nil
	})
	in.began = in.began.Add(-silentFor)
	if late := q.decide(t.Context(), snap, questions); len(late) != 1 || late[0].Leader != 1 {
		t.Errorf("elected %+v at last", late)
	}
	ns.brokers = ns.brokers[:3]
	ns.begin(3)
	ns.ready(3)
	ns.leads("page-cache", 3)
	if p := ns.controller().snap().Topic("durable").Partitions[0]; p.Leader != -1 {
		t.Errorf("%+v", *p)
	}
}
