package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// errShort says that flushed records of a log are gone or damaged. Such a log is not cut and
// served: the records may still be had from elsewhere.
var errShort = errors.New("records that were on disk are missing")

// known is what is known of a log before its files are looked at.
type known struct {
	from  position    // recovery point: all below it is on disk
	start int64       // log start
	named bool        // the checkpoint has the log, so start is right
	floor int64       // all records below it were on disk
	limit *position   // the flushed end of this life: what is behind it is cut before all else
	clean *cleanEntry // nil after a crash
}

// recovery brings a log from its files to service.
type recovery struct {
	l *Log
	known
	names    []uint64
	segments []*segment
	order    entryOrder
	entry    uint64 // index of the next entry
	aside    string // directory of what is cut off, "" before anything is
	ended    bool   // an end was found before the end of the files
	state    stateAt
}

// run does it; the caller holds the locks of the log.
func (r *recovery) run() error {
	if err := r.list(); err != nil {
		return err
	}
	if r.limit != nil {
		if err := r.cutToLimit(); err != nil {
			return err
		}
	}
	if err := r.state.read(r); err != nil {
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
		if r.ended {
			break
		}
	}
	return r.finish()
}

// list finds the segments, after finishing what a crash left of a truncation or a roll.
func (r *recovery) list() error {
	files, err := os.ReadDir(r.l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	truncated := false
	for _, f := range files {
		switch name := f.Name(); {
		case name == compactName:
			err = finishCompaction(r.l.dir)
			r.l.compact.cleaned.Store(0)
		case strings.HasSuffix(name, ".TEMP"):
			err = removeLeft(filepath.Join(r.l.dir, name))
		case strings.HasSuffix(name, ".START"), strings.HasSuffix(name, ".END"):
			truncated = true
		case name == nextName:
			err = r.dropNext()
		case name == damagedName:
			err = r.l.recallDamage()
		}
		if err != nil {
			return err
		}
	}
	if truncated {
		if err := finishTruncation(r.l.dir); err != nil {
			return err
		}
	}
	r.names, err = segmentsIn(r.l.dir)
	return err
}

// dropNext takes `next` away: it is never used across a start. Bytes in it were written after a roll
// whose name a crash has undone, so no flush had covered them.
func (r *recovery) dropNext() error {
	path := filepath.Join(r.l.dir, nextName)
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		return errors.Join(err, removeLeft(path))
	}
	return r.moveAside(nextName)
}

// empty is a log that has no file: it never had one, or all is lost.
func (r *recovery) empty() error {
	if r.from.Segment != 0 || r.floor > 0 {
		return fmt.Errorf("%w: no segment is left of a log that reached offset %d", errShort, max(r.from.Offset, r.floor))
	}
	r.serve(0, position{})
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
		s.base = c.BaseOffset
		s.publish(c)
		s.caches.sidecars.add(s, c)
		r.order.end = c.LastOffset + 1
		r.entry += uint64(c.Entries)
		return nil
	}
	s.index.Store(&liveIndex{})
	end, bad, err := r.read(s, below, nil)
	if err != nil {
		return err
	}
	if end < below {
		return fmt.Errorf("%w: %s is damaged at %d, below the %d bytes that were on disk: %w", errShort, s.path, end, below, bad)
	}
	return nil
}

// beyond reads what lies above the recovery point, as the disk returns it, and cuts what is not whole.
func (r *recovery) beyond(s *segment, size int64) error {
	if s.index.Load() == nil { // known by its sidecar so far
		if _, err := s.written(); err != nil {
			return err
		}
	}
	if r.clean == nil || r.clean.Segment != s.name || r.clean.Size != size {
		if err := fromDisk(s); err != nil {
			return err
		}
	}
	if planted("lose-tail") {
		size -= (size - s.size.Load()) / 2
	}
	r.order.epoch = max(r.order.epoch, r.state.epochs.at(r.order.end-1))
	end, bad, err := r.read(s, size, r.state.follow)
	if err != nil {
		return err
	}
	if end < size {
		return r.cutAt(s, end, bad)
	}
	return nil
}

// finish puts what was found into service.
func (r *recovery) finish() error {
	end := max(r.order.end, r.from.Offset)
	if end < r.floor || r.order.end >= 0 && r.order.end < r.from.Offset {
		return fmt.Errorf("%w: the log ends at offset %d, %d was on disk", errShort, max(r.order.end, 0), r.floor)
	}
	active := r.segments[len(r.segments)-1]
	if active.size.Load() == 0 {
		active.base = end
		active.last.Store(end - 1)
	}
	first := r.segments[0]
	if r.named && first.base > r.start {
		return fmt.Errorf("%w: the log starts at offset %d, its first segment at %d", errShort, r.start, first.base)
	}
	fresh := false // sealed segments without a sidecar
	for _, s := range r.segments[:len(r.segments)-1] {
		s.sealed.Store(true)
		fresh = fresh || s.index.Load() != nil
	}
	if err := os.Mkdir(filepath.Join(r.l.dir, indexName), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if active.name > r.from.Segment || active.size.Load() > r.from.Pos {
		if err := syncDir(r.l.dir); err != nil { // names that no flush had come to
			return err
		}
	}
	if err := r.state.complete(r, end); err != nil {
		return err
	}
	r.serve(end, position{active.name, active.size.Load(), end})
	if fresh {
		r.l.store.chores.add(r.l)
	}
	return nil
}

// serve sets the state of an opened log.
func (r *recovery) serve(end int64, at position) {
	l := r.l
	segments := r.segments
	start := r.start
	if len(segments) > 0 {
		start = max(start, segments[0].base)
	}
	l.epochs.Store(&r.state.epochs)
	l.segs.Store(&segments)
	l.start.Store(min(start, end))
	l.lowerHighWatermark(end)
	w := &l.w
	w.entry, w.producers, w.epochsNew = max(r.entry, 1), r.state.producers, r.state.epochsNew
	w.opened, w.served = time.Time{}, true
	w.next.wanted = false
	w.next.made.Store(false)
	if planted("forget-producers") {
		w.producers = producers{}
	}
	l.flush.recovered(l.active(), at)
	l.settled.Store(end) // nobody has looked at it for long
	l.written.reset(end)
	l.acked.reset(end)
	l.trouble.Store(nil)
}
