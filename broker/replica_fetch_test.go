package broker

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
	"chronik/wire/batch"
)

// linkTo is a connection to a leader of which the test is the other end: requests go
// nowhere, answers are those of the test.
func linkTo(t *testing.T, b *Broker, parts ...*followed) *fetchLink {
	t.Helper()
	here, there := net.Pipe()
	go io.Copy(io.Discard, there) //nolint:errcheck // until the pipe is closed
	t.Cleanup(func() { here.Close() })
	f := &fetcher{clock: &fetchClock{}, b: b, leader: 2, wake: make(nudge, 1), parts: map[logstore.ID]*followed{}}
	for _, p := range parts {
		f.add(p)
	}
	return newFetchLink(f, here)
}

// asks has the link send what is due, and reports whether it sent anything.
func (l *fetchLink) asks(t *testing.T) bool {
	t.Helper()
	before := l.sent
	if _, err := l.ask(); err != nil {
		t.Fatal(err)
	}
	return l.sent > before
}

// gets answers the oldest request, with records of one partition.
func (l *fetchLink) gets(t *testing.T, id logstore.ID, records []byte) {
	t.Helper()
	resp := kmsg.NewPtrFetchResponse()
	resp.Version, resp.SessionID = replicaFetchVersion, 1
	if records != nil {
		rt, rp := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
		rt.TopicID, rp.Partition, rp.RecordBatches = id.Topic, id.Partition, records
		rp.DivergingEpoch.EndOffset = -1
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
	}
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(l.sent-int32(l.owed)+1)), 0)
	l.owed--
	if err := l.answer(t.Context(), resp.AppendTo(frame)); err != nil {
		t.Fatal(err)
	}
}

func oneBatch(t *testing.T, offset int64, epoch int32) batch.Batch {
	t.Helper()
	one := batch.NewBuilder(batch.None)
	one.Add(time.Now().UnixMilli(), nil, []byte("a record"))
	records, err := one.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := batch.Batch(records)
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(epoch)
	return b
}

// What a leader answered in one epoch is not written in a later one that it leads, too:
// its log may have become another one in between.
func TestAnswerOfAnEarlierEpoch(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	log := logOf(t, b)
	in := func(epoch int32) *followed {
		return shown(&followed{id: log.ID(), leader: 2, epoch: epoch, store: b.store, logger: b.log, log: log})
	}
	was, is := in(5), in(7)
	l := linkTo(t, b, was)
	l.asks(t)
	l.gets(t, log.ID(), nil)
	if !l.asks(t) {
		t.Fatal("nothing was asked")
	}
	was.end()
	l.f.add(is)
	l.asks(t)
	l.gets(t, log.ID(), oneBatch(t, 0, 5))
	if log.End() != 0 {
		t.Errorf("the log ends at %d: it took records of epoch 5 in epoch 7", log.End())
	}
	for l.owed > 0 {
		l.gets(t, log.ID(), nil)
	}
	l.asks(t)
	l.gets(t, log.ID(), slices.Concat(oneBatch(t, 0, 5), oneBatch(t, 1, 7)))
	if log.End() != 2 {
		t.Errorf("the log ends at %d: what was asked for in epoch 7 is to be written", log.End())
	}
}

// What is followed in another epoch is named in the session, and not forgotten by the same
// request: the leader would be left without it, and the replica behind.
func TestFollowedAnewIsNotForgotten(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	log := logOf(t, b)
	in := func(epoch int32) *followed {
		return &followed{id: log.ID(), leader: 2, epoch: epoch, store: b.store, logger: b.log, log: log}
	}
	was := in(5)
	l := linkTo(t, b, was)
	l.asks(t)
	l.gets(t, log.ID(), nil)
	was.end()
	l.f.add(in(7))
	req, now := newFetchBuilder(), time.Now()
	for _, p := range l.look(req, now) {
		l.tell(req, p, now)
	}
	if len(req.req.Topics) != 1 || len(req.req.ForgottenTopics) != 0 || l.told[log.ID()].p.epoch != 7 {
		t.Errorf("names %+v, forgets %+v, told %+v", req.req.Topics, req.req.ForgottenTopics, l.told)
	}
}

// A replica that lost records does not tell again that it has them, for another that is
// new to be followed.
func TestLostRecordsAreNotToldAgain(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	log := logOf(t, b)
	p := shown(&followed{id: log.ID(), leader: 2, epoch: 5, store: b.store, logger: b.log, log: log})
	l := linkTo(t, b, p)
	l.asks(t)
	l.gets(t, log.ID(), oneBatch(t, 0, 5))
	l.asks(t)
	if err := p.restart(0); err != nil {
		t.Fatal(err)
	}
	other, err := b.store.Take(logstore.ID{Topic: [16]byte{8}}, logstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.f.add(shown(&followed{id: other.ID(), leader: 2, epoch: 5, store: b.store, logger: b.log, log: other}))
	if l.asks(t) {
		t.Errorf("asked while the leader believes that the log ends at %d", l.told[log.ID()].offset)
	}
	l.gets(t, log.ID(), nil)
	if !l.asks(t) || l.told[log.ID()].offset != 0 || len(l.told) != 2 {
		t.Errorf("told %+v", l.told)
	}
}

func shown(f *followed) *followed {
	f.show()
	return f
}
