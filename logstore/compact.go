package logstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"
)

// compactor compacts the logs of a store, one at a time, the most urgent first. One goroutine runs
// it and owns everything but the figures.
type compactor struct {
	store *Store
	cfg   CompactionConfig
	pace  pace
	stats compactStats
	ill   map[*Log]illness
}

// compactStats are figures that others read.
type compactStats struct {
	runs, read, written atomic.Int64
	failing             atomic.Int64
}

// illness is why the compaction of a log failed, and when it is tried again.
type illness struct {
	next time.Time
	wait time.Duration
}

// A log whose compaction failed is left alone, each time for twice as long.
const (
	compactAgain       = time.Minute
	compactAgainAtMost = time.Hour
)

func (c CompactionConfig) withDefaults() CompactionConfig {
	if c.Interval <= 0 {
		c.Interval = 15 * time.Second
	}
	if c.BufferSize <= 0 {
		c.BufferSize = 128 << 20
	}
	return c
}

func newCompactor(s *Store) *compactor {
	cfg := s.cfg.Compaction.withDefaults()
	return &compactor{store: s, cfg: cfg, pace: pace{perSecond: cfg.BytesPerSecond}, ill: map[*Log]illness{}}
}

// run compacts until ctx ends.
func (c *compactor) run(ctx context.Context) error {
	if c.cfg.Disabled {
		return nil
	}
	return c.store.every(ctx, c.cfg.Interval, c.round)
}

// round compacts until no log is dirty enough, or none of them can be. Errors of one log are logged here.
func (c *compactor) round(ctx context.Context) error {
	c.forgetGone()
	for again := true; again; {
		again = false
		for _, d := range c.look() {
			if ctx.Err() != nil {
				return nil
			}
			again = c.compact(ctx, d) || again
		}
	}
	return nil
}

// look finds the logs that want to be compacted, the most urgent first.
func (c *compactor) look() (all []dirt) {
	now := c.store.cfg.Now()
	for _, l := range c.store.Logs() {
		if l.options.Load().Compact == nil || l.Err() != nil || now.Before(c.ill[l].next) {
			continue
		}
		l.rollAged(now)
		d, err := l.dirty(now)
		if err != nil {
			c.failed(l, err)
			continue
		}
		if len(d.segs) > 0 {
			all = append(all, d)
		}
	}
	byUrgency(all)
	return all
}

// compact compacts one log, tells what came of it, and says whether it went well.
func (c *compactor) compact(ctx context.Context, d dirt) bool {
	began := time.Now()
	k := &compaction{dirt: d, c: c, now: c.store.cfg.Now().UnixMilli()}
	err := k.run(ctx)
	switch {
	case err == nil:
		c.stats.runs.Add(1)
		delete(c.ill, d.l)
		c.stats.failing.Store(int64(len(c.ill)))
		c.store.log.Info("log compacted", "log", d.l.id, "from", k.from, "to", k.mapped, "segments", len(k.segs), "bytes", k.bytes,
			"segmentsLeft", len(k.out.done), "bytesLeft", k.out.bytes(), "recordsDropped", k.records, "took", time.Since(began).Round(time.Millisecond))
	case ctx.Err() != nil || errors.Is(err, errAbandoned) || errors.Is(d.l.Err(), ErrDeleted):
	default:
		c.failed(d.l, err)
	}
	return err == nil
}

// failed leaves a log alone for a while. It serves as before; only the first failure is loud.
func (c *compactor) failed(l *Log, err error) {
	wait, loud := compactAgain, !errors.Is(err, ErrDamaged) // which is told where it is met
	if before, ok := c.ill[l]; ok {
		wait, loud = min(2*before.wait, compactAgainAtMost), false
	}
	c.ill[l] = illness{c.store.cfg.Now().Add(wait), wait}
	c.stats.failing.Store(int64(len(c.ill)))
	report := c.store.log.Debug
	if loud {
		report = c.store.log.Error
	}
	report("log not compacted; it serves as it is", "log", l.id, "again", wait, "err", err)
}

// forgetGone forgets logs that are not there any more.
func (c *compactor) forgetGone() {
	for l := range c.ill {
		if c.store.Log(l.id) != l {
			delete(c.ill, l)
		}
	}
	c.stats.failing.Store(int64(len(c.ill)))
}

// run compacts the log, and leaves nothing behind where that fails.
func (c *compaction) run(ctx context.Context) (err error) {
	if err := c.room(); err != nil {
		return err
	}
	if c.out, err = newCompactOut(c.l); err != nil {
		return err
	}
	if err = c.build(ctx); err == nil {
		if c.recoded == 0 && c.out.bytes() == c.dirt.bytes && len(c.out.done) == len(c.segs) {
			err = c.nothingToDo()
		} else {
			err = c.swap()
		}
	}
	if err == nil || c.l.Err() != nil {
		return err
	}
	if errors.Is(err, errGone) {
		err = errAbandoned
	}
	if left := c.undo(); left != nil && !errors.Is(left, fs.ErrNotExist) {
		err = errors.Join(err, left)
	}
	return err
}

// room says whether the disk has place for the log twice, as far as it is written anew.
func (c *compaction) room() error {
	if free, limit := c.l.store.disk.free.Load(), c.l.store.disk.limit(); free-c.dirt.bytes < limit {
		return fmt.Errorf("%w: %d MiB free, %d MiB wanted for the new segments and %d MiB kept free", ErrDiskFull, free>>20, c.dirt.bytes>>20, limit>>20)
	}
	return nil
}

// nothingToDo notes that all records are the latest of their keys.
func (c *compaction) nothingToDo() error {
	c.l.store.checkpoint.mu.Lock()
	defer c.l.store.checkpoint.mu.Unlock()
	if segs := *c.l.segs.Load(); c.goOn() != nil || len(segs) == 0 || segs[0] != c.segs[0] {
		return errAbandoned
	}
	if err := c.out.abandon(); err != nil {
		return err
	}
	if err := writeCleaned(c.l.dir, c.mapped); err != nil {
		return err
	}
	c.l.compact.cleaned.Store(c.mapped + 1)
	return nil
}

// undo takes away what was written. Where a journal may be on disk nobody knows which way the next
// start would go, so the log is stopped, and recovery decides.
func (c *compaction) undo() error {
	c.l.store.checkpoint.mu.Lock()
	defer c.l.store.checkpoint.mu.Unlock()
	if _, err := readSwap(c.l.dir); err == nil {
		return c.l.poison("compact", errors.New("the journal is written, and may not be durable"))
	}
	return c.out.abandon()
}

// CompactionStats are the figures of compaction since the start.
type CompactionStats struct {
	Runs                    int64
	BytesRead, BytesWritten int64
	FailingLogs             int64 // logs that are left alone because their compaction failed
}

// Compactions returns the figures of compaction.
func (s *Store) Compactions() CompactionStats {
	c := &s.compactor.stats
	return CompactionStats{c.runs.Load(), c.read.Load(), c.written.Load(), c.failing.Load()}
}
