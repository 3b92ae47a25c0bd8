package logstore

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/tidwall/wal"
	"golang.org/x/sys/unix"

	"chronik/wire/batch"
)

// Recover opens every log of the directory, several at once. Its cost follows the bytes beyond the
// recovery points. A log that cannot be trusted is kept offline, with a loud reason; an error is
// for what concerns all of them.
func (s *Store) Recover(ctx context.Context) error {
	known, err := s.readCheckpoint()
	if err != nil {
		return err
	}
	clean, err := s.takeClean()
	if err != nil {
		return err
	}
	dirs, err := os.ReadDir(filepath.Join(s.cfg.Dir, logsName))
	if err != nil {
		return err
	}
	logs := map[ID]*Log{}
	for _, d := range dirs {
		if id, ok := ParseID(d.Name()); ok {
			logs[id] = newLog(s, id, Options{})
		} else if strings.HasSuffix(d.Name(), deletedSuffix) {
			if err := os.RemoveAll(filepath.Join(s.cfg.Dir, logsName, d.Name())); err != nil {
				return err
			}
		}
	}
	for id := range known {
		if logs[id] == nil {
			logs[id] = newLog(s, id, Options{})
		}
	}
	all := make([]*Log, 0, len(logs))
	for _, l := range logs {
		all = append(all, l)
	}
	err = parallel(ctx, 4*runtime.GOMAXPROCS(0), all, func(l *Log) error {
		return l.open(known, clean)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.logs = logs
	s.mu.Unlock()
	s.checkpoint.recovered.Store(true)
	return s.writeCheckpointNow()
}

// readCheckpoint returns the checkpoint by log. A damaged one is worth as much as none: the logs
// are read whole.
func (s *Store) readCheckpoint() (map[ID]*checkpointEntry, error) {
	entries, err := readCheckpoint(filepath.Join(s.cfg.Dir, checkpointName))
	switch {
	case errors.Is(err, errBadFile):
		s.log.Error("the checkpoint is damaged: all logs are read whole, and log starts of deleted records are lost", "err", err)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	known := map[ID]*checkpointEntry{}
	for i := range entries {
		known[entries[i].ID] = &entries[i]
	}
	return known, nil
}

// takeClean reads what the last clean stop said, and removes it: this life has not stopped yet.
func (s *Store) takeClean() (map[ID]cleanEntry, error) {
	path := filepath.Join(s.cfg.Dir, cleanName)
	file, err := readCleanShutdown(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	clean := map[ID]cleanEntry{}
	if err != nil {
		s.log.Warn("the record of the last clean stop is damaged; logs are checked as after a crash", "err", err)
	} else {
		for _, e := range file.Logs {
			clean[e.ID] = e
		}
	}
	return clean, errors.Join(os.Remove(path), syncDir(s.cfg.Dir))
}

// open recovers one log at the start.
func (l *Log) open(known map[ID]*checkpointEntry, clean map[ID]cleanEntry) error {
	cp := known[l.id]
	if cp == nil {
		cp = &checkpointEntry{ID: l.id}
	}
	c, stopped := clean[l.id]
	r := recovery{l: l, from: cp.Recovery, start: cp.Start}
	if stopped {
		r.clean = &c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.hint = cp.HighWatermark
	err := r.run()
	if errors.Is(err, errShort) {
		l.offline(err)
		return nil
	}
	return err
}

// errShort says that flushed records of a log are gone or damaged. Such a log is not cut and
// served: the records may still be had from elsewhere.
var errShort = errors.New("records that were on disk are missing")

// offline keeps a log out of service until a person has looked.
func (l *Log) offline(err error) {
	err = fmt.Errorf("%w: %w", ErrPoisoned, err)
	l.trouble.Store(&trouble{err: err, offline: true})
	l.written.fail(err)
	l.acked.fail(err)
	l.store.log.Error("log is offline: this is the only copy and it is damaged; nothing of it was changed",
		"log", l.id, "dir", l.dir, "err", err)
}

// recovery brings a log from its files to service.
type recovery struct {
	l     *Log
	from  position // recovery point: all below it is on disk
	start int64
	clean *cleanEntry // nil after a crash

	names    []uint64
	segments []*segment
	order    entryOrder
	entry    uint64 // index of the next entry
	cut      bool   // an end was found before the end of the files
}

// run does it; the caller holds l.mu.
func (r *recovery) run() error {
	if err := r.list(); err != nil {
		return err
	}
	if len(r.names) == 0 {
		return r.empty()
	}
	if r.from.Segment == 0 {
		r.from = position{Segment: r.names[0]}
	}
	if !slices.Contains(r.names, r.from.Segment) {
		return fmt.Errorf("%w: segment %s of the recovery point is not there", errShort, segmentFileName(r.from.Segment))
	}
	r.order = entryOrder{end: -1, epoch: -1}
	for i, name := range r.names {
		if err := r.segment(i, name); err != nil {
			return err
		}
		if r.cut {
			break
		}
	}
	return r.finish()
}

// list finds the segments, after finishing what a crash left of a truncation.
func (r *recovery) list() error {
	files, err := os.ReadDir(r.l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if n := f.Name(); strings.HasSuffix(n, ".START") || strings.HasSuffix(n, ".END") {
			if err := finishTruncation(r.l.dir); err != nil {
				return err
			}
			break
		}
	}
	for _, left := range []string{nextName, "TEMP"} {
		if err := removeLeft(filepath.Join(r.l.dir, left)); err != nil {
			return err
		}
	}
	r.names, err = segmentsIn(r.l.dir)
	return err
}

// finishTruncation has the stock library finish what it began.
func finishTruncation(dir string) error {
	stock, err := wal.Open(dir, &wal.Options{AllowEmpty: true})
	if err != nil {
		return fmt.Errorf("finish a truncation in %s: %w", dir, err)
	}
	return errors.Join(stock.Close(), syncDir(dir))
}

// empty is a log that has no file: it never had one, or all is lost.
func (r *recovery) empty() error {
	if r.from.Segment != 0 {
		return fmt.Errorf("%w: no segment is left of a log that reached offset %d", errShort, r.from.Offset)
	}
	r.l.serve(nil, 1, r.from.Offset, max(r.start, 0), position{})
	return nil
}

// segment takes up one segment: by its sidecar below the recovery point, by reading it above.
func (r *recovery) segment(i int, name uint64) error {
	s := newSegment(r.l, name, max(r.order.end, 0))
	st, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if i > 0 && name != r.entry {
		err := fmt.Errorf("segment %s follows where %s is due", segmentFileName(name), segmentFileName(r.entry))
		if name <= r.from.Segment {
			return fmt.Errorf("%w: %w", errShort, err)
		}
		return r.cutAt(s, 0, err)
	}
	r.entry = name
	below := int64(0) // bytes of it that are below the recovery point
	switch {
	case name < r.from.Segment:
		below = st.Size()
	case name == r.from.Segment:
		if below = r.from.Pos; below > st.Size() {
			return fmt.Errorf("%w: %s has %d bytes, %d were on disk", errShort, s.path, st.Size(), below)
		}
	}
	if err := r.trusted(s, below); err != nil {
		return err
	}
	r.segments = append(r.segments, s)
	if below == st.Size() {
		return nil
	}
	return r.beyond(s, st.Size())
}

// trusted takes up the bytes of s below the recovery point: by the sidecar if that speaks of
// exactly these, else by reading them; damage there is no end of the log.
func (r *recovery) trusted(s *segment, below int64) error {
	if below == 0 {
		s.index.Store(&liveIndex{})
		return nil
	}
	c, err := readSidecar(sidecarPath(s.path))
	if err == nil && c.Size == below && c.BaseOffset >= s.base {
		r.take(s, c)
		return nil
	}
	x := &liveIndex{}
	s.index.Store(x)
	end, bad, err := r.read(s, 0, below)
	if err != nil {
		return err
	}
	if end < below {
		return fmt.Errorf("%w: %s is damaged at %d, below the %d bytes that were on disk: %w", errShort, s.path, end, below, bad)
	}
	return nil
}

// take fills a segment from its sidecar.
func (r *recovery) take(s *segment, c *sidecar) {
	x := &liveIndex{fixed: *c}
	x.fixed.Rows = nil
	for i, row := range c.Rows {
		if i == len(c.Rows)-1 {
			x.open, x.any = row, true
			break
		}
		x.publish(row)
	}
	s.index.Store(x)
	s.loaded.Store(c)
	s.base = c.BaseOffset
	s.size.Store(c.Size)
	s.last.Store(c.LastOffset)
	s.maxTS.Store(c.MaxTimestamp)
	r.order.end = c.LastOffset + 1
	r.entry += uint64(c.Entries)
}

// beyond reads what lies above the recovery point, as the disk returns it, and cuts what is not whole.
func (r *recovery) beyond(s *segment, size int64) error {
	if !r.stoppedAt(s.name, size) {
		if err := fromDisk(s); err != nil {
			return err
		}
	}
	end, bad, err := r.read(s, s.size.Load(), size)
	if err != nil {
		return err
	}
	s.loaded.Store(nil) // the sidecar spoke of less
	if end < size {
		return r.cutAt(s, end, bad)
	}
	return nil
}

// stoppedAt reports whether a clean stop left the segment with this size.
func (r *recovery) stoppedAt(name uint64, size int64) bool {
	return r.clean != nil && r.clean.Segment == name && r.clean.Size == size
}

// fromDisk makes the next reads return what the disk has: what a kill left in the page cache is put
// there first.
func fromDisk(s *segment) error {
	if err := s.sync(); err != nil {
		return err
	}
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// read takes the entries between two positions into the index of s. It returns where the whole and
// right ones end, and what is wrong there.
func (r *recovery) read(s *segment, from, to int64) (end int64, bad, err error) {
	f, err := s.acquire()
	if err != nil {
		return from, nil, err
	}
	defer s.release()
	in := bufio.NewReaderSize(io.NewSectionReader(f, from, to-from), 1<<20)
	x, interval := s.index.Load(), r.l.options.Load().IndexIntervalBytes
	pos := from
	var buf []byte
	for pos < to {
		n, err := binary.ReadUvarint(in)
		prefix := int64(uvarintLen(n))
		if err != nil || n < batch.HeaderLen || n > uint64(to-pos-prefix) {
			return pos, errTail, ignoreEnd(err)
		}
		buf = slices.Grow(buf[:0], int(n))[:n]
		if _, err := io.ReadFull(in, buf); err != nil {
			return pos, errTail, err
		}
		b := batch.Batch(buf)
		if err := errors.Join(checkStored(b), r.order.check(b)); err != nil {
			return pos, err, nil
		}
		if x.fixed.Entries == 0 && len(r.segments) == 0 {
			s.base = b.BaseOffset()
		}
		r.order.end, r.order.epoch = b.LastOffset()+1, b.LeaderEpoch()
		s.note(x, noted{b.BaseOffset(), b.LastOffset(), pos, prefix + int64(n), b.MaxTimestamp(), b.CRC()}, interval)
		pos += prefix + int64(n)
		r.entry++
		s.size.Store(pos)
		s.last.Store(x.fixed.LastOffset)
		s.maxTS.Store(x.fixed.MaxTimestamp)
	}
	return pos, nil, nil
}

// check is follow without the step.
func (o *entryOrder) check(b batch.Batch) error {
	copied := *o
	return copied.follow(b)
}

// ignoreEnd leaves out the errors that mean that bytes are missing.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && strings.Contains(err.Error(), "overflow") {
		return nil
	}
	return err
}
