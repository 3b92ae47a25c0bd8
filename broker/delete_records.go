package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRecords moves log starts: what lies below is deleted when it is answered.
// Of a partition that is named twice the last offset counts, as in Kafka. A topic that is
// only compacted keeps the last record of each key.
func (b *Broker) deleteRecords(ctx context.Context, _ *conn, req *kmsg.DeleteRecordsRequest, resp *kmsg.DeleteRecordsResponse) error {
	offsets := map[fetchKey]int64{}
	until := time.Now().Add(time.Duration(req.TimeoutMillis) * time.Millisecond)
	for _, rt := range req.Topics {
		for _, rp := range rt.Partitions {
			offsets[fetchKey{name: rt.Topic, num: rp.Partition}] = rp.Offset
		}
	}
	for _, rt := range req.Topics {
		t := kmsg.NewDeleteRecordsResponseTopic()
		t.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			key := fetchKey{name: rt.Topic, num: rp.Partition}
			offset, wanted := offsets[key]
			if delete(offsets, key); !wanted {
				continue
			}
			p := kmsg.NewDeleteRecordsResponseTopicPartition()
			p.Partition = rp.Partition
			low, err := b.deleteBelow(ctx, until, fetchKey{name: rt.Topic, num: rp.Partition}, offset)
			b.unmeant(err)
			p.LowWatermark, p.ErrorCode = low, errorCode(err)
			t.Partitions = append(t.Partitions, p)
		}
		if len(t.Partitions) > 0 {
			resp.Topics = append(resp.Topics, t)
		}
	}
	return nil
}

// deleteBelow deletes the records of one partition below offset, -1 for all that
// can be read, and returns the new log start once all replicas that are alive have it.
func (b *Broker) deleteBelow(ctx context.Context, until time.Time, at fetchKey, offset int64) (int64, error) {
	if internalTopic(at.name) {
		return -1, kerr.InvalidTopicException
	}
	p, err := b.partition(at.name, at.num)
	if err != nil {
		return -1, err
	}
	if t := b.snap().Topic(at.name); t != nil && cleanupPolicy.ofTopic(t.Configs, b.brokerConfigs()).compactOnly() {
		return -1, explain(kerr.PolicyViolation, "the records of a topic with cleanup.policy=compact are not deleted by offset")
	}
	if offset == -1 {
		offset = p.hw()
	}
	if offset > p.hw() {
		return -1, kerr.OffsetOutOfRange
	}
	if err := p.log.AdvanceStart(offset); err != nil {
		return -1, err
	}
	return p.log.Start(), b.awaitLogStarts(ctx, until, p, offset)
}

// logStartCheck is how often it is looked whether followers have moved their log start.
const logStartCheck = 10 * time.Millisecond

// awaitLogStarts waits until every follower that is alive starts at offset or above.
func (b *Broker) awaitLogStarts(ctx context.Context, until time.Time, p *partition, offset int64) error {
	if p.repl == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for p.repl.lowestStart(offset, b.snap().IsActive) < offset {
		select {
		case <-time.After(logStartCheck):
		case <-ctx.Done():
			return kerr.RequestTimedOut
		}
		if err := p.usable(); err != nil {
			return err
		}
	}
	return nil
}
