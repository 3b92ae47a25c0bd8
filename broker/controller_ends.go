package broker

import (
	"context"
	"fmt"
	"time"

	"chronik/meta"
	"chronik/wire"
)

// inquiries are what the controller was told of the ends of logs, by partitions that
// wait for an election. The controller's goroutine alone has it.
type inquiries struct {
	b       *Broker
	open    map[*meta.Partition]*inquiry
	waiting int // elections that waited for replicas at the last look
}

// inquiry is about one partition as its key is: an answer holds as long as that does and
// the life that gave it, for nobody writes without a leader.
type inquiry struct {
	answers map[brokerLife]logEnd
	asked   map[brokerLife]time.Time // last
	began   time.Time                // first answer, zero before
}

const (
	// askAgain is after how long silent replicas are asked again, while the election
	// waits for them.
	askAgain = time.Second
	// silentFor is for how long the election waits for others after the first answer.
	silentFor = 30 * time.Second
)

// decide asks about the partitions of questions what is not known yet, and plans for
// those for which that is enough; the others stay open.
func (q *inquiries) decide(ctx context.Context, snap *meta.Snapshot, questions []question) []meta.Election {
	q.ask(ctx, snap, questions)
	var changes []meta.Election
	v := snapshotView{snap}
	now := time.Now()
	for _, qu := range questions {
		in := q.open[qu.p]
		rules := q.b.planRules(qu.topic, qu.p)
		rules.told = in.told(snap)
		rules.waited = !in.began.IsZero() && now.Sub(in.began) >= silentFor
		if e, ok := planPartition(v, qu.p, rules); ok {
			e.Topic, e.Partition, e.Base = qu.topic.Name, qu.num, qu.p
			changes = append(changes, e)
			q.tell(qu, e, rules)
		}
	}
	open := len(questions) - len(changes)
	if open > q.waiting {
		q.b.log.Warn("elections wait until all replicas have told where their logs end", "partitions", open, "afterTheFirst", silentFor)
	}
	q.waiting = open
	return changes
}

// tell logs why the leader of one partition is elected.
func (q *inquiries) tell(qu question, e meta.Election, rules planRules) {
	log := q.b.log.Debug
	if len(qu.p.ISR)+len(qu.p.ELR) == 0 {
		log = q.b.log.Info // beside the loud line: what there was to choose from
	}
	log("elected by where logs end", "topic", qu.topic.Name, "partition", qu.num, "leader", e.Leader, "told", fmt.Sprintf("%+v", rules.told))
}

// forget ends all inquiries but those about the partitions of questions.
func (q *inquiries) forget(questions []question) {
	old := q.open
	q.open = map[*meta.Partition]*inquiry{}
	for _, qu := range questions {
		if q.open[qu.p] = old[qu.p]; q.open[qu.p] == nil {
			q.open[qu.p] = &inquiry{answers: map[brokerLife]logEnd{}, asked: map[brokerLife]time.Time{}}
		}
	}
}

// ask asks each broker at once for all that it has not told.
func (q *inquiries) ask(ctx context.Context, snap *meta.Snapshot, questions []question) {
	q.forget(questions)
	wanted := map[brokerLife][]wire.PeerPartition{}
	about := map[brokerLife][]*inquiry{}
	now := time.Now()
	for _, qu := range questions {
		in := q.open[qu.p]
		for _, id := range qu.ask {
			epoch, live := snap.Live(id)
			l := brokerLife{id, epoch}
			if _, known := in.answers[l]; live && !known && now.Sub(in.asked[l]) >= askAgain {
				in.asked[l] = now
				wanted[l] = append(wanted[l], wire.PeerPartition{Topic: qu.topic.ID, Partition: qu.num})
				about[l] = append(about[l], in)
			}
		}
	}
	for l, ends := range q.b.peers.askLogEnds(ctx, wanted) {
		for i, e := range ends {
			about[l][i].take(l, e, now)
		}
	}
}

// take notes an answer. A log that failed is asked about again: it may be back by then.
func (in *inquiry) take(l brokerLife, e wire.PeerLogEnd, now time.Time) {
	if e.State == wire.PeerLogFailed {
		return
	}
	if in.began.IsZero() {
		in.began = now
	}
	in.answers[l] = logEnd{e.LeaderEpoch, max(e.End, 0), e.State == wire.PeerLogShort}
}

// told are the answers of brokers that still live and serve.
func (in *inquiry) told(snap *meta.Snapshot) map[int32]logEnd {
	told := map[int32]logEnd{}
	for l, e := range in.answers {
		if epoch, _ := snap.Live(l.id); epoch == l.epoch && snap.IsActive(l.id) {
			told[l.id] = e
		}
	}
	return told
}
