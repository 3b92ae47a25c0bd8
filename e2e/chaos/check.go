package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Violation is a claim of the package comment that a history breaks.
type Violation struct {
	Check string
	Text  string
}

func (v Violation) String() string { return v.Check + ": " + v.Text }

// shown is how many violations of one check are told; of the others, the number is.
const shown = 10

// Check holds a history against every claim.
func Check(h *History) []Violation {
	c := newChecker(h)
	c.finals()
	c.operations()
	c.order()
	for i := range h.Final {
		c.read(&h.Final[i])
	}
	for i := range h.Sessions {
		c.read(&h.Sessions[i])
		c.positions(&h.Sessions[i])
		c.missed(&h.Sessions[i])
	}
	c.groups()
	c.ends()
	c.leaders()
	c.replicas()
	return c.verdict()
}

// checker is one walk through a history: what is known so far of values and offsets.
type checker struct {
	h         *History
	broken    []Violation
	count     map[string]int
	operation map[Value]*Operation
	at        []map[int64]sighting // by partition: the first that was seen at an offset
	where     map[Value]sighting   // where a value was seen first
	final     []*finalRead
}

// finalRead is what a partition holds at the end. keys is the last offset of each key.
type finalRead struct {
	session *Session
	offsets map[Value]int64
	keys    map[Value]int64
}

// sighting is a value at an offset, and who says so.
type sighting struct {
	partition int32
	offset    int64
	value     Value
	by        string
	at        time.Duration
}

func (s sighting) String() string {
	return fmt.Sprintf("%s (%s, %s)", s.value, s.by, stamp(s.at))
}

func newChecker(h *History) *checker {
	c := &checker{
		h: h, count: map[string]int{}, operation: make(map[Value]*Operation, len(h.Operations)),
		at: make([]map[int64]sighting, h.Partitions), where: make(map[Value]sighting, len(h.Operations)),
		final: make([]*finalRead, h.Partitions),
	}
	for i := range c.at {
		c.at[i] = map[int64]sighting{}
	}
	for i := range h.Operations {
		c.operation[h.Operations[i].Value] = &h.Operations[i]
	}
	return c
}

func (c *checker) breaks(check, format string, args ...any) {
	c.count[check]++
	if c.count[check] <= shown {
		c.broken = append(c.broken, Violation{check, fmt.Sprintf(format, args...)})
	}
}

// verdict lists what was found, check by check, and what was found too often to be told.
func (c *checker) verdict() []Violation {
	slices.SortStableFunc(c.broken, func(a, b Violation) int { return strings.Compare(a.Check, b.Check) })
	var all []Violation
	for i, v := range c.broken {
		all = append(all, v)
		more := c.count[v.Check] - shown
		if last := i == len(c.broken)-1 || c.broken[i+1].Check != v.Check; last && more > 0 {
			all = append(all, Violation{v.Check, fmt.Sprintf("%d more", more)})
		}
	}
	return all
}

// finals takes up the final reads: each partition once, without gaps.
func (c *checker) finals() {
	for i := range c.h.Final {
		s := &c.h.Final[i]
		f := &finalRead{session: s, offsets: make(map[Value]int64, len(s.Reads)), keys: map[Value]int64{}}
		c.final[s.Partition] = f
		last := s.From - 1
		for _, r := range s.Reads {
			if r.Offset <= last || r.Offset > last+1 && c.h.Keys == 0 {
				c.breaks("hole", "partition %d: offset %d follows %d in the final read", s.Partition, r.Offset, last)
			}
			last = r.Offset
			if r.Damaged {
				continue
			}
			if _, known := f.offsets[r.Value]; !known {
				f.offsets[r.Value] = r.Offset
			}
			f.keys[c.key(r.Value)] = r.Offset
		}
	}
	for p, f := range c.final {
		if f == nil {
			c.breaks("hole", "partition %d was not read at the end", p)
			c.final[p] = &finalRead{session: &Session{}}
		}
	}
}

// key stands for the record key of a value.
func (c *checker) key(v Value) Value { return Value{v.Writer, v.Seq % max(c.h.Keys, 1)} }

// outlived says whether a compacted topic may have dropped a value from an offset.
func (c *checker) outlived(p int32, v Value, offset int64) bool {
	if c.h.Keys == 0 {
		return false
	}
	later, ok := c.final[p].keys[c.key(v)]
	return ok && later > offset
}

