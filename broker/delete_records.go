package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRecords moves log starts: what lies below is deleted when it is answered.
func (b *Broker) deleteRecords(_ context.Context, _ *conn, req *kmsg.DeleteRecordsRequest, resp *kmsg.DeleteRecordsResponse) error {
	for _, rt := range req.Topics {
		t := kmsg.NewDeleteRecordsResponseTopic()
		t.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			p := kmsg.NewDeleteRecordsResponseTopicPartition()
			p.Partition = rp.Partition
			low, err := b.deleteBelow(rt.Topic, rp.Partition, rp.Offset)
			p.LowWatermark, p.ErrorCode = low, errorCode(err)
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
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
