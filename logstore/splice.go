package logstore

import (
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// spliceFrom is the size of batches from which on handing pages over costs less than copying
	// (BenchmarkSplice).
	spliceFrom = 8 << 10
	// spliceLeast is the least to hand over: what is less is copied.
	spliceLeast = 64 << 10
	// checkedFor is how long a batch is not held against its checksum again.
	checkedFor = time.Minute
)

// splice hands batches from first on to w.pipe, as many as fit, and reports whether it did: not
// where they are small, or must be held against their checksums. What does not fit of the last one is
// appended to dst. What it cannot read is left to whoever copies, who meets the same error.
func (s *segment) splice(dst []byte, f *os.File, first place, w wanted) ([]byte, bool, error) {
	if w.pipe == nil || first.size < spliceFrom || first.size > int64(w.limit) {
		return dst, false, nil
	}
	parts := splicing{limit: int64(w.limit), room: w.pipe.pages, list: w.pipe.parts[:0]}
	if first.head.BaseOffset() < w.settled {
		s.checked.each(first.pos, w.until, time.Now(), parts.add)
	} else if err := walk(f, first.pos, s.size.Load(), func(p place) bool {
		return p.head.LastOffset() < w.until && parts.add(p.start(), p.size)
	}); err != nil {
		return dst, false, nil
	}
	w.pipe.parts = parts.list
	if parts.sum < spliceLeast || parts.sum < spliceFrom*int64(len(parts.list)) {
		return dst, false, nil
	}
	for _, p := range parts.list {
		n, err := w.pipe.take(f, p.at, int(p.size))
		if err == nil && n == int(p.size) {
			continue
		}
		start := len(dst)
		dst = append(dst, make([]byte, int(p.size)-n)...)
		if err == nil {
			_, err = f.ReadAt(dst[start:], p.at+int64(n))
		}
		if err != nil {
			return dst[:start], false, w.pipe.empty()
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

// checkedSpans remember which large batches of a segment were held against their checksums a moment
// ago: these are in memory, and need not be looked at each time that they are read.
type checkedSpans struct {
	mu    sync.Mutex
	spans [4]checkedSpan // guarded by mu
}

// checkedSpan is entries one after the other.
type checkedSpan struct {
	at    []int64 // where they begin, and at last where the next one does
	last  int64   // offset
	since time.Time
}

// checkedRun is what one read checked.
type checkedRun struct {
	start int64                       // of the read, in the segment
	ends  [maxRead / spliceFrom]int64 // of entries, which is where the next ones begin
	n     int                         // of ends
	last  int64                       // offset
}

// add notes a batch that ends at a place of what is read. Where there are many, they are small.
func (r *checkedRun) add(end int, last int64) {
	if r.n < len(r.ends) {
		r.ends[r.n], r.last = r.start+int64(end), last
		r.n++
	}
}

// add notes that the entries were checked which begin at from and where the next ones do.
func (c *checkedSpans) add(from int64, r *checkedRun, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := &c.spans[0]
	for i := range c.spans {
		s := &c.spans[i]
		if n := len(s.at); s.valid(now) && s.at[0] <= from && from <= s.at[n-1] {
			if k, _ := slices.BinarySearch(r.ends[:r.n], s.at[n-1]+1); k < r.n {
				s.at, s.last = append(s.at, r.ends[k:r.n]...), r.last
			}
			return
		}
		if s.since.Before(oldest.since) {
			oldest = s
		}
	}
	*oldest = checkedSpan{append([]int64{from}, r.ends[:r.n]...), r.last, now}
}

// each visits the batches that were checked from an entry on, until visit says no: none where some of
// them may lie at or above until.
func (c *checkedSpans) each(entry, until int64, now time.Time, visit func(at, size int64) bool) {
	at := c.from(entry, until, now)
	for i := range len(at) - 1 {
		size := batchSize(at[i+1] - at[i])
		if !visit(at[i+1]-size, size) {
			return
		}
	}
}

// from is where entries begin from one on. What is there does not change.
func (c *checkedSpans) from(entry, until int64, now time.Time) []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.spans {
		s := &c.spans[i]
		if k, ok := slices.BinarySearch(s.at, entry); ok && s.valid(now) && s.last < until {
			return s.at[k:]
		}
	}
	return nil
}

func (s *checkedSpan) valid(now time.Time) bool { return now.Sub(s.since) < checkedFor }

// forget frees the memory of what is too old.
func (c *checkedSpans) forget(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.spans {
		if !c.spans[i].valid(now) {
			c.spans[i] = checkedSpan{}
		}
	}
}

// batchSize is the size of the batch in an entry of n bytes.
func batchSize(n int64) int64 {
	prefix := int64(uvarintLen(uint64(n)))
	if int64(uvarintLen(uint64(n-prefix))) < prefix {
		prefix--
	}
	return n - prefix
}
