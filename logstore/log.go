package logstore

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options are a log's settings, as numbers.
type Options struct {
	SegmentBytes         int64       // roll before a segment grows above this; 0: 64 MiB
	SegmentMs            int64       // roll a segment of this age; 0: never
	FlushMessages        int64       // flush after so many records; 0 or 1: before every acknowledgement
	FlushMs              int64       // flush what is this old; 0: never
	RetentionMs          int64       // keep records this long; 0 or less: for ever
	RetentionBytes       int64       // keep about this many bytes; 0 or less: all
	IndexIntervalBytes   int64       // 0: 16 KiB
	ProducerExpirationMs int64       // forget idle producers; 0: after a day
	Compact              *Compaction // nil: not compacted
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

// Log is the log of one partition. Readers use the atomics alone: the view and the ends. mu guards
// the writer and everything that replaces the view; it is never held over an fsync, except by those
// that stop the log (recover, truncate).
//
// Locks are taken in this order: the checkpoint's, flush.mu, mu.
type Log struct {
	id      ID
	dir     string
	store   *Store
	options atomic.Pointer[Options]
	view
	health
	written Mark // next offset
	acked   Mark // end that acknowledgements count
	flush   flushState
	compact compactState
	committed

	mu sync.Mutex
	w  writer // guarded by mu
}

// committed is what replication has told of the log.
type committed struct {
	hw   atomic.Int64 // high watermark, -1: not told, all that is acknowledged is committed
	hint atomic.Int64 // the last one that an earlier life wrote down, 0 none

	named atomic.Bool // the checkpoint on disk has the log
}

// view is what readers see of a log; what its pointers lead to is replaced, never changed.
type view struct {
	segs   atomic.Pointer[[]*segment] // by offset; the last one is written; empty before the first append
	epochs atomic.Pointer[epochs]
	start  atomic.Int64

	settled atomic.Int64 // what lies below it is checked when it is read
	before  int64        // the end a second ago; of the store's clock alone
}

// writer is the appending side of a log.
type writer struct {
	entry     uint64 // index of the next entry
	producers producers
	epochsNew bool // epochs changed since they were written down
	opened    time.Time
	next      nextState
	epoch     int32 // of the last append in this life, -1 before
	fenced    int32 // epochs up to this one lost records here that others may have seen, -1 none
	served    bool  // was written or recovered in this life, so its flushed end means something
}

func newLog(s *Store, id ID, o Options) *Log {
	l := &Log{id: id, store: s, dir: filepath.Join(s.cfg.Dir, logsName, id.String())}
	o = o.withDefaults()
	l.options.Store(&o)
	l.segs.Store(&[]*segment{})
	l.epochs.Store(&epochs{})
	l.w.entry, l.w.epoch, l.w.fenced = 1, -1, -1
	l.hw.Store(-1)
	return l
}

// ID names the partition.
func (l *Log) ID() ID { return l.id }

// Options are the settings in force.
func (l *Log) Options() Options { return *l.options.Load() }

// Configure changes the settings at once.
func (l *Log) Configure(o Options) {
	o = o.withDefaults()
	if old := l.options.Swap(&o); old.FlushMessages != o.FlushMessages || old.FlushMs != o.FlushMs {
		l.store.flusher.add(l) // what was not waited for may be now
	}
}

// Start is the first offset that can be read.
func (l *Log) Start() int64 { return l.start.Load() }

// End is the next offset to be written.
func (l *Log) End() int64 { return l.written.Load() }

// Flushed is the end of what is on disk.
func (l *Log) Flushed() int64 { return l.flush.end.Load() }

// Acked is the end that acknowledgements count: Flushed for a log that flushes before it
// acknowledges, else End. It goes back only where the log is truncated or was poisoned.
func (l *Log) Acked() int64 { return l.acked.Load() }

// AckedMark is what waits for Acked wait on.
func (l *Log) AckedMark() *Mark { return &l.acked }

// EndMark is what waits for End wait on.
func (l *Log) EndMark() *Mark { return &l.written }

// Size is the bytes of the log's segments.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range *l.segs.Load() {
		n += s.size.Load()
	}
	return n
}

// LastEpoch is the newest leader epoch that has records, -1 when none has.
func (l *Log) LastEpoch() int32 { return l.epochs.Load().last() }

// EpochAt is the leader epoch of the record at offset, -1 when it is not known.
func (l *Log) EpochAt(offset int64) int32 { return l.epochs.Load().at(offset) }

