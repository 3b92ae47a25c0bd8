package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"chronik/wire/batch"
)

// Item is one produced batch. Append fills in BaseOffset and Err: with ErrDuplicate BaseOffset is
// the original's.
type Item struct {
	Batch      batch.Batch
	BaseOffset int64
	Err        error
}

// maxIOV is what one writev takes.
const maxIOV = 1024

// staged is what the next write of an append takes: prefixes and the caller's batches in turn.
type staged struct {
	iov      [][]byte
	prefixes []byte
	bytes    int64
}

var stages = sync.Pool{New: func() any { return new(staged) }}

// room makes room for the prefixes of n batches: they must not move while iov points to them.
func (st *staged) room(n int) {
	if need := n * binary.MaxVarintLen32; cap(st.prefixes) < need {
		st.prefixes = make([]byte, 0, need)
	}
}

func (st *staged) add(b batch.Batch) {
	start := len(st.prefixes)
	st.prefixes = binary.AppendUvarint(st.prefixes, uint64(len(b)))
	prefix := st.prefixes[start:]
	st.iov = append(st.iov, prefix, b)
	st.bytes += int64(len(prefix) + len(b))
}

// reset lets go of the caller's bytes.
func (st *staged) reset() {
	clear(st.iov)
	st.iov, st.prefixes, st.bytes = st.iov[:0], st.prefixes[:0], 0
}

func entrySize(b batch.Batch) int64 { return int64(uvarintLen(uint64(len(b))) + len(b)) }

// Append appends the batches of one leader epoch in order: it gives them their offsets, in place,
// and writes them straight from the caller's bytes. Items that their producer's state refuses are
// left out. The error is for the whole call: nothing of it was acknowledged.
func (l *Log) Append(epoch int32, items []Item) error {
	st := stages.Get().(*staged)
	err := l.append(st, epoch, items)
	st.reset()
	stages.Put(st)
	if err != nil {
		l.tell()
		return err
	}
	l.published()
	return nil
}

// published tells who waits for an append, and has it flushed if it is time; without the lock.
func (l *Log) published() {
	l.written.notify()
	o := l.options.Load()
	if o.FlushMessages != 1 || planted("ack-before-flush") {
		l.acked.notify()
		if l.written.Load()-l.flush.end.Load() < o.FlushMessages && !l.flush.hasRolled.Swap(false) {
			l.store.flusher.flushWithin(l, o.FlushMs)
			return
		}
	}
	l.store.flusher.add(l)
}

func (l *Log) append(st *staged, epoch int32, items []Item) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.guard()
	if err := l.Err(); err != nil {
		return err
	}
	if l.store.disk.full.Load() {
		return ErrDiskFull
	}
	if last := max(l.LastEpoch(), l.w.epoch); epoch < last {
		return fmt.Errorf("%w: %d, last is %d", ErrFencedEpoch, epoch, last)
	}
	if epoch <= l.w.fenced {
		return fmt.Errorf("%w: records of epoch %d were cut when the log was reopened", ErrFencedEpoch, epoch)
	}
	l.w.epoch = epoch
	end := l.written.Load()
	now := l.store.cfg.Now().UnixMilli()
	st.room(len(items))
	first := 0 // of the items that are staged
	for i := range items {
		item := &items[i]
		if !l.admit(item, end, now) {
			continue
		}
		item.Batch.SetLeaderEpoch(epoch)
		if size := entrySize(item.Batch); l.mustRoll(st.bytes, size, now) || len(st.iov) >= maxIOV-1 {
			if err := l.write(st, items[first:i]); err != nil {
				return err
			}
			first = i
			if l.mustRoll(0, size, now) {
				if err := l.roll(item.BaseOffset); err != nil {
					return l.poison("roll", err)
				}
			}
		}
		st.add(item.Batch)
		end = item.BaseOffset + int64(item.Batch.LastOffsetDelta()) + 1
	}
	if err := l.write(st, items[first:]); err != nil {
		return err
	}
	if l.options.Load().FlushMessages != 1 || planted("ack-before-flush") {
		l.acked.raise(end)
	}
	return nil
}

// admit holds a batch against its producer's state, gives it its offset and notes it there.
func (l *Log) admit(item *Item, end, now int64) bool {
	b := item.Batch
	item.Err = nil
	if b.ProducerID() >= 0 {
		pb := producerBatchOf(b)
		if item.BaseOffset, item.Err = l.w.producers.check(&pb); item.Err != nil {
			return false
		}
		pb.BaseOffset = end
		l.w.producers.apply(&pb, now)
	}
	item.BaseOffset = end
	b.SetBaseOffset(end)
	return true
}

func producerBatchOf(b batch.Batch) producerBatch {
	return producerBatch{
		ID: b.ProducerID(), Epoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(), BaseOffset: b.BaseOffset(),
		LastDelta: b.LastOffsetDelta(), Timestamp: b.MaxTimestamp(),
	}
}

// mustRoll says whether so many more bytes behind those that are staged belong into
// a new segment.
func (l *Log) mustRoll(staged, bytes, now int64) bool {
	s := l.active()
	if s == nil {
		return true
	}
	size := s.size.Load() + staged
	if size == 0 {
		return false
	}
	o := l.options.Load()
	return size+bytes > o.SegmentBytes || now-l.segmentOpened(s).UnixMilli() >= o.rollMs()
}

// write writes what is staged behind the end of the active segment and publishes it to readers.
// items are those that are staged, with refused ones between them.
func (l *Log) write(st *staged, items []Item) error {
	if st.bytes == 0 {
		return nil
	}
	s := l.active()
	x, err := s.written()
	if err != nil {
		return l.poison("take up the index", err)
	}
	pos := s.size.Load()
	if err := s.writeAt(st, pos); err != nil {
		return l.poison("write", err)
	}
	st.reset()
	o := l.options.Load()
	for i := range items {
		if items[i].Err != nil {
			continue
		}
		b := items[i].Batch
		l.assign(b.LeaderEpoch(), b.BaseOffset())
		n := notedAt(b, pos, entrySize(b))
		x.note(n, o.IndexIntervalBytes)
		pos += n.size
		l.w.entry++
	}
	s.publish(&x.fixed)
	l.written.raise(x.fixed.LastOffset + 1) // under the lock: the next append begins there
	l.flush.written(position{s.name, pos, x.fixed.LastOffset + 1})
	if pos > o.SegmentBytes/2 {
		l.wantNext()
	}
	return nil
}

// writeAt writes all that is staged at pos.
func (s *segment) writeAt(st *staged, pos int64) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	n, err := unix.Pwritev(int(f.Fd()), st.iov, pos)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Pwritev(int(f.Fd()), st.iov, pos)
	}
	if err == nil && int64(n) < st.bytes {
		err = writeRest(f, st.iov, pos, n)
	}
	return err
}

// writeRest goes on after a write that took only done bytes: the disk may be full, or not.
func writeRest(f *os.File, iov [][]byte, pos int64, done int) error {
	pos += int64(done)
	for _, p := range iov {
		if done >= len(p) {
			done -= len(p)
			continue
		}
		n, err := f.WriteAt(p[done:], pos)
		if err != nil {
			return err
		}
		pos, done = pos+int64(n), 0
	}
	return nil
}

func isNoSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
