package logstore

import (
	"errors"
	"fmt"

	"chronik/wire/batch"
)

// ErrNotNext says that a leader's batch does not follow the end of the log, or is not of an epoch
// that may come next.
var ErrNotNext = errors.New("batch does not follow the log")

// AppendReplica appends whole batches as their leader has them, with its offsets and epochs: what
// lies below the end of the log is left out, what is damaged or does not follow is refused before
// anything is written. epoch is the one that the leader is followed in. Offsets may have gaps, where
// the leader has compacted.
func (l *Log) AppendReplica(epoch int32, batches []byte) error {
	items, err := replicaItems(batches)
	if err != nil || len(items) == 0 {
		return err
	}
	st := stages.Get().(*staged)
	err = l.appendReplica(st, epoch, items)
	st.reset()
	stages.Put(st)
	if l.Err() != nil {
		l.tell()
	}
	l.published() // what was written before an error too
	return err
}

// replicaItems takes whole batches apart and checks each by itself.
func replicaItems(batches []byte) ([]Item, error) {
	var items []Item
	for len(batches) > 0 {
		b, rest, err := batch.First(batches)
		if err == nil {
			err = checkStored(b)
		}
		if err != nil {
			return nil, err
		}
		items = append(items, Item{Batch: b, BaseOffset: b.BaseOffset()})
		batches = rest
	}
	return items, nil
}

func (l *Log) appendReplica(st *staged, epoch int32, items []Item) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.guard()
	if err := l.Err(); err != nil {
		return err
	}
	if l.store.disk.full.Load() {
		return ErrDiskFull
	}
	if epoch < l.w.epoch {
		return fmt.Errorf("%w: %d, is in %d", ErrFencedEpoch, epoch, l.w.epoch)
	}
	items, err := l.following(epoch, items)
	if err != nil || len(items) == 0 {
		return err
	}
	l.w.epoch = epoch
	now := l.store.cfg.Now().UnixMilli()
	st.room(len(items))
	first := 0
	for i := range items {
		b := items[i].Batch
		size := entrySize(b)
		if l.mustRoll(st.bytes, size, now) || len(st.iov) >= maxIOV-1 {
			if err := l.write(st, items[first:i]); err != nil {
				return err
			}
			first = i
			if l.mustRoll(0, size, now) {
				if err := l.roll(b.BaseOffset()); err != nil {
					return l.poison("roll", err)
				}
			}
		}
		st.add(b)
	}
	if err := l.write(st, items[first:]); err != nil {
		return err
	}
	for i := range items {
		if b := items[i].Batch; b.ProducerID() >= 0 && !planted("forget-at-failover") {
			pb := producerBatchOf(b)
			l.w.producers.apply(&pb, now)
		}
	}
	if l.options.Load().FlushMessages != 1 {
		l.acked.raise(l.written.Load())
	}
	return nil
}

// following are the items behind the end of the log; the caller holds mu.
func (l *Log) following(epoch int32, items []Item) ([]Item, error) {
	end, last := l.written.Load(), l.LastEpoch()
	for len(items) > 0 && items[0].Batch.LastOffset() < end {
		items = items[1:]
	}
	for i := range items {
		b := items[i].Batch
		switch {
		case b.BaseOffset() < end:
			return nil, fmt.Errorf("%w: base offset %d, the log ends at %d", ErrNotNext, b.BaseOffset(), end)
		case b.LeaderEpoch() < last || b.LeaderEpoch() > epoch:
			return nil, fmt.Errorf("%w: leader epoch %d, not in %d to %d", ErrNotNext, b.LeaderEpoch(), last, epoch)
		}
		end, last = b.LastOffset()+1, b.LeaderEpoch()
	}
	return items, nil
}

// Fence refuses appends of leader epochs below epoch from here on: one that was on its way when the
// leadership ended comes too late.
func (l *Log) Fence(epoch int32) {
	l.mu.Lock()
	l.w.epoch = max(l.w.epoch, epoch)
	l.mu.Unlock()
}

// SetHighWatermark tells which records are committed. Of a log that was told, retention drops none
// above it. It goes back only where the log is cut.
func (l *Log) SetHighWatermark(offset int64) {
	for old := l.hw.Load(); offset > old; old = l.hw.Load() {
		if l.hw.CompareAndSwap(old, offset) {
			return
		}
	}
}

// committedEnd is the end of what is never cut: of a log that was told no high watermark all that
// is acknowledged.
func (l *Log) committedEnd() int64 {
	if hw := l.hw.Load(); hw >= 0 {
		return min(hw, l.Acked())
	}
	return l.Acked()
}

// lowerHighWatermark forgets what was told of records that are not there any more: other
// ones may come in their place.
func (l *Log) lowerHighWatermark(end int64) {
	if l.hw.Load() > end {
		l.hw.Store(end)
	}
	if l.hint.Load() > end {
		l.hint.Store(end)
	}
}

// KnownHighWatermark is the last high watermark that was told, in this life or, by the checkpoint, in
// an earlier one. The true one may be above it.
func (l *Log) KnownHighWatermark() int64 {
	return min(max(l.hw.Load(), l.hint.Load(), l.Start()), l.End())
}

// Restart begins a log anew at offset, with no record: what it held is gone when this returns. It is
// for a replica that its leader's log start has passed, or that is damaged.
func (s *Store) Restart(id ID, offset int64, o Options) (*Log, error) {
	if err := s.Delete(id); err != nil {
		return nil, err
	}
	if err := s.writeCheckpoint(); err != nil { // names no record any more
		return nil, err
	}
	l, err := s.Take(id, o)
	if err != nil || offset == 0 {
		return l, err
	}
	return l, l.startAt(offset)
}

// startAt makes an empty log begin at offset, durably.
func (l *Log) startAt(offset int64) error {
	l.store.checkpoint.mu.Lock()
	defer l.store.checkpoint.mu.Unlock()
	l.flush.mu.Lock()
	defer l.flush.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.guard()
	if l.active() != nil {
		return fmt.Errorf("begin %s at %d: it has records", l.id, offset)
	}
	err := l.roll(offset)
	if err == nil {
		err = l.syncNames()
	}
	if err != nil {
		return l.poison("begin", err)
	}
	at := position{l.active().name, 0, offset}
	l.start.Store(offset)
	l.flush.recovered(l.active(), at)
	l.written.reset(offset)
	l.acked.reset(offset)
	l.store.checkpoint.set(l.id, savedPoint{at, l.store.cfg.Now()})
	if err := l.store.writePoints(l.store.Logs()); err != nil {
		return l.poison("begin", err)
	}
	return nil
}
