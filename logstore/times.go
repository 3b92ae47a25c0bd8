package logstore

import (
	"errors"
	"os"

	"chronik/wire/batch"
)

// OffsetForTime finds the first record below Acked whose timestamp is at or above ts: its offset,
// timestamp and leader epoch; offset -1 when there is none.
func (l *Log) OffsetForTime(ts int64) (offset, timestamp int64, epoch int32, err error) {
	if err := l.Err(); err != nil {
		return -1, -1, -1, err
	}
	for {
		segs := l.segs.Load()
		offset, timestamp, err = timeIn(*segs, ts, l.start.Load(), l.acked.Load())
		if errors.Is(err, errGone) && segs != l.segs.Load() {
			continue // dropped or truncated meanwhile
		}
		if offset < 0 || err != nil {
			return -1, -1, -1, err
		}
		return offset, timestamp, l.EpochAt(offset), nil
	}
}

// timeIn finds the first record from one offset to another at or above a time.
func timeIn(segs []*segment, ts, from, until int64) (offset, timestamp int64, err error) {
	for _, s := range segs {
		if s.maxTS.Load() < ts || s.last.Load() < from {
			continue
		}
		if s.base >= until {
			break
		}
		if offset, timestamp, err = s.timeAt(ts, from, until); err != nil || offset >= 0 {
			return offset, timestamp, err
		}
	}
	return -1, -1, nil
}

// timeAt is timeIn of one segment: it decodes the one batch that the time falls into.
func (s *segment) timeAt(ts, from, until int64) (offset, timestamp int64, err error) {
	offset, timestamp = -1, -1
	var bad error
	var buf []byte
	err = s.walkTimes(ts, func(f *os.File, p place) bool {
		switch {
		case p.head.LastOffset() >= until:
			return false
		case p.head.LastOffset() < from || newestOf(p.head) < ts:
			return true
		}
		if int64(cap(buf)) < p.size {
			buf = make([]byte, p.size)
		}
		buf = buf[:p.size]
		if _, bad = f.ReadAt(buf, p.start()); bad != nil {
			return false
		}
		offset, timestamp, bad = recordAt(buf, ts, from)
		return bad == nil && offset < 0
	})
	return offset, timestamp, errors.Join(err, bad)
}

// walkTimes steps over the entries from the index row on that a time falls into.
func (s *segment) walkTimes(ts int64, visit func(*os.File, place) bool) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	size := s.size.Load()
	rows, err := s.rows()
	if err != nil {
		return err
	}
	pos := int64(0)
	if len(rows) > 0 { // none reaches it: it is behind the last one's batches
		pos = rows[min(rowAtTime(rows, ts), len(rows)-1)].Pos
	}
	return walk(f, pos, size, func(p place) bool { return visit(f, p) })
}

// recordAt finds the first record of a batch at or above both a time and an offset.
func recordAt(b batch.Batch, ts, from int64) (offset, timestamp int64, err error) {
	offset, timestamp = -1, -1
	err = b.Walk(func(r batch.Seen) bool {
		at, o := r.Timestamp, b.BaseOffset()+int64(r.Index)
		if b.LogAppendTime() {
			at = b.MaxTimestamp()
		}
		if at < ts || o < from {
			return true
		}
		offset, timestamp = o, at
		return false
	})
	return offset, timestamp, err
}

// MaxTimestamp finds the record with the largest timestamp below Acked: the first one that has it.
func (l *Log) MaxTimestamp() (offset, timestamp int64, epoch int32, err error) {
	for {
		segs := l.segs.Load()
		largest, err := largestTime(*segs, l.start.Load(), l.acked.Load())
		if errors.Is(err, errGone) && segs != l.segs.Load() {
			continue // dropped, truncated or compacted meanwhile
		}
		if err != nil {
			return -1, -1, -1, err
		}
		if largest < 0 {
			return -1, -1, -1, l.Err()
		}
		offset, timestamp, epoch, err = l.OffsetForTime(largest)
		if err == nil && offset < 0 && segs != l.segs.Load() {
			continue // that record left meanwhile, others are there
		}
		return offset, timestamp, epoch, err
	}
}

// largestTime is the largest timestamp of the records from one offset to another, -1 without any.
func largestTime(segs []*segment, start, until int64) (largest int64, err error) {
	largest = -1
	for _, s := range segs {
		if s.last.Load() < start || s.base >= until {
			continue
		}
		ts := s.maxTS.Load()
		if s.base < start || s.last.Load() >= until { // not all of it counts
			if ts, err = s.maxTimeBetween(start, until); err != nil {
				return -1, err
			}
		}
		largest = max(largest, ts)
	}
	return largest, nil
}

// maxTimeBetween is the largest timestamp of the batches from one offset to another, -1 without any.
func (s *segment) maxTimeBetween(from, until int64) (largest int64, err error) {
	f, err := s.acquire()
	if err != nil {
		return -1, err
	}
	defer s.release()
	size := s.size.Load()
	rows, err := s.rows()
	if err != nil {
		return -1, err
	}
	largest, pos := -1, int64(0)
	r := rowAt(rows, min(until, s.last.Load()))
	if from <= s.base && r > 0 { // the rows before know the largest of what is before
		largest, pos = rows[r-1].MaxTimestamp, rows[r].Pos
	} else if r = rowAt(rows, from); r >= 0 {
		pos = rows[r].Pos
	}
	err = walk(f, pos, size, func(p place) bool {
		if p.head.LastOffset() >= until {
			return false
		}
		if p.head.LastOffset() >= from {
			largest = max(largest, newestOf(p.head))
		}
		return true
	})
	return largest, err
}
