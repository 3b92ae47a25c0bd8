package logstore

import (
	"bufio"
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
// for people, out of the log. Nothing that was on disk is an end.
func (r *recovery) cutAt(s *segment, pos int64, why error) error {
	l := r.l
	end := max(r.order.end, r.from.Offset)
	if r.sidecarsFrom(s.name); end < r.floor {
		return fmt.Errorf("%w: %s is damaged at %d (offset %d), offset %d was on disk: %w", errShort, s.path, pos, end, r.floor, why)
	}
	st, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	l.store.log.Warn("log ends here: what follows is not whole and was never known to be on disk",
		"log", l.id, "segment", filepath.Base(s.path), "position", pos, "cut", st.Size()-pos, "offset", end, "why", why)
	r.ended = true
	from := slices.Index(r.names, s.name)
	if slices.Contains(r.segments, s) { // else it follows a gap, and nothing of it is served
		if err := r.cutTail(s.path, pos); err != nil {
			return err
		}
		from++
	}
	return r.cutSegments(from)
}

// sidecarsFrom takes the sidecars of a segment and of later ones for witnesses: each was written after
// an fdatasync of what it describes.
func (r *recovery) sidecarsFrom(name uint64) {
	for _, n := range r.names[slices.Index(r.names, name):] {
		if c, err := readSidecar(sidecarPath(segmentPath(r.l.dir, n))); err == nil {
			r.floor = max(r.floor, c.LastOffset+1)
		}
	}
}

// cutToLimit cuts a log that was poisoned in this life to its published flushed end: what is behind
// it may be in memory only, marked as if it were on disk.
func (r *recovery) cutToLimit() error {
	if r.l.acked.Load() > r.limit.Offset { // acknowledged from the page cache
		if err := r.l.store.suspect(r.l.id, "stopped by an error with records in the page cache"); err != nil {
			return err
		}
	}
	from := 0
	for from < len(r.names) && r.names[from] <= r.limit.Segment {
		from++
	}
	if from > 0 && r.names[from-1] == r.limit.Segment {
		if err := r.cutTail(segmentPath(r.l.dir, r.limit.Segment), r.limit.Pos); err != nil {
			return err
		}
	}
	return r.cutSegments(from)
}

// cutTail ends a segment at pos, durably.
func (r *recovery) cutTail(path string, pos int64) error {
	st, err := os.Stat(path)
	if err != nil || st.Size() <= pos {
		return err // too small: that is for the walk to judge
	}
	if err := r.keepTail(path, pos); err != nil {
		r.l.store.log.Warn("what is cut off a log is not kept", "log", r.l.id, "segment", filepath.Base(path), "err", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(pos), f.Sync(), f.Close())
}

// keepTail copies the bytes behind pos, unless all of them are zeros: those are what a power cut
// leaves of a write that had not come.
func (r *recovery) keepTail(path string, pos int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if zeros, err := onlyZeros(io.NewSectionReader(f, pos, keptOfACut)); err != nil || zeros {
		return err
	}
	dir, err := r.asideDir()
	if err != nil {
		return err
	}
	to, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s.%d", filepath.Base(path), pos)))
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(f, pos, keptOfACut))
	return errors.Join(err, to.Sync(), to.Close())
}

func onlyZeros(from io.Reader) (bool, error) {
	in := bufio.NewReader(from)
	for {
		switch b, err := in.ReadByte(); {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil || b != 0:
			return false, err
		}
	}
}

// cutSegments moves the segments from one on out of the log, with what describes them: a later
// segment may get such a name again.
func (r *recovery) cutSegments(from int) error {
	for _, name := range r.names[from:] {
		if err := removeLeft(sidecarPath(segmentPath(r.l.dir, name))); err != nil {
			return err
		}
	}
	if from < len(r.names) {
		if err := syncDir(filepath.Join(r.l.dir, indexName)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, name := range r.names[from:] {
		if err := r.moveAside(segmentFileName(name)); err != nil {
			return err
		}
	}
	r.names = r.names[:from]
	if r.aside == "" {
		return nil
	}
	return errors.Join(syncDir(r.aside), syncDir(r.l.dir), r.dropOldCuts())
}

func (r *recovery) moveAside(name string) error {
	dir, err := r.asideDir()
	if err != nil {
		return err
	}
	return os.Rename(filepath.Join(r.l.dir, name), filepath.Join(dir, name))
}

// asideDir is where this recovery keeps what it cuts off.
func (r *recovery) asideDir() (string, error) {
	if r.aside != "" {
		return r.aside, nil
	}
	dir := filepath.Join(r.l.dir, fmt.Sprintf("%s%d", cutPrefix, r.l.store.cfg.Now().UnixNano()))
	if err := os.Mkdir(dir, 0o750); err != nil {
		return "", err
	}
	r.aside = dir
	return dir, nil
}

// dropOldCuts bounds what is kept aside.
func (r *recovery) dropOldCuts() error {
	files, err := os.ReadDir(r.l.dir)
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
		if err := os.RemoveAll(filepath.Join(r.l.dir, cuts[0])); err != nil {
			return err
		}
		cuts = cuts[1:]
	}
	return nil
}