// operations looks for acknowledged values in the final read.
func (c *checker) operations() {
	for i := range c.h.Operations {
		o := &c.h.Operations[i]
		if o.Outcome != Acknowledged {
			continue
		}
		c.see(sighting{o.Partition, o.Offset, o.Value, "acknowledged", o.End})
		if _, there := c.final[o.Partition].offsets[o.Value]; !there && !c.outlived(o.Partition, o.Value, o.Offset) {
			c.breaks("lost", "partition %d offset %d: %s, sent %s, acknowledged %s, is not in the final read",
				o.Partition, o.Offset, o.Value, stamp(o.Begin), stamp(o.End))
		}
	}
}

// see holds a sighting against all others: one value, one offset, both ways.
func (c *checker) see(s sighting) {
	first, known := c.at[s.partition][s.offset]
	switch {
	case !known:
		c.at[s.partition][s.offset] = s
	case first.value != s.value:
		c.breaks("conflict", "partition %d offset %d: %s and %s", s.partition, s.offset, first, s)
	}
	first, known = c.where[s.value]
	switch {
	case !known:
		c.where[s.value] = s
	case first.partition != s.partition || first.offset != s.offset:
		c.breaks("duplicate", "value %s: partition %d offset %d (%s, %s) and partition %d offset %d (%s, %s)", s.value,
			first.partition, first.offset, first.by, stamp(first.at), s.partition, s.offset, s.by, stamp(s.at))
	}
}

// read looks at each value that a consumer was given.
func (c *checker) read(s *Session) {
	for _, r := range s.Reads {
		if r.Damaged {
			c.breaks("damaged", "partition %d offset %d, read by %s %s: %s has a wrong checksum", s.Partition, r.Offset, s.Consumer, stamp(r.At), r.Value)
			continue
		}
		c.see(sighting{s.Partition, r.Offset, r.Value, "read by " + s.Consumer, r.At})
		switch o := c.operation[r.Value]; {
		case o == nil:
			c.breaks("invented", "partition %d offset %d, read by %s %s: %s was never sent", s.Partition, r.Offset, s.Consumer, stamp(r.At), r.Value)
		case o.Partition != s.Partition:
			c.breaks("invented", "partition %d offset %d, read by %s %s: %s was sent to partition %d", s.Partition, r.Offset, s.Consumer, stamp(r.At), r.Value, o.Partition)
		case o.Outcome == Failed:
			c.breaks("invented", "partition %d offset %d, read by %s %s: %s failed %s with %q", s.Partition, r.Offset, s.Consumer, stamp(r.At), r.Value, stamp(o.End), o.Err)
		}
	}
}

// order walks each partition as it is at the end. A value that is there twice counts
// where it is first; one without an answer may come late.
func (c *checker) order() {
	for p, f := range c.final {
		newest := map[uint32]Read{}
		for _, r := range f.session.Reads {
			if r.Damaged || f.offsets[r.Value] != r.Offset {
				continue
			}
			before, known := newest[r.Value.Writer]
			if !known || r.Value.Seq > before.Value.Seq {
				newest[r.Value.Writer] = r
				continue
			}
			if o := c.operation[r.Value]; o != nil && o.Outcome == Acknowledged {
				c.breaks("order", "partition %d: %s at offset %d comes after %s at offset %d; it was sent %s, acknowledged %s",
					p, r.Value, r.Offset, before.Value, before.Offset, stamp(o.Begin), stamp(o.End))
			}
		}
	}
}

// missed looks for what a consumer read in the final read. Another value at the same
// offset is a conflict, not a miss.
func (c *checker) missed(s *Session) {
	f := c.final[s.Partition]
	held := f.session.Reads
	for _, r := range s.Reads {
		if r.Damaged || r.Offset < f.session.From || c.outlived(s.Partition, r.Value, r.Offset) {
			continue
		}
		_, there := slices.BinarySearchFunc(held, r.Offset, func(h Read, offset int64) int { return cmp.Compare(h.Offset, offset) })
		if !there {
			c.breaks("missed", "partition %d offset %d: %s, read by %s %s, is not in the final read", s.Partition, r.Offset, r.Value, s.Consumer, stamp(r.At))
		}
	}
}

// stamp is a time of the history as a person looks for it in a log.
func stamp(d time.Duration) string { return fmt.Sprintf("at %.3fs", d.Seconds()) }
