package broker

import (
	"math"
	"time"

	"chronik/logstore"
)

// The settings of compaction.
var (
	deleteRetentionMs = &setting[int64]{
		name: "delete.retention.ms", broker: "log.cleaner.delete.retention.ms", def: 24 * 3600 * 1000, typ: typeLong, parse: long(0, longest),
		doc: "How long a tombstone, a record without a value, is kept in a compacted topic once what it deletes is gone, in ms; it goes with the first compaction after that.",
	}
	maxCompactionLagMs = &setting[int64]{
		name: "max.compaction.lag.ms", broker: "log.cleaner.max.compaction.lag.ms", def: longest, typ: typeLong, parse: long(1, longest),
		doc: "The longest that a record may stay uncompacted, in ms: after it a segment is closed and the topic compacted, whatever its dirty ratio.",
	}
	minCompactionLagMs = &setting[int64]{
		name: "min.compaction.lag.ms", broker: "log.cleaner.min.compaction.lag.ms", def: 0, typ: typeLong, parse: long(0, longest),
		doc: "How long a record is at least kept as it is, in ms.",
	}
	minDirtyRatio = &setting[float64]{
		name: "min.cleanable.dirty.ratio", broker: "log.cleaner.min.cleanable.ratio", def: 0.5, typ: typeDouble, parse: decimal(0, 1),
		doc: "A log is compacted when more than this part of it was not compacted before.",
	}
	cleanerBackoffMs = &setting[int64]{
		broker: "log.cleaner.backoff.ms", def: 15_000, typ: typeLong, fixed: true, parse: long(0, longest),
		doc: "How often it is looked for logs to compact, in ms.",
	}
	cleanerBufferSize = &setting[int64]{
		broker: "log.cleaner.dedupe.buffer.size", def: 128 << 20, typ: typeLong, fixed: true, parse: long(1<<20, longest),
		doc: "The memory for the keys of one compaction; a log with more keys takes several.",
	}
	cleanerEnable = &setting[bool]{
		broker: "log.cleaner.enable", def: true, typ: typeBoolean, fixed: true, parse: boolean,
		doc: "Whether topics with cleanup.policy=compact are compacted.",
	}
	cleanerMaxBytes = &setting[float64]{
		broker: "log.cleaner.io.max.bytes.per.second", def: math.MaxFloat64, typ: typeDouble, fixed: true, parse: decimal(1024, math.MaxFloat64),
		doc: "The bytes that compaction reads and writes in a second: what bounds its share of CPU and disk.",
	}
	cleanerThreads = &setting[string]{
		broker: "log.cleaner.threads", def: "1", typ: typeInt, fixed: true, parse: only("1", "one log is compacted at a time"),
		doc: "How many logs are compacted at a time.",
	}
)

// compactionConfig is how the store compacts.
func compactionConfig(static map[string]string) logstore.CompactionConfig {
	return logstore.CompactionConfig{
		Disabled:       !cleanerEnable.of(static),
		Interval:       max(lasting(cleanerBackoffMs.of(static), time.Millisecond), time.Millisecond),
		BufferSize:     cleanerBufferSize.of(static),
		BytesPerSecond: cleanerMaxBytes.of(static),
	}
}
