package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"chronik/wire/batch"
)

// maxRead is the most that one Read returns, unless the first batch is larger.
const maxRead = 1 << 20

// entryHead is enough of an entry to step over it: its prefix and the batch's header.
const entryHead = binary.MaxVarintLen32 + batch.HeaderLen

// lookAhead is how much is read to walk the entries behind an index row.
const lookAhead = 32 << 10

var lookBuffers = sync.Pool{New: func() any { b := make([]byte, lookAhead); return &b }}

// place is an entry of a segment: where its prefix begins, and what its header says.
type place struct {
	pos, prefix, size int64 // size of the batch
	base, last        int64
}

func (p place) next() int64 { return p.pos + p.prefix + p.size }

// placeOf reads the header of the entry that begins p.
func placeOf(pos int64, p []byte) (place, error) {
	n, w := binary.Uvarint(p)
	if w <= 0 || n < batch.HeaderLen || len(p) < w+batch.HeaderLen {
		return place{}, fmt.Errorf("no entry at position %d", pos)
	}
	b := batch.Batch(p[w:])
	return place{pos, int64(w), int64(n), b.BaseOffset(), b.LastOffset()}, nil
}

// Read appends whole batches to dst: from the one that holds offset from on, up to the last that
// ends at or below until, as many as fit into limit bytes, at least one. What is not there yet
// leaves dst as it is. ErrOutOfRange: from is outside the log. Readers take no lock of the writer.
func (l *Log) Read(dst []byte, from, until int64, limit int) ([]byte, error) {
	if err := l.Err(); err != nil {
		return dst, err
	}
	end := l.written.Load()
	if from < l.start.Load() || from > end {
		return dst, fmt.Errorf("%w: %d is not in %d to %d", ErrOutOfRange, from, l.start.Load(), end)
	}
	until = min(until, end)
	segs := *l.segs.Load()
	for i := max(findSegment(segs, from), 0); i < len(segs) && segs[i].base < until; i++ {
		s := segs[i]
		if s.last.Load() < from {
			continue
		}
		got, err := s.read(dst, from, until, min(limit, maxRead))
		if errors.Is(err, fs.ErrNotExist) && from < l.start.Load() {
			return dst, fmt.Errorf("%w: %d was dropped meanwhile", ErrOutOfRange, from)
		}
		if err != nil {
			return dst, fmt.Errorf("read %s at offset %d: %w", l.id, from, err)
		}
		return got, nil
	}
	return dst, nil
}

// read reads from the batch that holds offset from, or the first behind it.
func (s *segment) read(dst []byte, from, until int64, limit int) ([]byte, error) {
	f, err := s.acquire()
	if err != nil {
		return dst, err
	}
	defer s.release()
	size := s.size.Load()
	first, err := s.find(f, size, from)
	if err != nil {
		return dst, err
	}
	if first.size == 0 || first.last >= until {
		return dst, nil
	}
	want := max(first.size, min(int64(limit), size-first.pos-first.prefix))
	start := len(dst)
	dst = slices.Grow(dst, int(want))
	data := dst[start : start+int(want)]
	if _, err := f.ReadAt(data, first.pos+first.prefix); err != nil {
		return dst[:start], err
	}
	return dst[:start+squeeze(data, int(first.size), until)], nil
}

// squeeze moves the batches in data together over the prefixes between them and returns how many
// bytes they are. data begins with a whole batch of the given size; a part of one at the end, and
// what ends above until, is left out.
func squeeze(data []byte, first int, until int64) int {
	to, at := first, first
	for at < len(data) {
		n, w := binary.Uvarint(data[at:])
		if w <= 0 || n < batch.HeaderLen || uint64(len(data)-at-w) < n {
			break
		}
		b := data[at+w : at+w+int(n)]
		if batch.Batch(b).LastOffset() >= until {
			break
		}
		to += copy(data[to:], b)
		at += w + int(n)
	}
	return to
}

// find returns the first entry whose last offset is at or above offset; one of size 0 when the
// segment has none.
func (s *segment) find(f *os.File, size, offset int64) (place, error) {
	rows, err := s.rows()
	if err != nil {
		return place{}, err
	}
	pos := int64(0)
	if i := rowAt(rows, offset); i >= 0 {
		pos = rows[i].Pos
	}
	var found place
	err = walk(f, pos, size, func(p place) bool {
		if p.last < offset {
			return true
		}
		found = p
		return false
	})
	return found, err
}

