package broker

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/wire"
	"chronik/wire/batch"
)

// appendRules are the settings that a produced batch is held against, typed once
// when they change.
type appendRules struct {
	maxMessageBytes int64
	logAppendTime   bool
	keyed           bool // compacted: a record without a key has no place
	beforeMaxMs     int64
	afterMaxMs      int64
}

// recordErrors is an error of a batch that names the records that are wrong.
type recordErrors struct {
	error
	records []wire.RecordError
}

func (e *recordErrors) Unwrap() error { return e.error }

// maxRecordErrors bounds the records that an answer names.
const maxRecordErrors = 1000

func (e *recordErrors) add(i int, format string, args ...any) {
	if len(e.records) < maxRecordErrors {
		e.records = append(e.records, wire.RecordError{Index: int32(i), Message: fmt.Sprintf(format, args...)})
	}
}

// check says whether b may be appended, and gives it timestamps as the topic wants them.
func (r *appendRules) check(b batch.Batch, now time.Time) error {
	if int64(len(b)) > r.maxMessageBytes {
		return explain(kerr.MessageTooLarge, "record batch of %d bytes, above max.message.bytes=%d", len(b), r.maxMessageBytes)
	}
	if err := checkHeader(b); err != nil {
		return err
	}
	sum, err := b.CheckRecords(nil)
	if err != nil {
		return explain(kerr.InvalidRecord, "%v", err)
	}
	if r.keyed && sum.Keyless {
		return keyless(b)
	}
	return r.setTimestamps(b, sum, now.UnixMilli())
}

// zstdProduce is the first version whose clients know zstd (KIP-110).
const zstdProduce = 7

// onlyBatch is the one whole batch that records are.
func onlyBatch(records []byte, version int16) (batch.Batch, error) {
	if len(records) < batch.HeaderLen {
		return nil, explain(kerr.InvalidRecord, "%d bytes are no record batch", len(records))
	}
	b, rest, err := batch.First(records)
	switch {
	case err == batch.ErrShort:
		return nil, explain(kerr.InvalidRecord, "record batch is cut off after %d bytes", len(records))
	case err != nil:
		return nil, err
	case b.Magic() != 2:
		return nil, explain(kerr.InvalidRecord, "record batch of magic %d; only 2 is served", b.Magic())
	case len(rest) > 0:
		return nil, explain(kerr.InvalidRecord, "more than one record batch for a partition")
	case b.Codec() == batch.Zstd && version < zstdProduce:
		return nil, kerr.UnsupportedCompressionType
	}
	return b, nil
}

// checkHeader holds the header of a batch against what no setting changes.
func checkHeader(b batch.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	switch {
	case b.BaseOffset() != 0:
		return explain(kerr.InvalidRecord, "base offset %d; a producer's is 0", b.BaseOffset())
	case b.IsControl():
		return explain(kerr.InvalidRecord, "control batches are written by brokers only")
	case b.IsTransactional():
		return explain(kerr.InvalidTxnState, "transactions are not supported")
	case b.ProducerID() >= 0 && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0):
		return explain(kerr.InvalidRecord, "producer id %d with epoch %d and sequence %d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	}
	return nil
}

// keyless names the records without a key.
func keyless(b batch.Batch) error {
	found := &recordErrors{error: explain(kerr.InvalidRecord, "records of a compacted topic must have a key")}
	_, err := b.CheckRecords(func(s batch.Seen) {
		if s.Keyless {
			found.add(s.Index, "no key")
		}
	})
	if err != nil {
		return err
	}
	return found
}

// setTimestamps gives b the time of appending where the topic wants it, bounds what
// a producer may claim about the time otherwise, and mends a wrong largest timestamp.
func (r *appendRules) setTimestamps(b batch.Batch, sum batch.Summary, now int64) error {
	if r.logAppendTime {
		b.SetLogAppendTime(now)
		return nil
	}
	if r.outside(sum.MaxTimestamp, now) || r.outside(sum.MinTimestamp, now) || sum.MinTimestamp < -1 {
		if err := r.checkTimestamps(b, now); err != nil {
			return err
		}
	}
	if b.LogAppendTime() || b.MaxTimestamp() != sum.MaxTimestamp {
		b.SetCreateTime(sum.MaxTimestamp)
	}
	return nil
}

// outside reports whether a timestamp is too far from the broker's clock; -1 is none.
func (r *appendRules) outside(ts, now int64) bool {
	return ts != -1 && (ts-now > r.afterMaxMs || now-ts > r.beforeMaxMs)
}

// checkTimestamps names the records whose timestamps are outside the bounds.
func (r *appendRules) checkTimestamps(b batch.Batch, now int64) error {
	found := &recordErrors{error: explain(kerr.InvalidTimestamp,
		"timestamps more than message.timestamp.before.max.ms=%d behind or message.timestamp.after.max.ms=%d ahead of the broker's clock", r.beforeMaxMs, r.afterMaxMs)}
	_, err := b.CheckRecords(func(s batch.Seen) {
		if r.outside(s.Timestamp, now) {
			found.add(s.Index, "timestamp %d is %d ms from the broker's clock", s.Timestamp, s.Timestamp-now)
		}
	})
	if err != nil || len(found.records) == 0 {
		return err
	}
	return found
}
