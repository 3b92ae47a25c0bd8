package chaos

import (
	"cmp"
	"maps"
	"slices"
)

// leaders walks the history of each partition's key.
func (c *checker) leaders() {
	all := slices.SortedStableFunc(slices.Values(c.h.Leaderships), func(a, b Leadership) int { return cmp.Compare(a.Revision, b.Revision) })
	type epochOf struct{ partition, epoch int32 }
	won := map[epochOf]Leadership{}
	newest := map[int32]Leadership{}
	for _, l := range all {
		if before, known := newest[l.Partition]; known && l.Epoch < before.Epoch {
			c.breaks("leader", "partition %d: epoch %d at revision %d (%s) after epoch %d at revision %d",
				l.Partition, l.Epoch, l.Revision, stamp(l.At), before.Epoch, before.Revision)
		}
		newest[l.Partition] = l
		if l.Leader < 0 {
			continue
		}
		k := epochOf{l.Partition, l.Epoch}
		if first, known := won[k]; !known {
			won[k] = l
		} else if first.Leader != l.Leader || first.Life != l.Life {
			c.breaks("leader", "partition %d: in epoch %d both broker %d in life %d (revision %d, %s) and broker %d in life %d (revision %d, %s) lead",
				l.Partition, l.Epoch, first.Leader, first.Life, first.Revision, stamp(first.At), l.Leader, l.Life, l.Revision, stamp(l.At))
		}
		if !slices.Contains(l.ISR, l.Leader) {
			c.breaks("leader", "partition %d: at revision %d (%s) the leader %d is not in the ISR %v", l.Partition, l.Revision, stamp(l.At), l.Leader, l.ISR)
		}
		for _, id := range l.ISR {
			if !slices.Contains(l.Replicas, id) {
				c.breaks("leader", "partition %d: at revision %d (%s) the ISR %v is not among the replicas %v", l.Partition, l.Revision, stamp(l.At), l.ISR, l.Replicas)
				break
			}
		}
	}
}

// replicas compares the logs of each partition with the first one.
func (c *checker) replicas() {
	first := map[int32]Dump{}
	for _, d := range c.h.Dumps {
		one, known := first[d.Partition]
		switch {
		case !known:
			first[d.Partition] = d
		case c.h.Keys > 0:
			c.sameKeys(one, d)
		default:
			c.sameEntries(one, d)
		}
	}
}

// sameEntries names the first place where two logs differ.
func (c *checker) sameEntries(a, b Dump) {
	for i := range max(len(a.Entries), len(b.Entries)) {
		switch {
		case i >= len(a.Entries) || i >= len(b.Entries):
			short, long := a, b
			if i >= len(b.Entries) {
				short, long = b, a
			}
			e := long.Entries[i]
			c.breaks("replicas", "partition %d: node %s holds offsets %d to %d in epoch %d, node %s ends before", a.Partition, long.Node, e.Base, e.Last, e.Epoch, short.Node)
			return
		case a.Entries[i] != b.Entries[i]:
			c.breaks("replicas", "partition %d offset %d: node %s holds %+v, node %s %+v", a.Partition, min(a.Entries[i].Base, b.Entries[i].Base), a.Node, a.Entries[i], b.Node, b.Entries[i])
			return
		}
	}
}

// sameKeys compares what survives compaction: the last record of each key.
func (c *checker) sameKeys(a, b Dump) {
	last := func(d Dump) map[string]Entry {
		m := map[string]Entry{}
		for _, e := range d.Entries {
			m[e.Key] = e
		}
		return m
	}
	in, other := last(a), last(b)
	for _, d := range []Dump{a, b} {
		for _, e := range d.Entries {
			if in[e.Key] != other[e.Key] {
				c.breaks("replicas", "partition %d key %q: node %s holds %+v last, node %s %+v", a.Partition, e.Key, a.Node, in[e.Key], b.Node, other[e.Key])
				return
			}
		}
	}
}

func sortedKeys[V any](m map[int32]V) []int32 { return slices.Sorted(maps.Keys(m)) }
