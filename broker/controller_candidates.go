package broker

import (
	"slices"

	"chronik/meta"
)

// logEnd is what a replica told of its log, for an election.
type logEnd struct {
	epoch int32 // newest leader epoch that has records, -1 when none has
	end   int64
	short bool // it may lack what it had, and does not serve
}

// above reports whether the log goes further than another.
func (e logEnd) above(other logEnd) bool {
	return e.epoch > other.epoch || e.epoch == other.epoch && e.end > other.end
}

// question asks replicas where their logs end before one of them is elected.
type question struct {
	topic *meta.Topic
	num   int32
	p     *meta.Partition
	ask   []int32
}

// candidates are the replicas that are asked where their logs end before one of them is
// elected, nil when there is nothing to ask:
//
//   - in-sync replicas, when all that serve began another life since the partition last
//     changed, as after a power cut of all;
//   - else eligible ones, when there are several;
//   - when only such are left that may lack records: all, where the topic rather has one
//     of them than none, or leaves flushing to the page cache.
func candidates(v view, p *meta.Partition, rules planRules) []int32 {
	serve := keep(p.Replicas, func(id int32) bool { return !slices.Contains(p.Offline, id) && v.standing(id) == serving })
	isr := keep(serve, func(id int32) bool { return slices.Contains(p.ISR, id) })
	elr := keep(serve, func(id int32) bool { return slices.Contains(p.ELR, id) })
	inSync := func(least standing) bool {
		return slices.ContainsFunc(p.ISR, func(id int32) bool { return v.standing(id) >= least })
	}
	ask, least := serve, 2
	switch {
	case inSync(leaving):
		lived := func(id int32) bool { return !v.restarted(id, p) }
		if v.leads(p) || slices.ContainsFunc(isr, lived) {
			return nil
		}
		ask = isr
	case len(elr) > 0:
		ask = elr
	case inSync(starting):
		return nil
	case rules.unclean:
	case rules.pageCache && len(p.ISR)+len(p.ELR) == 0:
		least = 1
	default:
		return nil
	}
	if len(ask) < least {
		return nil
	}
	return ask
}

// fullest is the one whose log goes furthest, of those that told; the first, when none
// of them did.
func fullest(ids []int32, told map[int32]logEnd) (best int32, ok bool) {
	best, ok = first(ids, func(int32) bool { return true })
	found := false
	for _, id := range ids {
		if e, has := told[id]; has && !e.short && (!found || e.above(told[best])) {
			best, found = id, true
		}
	}
	return best, ok
}

// lastResort is who leads when only such are left that may lack records, of those that
// serve. Where acknowledgements wait for no flush that is the fullest, once all replicas
// have told, or others have not for long; one that has nothing only when all have.
func lastResort(p *meta.Partition, serve []int32, rules planRules) (int32, bool) {
	next, ok := fullest(serve, rules.told)
	if rules.unclean {
		return next, ok
	}
	e, has := rules.told[next]
	if !rules.pageCache || len(p.ISR)+len(p.ELR) > 0 || !has || e.short {
		return -1, false
	}
	silent := func(id int32) bool { _, has := rules.told[id]; return !has }
	if slices.ContainsFunc(p.Replicas, silent) {
		return next, rules.waited && e.end > 0
	}
	return next, true
}
