package logstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	cutPrefix  = "cut-"
	keptCuts   = 3        // directories of cut bytes that are kept for people
	keptOfACut = 64 << 20 // bytes of a segment's tail that are kept
)

// cutAt ends the log at pos of segment s: the bytes behind it and later segments are kept aside
// for people, out of the log.
func (r *recovery) cutAt(s *segment, pos int64, why error) error {
	l := r.l
	r.cut = true
	aside := filepath.Join(l.dir, fmt.Sprintf("%s%d", cutPrefix, l.store.cfg.Now().UnixNano()))
	st, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	l.store.log.Warn("log ends here: what follows is not whole and was never acknowledged as flushed",
		"log", l.id, "segment", filepath.Base(s.path), "position", pos, "cut", st.Size()-pos, "offset", max(r.order.end, 0), "why", why)
	if err := os.Mkdir(aside, 0o750); err != nil {
		return err
	}
	if err := keepTail(s.path, pos, filepath.Join(aside, fmt.Sprintf("%s.%d", filepath.Base(s.path), pos))); err != nil {
		return err
	}
	if err := truncateFile(s.path, pos); err != nil {
		return err
	}
	if !slices.Contains(r.segments, s) { // it follows a gap: nothing of it is served
		if err := os.Remove(s.path); err != nil {
			return err
		}
	}
	for _, later := range r.names[slices.Index(r.names, s.name)+1:] {
		name := segmentFileName(later)
		if err := os.Rename(filepath.Join(l.dir, name), filepath.Join(aside, name)); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(aside), syncDir(l.dir), l.dropOldCuts())
}

// keepTail copies the bytes behind pos, unless all of them are zeros: those are what a power cut
// leaves of a write that had not come.
func keepTail(path string, pos int64, to string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	tail, err := io.ReadAll(io.NewSectionReader(f, pos, keptOfACut))
	if err != nil || !slices.ContainsFunc(tail, func(b byte) bool { return b != 0 }) {
		return err
	}
	return writeSynced(to, tail)
}

func truncateFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// dropOldCuts bounds what is kept aside.
func (l *Log) dropOldCuts() error {
	files, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	var cuts []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), cutPrefix) {
			cuts = append(cuts, f.Name()) // sorted by time
		}
	}
	for len(cuts) > keptCuts {
		if err := os.RemoveAll(filepath.Join(l.dir, cuts[0])); err != nil {
			return err
		}
		cuts = cuts[1:]
	}
	return nil
}

// finish puts what was found into service.
func (r *recovery) finish() error {
	l := r.l
	for _, s := range r.segments[:len(r.segments)-1] {
		s.sealed.Store(true)
		if s.loaded.Swap(nil) != nil { // its sidecar is right: it is read again on demand
			s.index.Store(nil)
		}
	}
	end := max(r.order.end, r.from.Offset)
	if r.order.end < r.from.Offset && (r.order.end >= 0 || r.from.Pos > 0) {
		return fmt.Errorf("%w: the log ends at offset %d, %d was on disk", errShort, max(r.order.end, 0), r.from.Offset)
	}
	active := r.segments[len(r.segments)-1]
	if active.size.Load() == 0 {
		active.base = end
		active.last.Store(end - 1)
	}
	l.serve(r.segments, r.entry, end, max(r.start, r.segments[0].base), position{active.name, active.size.Load(), end})
	if err := l.replay(r.from.Offset, end); err != nil {
		return err
	}
	l.writeSidecars(r.segments[:len(r.segments)-1])
	return nil
}

// serve sets the state of an opened log.
func (l *Log) serve(segments []*segment, entry uint64, end, start int64, at position) {
	if segments == nil {
		segments = []*segment{}
	}
	l.segs.Store(&segments)
	l.w.entry, l.w.opened = entry, l.store.cfg.Now()
	l.start.Store(min(start, end))
	l.written.reset(end)
	l.acked.reset(end)
	l.flush.recovered(l.active(), at)
	l.trouble.Store(nil)
}

// replay rebuilds the producers and the leader epochs: from their files as far as these reach,
// then from the batches.
func (l *Log) replay(recovered, end int64) error {
	l.w.producers, l.w.epochs = producers{}, epochs{}
	known := int64(0) // both files speak of everything below
	_, body, err := producersFile.read(filepath.Join(l.dir, producersName))
	if err == nil {
		var p producers
		if p, known, err = decodeProducers(body); err == nil && known <= end {
			l.w.producers = p
		} else {
			known = 0
		}
	}
	from := known
	_, body, err = epochsFile.read(filepath.Join(l.dir, epochsName))
	if err == nil {
		l.w.epochs, err = decodeEpochs(body)
	}
	if err != nil {
		l.w.epochs, from = epochs{}, 0
	} else if from = min(from, recovered); from < end {
		l.w.epochs.truncateEnd(max(from, 1))
	}
	now := l.store.cfg.Now().UnixMilli()
	return l.headers(from, end, func(b batchHead) {
		if l.w.epochs.assign(b.LeaderEpoch(), b.BaseOffset()) {
			l.w.epochsNew = true
		}
		if b.ProducerID() >= 0 && b.BaseOffset() >= known {
			l.w.producers.apply(&producerBatch{
				ID: b.ProducerID(), Epoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(), BaseOffset: b.BaseOffset(),
				LastDelta: b.LastOffsetDelta(), Timestamp: b.MaxTimestamp(),
			}, now)
		}
	})
}