// EpochEnd answers OffsetForLeaderEpoch (KIP-320): the largest epoch at or below the asked one and
// its end; -1, -1 when that is not known.
func (l *Log) EpochEnd(epoch int32) (found int32, end int64) {
	end = l.written.Load() // first: of a later end the newest epoch might not be known yet
	return l.epochs.Load().endFor(epoch, end)
}

// assign notes the leader epoch of an appended batch; the caller holds mu.
func (l *Log) assign(epoch int32, offset int64) {
	old := l.epochs.Load()
	if epoch == old.last() {
		return
	}
	e := epochs{list: slices.Clone(old.list)}
	if e.assign(epoch, offset) {
		l.epochs.Store(&e)
		l.w.epochsNew = true
	}
}

// Producers lists the idempotent producers that the log remembers.
func (l *Log) Producers() []ProducerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.producers.states()
}

// active is the segment that is written, nil before the first append.
func (l *Log) active() *segment {
	segs := *l.segs.Load()
	if len(segs) == 0 {
		return nil
	}
	return segs[len(segs)-1]
}

// health is what is wrong with a log, and what was.
type health struct {
	trouble atomic.Pointer[trouble] // nil while the log serves
	mended  atomic.Pointer[trouble] // the last one that a reopening ended, when that was

	damage      atomic.Pointer[error] // what a reader found on disk, nil nothing
	damageNoted atomic.Bool           // it is written down
}

// trouble is why a log serves nothing.
type trouble struct {
	err     error
	offline bool          // a reopening would not mend it
	next    time.Time     // when the log is reopened
	wait    time.Duration // how long that was put off
	told    *sync.Once    // whoever waits on the log is told once
}

// The first reopening comes after reopenAfter, each further one after twice as long.
const (
	reopenAfter  = time.Second
	reopenAtMost = 30 * time.Second
	troubleFresh = 2 * time.Minute // what fails again so soon goes on with its back-off
)

// Err is nil while the log serves.
func (l *Log) Err() error {
	if t := l.trouble.Load(); t != nil {
		return t.err
	}
	return nil
}

// poison stops the log after an error of write, fsync, create or rename; only recovery brings it
// back. Whoever waits is told by tell, which the caller calls once it holds no lock.
func (l *Log) poison(what string, err error) error {
	now := l.store.cfg.Now()
	t := &trouble{err: fmt.Errorf("%w: %s %s: %w", ErrPoisoned, what, l.id, err), wait: reopenAfter, told: new(sync.Once)}
	if m := l.mended.Load(); m != nil && now.Sub(m.next) < troubleFresh {
		t.wait = min(2*m.wait, reopenAtMost)
	}
	t.next = now.Add(t.wait)
	if !l.trouble.CompareAndSwap(nil, t) {
		return l.Err()
	}
	if isNoSpace(err) {
		l.store.disk.full.Store(true)
	}
	l.store.log.Error("log stopped", "log", l.id, "dir", l.dir, "err", t.err)
	return t.err
}

// offline keeps a log out of service until a person has looked, or it was rebuilt from elsewhere.
func (l *Log) offline(err error) {
	l.trouble.Store(&trouble{err: fmt.Errorf("%w: %w", ErrPoisoned, err), offline: true, told: new(sync.Once)})
	l.store.log.Error("log is offline: records that were on disk are missing or damaged; what is left of it is as it was",
		"log", l.id, "dir", l.dir, "err", err)
}

// end stops the log for good.
func (l *Log) end(err error) {
	l.mu.Lock() // not while it is reopened
	l.trouble.Store(&trouble{err: err, offline: true, told: new(sync.Once)})
	segs := *l.segs.Load()
	l.segs.Store(&[]*segment{})
	l.mu.Unlock()
	l.tell()
	l.store.caches.discard(segs)
}

// tell tells whoever waits on a stopped log why nothing more will come.
func (l *Log) tell() {
	if t := l.trouble.Load(); t != nil {
		t.told.Do(func() {
			l.written.fail(t.err)
			l.acked.fail(t.err)
			l.store.troubled(l.id)
		})
	}
}

// guard ends the process when code that changes the log panics: a half-changed log must not live on.
func (l *Log) guard() {
	if p := recover(); p != nil {
		l.store.log.Error("panic while changing a log", "log", l.id, "panic", p, "stack", string(debug.Stack()))
		os.Exit(70)
	}
}
