package batch

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Summary is what CheckRecords found in the records of a batch.
type Summary struct {
	MinTimestamp, MaxTimestamp int64 // of the records that have one; -1 when none has
	Keyless                    bool  // a record has no key
}

// Seen is a record that CheckRecords walks over.
type Seen struct {
	Index     int // its offset delta
	Timestamp int64
	Keyless   bool
}

// walk collects the summary.
type walk struct {
	sum  Summary
	base int64
	each func(Seen)
	gaps bool  // offsets may be missing
	next int64 // least offset delta
	stop bool
}

// inOrder reports whether the i-th record may have this offset delta.
func (w *walk) inOrder(delta int64, i int) bool {
	least := w.next
	w.next = delta + 1
	return delta == int64(i) || w.gaps && delta >= least && delta <= math.MaxInt32
}

func (w *walk) saw(i int, delta int64, keyless bool) {
	ts := w.base + delta
	if ts != -1 {
		w.sum.MinTimestamp = min(w.sum.MinTimestamp, ts)
		w.sum.MaxTimestamp = max(w.sum.MaxTimestamp, ts)
	}
	w.sum.Keyless = w.sum.Keyless || keyless
	if w.each != nil {
		w.each(Seen{i, ts, keyless})
	}
}

// CheckRecords walks the records of a batch: their lengths fill it exactly, their
// offsets are 0..n-1, their fields lie inside them. Compressed records are
// decompressed on the way, in bounded memory. each, if not nil, is called for
// each record.
func (b Batch) CheckRecords(each func(Seen)) (Summary, error) {
	w := walk{base: b.BaseTimestamp(), each: each, sum: Summary{MinTimestamp: math.MaxInt64, MaxTimestamp: -1}}
	var err error
	if b.Codec() == None {
		err = w.plain(b[HeaderLen:], int(b.NumRecords()))
	} else {
		err = w.packed(b)
	}
	if w.sum.MinTimestamp == math.MaxInt64 {
		w.sum.MinTimestamp = w.sum.MaxTimestamp
	}
	return w.sum, err
}

// Walk visits the records of a stored batch, of which compaction may have taken
// some, until visit says no. It takes as little memory as CheckRecords.
func (b Batch) Walk(visit func(Seen) bool) error {
	w := walk{base: b.BaseTimestamp(), gaps: true}
	w.each = func(s Seen) { w.stop = !visit(s) }
	if b.Codec() == None {
		return w.plain(b[HeaderLen:], int(b.NumRecords()))
	}
	return w.packed(b)
}

// plain walks over uncompressed records. It allocates nothing.
func (w *walk) plain(rest []byte, n int) error {
	for i := 0; i < n; i++ {
		if w.each == nil {
			if i, rest = w.usual(rest, i, n); i == n {
				break
			}
		}
		size, width := binary.Varint(rest)
		if width <= 0 || size < 0 || size > int64(len(rest)-width) {
			return &ErrRecord{i, "length outside the batch"}
		}
		if reason := w.record(rest[width:width+int(size)], i); reason != "" {
			return &ErrRecord{i, reason}
		}
		if w.stop {
			return nil
		}
		rest = rest[width+int(size):]
	}
	if len(rest) > 0 {
		return &ErrRecord{n, "bytes behind the last record"}
	}
	return nil
}

// record returns what is wrong with the i-th record, "" when nothing is.
func (w *walk) record(p []byte, i int) string {
	c := cursor{p: p}
	c.take(1) // attributes
	ts := c.varint()
	delta := c.varint()
	if !c.bad && !w.inOrder(delta, i) {
		return badOffset
	}
	key := c.varint()
	if key != -1 {
		c.take(key)
	}
	c.field()
	headers := c.varint()
	if headers < 0 || headers > int64(len(c.p)) {
		return badHeaders
	}
	for range headers {
		if n := c.varint(); n < 0 {
			return badHeaderKey
		} else {
			c.take(n)
		}
		c.field()
	}
	if c.bad || len(c.p) > 0 {
		return badFields
	}
	w.saw(int(delta), ts, key == -1)
	return ""
}

// What can be wrong with a record.
const (
	badOffset    = "offset delta out of order"
	badHeaders   = "impossible header count"
	badHeaderKey = "null header key"
	badFields    = "fields do not fill the record"
)

// packed walks over compressed records as they are decompressed.
func (w *walk) packed(b Batch) error {
	n := int(b.NumRecords())
	return b.Codec().stream(b[HeaderLen:], func(s *stream) error {
		for i := range n {
			if reason := w.streamed(s, i); reason != "" {
				return &ErrRecord{i, s.because(reason)}
			}
			if w.stop {
				return nil
			}
		}
		return s.ended(n)
	})
}

// streamed is record for the next record of a stream.
func (w *walk) streamed(s *stream, i int) string {
	if s.begin(); s.err != nil {
		return "length outside the batch"
	}
	s.skip(1)
	ts := s.varint()
	delta := s.varint()
	if s.err == nil && !w.inOrder(delta, i) {
		return badOffset
	}
	key := s.varint()
	s.field(key)
	s.field(s.varint())
	headers := s.varint()
	if headers < 0 || headers > s.left {
		return badHeaders
	}
	for range headers {
		n := s.varint()
		if n < 0 && s.err == nil {
			return badHeaderKey
		}
		s.skip(n)
		if s.field(s.varint()); s.err != nil {
			break // a count may claim a billion more
		}
	}
	if s.err != nil || s.left > 0 {
		return badFields
	}
	w.saw(int(delta), ts, key == -1)
	return ""
}

// because adds what the decompressor said.
func (s *stream) because(reason string) string {
	if s.err == nil || s.err == errOutside {
		return reason
	}
	return fmt.Sprintf("%s: %v", reason, s.err)
}
