package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Replica is a broker in one of its lives.
type Replica struct {
	ID          int32
	BrokerEpoch int64
}

// MemberChange changes who is in sync with a partition, by its leader, or by a
// broker that takes itself out.
type MemberChange struct {
	Topic     string
	Partition int32
	Base      *Partition // what the decision is based on
	Life      int64      // broker epoch in which this broker decided it
	Members   Members
	Added     []Replica // who joins the ISR; must be active in that life when it is written
	Offline   []int32   // whose logs have failed; nil: as it was
	Resign    bool      // the leader takes itself out: there is none, in a new epoch
}

// errLifeOver means that this broker has begun another life since it decided.
var errLifeOver = fmt.Errorf("%w: this broker's life is another one", ErrConflict)

// memberBatch is how many partitions one transaction changes.
const memberBatch = 500

// ChangeMembers writes changes of members as this broker in its present life and
// returns the last revision. ErrConflict: some were overtaken, or a broker that was
// to join began another life or is not active; all others are written, and the
// snapshot shows what is there. After any other error their outcome is unknown.
func (m *Meta) ChangeMembers(ctx context.Context, changes []MemberChange) (rev int64, err error) {
	if _, err := m.loadedSnapshot(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := deadline(ctx)
	defer cancel()
	for batch := range slices.Chunk(changes, memberBatch) {
		batchRev, batchErr := m.changeBatch(ctx, batch)
		rev, err = max(rev, batchRev), errors.Join(err, batchErr)
	}
	return rev, err
}

// changeBatch tries smaller batches after a conflict, so that one change that was
// overtaken does not hold up the others.
func (m *Meta) changeBatch(ctx context.Context, batch []MemberChange) (int64, error) {
	c := change{}
	if err := m.memberChanges(&c, batch); err == nil {
		rev, _, err := m.write(ctx, c)
		if !errors.Is(err, ErrConflict) || len(batch) == 1 {
			return rev, err
		}
	} else if !errors.Is(err, ErrConflict) || len(batch) == 1 || errors.Is(err, errLifeOver) {
		return m.Snapshot().Revision(), err
	}
	half := len(batch) / 2
	rev, err := m.changeBatch(ctx, batch[:half])
	rest, restErr := m.changeBatch(ctx, batch[half:])
	return max(rev, rest), errors.Join(err, restErr)
}

// memberChanges puts changes into one transaction, with what each is based on.
func (m *Meta) memberChanges(c *change, batch []MemberChange) error {
	snap := m.Snapshot()
	added := map[int32]int64{}
	for _, ch := range batch {
		if epoch, _ := snap.Live(m.cfg.NodeID); epoch != ch.Life {
			return errLifeOver
		}
		if p := snap.partition(ch.Topic, ch.Partition); p == nil || p.ModRevision != ch.Base.ModRevision {
			return ErrConflict
		}
		p := *ch.Base
		p.ISR, p.ELR, p.LastKnown = ch.Members.ISR, ch.Members.ELR, ch.Members.LastKnown
		p.PartitionEpoch++
		if ch.Offline != nil {
			p.Offline = ch.Offline
		}
		if ch.Resign {
			p.Leader, p.LeaderBrokerEpoch = -1, 0
			p.LeaderEpoch++
		}
		value, err := p.encode()
		if err != nil {
			return err
		}
		k := partitionKey(ch.Topic, int(ch.Partition))
		c.when(at(k, ch.Base.ModRevision), at(liveKey(m.cfg.NodeID), ch.Life))
		c.put(k, value)
		for _, r := range ch.Added {
			if was, again := added[r.ID]; again && was != r.BrokerEpoch {
				return ErrConflict
			}
			added[r.ID] = r.BrokerEpoch
		}
	}
	for id, epoch := range added {
		if now, _ := snap.Live(id); now != epoch || !snap.IsActive(id) {
			return ErrConflict
		}
		c.when(at(liveKey(id), epoch), at(brokerKey(id), snap.brokers[id].revision))
	}
	return nil
}
