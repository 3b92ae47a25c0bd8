package broker

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
	"chronik/wire"
)

// toldState is what the leader was last told of a partition.
type toldState struct {
	p                      *followed
	offset, flushed, start int64
	lastEpoch              int32
	seen                   int32 // partition epoch
}

// look lists what may have changed since it was told: what the last answers were about and
// what waits; all when other partitions are followed, and now and then. It takes out of the
// session what is not followed any more.
func (l *fetchLink) look(req *fetchBuilder, now time.Time) []*followed {
	version := l.f.version.Load()
	if l.owed == 0 && !l.fresh && version == l.version && now.Sub(l.walked) < replicaWalk {
		return slices.Collect(maps.Keys(l.touched))
	}
	wanted := l.f.wanted(nil)
	if l.owed > 0 {
		return wanted
	}
	clear(l.touched)
	current := make(map[logstore.ID]bool, len(wanted))
	for _, p := range wanted {
		l.touched[p], current[p.id] = true, true
	}
	for id := range l.told {
		if !current[id] { // one that is followed in another epoch is told: the leader adds before it forgets
			req.forget(id)
			delete(l.told, id)
		}
	}
	l.version, l.walked = version, now
	return wanted
}

// tell puts what has changed of a partition into the request, and returns when it may be
// asked for, if that is not now.
func (l *fetchLink) tell(req *fetchBuilder, p *followed, now time.Time) (again time.Time) {
	if !p.again.After(now) && p.failed() { // it takes nothing, so it is not told to have what it has
		if l.f.b.rebuild(p); p.failed() {
			p.again = now.Add(replicaFailed)
		}
	}
	if wait := l.f.b.mayTake(p, now); wait > 0 && !p.again.After(now) {
		p.again = now.Add(wait)
	}
	was, known := l.told[p.id]
	switch {
	case p.again.After(now):
		if known && l.owed == 0 {
			req.forget(p.id)
			delete(l.told, p.id)
		}
		return p.again
	case known && l.owed > 0: // the answer that is owed tells, of an earlier epoch too: it must not be taken for one of this
		return now
	}
	delete(l.touched, p)
	if is := stateOf(p); is != was {
		req.add(is)
		l.told[p.id] = is
	}
	return now
}

// toldTooMuch reports whether a log has lost what the leader was told of it: another
// request would tell that again, until one that comes after the answer takes it back.
func (l *fetchLink) toldTooMuch(wanted []*followed) bool {
	return slices.ContainsFunc(wanted, func(p *followed) bool {
		was := l.told[p.id]
		return was.p == p && (p.failed() || p.at().End() < was.offset)
	})
}

func stateOf(p *followed) toldState {
	seen := p.seen.Load() // first: what is told is not older
	log := p.at()
	epoch := log.LastEpoch() // first: of a later end the newest epoch might not be known yet
	return toldState{p: p, offset: log.End(), flushed: log.Flushed(), start: log.Start(), lastEpoch: epoch, seen: seen}
}

// fetchBuilder gathers the partitions of a request by topic.
type fetchBuilder struct {
	req    *kmsg.FetchRequest
	topics map[[16]byte]int
	gone   map[[16]byte]int
}

func newFetchBuilder() *fetchBuilder {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MinBytes = replicaFetchVersion, 1
	req.MaxWaitMillis, req.MaxBytes = int32(replicaFetchWait.Milliseconds()), replicaAnswerMost
	return &fetchBuilder{req: req, topics: map[[16]byte]int{}, gone: map[[16]byte]int{}}
}

func (b *fetchBuilder) empty() bool { return len(b.topics) == 0 }

func (b *fetchBuilder) add(is toldState) {
	i, ok := b.topics[is.p.id.Topic]
	if !ok {
		i = len(b.req.Topics)
		b.topics[is.p.id.Topic] = i
		t := kmsg.NewFetchRequestTopic()
		t.TopicID = is.p.id.Topic
		b.req.Topics = append(b.req.Topics, t)
	}
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.CurrentLeaderEpoch, rp.PartitionMaxBytes = is.p.id.Partition, is.p.epoch, replicaPartitionMost
	rp.FetchOffset, rp.LastFetchedEpoch, rp.LogStartOffset = is.offset, is.lastEpoch, is.start
	rp.UnknownTags.Set(wire.FlushedEndTag, binary.BigEndian.AppendUint64(nil, uint64(is.flushed)))
	rp.UnknownTags.Set(wire.PartitionEpochTag, binary.BigEndian.AppendUint32(nil, uint32(is.seen)))
	b.req.Topics[i].Partitions = append(b.req.Topics[i].Partitions, rp)
}

func (b *fetchBuilder) forget(id logstore.ID) {
	i, ok := b.gone[id.Topic]
	if !ok {
		i = len(b.req.ForgottenTopics)
		b.gone[id.Topic] = i
		t := kmsg.NewFetchRequestForgottenTopic()
		t.TopicID = id.Topic
		b.req.ForgottenTopics = append(b.req.ForgottenTopics, t)
	}
	b.req.ForgottenTopics[i].Partitions = append(b.req.ForgottenTopics[i].Partitions, id.Partition)
}
