package broker

import (
	"context"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Timestamps that stand for something else.
const (
	latestTimestamp        = -1
	earliestTimestamp      = -2
	maxTimestamp           = -3 // from version 7 on (KIP-734)
	earliestLocalTimestamp = -4 // from version 8 on; without tiers the earliest
	latestTieredTimestamp  = -5 // from version 9 on; without tiers none
	pendingUploadTimestamp = -6 // from version 11 on; without tiers none
)

// listOffsets finds offsets by time, and the ends of partitions. A partition that
// is named twice is refused and answered once.
func (b *Broker) listOffsets(_ context.Context, _ *conn, req *kmsg.ListOffsetsRequest, resp *kmsg.ListOffsetsResponse) error {
	times := map[fetchKey]int{}
	for _, rt := range req.Topics {
		for _, rp := range rt.Partitions {
			times[fetchKey{name: rt.Topic, num: rp.Partition}]++
		}
	}
	for _, rt := range req.Topics {
		t := kmsg.NewListOffsetsResponseTopic()
		t.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			key := fetchKey{name: rt.Topic, num: rp.Partition}
			n := times[key]
			if times[key] = 0; n == 0 {
				continue
			}
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition = rp.Partition
			var found foundOffset
			err := error(kerr.InvalidRequest)
			if n == 1 {
				found, err = b.listOffset(rt.Topic, &rp, req.Version)
			}
			b.unmeant(err)
			p.ErrorCode = errorCode(err)
			if err == nil {
				p.Offset, p.Timestamp, p.LeaderEpoch = found.offset, found.timestamp, found.epoch
			}
			t.Partitions = append(t.Partitions, p)
		}
		if len(t.Partitions) > 0 {
			resp.Topics = append(resp.Topics, t)
		}
	}
	return nil
}

// foundOffset is an offset with the timestamp and leader epoch of its record; -1 is none.
type foundOffset struct {
	offset, timestamp int64
	epoch             int32
}

// lowestVersion is the first version that knows a special timestamp.
var lowestVersion = map[int64]int16{
	latestTimestamp: 1, earliestTimestamp: 1, maxTimestamp: 7,
	earliestLocalTimestamp: 8, latestTieredTimestamp: 9, pendingUploadTimestamp: 11,
}

// listOffset answers for one partition.
func (b *Broker) listOffset(topic string, rp *kmsg.ListOffsetsRequestTopicPartition, version int16) (found foundOffset, err error) {
	p, err := b.partition(topic, rp.Partition)
	if err != nil {
		return found, err
	}
	if err := p.checkEpoch(rp.CurrentLeaderEpoch); err != nil {
		return found, err
	}
	if rp.Timestamp >= 0 {
		found.offset, found.timestamp, found.epoch, err = p.log.OffsetForTime(rp.Timestamp)
		return p.committed(found, err, version)
	}
	if from, ok := lowestVersion[rp.Timestamp]; !ok || version < from {
		return found, kerr.UnsupportedVersion
	}
	switch rp.Timestamp {
	case latestTimestamp:
		hw := p.hw()
		if planted("stale-end") {
			hw -= hw * 7919 % 512
		}
		if hw >= p.begin || p.repl == nil {
			return foundOffset{hw, -1, p.epoch}, nil
		}
		return found, notYet(version)
	case maxTimestamp:
		found.offset, found.timestamp, found.epoch, err = p.log.MaxTimestamp()
		if err == nil && p.repl != nil && found.offset >= p.hw() {
			return found, notYet(version)
		}
		return found, err
	case earliestTimestamp, earliestLocalTimestamp:
		start, epoch := p.startEpoch()
		return foundOffset{start, -1, epoch}, nil
	}
	return foundOffset{-1, -1, -1}, nil
}

// committed is what was found by time: only what is committed is told. A new leader
// does not know yet of all that is (KIP-207).
func (p *partition) committed(found foundOffset, err error, version int16) (foundOffset, error) {
	hw := p.hw()
	switch {
	case err != nil || p.repl == nil || found.offset < hw:
		return found, err
	case hw < p.begin:
		return found, notYet(version)
	}
	return foundOffset{-1, -1, -1}, nil
}

// notYet has the client ask again soon.
func notYet(version int16) error {
	if version < 5 {
		return kerr.LeaderNotAvailable
	}
	return kerr.OffsetNotAvailable
}

// offsetForLeaderEpoch tells where a leader epoch ended (KIP-320). Who was told of a
// leader epoch before this broker was may wait for it a moment.
func (b *Broker) offsetForLeaderEpoch(ctx context.Context, _ *conn, req *kmsg.OffsetForLeaderEpochRequest, resp *kmsg.OffsetForLeaderEpochResponse) error {
	ctx, cancel := context.WithTimeout(ctx, epochPatience)
	defer cancel()
	for _, rt := range req.Topics {
		t := kmsg.NewOffsetForLeaderEpochResponseTopic()
		t.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition = rp.Partition
			epoch, end, err := b.awaitEpochEnd(ctx, rt.Topic, &rp)
			p.LeaderEpoch, p.EndOffset, p.ErrorCode = epoch, end, errorCode(err)
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return nil
}

// epochPatience is how long a client waits for metadata that it has and this broker not.
const epochPatience = 250 * time.Millisecond

// awaitEpochEnd is epochEnd once this broker has taken up the epoch that the client knows.
func (b *Broker) awaitEpochEnd(ctx context.Context, topic string, rp *kmsg.OffsetForLeaderEpochRequestTopicPartition) (epoch int32, end int64, err error) {
	for {
		_, changed := b.applied.get()
		epoch, end, err = b.epochEnd(topic, rp)
		if err == nil || rp.CurrentLeaderEpoch <= b.knownEpoch(topic, rp.Partition) || !waitFor(ctx, changed) {
			return epoch, end, err
		}
	}
}

// knownEpoch is the leader epoch in which this broker leads or follows a partition; where
// it does neither no later one is waited for.
func (b *Broker) knownEpoch(topic string, n int32) int32 {
	t := b.topics.named([]byte(topic))
	if t == nil || n < 0 || int(n) >= t.count() {
		return math.MaxInt32
	}
	if p := t.partition(n); p != nil {
		return p.epoch
	}
	if f := t.followed[n]; f != nil {
		return f.epoch
	}
	return math.MaxInt32
}

// epochEnd answers for one partition; -1, -1 when the epoch is not known.
func (b *Broker) epochEnd(topic string, rp *kmsg.OffsetForLeaderEpochRequestTopicPartition) (epoch int32, end int64, err error) {
	p, err := b.partition(topic, rp.Partition)
	if err != nil {
		return -1, -1, err
	}
	if err := p.checkEpoch(rp.CurrentLeaderEpoch); err != nil {
		return -1, -1, err
	}
	if rp.LeaderEpoch > p.epoch && !b.speaksFor(p) { // another broker leads in it
		return -1, -1, kerr.UnknownLeaderEpoch
	}
	epoch, end = p.epochEnd(rp.LeaderEpoch)
	return epoch, end, nil
}
