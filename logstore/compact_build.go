package logstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"chronik/wire/batch"
)

// errAbandoned ends a compaction of a log that is not what it was: truncated, reopened, deleted,
// or not to be compacted any more. What was written goes; nothing is wrong.
var errAbandoned = errors.New("the log changed meanwhile")

// compaction is one compaction of one log: it notes the latest offset of each key of the dirty
// part, then writes the log anew from its first segment on, without what is superseded.
type compaction struct {
	dirt
	c       *compactor
	now     int64
	keys    *offsetMap
	mapped  int64 // keys speaks of the offsets below it
	start   int64 // log start
	horizon int64 // delete horizon of tombstones that have none
	lasts   map[int64]int64
	out     *compactOut
	dropped batch.Batch // header of the last batch that left nothing, while out is empty
	judged
}

// judged is what the batch at hand keeps.
type judged struct {
	kept       batch.Kept
	tombstones int
	buf        []byte
	records    int64 // dropped, of all batches
	recoded    int64 // batches that were made anew
	wrote      int64 // bytes that the pace does not know of yet
}

// build does both passes and leaves the new segments in out.
func (c *compaction) build(ctx context.Context) error {
	if err := c.readKeys(ctx); err != nil {
		return err
	}
	c.dirt.bytes = 0
	for i, s := range c.segs { // those behind what the map holds stay
		if s.base >= c.mapped {
			c.segs = c.segs[:i:i]
			break
		}
		c.dirt.bytes += s.size.Load()
	}
	c.lasts = c.l.lastOffsets()
	c.start = c.l.Start()
	c.horizon = c.now + min(c.l.options.Load().Compact.DeleteRetentionMs, math.MaxInt64-c.now)
	for _, s := range c.segs {
		if st, err := os.Stat(s.path); err == nil {
			c.out.modified = st.ModTime()
		}
		if err := c.each(ctx, s, c.rewrite); err != nil {
			return err
		}
	}
	return c.out.finish()
}

// each visits the batches of a segment through a handle of its own: one of the log's would keep
// those waiting that drop or replace the segment.
func (c *compaction) each(ctx context.Context, s *segment, visit func(batch.Batch) error) error {
	f, err := s.another()
	if err != nil {
		return err
	}
	defer f.Close()
	size := s.size.Load()
	in := entryReaders.Get().(*entryReader)
	defer entryReaders.Put(in)
	in.in.Reset(io.NewSectionReader(f, 0, size))
	for pos := int64(0); pos < size; {
		if err := c.goOn(); err != nil {
			return err
		}
		b, prefix, bad, err := in.next(size - pos)
		if bad == nil && err == nil {
			bad = checkStored(b)
		}
		if bad != nil && c.goOn() == nil {
			bad = c.l.spoil(fmt.Errorf("%w: %s at %d: %w", ErrDamaged, s.path, pos, bad))
		}
		if err = errors.Join(bad, err); err == nil {
			err = visit(b)
		}
		if err != nil {
			return fmt.Errorf("%s at %d: %w", s.path, pos, err)
		}
		n := prefix + int64(len(b))
		pos += n
		c.c.stats.read.Add(n)
		if err := c.c.pace.spend(ctx, n+c.wrote); err != nil {
			return err
		}
		c.wrote = 0
	}
	return nil
}

// another opens the segment's file once more.
func (s *segment) another() (*os.File, error) {
	if _, err := s.acquire(); err != nil { // so that its path is its own
		return nil, err
	}
	defer s.release()
	return os.Open(s.path)
}

// goOn says whether the log is still to be compacted.
func (c *compaction) goOn() error {
	if c.l.Err() != nil || c.l.options.Load().Compact == nil {
		return errAbandoned
	}
	return nil
}

// errMapFull ends the reading of keys; the rest is for the next compaction.
var errMapFull = errors.New("no room for more keys")

