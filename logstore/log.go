package logstore

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Options are a log's settings, as numbers.
type Options struct {
	SegmentBytes         int64 // roll before a segment grows above this; 0: 64 MiB
	SegmentMs            int64 // roll a segment of this age; 0: never
	FlushMessages        int64 // flush after so many records; 0 or 1: before every acknowledgement
	FlushMs              int64 // flush what is this old; 0: never
	RetentionMs          int64 // keep records this long; 0 or less: for ever
	RetentionBytes       int64 // keep about this many bytes; 0 or less: all
	IndexIntervalBytes   int64 // 0: 16 KiB
	ProducerExpirationMs int64 // forget idle producers; 0: after a day
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.SegmentMs <= 0 {
		o.SegmentMs = math.MaxInt64
	}
	if o.FlushMessages <= 0 {
		o.FlushMessages = 1
	}
	if o.FlushMs <= 0 {
		o.FlushMs = math.MaxInt64
	}
	if o.IndexIntervalBytes <= 0 {
		o.IndexIntervalBytes = 16 << 10
	}
	if o.ProducerExpirationMs <= 0 {
		o.ProducerExpirationMs = 24 * 3600 * 1000
	}
	return o
}

// Log is the log of one partition. Readers use the atomics alone: an immutable list of segments
// and the ends. mu guards the writer and everything that rewrites the list; it is never held over
// an fsync, except by those that stop the log (recover, truncate, close).
type Log struct {
	id      ID
	dir     string
	store   *Store
	options atomic.Pointer[Options]
	segs    atomic.Pointer[[]*segment] // by offset; the last one is written; empty before the first append
	start   atomic.Int64
	written Mark // next offset
	acked   Mark // end that acknowledgements count
	trouble atomic.Pointer[trouble]
	flush   flushState

	mu sync.Mutex
	w  writer // guarded by mu
}

// trouble is why a log serves nothing.
type trouble struct {
	err     error
	offline bool // damage that a reopening would not mend
	next    time.Time
	wait    time.Duration
}

// writer is the appending side of a log.
type writer struct {
	entry     uint64 // index of the next entry
	epochs    epochs
	producers producers
	epochsNew bool // epochs changed since they were written down
	opened    time.Time
	iov       [][]byte
	prefixes  []byte
	hint      int64 // high watermark hint of the last checkpoint
}

func newLog(s *Store, id ID, o Options) *Log {
	l := &Log{id: id, store: s, dir: filepath.Join(s.cfg.Dir, logsName, id.String())}
	o = o.withDefaults()
	l.options.Store(&o)
	l.segs.Store(&[]*segment{})
	l.w.entry = 1
	return l
}

// ID names the partition.
func (l *Log) ID() ID { return l.id }

// Options are the settings in force.
func (l *Log) Options() Options { return *l.options.Load() }

// Configure changes the settings at once.
func (l *Log) Configure(o Options) {
	o = o.withDefaults()
	if old := l.options.Swap(&o); old.FlushMessages != o.FlushMessages {
		l.store.flusher.add(l) // an end that was not waited for may be now
	}
}

// Start is the first offset that can be read.
func (l *Log) Start() int64 { return l.start.Load() }

// End is the next offset to be written.
func (l *Log) End() int64 { return l.written.Load() }

// Flushed is the end of what is on disk.
func (l *Log) Flushed() int64 { return l.flush.end.Load() }

// Acked is the end that acknowledgements count: Flushed for a log that flushes before it
// acknowledges, else End. It does not go back while the log lives.
func (l *Log) Acked() int64 { return l.acked.Load() }

// AckedMark is what waits for Acked wait on.
func (l *Log) AckedMark() *Mark { return &l.acked }

// EndMark is what waits for End wait on.
func (l *Log) EndMark() *Mark { return &l.written }

// Err is nil while the log serves.
func (l *Log) Err() error {
	if t := l.trouble.Load(); t != nil {
		return t.err
	}
	return nil
}

// Size is the bytes of the log's segments.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range *l.segs.Load() {
		n += s.size.Load()
	}
	return n
}

// LastEpoch is the newest leader epoch that has records, -1 when none has.
func (l *Log) LastEpoch() int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.epochs.last()
}

// EpochAt is the leader epoch of the record at offset, -1 when it is not known.
func (l *Log) EpochAt(offset int64) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.epochs.at(offset)
}

// EpochEnd answers OffsetForLeaderEpoch (KIP-320): the largest epoch at or below the asked one and
// its end; -1, -1 when that is not known.
func (l *Log) EpochEnd(epoch int32) (found int32, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.epochs.endFor(epoch, l.written.Load())
}

// Producers lists the idempotent producers that the log remembers.
func (l *Log) Producers() []ProducerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.producers.states()
}

// poison stops the log after an error of write, fsync, create or rename: whoever waits is told,
// and only recovery brings it back.
func (l *Log) poison(what string, err error) error {
	err = fmt.Errorf("%w: %s %s: %w", ErrPoisoned, what, l.id, err)
	t := &trouble{err: err, wait: time.Second, next: l.store.cfg.Now().Add(time.Second)}
	if !l.trouble.CompareAndSwap(nil, t) {
		return l.Err()
	}
	if isNoSpace(err) {
		l.store.disk.full.Store(true)
	}
	l.store.log.Error("log stopped", "log", l.id, "dir", l.dir, "err", err)
	l.written.fail(err)
	l.acked.fail(err)
	return err
}

// end stops the log for good.
func (l *Log) end(err error) {
	l.trouble.Store(&trouble{err: err, offline: true})
	l.mu.Lock()
	segs := *l.segs.Load()
	l.segs.Store(&[]*segment{})
	l.mu.Unlock()
	l.written.fail(err)
	l.acked.fail(err)
	for _, s := range segs {
		l.store.files.drop(s)
	}
}

// guard ends the process when code that changes the log panics: a half-changed log must not live on.
func (l *Log) guard() {
	if p := recover(); p != nil {
		l.store.log.Error("panic while changing a log", "log", l.id, "panic", p, "stack", string(debug.Stack()))
		os.Exit(70)
	}
}

// active is the segment that is written, nil before the first append.
func (l *Log) active() *segment {
	segs := *l.segs.Load()
	if len(segs) == 0 {
		return nil
	}
	return segs[len(segs)-1]
}
