package logstore

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"chronik/wire/batch"
)

// dirt is the part of a log that a compaction would rewrite.
type dirt struct {
	l       *Log
	segs    []*segment // from the log's first on
	from    int64      // offset: what is below was compacted before
	bytes   int64      // of segs
	ratio   float64    // of the bytes, how much was not compacted before
	overdue bool       // a record waits longer than max.compaction.lag.ms
}

// end is the offset behind what is rewritten.
func (d *dirt) end() int64 { return d.segs[len(d.segs)-1].last.Load() + 1 }

// rollMs is the age at which the active segment makes room for the next one, so that what it holds
// can be compacted.
func (o *Options) rollMs() int64 {
	if o.Compact != nil && o.Compact.MaxLagMs > 0 {
		return min(o.SegmentMs, o.Compact.MaxLagMs)
	}
	return o.SegmentMs
}

// rollAged seals the active segment of a log that nobody writes to.
func (l *Log) rollAged(now time.Time) {
	aged := func(s *segment) bool {
		return now.UnixMilli()-l.segmentOpened(s).UnixMilli() >= l.options.Load().rollMs()
	}
	l.mu.Lock()
	s := l.active()
	due := s != nil && s.size.Load() > 0 && l.Err() == nil && aged(s)
	l.mu.Unlock()
	if !due {
		return
	}
	if l.Flushed() < l.End() {
		l.doFlush() // where acknowledgements wait for none
	}
	l.rollIf(aged)
}

// dirty says what there is to compact in a log; no segments when there is nothing. Sealed segments
// are, that are on disk, have their sidecars, hold nothing that is not committed, and are old enough.
func (l *Log) dirty(now time.Time) (d dirt, err error) {
	c := l.options.Load().Compact
	segs := *l.segs.Load()
	if c == nil || l.Err() != nil || len(segs) < 2 {
		return d, nil
	}
	cleaned, err := l.cleanedTo()
	if err != nil {
		return d, err
	}
	d.l, d.from = l, max(cleaned, l.Start())
	committed, youngest := l.committedEnd(), now.UnixMilli()-max(c.MinLagMs, 0)
	var dirty []*segment
	var dirtyBytes int64
	for i, s := range segs[:len(segs)-1] {
		isDirty := s.last.Load() >= d.from
		if s.index.Load() != nil || s.last.Load() >= committed || isDirty && c.MinLagMs > 0 && s.maxTS.Load() > youngest {
			break
		}
		d.bytes += s.size.Load()
		if isDirty {
			dirty = append(dirty, s)
			dirtyBytes += s.size.Load()
			d.segs = segs[: i+1 : i+1]
		}
	}
	if len(dirty) == 0 {
		return dirt{}, nil
	}
	d.ratio = float64(dirtyBytes) / float64(d.bytes)
	d.overdue, err = l.waitsTooLong(dirty, now.UnixMilli(), c.MaxLagMs)
	if d.ratio <= c.MinDirtyRatio && !d.overdue {
		d.segs = nil
	}
	return d, err
}

// waitsTooLong reports whether the first batch of some segment is older than lag.
func (l *Log) waitsTooLong(dirty []*segment, now, lag int64) (bool, error) {
	if lag == math.MaxInt64 {
		return false, nil
	}
	known := l.compact.first
	l.compact.first = make(map[*segment]int64, len(dirty))
	earliest := int64(math.MaxInt64)
	for _, s := range dirty {
		ts, ok := known[s]
		if !ok {
			var err error
			if ts, err = s.firstTimestamp(); err != nil {
				if errors.Is(err, errGone) {
					return false, nil // the next look sees what took its place
				}
				return false, err
			}
		}
		l.compact.first[s] = ts
		if ts > 0 {
			earliest = min(earliest, ts)
		}
	}
	return earliest < now-lag, nil
}

// firstTimestamp is the largest timestamp of a segment's first batch.
func (s *segment) firstTimestamp() (ts int64, err error) {
	f, err := s.acquire()
	if err != nil {
		return 0, err
	}
	defer s.release()
	err = walk(f, 0, s.size.Load(), func(p place) bool {
		ts = newestOf(p.head)
		return false
	})
	return ts, err
}

// newestOf is the largest timestamp of a batch's records, -1 when it has none left. Its header is enough.
func newestOf(b batch.Batch) int64 {
	if b.NumRecords() == 0 {
		return -1
	}
	return b.MaxTimestamp()
}

// byUrgency has those that wait too long first, then the dirtiest.
func byUrgency(all []dirt) {
	slices.SortStableFunc(all, func(a, b dirt) int {
		if a.overdue != b.overdue {
			if a.overdue {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.ratio, a.ratio)
	})
}