// readKeys fills the map from the dirty part.
func (c *compaction) readKeys(ctx context.Context) error {
	c.keys = newOffsetMap(c.end()-c.from, c.c.cfg.BufferSize)
	c.mapped = c.from
	for _, s := range c.segs {
		if s.last.Load() < c.from {
			continue
		}
		err := c.each(ctx, s, c.noteKeys)
		if errors.Is(err, errMapFull) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	c.mapped = c.end()
	return nil
}

// noteKeys puts the keys of a batch into the map.
func (c *compaction) noteKeys(b batch.Batch) error {
	if b.LastOffset() < c.from || b.IsControl() {
		return nil
	}
	full := false
	err := b.Scan(func(r *batch.Scanned) {
		offset := b.BaseOffset() + int64(r.OffsetDelta)
		if full || offset < c.from {
			return
		}
		if full = r.Keyed && !c.keys.put(r.Key, offset); !full {
			c.mapped = offset + 1
		}
	})
	if err == nil && full {
		return errMapFull
	}
	return err
}

// rewrite writes what is left of a batch.
func (c *compaction) rewrite(b batch.Batch) error {
	left, err := c.leftOf(b)
	if err != nil {
		return err
	}
	if left == nil && c.mustStay(b) {
		left = b.Emptied()
	}
	if left == nil {
		if b.BaseOffset() <= c.start && len(c.out.done) == 0 && c.out.f == nil {
			c.dropped = append(c.dropped[:0], b[:batch.HeaderLen]...)
		}
		return nil
	}
	if len(c.dropped) > 0 && b.BaseOffset() > c.start {
		// The log's first batch begins at or below the log start: else one would be missing.
		if err := c.write(c.dropped.Emptied()); err != nil {
			return err
		}
	}
	c.dropped = c.dropped[:0]
	return c.write(left)
}

func (c *compaction) write(b batch.Batch) error {
	n := entrySize(b)
	c.wrote += n
	c.c.stats.written.Add(n)
	if low, why := c.l.store.DiskLow(); low {
		return fmt.Errorf("%w: %s", ErrDiskFull, why)
	}
	return c.out.add(b)
}

// leftOf is what is left of a batch, itself when it loses nothing, nil when it loses all.
func (c *compaction) leftOf(b batch.Batch) (batch.Batch, error) {
	switch {
	case b.IsControl() || b.BaseOffset() >= c.mapped:
		return b, nil
	case b.LastOffset() < c.start:
		c.records += int64(b.NumRecords())
		return nil, nil
	}
	if err := c.judge(b); err != nil {
		return nil, err
	}
	kept, n := c.kept.Len(), int(b.NumRecords())
	c.records += int64(n - kept)
	horizon := int64(batch.NoHorizon)
	if _, set := b.DeleteHorizon(); !set && c.tombstones > 0 && b.LastOffset() < c.mapped {
		horizon = c.horizon
	}
	switch {
	case kept == 0:
		return nil, nil
	case kept == n && horizon == batch.NoHorizon:
		return b, nil
	}
	left, err := b.Keep(c.buf[:0], c.kept, horizon)
	if err == nil {
		c.buf = left
		c.recoded++
	}
	return left, err
}

// judge decides on each record of a batch: the latest of its key stays, a tombstone until its
// horizon. Records without a key have no place in a compacted log.
func (c *compaction) judge(b batch.Batch) error {
	c.kept, c.tombstones = c.kept.Of(int(b.NumRecords())), 0
	horizon, set := b.DeleteHorizon()
	expired := set && c.now >= horizon
	return b.Scan(func(r *batch.Scanned) {
		offset := b.BaseOffset() + int64(r.OffsetDelta)
		if offset < c.mapped && (!r.Keyed || offset < c.keys.latest(r.Key) || r.Tombstone && expired) {
			return
		}
		c.kept.Add(r.Index)
		if r.Tombstone {
			c.tombstones++
		}
	})
}

// mustStay reports whether a batch leaves its header though it has no record: the last of those
// that are rewritten says where they end, the last of a producer which sequence it is at.
func (c *compaction) mustStay(b batch.Batch) bool {
	if b.LastOffset()+1 == c.end() {
		return true
	}
	last, ok := c.lasts[b.ProducerID()]
	return ok && last == b.LastOffset()
}

// lastOffsets is the last offset of each producer that is remembered.
func (l *Log) lastOffsets() map[int64]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	lasts := make(map[int64]int64, len(l.w.producers.byID))
	for id, p := range l.w.producers.byID {
		if p.n > 0 {
			last := p.window[p.n-1]
			lasts[id] = last.base + int64(last.delta)
		}
	}
	return lasts
}
