package logstore

import (
	"slices"
	"sync"
	"time"
)

// checkedFor is how long a batch is not held against its checksum again.
const checkedFor = time.Minute

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

// forget forgets all: what is read again may come from the disk.
func (c *checkedSpans) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = [len(c.spans)]checkedSpan{}
}

// batchSize is the size of the batch in an entry of n bytes.
func batchSize(n int64) int64 {
	prefix := int64(uvarintLen(uint64(n)))
	if int64(uvarintLen(uint64(n-prefix))) < prefix {
		prefix--
	}
	return n - prefix
}
