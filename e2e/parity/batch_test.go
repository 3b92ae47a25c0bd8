//go:build parity

package parity

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// record is one record of a batch; nil is null.
type record struct {
	key, value []byte
	offset     int32 // delta
	ago        int64 // timestamp delta
}

// rec is a record without a key.
func rec(value string) record { return record{value: []byte(value)} }

func keyed(key, value string) record { return record{key: []byte(key), value: []byte(value)} }

// some are n records without keys.
func some(n int) []record {
	records := make([]record, n)
	for i := range records {
		records[i] = rec("value " + strconv.Itoa(i))
	}
	return records
}

// The clock of the tests, the same for both brokers: begun is when they began, then a
// day earlier, when batches were made unless they say otherwise.
var (
	begun = time.Now().UnixMilli()
	then  = time.Now().Truncate(time.Hour).Add(-24 * time.Hour).UnixMilli()
)

// newBatch is a right batch of records, to be spoiled by its fields, then built.
func newBatch(records ...record) *kmsg.RecordBatch {
	b := &kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: then, MaxTimestamp: then,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: int32(len(records)), LastOffsetDelta: int32(len(records)) - 1,
	}
	for i, r := range records {
		if r.offset == 0 {
			r.offset = int32(i)
		}
		b.MaxTimestamp = max(b.MaxTimestamp, then+r.ago)
		b.Records = append(b.Records, r.encode()...)
	}
	return b
}

func (r record) encode() []byte {
	m := kmsg.Record{TimestampDelta64: r.ago, OffsetDelta: r.offset, Key: r.key, Value: r.value}
	size := len(m.AppendTo(nil)) - 1 // the length itself is one byte: 0
	m.Length = int32(size)
	return m.AppendTo(nil)
}

// build encodes a batch with its length and CRC as its fields ask for.
func build(b *kmsg.RecordBatch) []byte {
	b.Length = int32(49 + len(b.Records))
	p := b.AppendTo(nil)
	return seal(p)
}

// seal makes the CRC of an encoded batch right.
func seal(p []byte) []byte {
	binary.BigEndian.PutUint32(p[17:], crc32.Checksum(p[21:], crc32.MakeTable(crc32.Castagnoli)))
	return p
}

// batch is a right batch of records on the wire.
func batch(records ...record) []byte { return build(newBatch(records...)) }

// batches adds what a fetch returned, batch by batch.
func (t *tree) batches(path string, raw []byte) {
	if len(raw) == 0 {
		t.add(path, "empty")
		return
	}
	for i := 0; len(raw) > 0; i++ {
		at := fmt.Sprintf("%s.batch %d", path, i)
		if len(raw) < 61 || len(raw) < 12+int(binary.BigEndian.Uint32(raw[8:])) {
			if i == 0 { // Kafka cuts the last one off where the limit is
				t.add(at, fmt.Sprintf("cut off after %d bytes", len(raw)))
			}
			return
		}
		n := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		t.batch(at, slices.Clone(raw[:n]))
		raw = raw[n:]
	}
}

func (t *tree) batch(at string, p []byte) {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(p); err != nil {
		t.add(at, "undecodable: "+err.Error())
		return
	}
	crc := "right"
	if uint32(b.CRC) != crc32.Checksum(p[21:], crc32.MakeTable(crc32.Castagnoli)) {
		crc = "wrong"
	}
	t.add(at, "present")
	t.add(at+".CRC", crc)
	for _, l := range []leaf{
		{"FirstOffset", fmt.Sprint(b.FirstOffset)},
		{"PartitionLeaderEpoch", fmt.Sprint(b.PartitionLeaderEpoch)},
		{"Attributes", fmt.Sprintf("%#x", b.Attributes)},
		{"LastOffsetDelta", fmt.Sprint(b.LastOffsetDelta)},
		{"FirstTimestamp", t.text("FirstTimestamp", b.FirstTimestamp)},
		{"MaxTimestamp", t.text("MaxTimestamp", b.MaxTimestamp)},
		{"Producer", fmt.Sprintf("%s epoch %d sequence %d", t.text("ProducerID", b.ProducerID), b.ProducerEpoch, b.FirstSequence)},
		{"NumRecords", fmt.Sprint(b.NumRecords)},
		{"Records", fmt.Sprintf("%d bytes, CRC %08x", len(b.Records), crc32.ChecksumIEEE(b.Records))},
	} {
		t.add(at+"."+l.path, l.value)
	}
}

// text is a number as value would write it.
func (t *tree) text(field string, x int64) string {
	if text, ok := t.number(field, x); ok {
		return text
	}
	return strconv.FormatInt(x, 10)
}
