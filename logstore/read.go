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
	"time"

	"chronik/wire/batch"
)

// maxRead is the most that one Read returns, unless the first batch is larger.
const maxRead = 1 << 20

// entryHead is enough of an entry to step over it: its prefix and the batch's header.
const entryHead = binary.MaxVarintLen32 + batch.HeaderLen

// lookAhead is how much is read to walk the entries behind an index row.
const lookAhead = 32 << 10

var lookBuffers = sync.Pool{New: func() any { b := make([]byte, lookAhead); return &b }}

// place is an entry of a segment: where its prefix begins, and its batch's header.
type place struct {
	pos, prefix, size int64       // size of the batch
	head              batch.Batch // the header alone; not to be kept by who is shown the place
}

func (p place) next() int64  { return p.pos + p.prefix + p.size }
func (p place) start() int64 { return p.pos + p.prefix }

// entryAt measures the entry that begins p, of which left bytes are there.
func entryAt(p []byte, left int64) (size, prefix int64, err error) {
	n, w := binary.Uvarint(p)
	switch {
	case w <= 0 || w != uvarintLen(n) || n < batch.HeaderLen || len(p) < w+batch.HeaderLen:
		return 0, 0, errTail
	case n > uint64(left) || int64(w) > left-int64(n):
		return 0, 0, errTail
	case int64(batch.Batch(p[w:]).Size()) != int64(n):
		return 0, 0, fmt.Errorf("%w: an entry of %d bytes holds a batch of %d", errTail, n, batch.Batch(p[w:]).Size())
	}
	return int64(n), int64(w), nil
}

// Want is what a read is to give: whole batches, from the one that holds offset From on, up to the last
// that ends at or below Until, as many as fit into Limit bytes, at least one.
type Want struct {
	From, Until int64
	Limit       int
	// Pipe, an empty one, takes large batches; only what does not fit of the last is appended.
	Pipe *Pipe
}

// Read appends batches to dst. What is not there yet leaves dst as it is. ErrOutOfRange: from is outside
// the log. Readers take no lock of the writer.
func (l *Log) Read(dst []byte, from, until int64, limit int) ([]byte, error) {
	return l.Splice(dst, Want{From: from, Until: until, Limit: limit})
}

// Splice is Read for who sends what is read: what is in the pipe stands before what is appended.
func (l *Log) Splice(dst []byte, want Want) ([]byte, error) {
	want.Limit = min(want.Limit, maxRead)
	for {
		segs := l.segs.Load()
		got, err := l.read(dst, *segs, wanted{Want: want})
		if errors.Is(err, errGone) && segs != l.segs.Load() {
			continue // what was to be read is in the new list, or nowhere
		}
		return got, err
	}
}

func (l *Log) read(dst []byte, segs []*segment, w wanted) ([]byte, error) {
	if err := l.Err(); err != nil {
		return dst, err
	}
	end, from := l.written.Load(), w.From
	if from < l.start.Load() || from > end {
		return dst, fmt.Errorf("%w: %d is not in %d to %d", ErrOutOfRange, from, l.start.Load(), end)
	}
	w.Until, w.settled = min(w.Until, end), l.settled.Load()
	for i := max(findSegment(segs, from), 0); i < len(segs) && segs[i].base < w.Until; i++ {
		s := segs[i]
		if s.last.Load() < from {
			continue
		}
		got, err := s.read(dst, w)
		if isDamage(err) && from >= l.start.Load() {
			got, err = l.reread(s, dst, w)
		}
		if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errGone)) && from < l.start.Load() {
			return dst, fmt.Errorf("%w: %d was dropped meanwhile", ErrOutOfRange, from)
		}
		if err != nil {
			return dst, fmt.Errorf("read %s at offset %d: %w", l.id, from, err)
		}
		return got, nil
	}
	return dst, nil
}

// wanted is what one read is to give.
type wanted struct {
	Want
	// Below settled, batches are held against their checksums. What was written a moment ago was
	// checked then, and comes from memory: whoever reads the end of the log pays nothing.
	settled int64
}

// read reads from the batch that holds offset from, or the first behind it.
func (s *segment) read(dst []byte, w wanted) ([]byte, error) {
	f, err := s.acquire()
	if err != nil {
		return dst, err
	}
	defer s.release()
	size := s.size.Load()
	var first place
	var base int64
	err = s.walkFrom(f, size, w.From, func(p place) bool {
		if p.head.LastOffset() < w.Until {
			base, p.head = p.head.BaseOffset(), nil
			first = p
		}
		return false
	})
	if err != nil || first.size == 0 {
		return dst, err
	}
	if got, ok, err := s.splice(dst, f, first, base, w); ok || err != nil {
		return got, err
	}
	prefixes := (int64(w.Limit)/first.size + 1) * first.prefix // of as many such batches as fit
	want := max(first.size, min(int64(w.Limit)+prefixes, size-first.start()))
	start := len(dst)
	dst = slices.Grow(dst, int(want))
	data := dst[start : start+int(want)]
	if _, err := f.ReadAt(data, first.start()); err != nil {
		return dst[:start], err
	}
	run := checkedRun{start: first.start()}
	n, err := w.squeeze(data, int(first.size), &run)
	if err != nil {
		return dst[:start], fmt.Errorf("%s: %w", s.path, err)
	}
	if first.size >= spliceFrom && run.n > 0 {
		s.file.checked.add(first.pos, &run, time.Now())
	}
	return dst[:start+n], nil
}

