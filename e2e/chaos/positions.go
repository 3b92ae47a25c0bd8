package chaos

import (
	"cmp"
	"slices"
	"time"
)

// positions follows a consumer through one session: offset by offset, never back.
func (c *checker) positions(s *Session) {
	last := s.From - 1
	for i, r := range s.Reads {
		started := i > 0 || s.From >= 0
		switch {
		case started && r.Offset <= last:
			c.breaks("back", "partition %d: %s read offset %d %s after %d", s.Partition, s.Consumer, r.Offset, stamp(r.At), last)
		case started && r.Offset > last+1 && c.h.Keys == 0:
			c.breaks("jump", "partition %d: %s read offset %d %s after %d", s.Partition, s.Consumer, r.Offset, stamp(r.At), last)
		}
		last = r.Offset
	}
}

// groupPartition names what the members of a group share.
type groupPartition struct {
	group     string
	partition int32
}

// groups looks at where members of a group begin: not before what was committed, and
// not beyond what any member has read.
func (c *checker) groups() {
	sessions := map[groupPartition][]*Session{}
	for i := range c.h.Sessions {
		if s := &c.h.Sessions[i]; s.Group != "" && len(s.Reads) > 0 {
			k := groupPartition{s.Group, s.Partition}
			sessions[k] = append(sessions[k], s)
		}
	}
	commits := map[groupPartition][]Commit{}
	for _, m := range c.h.Commits {
		k := groupPartition{m.Group, m.Partition}
		commits[k] = append(commits[k], m)
	}
	for k, all := range sessions {
		slices.SortStableFunc(all, func(a, b *Session) int { return cmp.Compare(a.Begin, b.Begin) })
		c.handovers(all, commits[k])
	}
}

// handovers follows one partition of a group from member to member.
func (c *checker) handovers(sessions []*Session, commits []Commit) {
	next := c.final[sessions[0].Partition].session.From // behind all that was read
	for i, s := range sessions {
		first := s.Reads[0]
		if committed, ok := lastCommit(commits, s.Begin); ok && first.Offset < committed.Offset {
			c.breaks("back", "partition %d: %s began %s and read offset %d first; the group had committed %d %s",
				s.Partition, s.Consumer, stamp(s.Begin), first.Offset, committed.Offset, stamp(committed.At))
		}
		if first.Offset > next && c.h.Keys == 0 {
			c.breaks("jump", "partition %d: %s began %s and read offset %d first; no member of the group had read %d",
				s.Partition, s.Consumer, stamp(s.Begin), first.Offset, next)
		}
		next = max(next, behind(sessions[:i+1]))
	}
}

func behind(sessions []*Session) int64 {
	reads := sessions[len(sessions)-1].Reads
	return reads[len(reads)-1].Offset + 1
}

// lastCommit is the largest commit that was confirmed before a time.
func lastCommit(commits []Commit, before time.Duration) (best Commit, ok bool) {
	for _, m := range commits {
		if m.At < before && (!ok || m.Offset > best.Offset) {
			best, ok = m, true
		}
	}
	return best, ok
}

// ends holds each high watermark against those that were known before it: all of an
// earlier leader epoch, and of its own those that had been told when it was asked for.
func (c *checker) ends() {
	byPartition := map[int32]map[int32][]End{}
	for _, e := range c.h.Ends {
		if e.Read >= e.Offset {
			c.breaks("above", "partition %d: %s was given offset %d %s, with the high watermark %d", e.Partition, e.Source, e.Read, stamp(e.At), e.Offset)
		}
		if e.Epoch < 0 {
			continue
		}
		if byPartition[e.Partition] == nil {
			byPartition[e.Partition] = map[int32][]End{}
		}
		byPartition[e.Partition][e.Epoch] = append(byPartition[e.Partition][e.Epoch], e)
	}
	for p, epochs := range byPartition {
		best := End{Offset: -1}
		for _, epoch := range sortedKeys(epochs) {
			best = c.endsOf(p, epochs[epoch], best)
		}
		if f := c.final[p].session; best.Offset > f.From+int64(len(f.Reads)) && c.h.Keys == 0 {
			c.breaks("end", "partition %d: the high watermark was %d %s (%s, epoch %d), the final read ends at %d",
				p, best.Offset, stamp(best.At), best.Source, best.Epoch, f.From+int64(len(f.Reads)))
		}
	}
}

// endsOf looks at one leader epoch and returns the highest end up to it.
func (c *checker) endsOf(p int32, told []End, lower End) End {
	asked := slices.SortedFunc(slices.Values(told), func(a, b End) int { return cmp.Compare(a.Begin, b.Begin) })
	answered := slices.SortedFunc(slices.Values(told), func(a, b End) int { return cmp.Compare(a.At, b.At) })
	best, n := lower, 0
	for _, e := range asked {
		for ; n < len(answered) && answered[n].At < e.Begin; n++ {
			best = higher(best, answered[n])
		}
		if e.Offset < best.Offset {
			c.breaks("end", "partition %d: the high watermark was %d %s (%s, epoch %d) and then %d %s (%s, epoch %d)",
				p, best.Offset, stamp(best.At), best.Source, best.Epoch, e.Offset, stamp(e.At), e.Source, e.Epoch)
		}
	}
	for _, e := range answered[n:] {
		best = higher(best, e)
	}
	return best
}

func higher(a, b End) End {
	if b.Offset > a.Offset {
		return b
	}
	return a
}
