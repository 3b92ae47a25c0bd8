package broker

import (
	"context"

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
		return found, err
	}
	if from, ok := lowestVersion[rp.Timestamp]; !ok || version < from {
		return found, kerr.UnsupportedVersion
	}
	switch rp.Timestamp {
	case latestTimestamp:
		return foundOffset{p.hw(), -1, p.epoch}, nil
	case maxTimestamp:
		found.offset, found.timestamp, found.epoch, err = p.log.MaxTimestamp()
		return found, err
	case earliestTimestamp:
		start := p.log.Start()
		return foundOffset{start, -1, p.log.EpochAt(start)}, nil
	case earliestLocalTimestamp:
		found = foundOffset{p.log.Start(), -1, p.epoch}
		if epoch := p.log.EpochAt(found.offset); epoch >= 0 {
			found.epoch = epoch
		}
		return found, nil
	}
	return foundOffset{-1, -1, -1}, nil
}

// offsetForLeaderEpoch tells where a leader epoch ended (KIP-320).
func (b *Broker) offsetForLeaderEpoch(_ context.Context, _ *conn, req *kmsg.OffsetForLeaderEpochRequest, resp *kmsg.OffsetForLeaderEpochResponse) error {
	for _, rt := range req.Topics {
		t := kmsg.NewOffsetForLeaderEpochResponseTopic()
		t.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition = rp.Partition
			epoch, end, err := b.epochEnd(rt.Topic, &rp)
			p.LeaderEpoch, p.EndOffset, p.ErrorCode = epoch, end, errorCode(err)
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return nil
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
	if rp.LeaderEpoch == p.epoch { // it may have no records yet
		return p.epoch, p.log.End(), nil
	}
	epoch, end = p.log.EpochEnd(rp.LeaderEpoch)
	return epoch, end, nil
}
