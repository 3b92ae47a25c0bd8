package batch

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
)

// HeaderLen is the size of a batch without records.
const HeaderLen = 61

// lengthStart is where the bytes begin that the length field counts.
const lengthStart = 12

var (
	// ErrShort means that the batch goes on behind the bytes at hand.
	ErrShort = errors.New("record batch is incomplete")
	// ErrDamaged means that the bytes cannot be a batch: the length is impossible.
	ErrDamaged = errors.New("record batch has an impossible length")
	// ErrMagic means a record format other than 2.
	ErrMagic = errors.New("record batch is not of magic 2")
	// ErrCRC means that the checksum does not hold.
	ErrCRC = errors.New("record batch has a wrong checksum")
	// ErrCount means that the record count does not fit the offsets.
	ErrCount = errors.New("record batch has a wrong record count")
	// ErrCodec means a compression codec that does not exist.
	ErrCodec = errors.New("record batch has an unknown compression codec")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is exactly one whole record batch, as on the wire.
type Batch []byte

// Attribute bits.
const (
	codecMask        = 0x07
	timestampTypeBit = 0x08
	transactionalBit = 0x10
	controlBit       = 0x20
	horizonBit       = 0x40
)

func (b Batch) i64(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
func (b Batch) i32(at int) int32 { return int32(binary.BigEndian.Uint32(b[at:])) }
func (b Batch) i16(at int) int16 { return int16(binary.BigEndian.Uint16(b[at:])) }

// BaseOffset is the offset of the first record, or of the one that stood there.
func (b Batch) BaseOffset() int64 { return b.i64(0) }

// Length counts the bytes behind the length field.
func (b Batch) Length() int32 { return b.i32(8) }

// Size is the length of the whole batch in bytes.
func (b Batch) Size() int { return lengthStart + int(b.Length()) }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() int32 { return b.i32(12) }

// Magic is the record format.
func (b Batch) Magic() int8 { return int8(b[16]) }

// CRC is the checksum that the batch carries.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[17:]) }

// Attributes are the flag bits.
func (b Batch) Attributes() int16 { return b.i16(21) }

// Codec says how the records are compressed.
func (b Batch) Codec() Codec { return Codec(b[22] & codecMask) }

// LogAppendTime reports whether the broker set the timestamp.
func (b Batch) LogAppendTime() bool { return b[22]&timestampTypeBit != 0 }

// IsTransactional reports whether the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b[22]&transactionalBit != 0 }

// IsControl reports whether the batch holds a broker's marker instead of records.
func (b Batch) IsControl() bool { return b[22]&controlBit != 0 }

// DeleteHorizon is the time in ms from which on compaction may remove the batch's tombstones, if
// a compaction has set one. It is the base timestamp then.
func (b Batch) DeleteHorizon() (ms int64, set bool) { return b.BaseTimestamp(), b[22]&horizonBit != 0 }

// LastOffsetDelta is the last offset relative to the base.
func (b Batch) LastOffsetDelta() int32 { return b.i32(23) }

// LastOffset is the offset of the last record.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// BaseTimestamp is what record timestamps are relative to, in ms.
func (b Batch) BaseTimestamp() int64 { return b.i64(27) }

// MaxTimestamp is the largest timestamp of the batch, in ms.
func (b Batch) MaxTimestamp() int64 { return b.i64(35) }

// ProducerID is -1 without an idempotent producer.
func (b Batch) ProducerID() int64 { return b.i64(43) }

// ProducerEpoch is -1 without an idempotent producer.
func (b Batch) ProducerEpoch() int16 { return b.i16(51) }

// BaseSequence is the producer's number of the first record, or -1.
func (b Batch) BaseSequence() int32 { return b.i32(53) }

// LastSequence is the producer's number of the last record; numbers wrap to 0.
func (b Batch) LastSequence() int32 {
	return int32((int64(b.BaseSequence()) + int64(b.LastOffsetDelta())) % (math.MaxInt32 + 1))
}

// NumRecords is the count in the header.
func (b Batch) NumRecords() int32 { return b.i32(57) }

// SetBaseOffset names the first record's offset; the checksum does not cover it.
func (b Batch) SetBaseOffset(offset int64) { binary.BigEndian.PutUint64(b, uint64(offset)) }

// SetLeaderEpoch names the leader's epoch; the checksum does not cover it.
func (b Batch) SetLeaderEpoch(epoch int32) { binary.BigEndian.PutUint32(b[12:], uint32(epoch)) }

// SetLogAppendTime makes ms the timestamp of every record, and renews the checksum.
func (b Batch) SetLogAppendTime(ms int64) {
	b[22] |= timestampTypeBit
	binary.BigEndian.PutUint64(b[35:], uint64(ms))
	b.setCRC()
}

// SetCreateTime makes the timestamps the records' own, the largest of them ms, and
// renews the checksum.
func (b Batch) SetCreateTime(ms int64) {
	b[22] &^= timestampTypeBit
	binary.BigEndian.PutUint64(b[35:], uint64(ms))
	b.setCRC()
}

func (b Batch) setCRC() { binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli)) }

// First splits the first whole batch off p.
func First(p []byte) (b Batch, rest []byte, err error) {
	if len(p) < lengthStart {
		return nil, p, ErrShort
	}
	size := int64(Batch(p).Length()) + lengthStart
	if size < HeaderLen {
		return nil, p, ErrDamaged
	}
	if size > int64(len(p)) {
		return nil, p, ErrShort
	}
	return Batch(p[:size:size]), p[size:], nil
}

// CheckCRC compares the checksum with the bytes.
func (b Batch) CheckCRC() error {
	if crc32.Checksum(b[21:], castagnoli) != b.CRC() {
		return ErrCRC
	}
	return nil
}

// Check holds the header of one whole batch against the rules of the format, and
// the bytes against the checksum.
func (b Batch) Check() error {
	if len(b) < HeaderLen {
		return ErrShort
	}
	if b.Size() != len(b) {
		return ErrDamaged
	}
	if b.Magic() != 2 {
		return ErrMagic
	}
	if err := b.CheckCRC(); err != nil {
		return err
	}
	if b.NumRecords() <= 0 || b.LastOffsetDelta() != b.NumRecords()-1 {
		return ErrCount
	}
	if b.Codec() > Zstd {
		return ErrCodec
	}
	return nil
}
