package batch

import (
	"encoding/binary"
)

// Builder makes batches: for tests, load and compaction. Producers make their
// own. The zero value builds uncompressed batches without a producer after Reset.
type Builder struct {
	codec    Codec
	records  []byte
	body     []byte // one record's body, reused
	n        int32
	baseTime int64
	maxTime  int64
	producer struct {
		id    int64
		epoch int16
		seq   int32
	}
}

// NewBuilder returns a builder of batches in the given codec.
func NewBuilder(codec Codec) *Builder {
	b := &Builder{codec: codec}
	b.Reset()
	return b
}

// Reset forgets the records and the producer.
func (b *Builder) Reset() {
	b.records, b.n = b.records[:0], 0
	b.SetProducer(-1, -1, -1)
}

// SetProducer names the idempotent producer and its number of the first record.
func (b *Builder) SetProducer(id int64, epoch int16, seq int32) {
	b.producer.id, b.producer.epoch, b.producer.seq = id, epoch, seq
}

// Add adds a record with a timestamp in ms; a nil key or value is null.
func (b *Builder) Add(ts int64, key, value []byte, headers ...Header) {
	if b.n == 0 {
		b.baseTime, b.maxTime = ts, ts
	}
	b.maxTime = max(b.maxTime, ts)
	r := append(b.body[:0], 0)
	r = binary.AppendVarint(r, ts-b.baseTime)
	r = binary.AppendVarint(r, int64(b.n))
	r = appendField(r, key)
	r = appendField(r, value)
	r = binary.AppendVarint(r, int64(len(headers)))
	for _, h := range headers {
		r = binary.AppendVarint(r, int64(len(h.Key)))
		r = append(r, h.Key...)
		r = appendField(r, h.Value)
	}
	b.body = r
	b.records = binary.AppendVarint(b.records, int64(len(r)))
	b.records = append(b.records, r...)
	b.n++
}

func appendField(dst, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(v)))
	return append(dst, v...)
}

// Len is the number of records so far.
func (b *Builder) Len() int { return int(b.n) }

// Build appends the batch to dst and returns it alone, at base offset 0.
func (b *Builder) Build(dst []byte) (Batch, error) {
	start := len(dst)
	dst = append(dst, make([]byte, HeaderLen)...)
	dst, err := b.codec.Compress(dst, b.records)
	if err != nil {
		return nil, err
	}
	out := Batch(dst[start:])
	be := binary.BigEndian
	be.PutUint32(out[8:], uint32(len(out)-lengthStart))
	out.SetLeaderEpoch(-1)
	out[16] = 2
	be.PutUint16(out[21:], uint16(b.codec))
	be.PutUint32(out[23:], uint32(b.n-1))
	be.PutUint64(out[27:], uint64(b.baseTime))
	be.PutUint64(out[35:], uint64(b.maxTime))
	be.PutUint64(out[43:], uint64(b.producer.id))
	be.PutUint16(out[51:], uint16(b.producer.epoch))
	be.PutUint32(out[53:], uint32(b.producer.seq))
	be.PutUint32(out[57:], uint32(b.n))
	out.setCRC()
	return out, nil
}
