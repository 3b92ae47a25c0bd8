package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRecords moves log starts: what lies below is deleted when it is answered.
// Of a partition that is named twice the last offset counts, as in Kafka.
func (b *Broker) deleteRecords(_ context.Context, _ *conn, req *kmsg.DeleteRecordsRequest, resp *kmsg.DeleteRecordsResponse) error {
	offsets := map[fetchKey]int64{}
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
			low, err := b.deleteBelow(rt.Topic, rp.Partition, offset)
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
// can be read, and returns the new log start.
func (b *Broker) deleteBelow(topic string, n int32, offset int64) (int64, error) {
	if internalTopic(topic) {
		return -1, kerr.InvalidTopicException
	}
	p, err := b.partition(topic, n)
	if err != nil {
		return -1, err
	}
	if offset == -1 {
		offset = p.hw()
	}
	if err := p.log.AdvanceStart(offset); err != nil {
		return -1, err
	}
	return p.log.Start(), nil
}
