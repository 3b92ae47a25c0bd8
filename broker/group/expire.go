package group

import "time"

// watchOffsets has it looked for old offsets from time to time.
func (g *Group) watchOffsets(now time.Time, cfg *Config) {
	if g.offsets.next.IsZero() {
		g.offsets.next = now.Add(cfg.RetentionCheck)
	}
}

// expireOffsets forgets offsets that nobody used for the retention time (KIP-211), and
// a group without members that has none.
func (g *Group) expireOffsets(now time.Time, cfg *Config) {
	if g.offsets.next.IsZero() || now.Before(g.offsets.next) {
		return
	}
	g.offsets.next = now.Add(cfg.RetentionCheck)
	var gone []TopicPartition
	old := g.expiry(now, cfg)
	for r := range g.offsets.at.all() {
		if tp := r.where(); g.offsets.pending[tp].n == 0 && old(&r) {
			gone = append(gone, tp)
		}
	}
	sortPartitions(gone)
	switch {
	case g.gen.state == Empty && len(gone) == g.offsets.at.n && len(g.log.pending) == 0 && len(g.members.pending) == 0:
		g.bury(func(error) {})
	case len(gone) > 0:
		g.tombstone(gone)
	}
}

// expiry is the rule by which an offset is too old.
func (g *Group) expiry(now time.Time, cfg *Config) func(*OffsetRecord) bool {
	since := func(r *OffsetRecord, base int64) bool {
		if r.ExpireTimestamp >= 0 {
			return now.UnixMilli() >= r.ExpireTimestamp
		}
		return now.UnixMilli()-base >= cfg.Retention.Milliseconds()
	}
	switch {
	case g.gen.protocolType == "": // commits without a group
		return func(r *OffsetRecord) bool { return since(r, r.CommitTimestamp) }
	case g.gen.state == Empty:
		left := g.gen.since.UnixMilli()
		return func(r *OffsetRecord) bool { return since(r, max(left, r.CommitTimestamp)) }
	case g.gen.state == Stable:
		topics, known := g.subscribed()
		return func(r *OffsetRecord) bool { return known && !topics[r.Topic] && since(r, r.CommitTimestamp) }
	}
	return func(*OffsetRecord) bool { return false }
}
