package logstore

import "time"

// Compaction are the settings of a log that is compacted.
type Compaction struct {
	MinDirtyRatio     float64 // compact when at least this part was not compacted before
	MinLagMs          int64   // records are kept as they are this long
	MaxLagMs          int64   // compact whatever the ratio when a record waits this long; math.MaxInt64: never
	DeleteRetentionMs int64   // tombstones are kept this long
}

// CompactionConfig is how a store compacts.
type CompactionConfig struct {
	Disabled       bool
	Interval       time.Duration // between looks
	BufferSize     int64         // memory for the keys of one pass
	BytesPerSecond float64       // read and written
}