// walk steps over the entries from pos to size until visit says no. It reads headers only, many
// with one read where entries are small.
func walk(f io.ReaderAt, pos, size int64, visit func(place) bool) error {
	buf := lookBuffers.Get().(*[]byte)
	defer lookBuffers.Put(buf)
	var have []byte // what is read at haveAt
	var haveAt int64
	step := int64(entryHead) // the first read is small: the row may be the place
	for pos < size {
		if pos < haveAt || pos+min(entryHead, size-pos) > haveAt+int64(len(have)) {
			n := min(step, size-pos)
			step = lookAhead
			if _, err := f.ReadAt((*buf)[:n], pos); err != nil {
				return err
			}
			have, haveAt = (*buf)[:n], pos
		}
		p, err := placeOf(pos, have[pos-haveAt:])
		if err != nil {
			return err
		}
		if !visit(p) {
			return nil
		}
		pos = p.next()
	}
	return nil
}

// SizeFrom estimates the bytes between two offsets, at most limit: by the index, without reading.
func (l *Log) SizeFrom(from, until int64, limit int) int {
	if from >= until {
		return 0
	}
	segs := *l.segs.Load()
	var n int64
	for i := max(findSegment(segs, from), 0); i < len(segs) && n < int64(limit) && segs[i].base < until; i++ {
		s := segs[i]
		size, pos := s.size.Load(), int64(0)
		if rows, err := s.rows(); err == nil && from > s.base {
			if r := rowAt(rows, from); r >= 0 {
				pos = rows[r].Pos
			}
		}
		n += size - pos
	}
	return int(min(n, int64(limit)))
}

// OffsetForTime finds the first record below Acked whose timestamp is at or above ts: its offset,
// timestamp and leader epoch; offset -1 when there is none.
func (l *Log) OffsetForTime(ts int64) (offset, timestamp int64, epoch int32, err error) {
	until := l.acked.Load()
	for _, s := range *l.segs.Load() {
		if s.maxTS.Load() < ts || s.last.Load() < l.start.Load() {
			continue
		}
		offset, timestamp, err := s.timeAt(ts, l.start.Load(), until, l)
		if err != nil || offset >= 0 {
			return offset, timestamp, l.EpochAt(offset), err
		}
	}
	return -1, -1, -1, nil
}

// timeAt finds the first record at or above both an offset and a time.
func (s *segment) timeAt(ts, from, until int64, l *Log) (offset, timestamp int64, err error) {
	f, err := s.acquire()
	if err != nil {
		return -1, -1, err
	}
	defer s.release()
	pos, err := s.rowPosition(ts, l)
	if err != nil {
		return -1, -1, err
	}
	offset, timestamp = -1, -1
	var bad error
	var buf []byte
	err = walk(f, pos, s.size.Load(), func(p place) bool {
		if p.last >= until {
			return false
		}
		if p.last < from {
			return true
		}
		buf = slices.Grow(buf[:0], int(p.size))[:p.size]
		if _, bad = f.ReadAt(buf[:batch.HeaderLen], p.pos+p.prefix); bad != nil {
			return false
		}
		if batch.Batch(buf).MaxTimestamp() < ts {
			return true
		}
		if _, bad = f.ReadAt(buf, p.pos+p.prefix); bad != nil {
			return false
		}
		offset, timestamp, bad = recordAt(buf, ts, from)
		return bad == nil && offset < 0
	})
	return offset, timestamp, errors.Join(err, bad)
}

// rowPosition is where to begin to look for a time.
func (s *segment) rowPosition(ts int64, l *Log) (int64, error) {
	var rows []indexRow
	if x := s.index.Load(); x != nil {
		l.mu.Lock()
		rows = x.all()
		l.mu.Unlock()
	} else {
		c, err := s.sidecar()
		if err != nil {
			return 0, err
		}
		rows = c.Rows
	}
	if i := rowAtTime(rows, ts); i < len(rows) {
		return rows[i].Pos, nil
	}
	return 0, nil
}

// recordAt finds the first record of a batch at or above both a time and an offset.
func recordAt(b batch.Batch, ts, from int64) (offset, timestamp int64, err error) {
	offset, timestamp = -1, -1
	err = b.Records(func(_ int, r *batch.Record) error {
		at, o := b.BaseTimestamp()+r.TimestampDelta, b.BaseOffset()+int64(r.OffsetDelta)
		if b.LogAppendTime() {
			at = b.MaxTimestamp()
		}
		if at < ts || o < from {
			return nil
		}
		offset, timestamp = o, at
		return errFound
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return offset, timestamp, err
}

var errFound = errors.New("found")

// MaxTimestamp finds the record with the largest timestamp below Acked: the first one that has it.
func (l *Log) MaxTimestamp() (offset, timestamp int64, epoch int32, err error) {
	best := int64(-1)
	for _, s := range *l.segs.Load() {
		if s.last.Load() >= l.start.Load() {
			best = max(best, s.maxTS.Load())
		}
	}
	if best < 0 {
		return -1, -1, -1, nil
	}
	return l.OffsetForTime(best)
}
