package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
	"chronik/meta"
	"chronik/wire/batch"
)

// codes translates the sentinels of the lower packages. What is in neither list
// becomes UNKNOWN_SERVER_ERROR; where that can come from the disk, unmeant logs it.
var codes = []struct {
	err   error
	kafka *kerr.Error
}{
	{logstore.ErrOutOfRange, kerr.OffsetOutOfRange},
	{logstore.ErrPoisoned, kerr.KafkaStorageError},
	{logstore.ErrDamaged, kerr.CorruptMessage},
	{logstore.ErrDiskFull, kerr.KafkaStorageError},
	{logstore.ErrDeleted, kerr.UnknownTopicOrPartition},
	{logstore.ErrFencedEpoch, kerr.NotLeaderForPartition},
	{logstore.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{logstore.ErrProducerEpoch, kerr.InvalidProducerEpoch},
	{meta.ErrExists, kerr.TopicAlreadyExists},
	{meta.ErrNotFound, kerr.UnknownTopicOrPartition},
	{meta.ErrConflict, kerr.RequestTimedOut},
	{meta.ErrTimeout, kerr.RequestTimedOut},
	{meta.ErrNoQuorum, kerr.RequestTimedOut},
	{batch.ErrCRC, kerr.CorruptMessage},
	{batch.ErrShort, kerr.CorruptMessage},
	{batch.ErrDamaged, kerr.CorruptMessage},
	{batch.ErrMagic, kerr.InvalidRecord},
	{batch.ErrCount, kerr.InvalidRecord},
	{batch.ErrCodec, kerr.UnsupportedCompressionType},
	{context.DeadlineExceeded, kerr.RequestTimedOut},
	{context.Canceled, kerr.RequestTimedOut},
}

// errorCode is the one place where errors become Kafka's codes.
func errorCode(err error) int16 {
	if err == nil {
		return 0
	}
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Code
	}
	for _, m := range codes {
		if errors.Is(err, m.err) {
			return m.kafka.Code
		}
	}
	return kerr.UnknownServerError.Code
}

// unmeant logs an error that has no code of Kafka's, at most once a second for each
// text: nobody meant it, and the client is told no more than that.
func (b *Broker) unmeant(err error) {
	if errorCode(err) == kerr.UnknownServerError.Code && b.server.hints.isNew(err.Error()) {
		b.log.Error("request failed", "err", err)
	}
}

// detailed is a Kafka error with words for a person: what was wrong, and what
// would be right.
type detailed struct {
	kafka *kerr.Error
	text  string
}

func (d *detailed) Error() string { return d.text }
func (d *detailed) Unwrap() error { return d.kafka }

// explain gives a Kafka error the words that the client is shown.
func explain(kafka *kerr.Error, format string, args ...any) error {
	return &detailed{kafka: kafka, text: fmt.Sprintf(format, args...)}
}

// errorMessage is the text that goes with errorCode(err), null without an error.
func errorMessage(err error) *string {
	if err == nil {
		return nil
	}
	if ke, ok := err.(*kerr.Error); ok {
		return &ke.Description
	}
	text := err.Error()
	return &text
}
