package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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

// Append appends the batches of one leader epoch in order: it gives them their offsets, in place,
// and writes them straight from the caller's bytes. Items that their producer's state refuses are
// left out. The error is for the whole call: nothing of it was acknowledged.
func (l *Log) Append(epoch int32, items []Item) error {
	end, err := l.append(epoch, items)
	if err != nil {
		return err
	}
	l.published(end)
	return nil
}

// published tells who waits for an append, without any lock.
func (l *Log) published(end int64) {
	l.written.notify()
	o := l.options.Load()
	if o.FlushMessages != 1 {
		l.acked.advance(end)
		if end-l.flush.end.Load() < o.FlushMessages && !l.flush.hasRolled.Swap(false) {
			l.flush.since.CompareAndSwap(0, l.store.cfg.Now().UnixMilli())
			return
		}
	}
	l.store.flusher.add(l)
}

func (l *Log) append(epoch int32, items []Item) (end int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.guard()
	if err := l.Err(); err != nil {
		return 0, err
	}
	if l.store.disk.full.Load() {
		return 0, ErrDiskFull
	}
	if last := l.w.epochs.last(); epoch < last {
		return 0, fmt.Errorf("%w: %d, last is %d", ErrFencedEpoch, epoch, last)
	}
	end = l.written.Load()
	now := l.store.cfg.Now().UnixMilli()
	l.w.iov, l.w.prefixes = l.w.iov[:0], l.w.prefixes[:0]
	if need := len(items) * binary.MaxVarintLen32; cap(l.w.prefixes) < need {
		l.w.prefixes = make([]byte, 0, need) // never moves while iov points into it
	}
	staged, bytes := 0, int64(0) // first item not yet written, bytes staged
	for i := range items {
		item := &items[i]
		if !l.admit(item, end, now) {
			continue
		}
		item.Batch.SetLeaderEpoch(epoch)
		if size := entrySize(item.Batch); l.mustRoll(bytes, size, now) || len(l.w.iov) >= maxIOV-1 {
			if err := l.write(items[staged:i], bytes); err != nil {
				return 0, err
			}
			staged, bytes = i, 0
			if l.mustRoll(0, size, now) {
				if err := l.roll(item.BaseOffset); err != nil {
					return 0, l.poison("roll", err)
				}
			}
		}
		bytes += l.stage(item.Batch)
		end = item.BaseOffset + int64(item.Batch.LastOffsetDelta()) + 1
	}
	if err := l.write(items[staged:], bytes); err != nil {
		return 0, err
	}
	l.written.raise(end) // under the lock: the next append begins there
	return end, nil
}

// admit holds a batch against its producer's state, gives it its offset and notes it there.
func (l *Log) admit(item *Item, end, now int64) bool {
	b := item.Batch
	item.Err = nil
	if b.ProducerID() >= 0 {
		pb := producerBatch{
			ID: b.ProducerID(), Epoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(),
			LastDelta: b.LastOffsetDelta(), Timestamp: b.MaxTimestamp(),
		}
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

func entrySize(b batch.Batch) int64 { return int64(uvarintLen(uint64(len(b))) + len(b)) }

// stage adds an entry to what the next write takes.
func (l *Log) stage(b batch.Batch) int64 {
	start := len(l.w.prefixes)
	l.w.prefixes = binary.AppendUvarint(l.w.prefixes, uint64(len(b)))
	prefix := l.w.prefixes[start:]
	l.w.iov = append(l.w.iov, prefix, b)
	return int64(len(prefix) + len(b))
}

// mustRoll says whether the next bytes, behind those that are staged, belong into a new segment.
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
	return size+bytes > o.SegmentBytes || now-l.w.opened.UnixMilli() >= o.SegmentMs
}

// write writes what is staged behind the end of the active segment and publishes it to readers.
// items are those that are staged, with refused ones between them.
func (l *Log) write(items []Item, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	s := l.active()
	pos := s.size.Load()
	if err := s.writeAt(l.w.iov, pos, bytes); err != nil {
		return l.poison("write", err)
	}
	l.w.iov, l.w.prefixes = l.w.iov[:0], l.w.prefixes[:0]
	x, interval := s.index.Load(), l.options.Load().IndexIntervalBytes
	for i := range items {
		if items[i].Err != nil {
			continue
		}
		b := items[i].Batch
		if l.w.epochs.assign(b.LeaderEpoch(), b.BaseOffset()) {
			l.w.epochsNew = true
		}
		n := noted{b.BaseOffset(), b.LastOffset(), pos, entrySize(b), b.MaxTimestamp(), b.CRC()}
		s.note(x, n, interval)
		pos += n.size
		l.w.entry++
	}
	s.maxTS.Store(x.fixed.MaxTimestamp)
	s.last.Store(x.fixed.LastOffset)
	s.size.Store(pos)
	l.flush.written(s.name, pos, x.fixed.LastOffset+1)
	return nil
}

// writeAt writes all of iov at pos.
func (s *segment) writeAt(iov [][]byte, pos, bytes int64) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	n, err := unix.Pwritev(int(f.Fd()), iov, pos)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Pwritev(int(f.Fd()), iov, pos)
	}
	if err == nil && int64(n) < bytes {
		err = s.writeRest(f, iov, pos, n)
	}
	return err
}

// writeRest goes on after a write that took only done bytes: the disk may be full, or not.
func (s *segment) writeRest(f *os.File, iov [][]byte, pos int64, done int) error {
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

// roll begins a new segment at offset. The old one stays unflushed until the flusher comes: it
// syncs the old file and the directory before the flushed end enters the new one.
func (l *Log) roll(offset int64) error {
	segs := *l.segs.Load()
	if len(segs) == 0 {
		if err := l.makeDir(); err != nil {
			return err
		}
	}
	s := newSegment(l, l.w.entry, offset)
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	s.file.f = f
	s.cache.add(s)
	s.index.Store(&liveIndex{})
	l.flush.rolled(s)
	if len(segs) > 0 {
		segs[len(segs)-1].sealed.Store(true)
	}
	next := append(segs[:len(segs):len(segs)], s)
	l.segs.Store(&next)
	l.w.opened = l.store.cfg.Now()
	return nil
}

// makeDir makes the log's directory, with its first record.
func (l *Log) makeDir() error {
	if err := os.MkdirAll(filepath.Join(l.dir, indexName), 0o750); err != nil {
		return err
	}
	l.flush.newDir.Store(true)
	l.store.checkpoint.changed.Store(true)
	return nil
}