// squeeze moves the batches in data together over the prefixes between them, each right after it
// was checked, and returns how many bytes they are. data begins with a whole batch of size bytes; a
// part of one at the end, what is more than the limit, and what ends above until, is left out. A
// batch that is not whole is an error where it is the first, else the next read meets it.
func (w *wanted) squeeze(data []byte, size int, run *checkedRun) (to int, err error) {
	end := int64(0)
	for at := 0; ; {
		b := batch.Batch(data[at : at+size])
		if b.BaseOffset() < w.settled {
			if err := checkRead(b, end); err != nil && at == 0 {
				return 0, fmt.Errorf("%w: offsets %d to %d: %w", errRotten, b.BaseOffset(), b.LastOffset(), err)
			} else if err != nil {
				return to, nil
			}
			run.add(at+size, b.LastOffset())
		}
		end = b.LastOffset() + 1
		if at != to {
			copy(data[to:], b)
		}
		to, at = to+size, at+size
		n, prefix, err := entryAt(data[at:], int64(len(data)-at))
		if err != nil {
			return to, nil // a part of one, or nothing
		}
		at, size = at+int(prefix), int(n)
		if to+size > w.Limit || batch.Batch(data[at:]).LastOffset() >= w.Until {
			return to, nil
		}
	}
}

// walkFrom steps over the entries whose last offset is at or above offset, until visit says no.
func (s *segment) walkFrom(f *os.File, size, offset int64, visit func(place) bool) error {
	rows, err := s.rows()
	if err != nil {
		return err
	}
	pos := int64(0)
	if i := rowAt(rows, offset); i >= 0 {
		pos = rows[i].Pos
	}
	return walk(f, pos, size, func(p place) bool { return p.head.LastOffset() < offset || visit(p) })
}

// walk steps over the entries from pos to size until visit says no. It reads headers only, many
// with one read where entries are small, one by one where they are large.
func walk(f io.ReaderAt, pos, size int64, visit func(place) bool) error {
	buf := lookBuffers.Get().(*[]byte)
	defer lookBuffers.Put(buf)
	var have []byte // what is read at haveAt
	var haveAt int64
	step := int64(entryHead) // the first read is small: the row may be the place
	for pos < size {
		if pos < haveAt || pos+min(entryHead, size-pos) > haveAt+int64(len(have)) {
			n := min(step, size-pos)
			if _, err := f.ReadAt((*buf)[:n], pos); err != nil {
				return err
			}
			have, haveAt = (*buf)[:n], pos
		}
		p := have[pos-haveAt:]
		n, w, err := entryAt(p, size-pos)
		if err != nil {
			return fmt.Errorf("position %d: %w", pos, err)
		}
		if step = lookAhead; n >= lookAhead/4 {
			step = entryHead
		}
		at := place{pos, w, n, batch.Batch(p[w : w+batch.HeaderLen])}
		if !visit(at) {
			return nil
		}
		pos = at.next()
	}
	return nil
}

// SizeFrom estimates the bytes between two offsets, at most limit: by the index, without reading.
// Where there is anything it is at least 1.
func (l *Log) SizeFrom(from, until int64, limit int) int {
	until = min(until, l.written.Load())
	if from >= until {
		return 0
	}
	segs := *l.segs.Load()
	var n int64
	for i := max(findSegment(segs, from), 0); i < len(segs) && n < int64(limit) && segs[i].base < until; i++ {
		n += segs[i].sizeBetween(from, until)
	}
	return int(max(1, min(n, int64(limit))))
}

// sizeBetween is SizeFrom of one segment. Without an index it is the whole of it.
func (s *segment) sizeBetween(from, until int64) int64 {
	begin, end := int64(0), s.size.Load()
	if from <= s.base && until > s.last.Load() {
		return end
	}
	rows, err := s.rows()
	if err != nil {
		return end
	}
	if r := rowAt(rows, from); r >= 0 {
		begin = rows[r].Pos
	}
	if r := rowAt(rows, until); r >= 0 && until <= s.last.Load() {
		end = rows[r].Pos
	}
	return max(0, end-begin)
}
