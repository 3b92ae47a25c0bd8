package e2e

import (
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newBatch is an uncompressed record batch with one record for every value, ready to be
// damaged by a test; sealed it is valid.
func newBatch(values ...[]byte) *kmsg.RecordBatch {
	b := kmsg.NewRecordBatch()
	now := time.Now().UnixMilli()
	b.PartitionLeaderEpoch, b.Magic = -1, 2
	b.FirstTimestamp, b.MaxTimestamp = now, now
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	b.NumRecords, b.LastOffsetDelta = int32(len(values)), int32(len(values)-1)
	for i, v := range values {
		b.Records = append(b.Records, encodeRecord(int32(i), []byte("key"), v)...)
	}
	return &b
}

// encodeRecord is one record of a batch; a nil key is null.
func encodeRecord(delta int32, key, value []byte) []byte {
	r := kmsg.NewRecord()
	r.OffsetDelta, r.Key, r.Value = delta, key, value
	body := r.AppendTo(nil)[1:] // without the length, which is 0 so far and takes one byte
	r.Length = int32(len(body))
	return r.AppendTo(nil)
}

// seal sets length and CRC and returns the bytes.
func seal(b *kmsg.RecordBatch) []byte {
	p := b.AppendTo(nil)
	binary.BigEndian.PutUint32(p[8:], uint32(len(p)-12))
	binary.BigEndian.PutUint32(p[17:], crc32.Checksum(p[21:], castagnoli))
	return p
}

// produceRequest asks for one append to one partition.
func produceRequest(version int16, topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// produceRaw sends one batch over a connection of its own and returns what the
// partition answered.
func produceRaw(t testing.TB, addr, topic string, partition int32, records []byte) kmsg.ProduceResponseTopicPartition {
	t.Helper()
	c := dialRaw(t, addr)
	defer c.Close()
	resp := c.ask(produceRequest(9, topic, partition, records)).(*kmsg.ProduceResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		t.Fatalf("answer %+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}
