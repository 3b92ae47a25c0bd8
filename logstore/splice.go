package logstore

import (
	"os"
	"time"
)

const (
	// spliceFrom is the size of batches from which on handing pages over costs less than copying
	// (BenchmarkSplice).
	spliceFrom = 8 << 10
	// spliceLeast is the least to hand over: what is less is copied.
	spliceLeast = 64 << 10
)

// splice hands batches from first on, which has offset base, to w.Pipe, as many as fit, and reports
// whether it did: not where they are small, or must be held against their checksums. What does not fit
// of the last one is appended to dst. What it cannot read is left to whoever copies, who meets the same
// error.
func (s *segment) splice(dst []byte, f *os.File, first place, base int64, w wanted) ([]byte, bool, error) {
	size := s.size.Load()
	if w.Pipe == nil || first.size < spliceFrom || first.size > int64(w.Limit) || size-first.start() < spliceLeast {
		return dst, false, nil
	}
	parts := splicing{limit: int64(w.Limit), room: w.Pipe.pages, list: w.Pipe.parts[:0]}
	if base < w.settled {
		s.file.checked.each(first.pos, w.Until, time.Now(), parts.add)
	} else if err := walk(f, first.pos, size, func(p place) bool {
		return p.head.LastOffset() < w.Until && parts.add(p.start(), p.size)
	}); err != nil {
		return dst, false, nil
	}
	w.Pipe.parts = parts.list
	if parts.sum < spliceLeast || parts.sum < spliceFrom*int64(len(parts.list)) {
		return dst, false, nil
	}
	for _, p := range parts.list {
		n, err := w.Pipe.take(f, p.at, int(p.size))
		if err == nil && n == int(p.size) {
			continue
		}
		start := len(dst)
		dst = append(dst, make([]byte, int(p.size)-n)...)
		if err == nil {
			_, err = f.ReadAt(dst[start:], p.at+int64(n))
		}
		if err != nil {
			return dst[:start], false, w.Pipe.empty()
		}
		break
	}
	return dst, true, nil
}

// splicing gathers the batches that go into a pipe.
type splicing struct {
	limit, room int64 // bytes, and pages
	list        []part
	sum, pages  int64
}

// part is where a batch stands in a segment.
type part struct{ at, size int64 }

// add takes a batch in if it fits, the first one in any case.
func (g *splicing) add(at, size int64) bool {
	sum, pages := g.sum+size, g.pages+(at+size-1)/pageSize-at/pageSize+1
	if len(g.list) > 0 && (sum > g.limit || pages > g.room) {
		return false
	}
	g.list = append(g.list, part{at, size})
	g.sum, g.pages = sum, pages
	return true
}
