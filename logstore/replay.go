package logstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"chronik/wire/batch"
)

// entryReader reads entries whole, in order.
type entryReader struct {
	in  *bufio.Reader
	buf []byte
}

var entryReaders = sync.Pool{New: func() any { return &entryReader{in: bufio.NewReaderSize(nil, 1<<20)} }}

// next reads the next of left bytes of entries. bad is what is wrong with it.
func (r *entryReader) next(left int64) (b batch.Batch, prefix int64, bad, err error) {
	head, err := r.in.Peek(int(min(entryHead, left)))
	if err != nil {
		return nil, 0, nil, err
	}
	size, prefix, bad := entryAt(head, left)
	if bad != nil {
		return nil, 0, bad, nil
	}
	if _, err := r.in.Discard(int(prefix)); err != nil {
		return nil, 0, nil, err
	}
	r.buf = slices.Grow(r.buf[:0], int(size))[:size]
	_, err = io.ReadFull(r.in, r.buf)
	return r.buf, prefix, nil, err
}

// read takes the entries from the end of what s knows up to position to. It returns where the whole
// and right ones end, and what is wrong there. follow is told of each, if it is not nil.
func (r *recovery) read(s *segment, to int64, follow func(batch.Batch)) (end int64, bad, err error) {
	pos := s.size.Load()
	f, err := s.acquire()
	if err != nil {
		return pos, nil, err
	}
	defer s.release()
	in := entryReaders.Get().(*entryReader)
	defer entryReaders.Put(in)
	in.in.Reset(io.NewSectionReader(f, pos, to-pos))
	x, interval := s.index.Load(), r.l.options.Load().IndexIntervalBytes
	for pos < to {
		b, prefix, bad, err := in.next(to - pos)
		if bad == nil && err == nil {
			bad = checkStored(b)
		}
		if bad == nil && err == nil {
			bad = r.order.follow(b)
		}
		if bad != nil || err != nil {
			return pos, bad, err
		}
		if x.fixed.Entries == 0 {
			s.base = b.BaseOffset() // behind the end of the segment before, where compaction left a gap
		}
		x.note(notedAt(b, pos, prefix+int64(len(b))), interval)
		s.publish(&x.fixed)
		pos = x.fixed.Size
		r.entry++
		if follow != nil {
			follow(b)
		}
	}
	return pos, nil, nil
}

// fromDisk makes the next reads of s behind what is known of it return what the disk has: what a
// kill left in the page cache is put there first.
func fromDisk(s *segment) error {
	if err := s.sync(); err != nil {
		return err
	}
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	page := int64(os.Getpagesize())
	return unix.Fadvise(int(f.Fd()), s.size.Load()/page*page, 0, unix.FADV_DONTNEED)
}

// stateAt is what a log knows of its producers and leader epochs: from their files up to the
// recovery point, from the batches behind it.
type stateAt struct {
	producers producers
	epochs    epochs
	at        int64 // all batches below it are in producers
	epochsNew bool  // epochs has more than its file
	partial   bool  // a file is missing or bad: the batches below the recovery point have to tell
	preset    bool  // producers are known already
	now       int64
}

// read reads the files. The producers' file speaks of an offset that was on disk.
func (st *stateAt) read(r *recovery) error {
	dir := r.l.dir
	st.now = r.l.store.cfg.Now().UnixMilli()
	if !st.preset {
		st.producers, st.at = producers{}, 0
		_, body, err := producersFile.read(filepath.Join(dir, producersName))
		if err == nil {
			st.producers, st.at, err = decodeProducers(body)
		}
		if err := st.absent(err); err != nil {
			return err
		}
		r.floor = max(r.floor, st.at)
		st.partial = st.at < r.from.Offset
	}
	_, body, err := epochsFile.read(filepath.Join(dir, epochsName))
	if err == nil {
		st.epochs, err = decodeEpochs(body)
	}
	st.partial = st.partial || err != nil && r.from.Offset > 0
	st.epochs.truncateEnd(r.from.Offset)
	if r.from.Offset == 0 {
		st.epochs = epochs{}
	}
	return st.absent(err)
}

// absent keeps an error of a file only if it is another one than that it is missing or bad.
func (st *stateAt) absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errBadFile) {
		return nil
	}
	return err
}

// follow takes a batch behind the recovery point, of which at least the header is there.
func (st *stateAt) follow(b batch.Batch) {
	if st.epochs.assign(b.LeaderEpoch(), b.BaseOffset()) {
		st.epochsNew = true
	}
	if b.ProducerID() >= 0 && b.BaseOffset() >= st.at {
		pb := producerBatchOf(b)
		st.producers.apply(&pb, st.now)
	}
}

// complete builds it from all batches where the files did not tell.
func (st *stateAt) complete(r *recovery, end int64) error {
	if !st.partial {
		return nil
	}
	if st.epochs, st.epochsNew = (epochs{}), true; !st.preset {
		st.producers, st.at = producers{}, 0
	} else {
		st.at = math.MaxInt64
	}
	for _, s := range r.segments {
		if err := s.headers(func(b batch.Batch) { st.follow(b) }); err != nil {
			return fmt.Errorf("read the headers of %s up to offset %d: %w", r.l.id, end, err)
		}
	}
	return nil
}

// headers visits the headers of a segment's batches.
func (s *segment) headers(visit func(batch.Batch)) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	return walk(f, 0, s.size.Load(), func(p place) bool {
		visit(p.head)
		return true
	})
}
