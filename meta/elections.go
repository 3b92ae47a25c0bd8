package meta

import (
	"context"
	"errors"
	"slices"
)

// Election gives a partition a new leader in a new leader epoch, or leaves leader
// and epoch as they are and changes who is in sync.
type Election struct {
	Topic     string
	Partition int32
	Leader    int32      // -1 is none
	Keep      bool       // the leader stays, in its epoch
	Members   *Members   // nil: as they were
	Base      *Partition // what the decision is based on
}

// Members says who is in sync, and who else may lead.
type Members struct{ ISR, ELR, LastKnown []int32 }

// electionBatch is how many partitions one transaction elects.
const electionBatch = 1000

// Elect writes new leaders and members, as the controller, and returns the last revision.
// ErrConflict: some partitions or leaders changed since the decision, or this
// broker is not controller any more; all others are written.
func (m *Meta) Elect(ctx context.Context, elections []Election) (rev int64, err error) {
	return m.elect(ctx, elections, m.asController)
}

// ElectByHand does the same for an operator, as any broker: what was decided on, the
// lives of new leaders and of this broker are the conditions, and its office is none.
func (m *Meta) ElectByHand(ctx context.Context, elections []Election) (rev int64, err error) {
	return m.elect(ctx, elections, func(*Snapshot, *change) error { return nil })
}

// office puts into a transaction what allows this broker to write it.
type office func(*Snapshot, *change) error

// asController is the office of the controller.
func (m *Meta) asController(snap *Snapshot, c *change) error {
	if id, ok := snap.Controller(); !ok || id != m.cfg.NodeID {
		return ErrConflict
	}
	c.when(at(controllerKey, snap.controller.revision))
	return nil
}

func (m *Meta) elect(ctx context.Context, elections []Election, by office) (rev int64, err error) {
	if _, err := m.loadedSnapshot(ctx); err != nil {
		return 0, err
	}
	for batch := range slices.Chunk(elections, electionBatch) {
		callCtx, cancel := deadline(ctx)
		batchRev, batchErr := m.electBatch(callCtx, batch, by)
		cancel()
		rev = max(rev, batchRev)
		if err = errors.Join(err, batchErr); batchErr != nil && !errors.Is(batchErr, ErrConflict) {
			return rev, err
		}
	}
	return rev, err
}

// electBatch leaves out, on a conflict, what was overtaken, and writes the rest.
func (m *Meta) electBatch(ctx context.Context, batch []Election, by office) (int64, error) {
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
		c, err := m.election(snap, valid, by)
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
		(alive || e.Leader == -1 || e.Keep)
}

// won reports whether snap shows what the election wants.
func (e Election) won(snap *Snapshot) bool {
	p := snap.partition(e.Topic, e.Partition)
	if p == nil || p.PartitionEpoch != e.Base.PartitionEpoch+1 {
		return false
	}
	want := e.next(snap)
	return p.Leader == want.Leader && p.LeaderEpoch == want.LeaderEpoch && slices.Equal(p.ISR, want.ISR)
}

// next is what an election writes.
func (e Election) next(snap *Snapshot) Partition {
	p := *e.Base
	p.PartitionEpoch++
	if e.Members != nil {
		p.ISR, p.ELR, p.LastKnown = e.Members.ISR, e.Members.ELR, e.Members.LastKnown
	}
	if e.Keep {
		return p
	}
	if !planted("keep-epoch") {
		p.LeaderEpoch++
	}
	p.Leader, p.LeaderBrokerEpoch = e.Leader, 0
	if e.Leader >= 0 {
		p.LeaderBrokerEpoch, _ = snap.Live(e.Leader)
	}
	return p
}

func (s *Snapshot) partition(topic string, n int32) *Partition {
	if t := s.Topic(topic); t != nil && n >= 0 && int(n) < len(t.Partitions) {
		return t.Partitions[n]
	}
	return nil
}

// election makes the transaction: each partition and each new leader is what the
// decision was based on, and this broker may write it.
func (m *Meta) election(snap *Snapshot, batch []Election, by office) (c change, err error) {
	if err := by(snap, &c); err != nil {
		return c, err
	}
	leaders := map[int32]int64{}
	seen := map[key]bool{}
	for _, e := range batch {
		k := key{kind: partitionKind, name: e.Topic, number: e.Partition}
		if seen[k] {
			continue
		}
		seen[k] = true
		p := e.next(snap)
		if !e.Keep && p.Leader >= 0 {
			leaders[p.Leader] = p.LeaderBrokerEpoch
		}
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
