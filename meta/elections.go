package meta

import (
	"context"
	"errors"
	"slices"
)

// Election gives a partition a new leader in a new leader epoch.
type Election struct {
	Topic     string
	Partition int32
	Leader    int32      // -1 is none
	Base      *Partition // what the decision is based on
}

// electionBatch is how many partitions one transaction elects.
const electionBatch = 1000

// Elect writes new leaders, as the controller, and returns the last revision.
// ErrConflict: some partitions or leaders changed since the decision, or this
// broker is not controller any more; all others are written.
func (m *Meta) Elect(ctx context.Context, elections []Election) (rev int64, err error) {
	if _, err := m.loadedSnapshot(ctx); err != nil {
		return 0, err
	}
	for batch := range slices.Chunk(elections, electionBatch) {
		callCtx, cancel := deadline(ctx)
		batchRev, batchErr := m.electBatch(callCtx, batch)
		cancel()
		rev = max(rev, batchRev)
		if err = errors.Join(err, batchErr); batchErr != nil && !errors.Is(batchErr, ErrConflict) {
			return rev, err
		}
	}
	return rev, err
}

// electBatch leaves out, on a conflict, what was overtaken, and writes the rest.
func (m *Meta) electBatch(ctx context.Context, batch []Election) (int64, error) {
	var overtaken error
	for {
		snap := m.Snapshot()
		valid := slices.DeleteFunc(slices.Clone(batch), func(e Election) bool { return !e.valid(snap) })
		if len(valid) < len(batch) {
			overtaken = ErrConflict
		}
		if len(valid) == 0 {
			return 0, overtaken
		}
		c, err := m.election(snap, valid)
		if err != nil {
			return 0, err
		}
		rev, resent, err := m.write(ctx, c)
		switch {
		case err == nil:
			return rev, overtaken
		case !errors.Is(err, ErrConflict) || ctx.Err() != nil:
			return 0, err
		}
		now := m.Snapshot()
		if resent && valid[0].won(now) { // an attempt that seemed lost
			return now.Revision(), overtaken
		}
		if !slices.ContainsFunc(valid, func(e Election) bool { return !e.valid(now) }) {
			return 0, ErrConflict // not a partition: this broker's life or its office
		}
		batch = valid
	}
}

// valid reports whether an election can be written from what snap shows.
func (e Election) valid(snap *Snapshot) bool {
	p := snap.partition(e.Topic, e.Partition)
	_, alive := snap.Live(e.Leader)
	return p != nil && p.ModRevision == e.Base.ModRevision && p.PartitionEpoch == e.Base.PartitionEpoch &&
		(alive || e.Leader == -1)
}

// won reports whether snap shows what the election wants.
func (e Election) won(snap *Snapshot) bool {
	p := snap.partition(e.Topic, e.Partition)
	return p != nil && p.Leader == e.Leader && p.LeaderEpoch == e.Base.LeaderEpoch+1 &&
		p.PartitionEpoch == e.Base.PartitionEpoch+1
}

func (s *Snapshot) partition(topic string, n int32) *Partition {
	if t := s.Topic(topic); t != nil && n >= 0 && int(n) < len(t.Partitions) {
		return t.Partitions[n]
	}
	return nil
}

// election makes the transaction: each partition and each new leader is what the
// decision was based on, and this broker is controller.
func (m *Meta) election(snap *Snapshot, batch []Election) (c change, err error) {
	if id, ok := snap.Controller(); !ok || id != m.cfg.NodeID {
		return c, ErrConflict
	}
	c.when(at(controllerKey, snap.controller.revision))
	leaders := map[int32]int64{}
	seen := map[key]bool{}
	for _, e := range batch {
		k := key{kind: partitionKind, name: e.Topic, number: e.Partition}
		if seen[k] {
			continue
		}
		seen[k] = true
		p := *e.Base
		p.Leader, p.LeaderBrokerEpoch = e.Leader, 0
		if e.Leader >= 0 {
			p.LeaderBrokerEpoch, _ = snap.Live(e.Leader)
			leaders[e.Leader] = p.LeaderBrokerEpoch
		}
		p.LeaderEpoch++
		p.PartitionEpoch++
		value, err := p.encode()
		if err != nil {
			return c, err
		}
		c.when(at(k.String(), e.Base.ModRevision))
		c.put(k.String(), value)
	}
	for id, epoch := range leaders {
		c.when(at(liveKey(id), epoch))
	}
	return c, nil
}
