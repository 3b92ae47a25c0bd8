package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Gap is the longest time around a fault in which a partition acknowledged nothing.
type Gap struct {
	Fault     Fault
	Partition int32 // the one that was silent longest
	Length    time.Duration
}

// Gaps measures each fault from its begin to the begin of the next, or to the last
// acknowledgement of the history.
func Gaps(h *History) []Gap {
	acks := make([][]time.Duration, h.Partitions)
	var last time.Duration
	for _, o := range h.Operations {
		if o.Outcome == Acknowledged {
			acks[o.Partition] = append(acks[o.Partition], o.End)
			last = max(last, o.End)
		}
	}
	for _, times := range acks {
		slices.Sort(times)
	}
	gaps := make([]Gap, len(h.Faults))
	for i, f := range h.Faults {
		gaps[i] = Gap{Fault: f}
		until := last
		if i+1 < len(h.Faults) {
			until = h.Faults[i+1].Begin
		}
		for p, times := range acks {
			if length := longest(times, f.Begin, until); length > gaps[i].Length {
				gaps[i].Partition, gaps[i].Length = int32(p), length
			}
		}
	}
	return gaps
}

// longest is the longest time without an event in a window, from the last event before it
// on: what the next fault does is its own.
func longest(times []time.Duration, from, until time.Duration) (best time.Duration) {
	i, _ := slices.BinarySearch(times, from)
	before := from
	if i > 0 {
		before = times[i-1]
	}
	for ; before < until; i++ {
		next := until
		if i < len(times) {
			next = min(times[i], until)
		}
		best, before = max(best, next-before), next
	}
	return best
}

// Describe tells what was done and what came of it: operations by outcome, and for each
// kind of fault how often it came and how long nothing was acknowledged.
func Describe(h *History) string {
	var outcomes [3]int
	for _, o := range h.Operations {
		outcomes[o.Outcome]++
	}
	reads := 0
	for _, s := range h.Sessions {
		reads += len(s.Reads)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations: %d acknowledged, %d failed, %d unknown; %d reads in %d sessions, %d commits, %d high watermarks, %d leaderships, %d replicas\n",
		len(h.Operations), outcomes[Acknowledged], outcomes[Failed], outcomes[Unknown],
		reads, len(h.Sessions), len(h.Commits), len(h.Ends), len(h.Leaderships), len(h.Dumps))
	b.WriteString(DescribeGaps(Gaps(h)))
	return b.String()
}

// DescribeGaps is a table by kind of fault.
func DescribeGaps(gaps []Gap) string {
	var names []string
	lengths := map[string][]time.Duration{}
	for _, g := range gaps {
		if lengths[g.Fault.Name] == nil {
			names = append(names, g.Fault.Name)
		}
		lengths[g.Fault.Name] = append(lengths[g.Fault.Name], g.Length)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-16s %5s %10s %10s\n", "fault", "times", "gap p50", "gap max")
	for _, name := range names {
		all := lengths[name]
		slices.Sort(all)
		fmt.Fprintf(&b, "%-16s %5d %10s %10s\n", name, len(all),
			all[(len(all)-1)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
	}
	return b.String()
}
