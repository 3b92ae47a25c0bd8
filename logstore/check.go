package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SegmentReport is what Check found in one segment.
type SegmentReport struct {
	Name                   string
	Size, Whole            int64 // bytes; of them in whole entries, from the start on
	Entries                int64
	BaseOffset, LastOffset int64  // -1 without entries
	FirstEpoch, LastEpoch  int32  // -1 without entries
	MaxTimestamp           int64  // -1 without entries
	Damaged                int64  // entries with a wrong checksum or header, or out of order
	Sidecar                string // "ok", "none", or what is wrong with it
}

// Report is what Check found in one log.
type Report struct {
	Dir      string
	Running  bool   // a node has the data directory: read up to the last whole entry
	Stock    string // what the stock library says: "ok", what it does not like, or why it was not asked
	Segments []SegmentReport
	// LogStart and Recovery are the checkpoint's offsets, -1 when it does not name the log.
	LogStart, Recovery int64
	BaseOffset, End    int64        // of the entries; -1, -1 without any
	Epochs             []EpochRange // by the entries
	Problems           []string     // damage
	Notes              []string     // what the next start sets right by itself
}

// EpochRange is a leader epoch and the first offset that was read in it.
type EpochRange struct {
	Epoch int32
	Start int64
}

// OK says that nothing is damaged.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Check reads the log in dir whole, again when a compaction of a running node replaced segments
// meanwhile: framing, headers, checksums, order of offsets and epochs,
// sidecars and epochs against the entries, and, when no node runs on it, every entry through the
// stock library. It writes nothing, and keeps a node from starting on the data directory meanwhile.
// The error is for what could not be read; what was read and is wrong is in the report.
func Check(dir string) (*Report, error) {
	for try := 1; ; try++ {
		before, err := segmentFiles(dir)
		if err != nil {
			return nil, err
		}
		r, err := check(dir)
		if err != nil || !r.Running {
			return r, err
		}
		after, err := segmentFiles(dir)
		if err != nil || slices.EqualFunc(before, after[:min(len(before), len(after))], os.SameFile) {
			return r, err
		}
		if try == 3 {
			r.Notes = append(r.Notes, "segments were replaced or dropped while they were read")
			return r, nil
		}
	}
}

// segmentFiles are the files of the segments in dir.
func segmentFiles(dir string) (files []os.FileInfo, err error) {
	names, err := segmentsIn(dir)
	for _, name := range names {
		st, err := os.Stat(segmentPath(dir, name))
		if err == nil {
			files = append(files, st)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, err
}

func check(dir string) (*Report, error) {
	release, running, err := holdStopped(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	c := &checker{
		Report: &Report{Dir: dir, Running: running, LogStart: -1, Recovery: -1, BaseOffset: -1, End: -1},
		order:  entryOrder{end: -1, epoch: -1},
	}
	names, err := segmentsIn(dir)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(c.readCheckpoint(), c.readEpochs(), c.readLeftOver()); err != nil {
		return nil, err
	}
	for i, name := range names {
		c.last = i == len(names)-1
		if i > 0 && name != c.next && !c.swapping {
			c.problem("segment %s follows where %s is due", segmentFileName(name), segmentFileName(c.next))
		}
		if err := c.segment(name); err != nil {
			return nil, err
		}
	}
	return c.Report, c.askStock(names)
}

// checker fills a Report, segment by segment.
type checker struct {
	*Report
	order    entryOrder
	recovery position // Segment 0: nothing is known to be on disk
	clean    *cleanEntry
	epochs   *epochs // as the file has them
	leftOver bool    // of a truncation or a compaction
	swapping bool    // a compaction was cut off: old segments are here and new ones
	cut      bool    // the next start cuts bytes off, which the stock library takes for entries or not
	last     bool    // the segment at hand is the last one
	next     uint64  // name that the following segment must have
}

func (c *checker) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

func (c *checker) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// segment reads one segment and its sidecar.
func (c *checker) segment(name uint64) error {
	file := segmentFileName(name)
	st, err := os.Stat(filepath.Join(c.Dir, file))
	if c.Running && errors.Is(err, fs.ErrNotExist) {
		return nil // retention took it meanwhile
	}
	if err != nil {
		return err
	}
	s := &SegmentReport{Name: file, Size: st.Size(), BaseOffset: -1, LastOffset: -1, FirstEpoch: -1, LastEpoch: -1, MaxTimestamp: -1}
	side := c.openSidecar(s)
	err = walkSegment(filepath.Join(c.Dir, file), name, func(e Entry) error {
		if e.Batch == nil {
			c.tail(s, e)
			return nil
		}
		c.entry(s, e)
		side.follow(e)
		return nil
	})
	if side.car != nil {
		s.Sidecar = side.verdict(s, c.last)
	}
	if s.Sidecar != "ok" && s.Sidecar != "none" {
		c.note("sidecar of %s: %s; it is made again", file, s.Sidecar)
	}
	c.next = name + uint64(s.Entries)
	c.Segments = append(c.Segments, *s)
	c.cleanSize(name, s)
	return err
}

func (c *checker) entry(s *SegmentReport, e Entry) {
	b := e.Batch
	s.Entries++
	s.Whole = e.Pos + int64(uvarintLen(uint64(len(b)))+len(b))
	if e.Err == nil && !c.swapping {
		e.Err = c.order.follow(b)
	}
	if e.Err != nil {
		s.Damaged++
		c.damage(e, fmt.Sprintf("entry %d (offset %d) at %s:%d: %v", e.Index, b.BaseOffset(), s.Name, e.Pos, e.Err))
		return
	}
	if s.BaseOffset < 0 {
		s.BaseOffset, s.FirstEpoch = b.BaseOffset(), b.LeaderEpoch()
	}
	s.LastOffset, s.LastEpoch = b.LastOffset(), b.LeaderEpoch()
	s.MaxTimestamp = max(s.MaxTimestamp, b.MaxTimestamp())
	if c.BaseOffset < 0 {
		c.BaseOffset = b.BaseOffset()
	}
	c.End = b.LastOffset() + 1
	if n := len(c.Epochs); n == 0 || c.Epochs[n-1].Epoch != b.LeaderEpoch() {
		c.Epochs = append(c.Epochs, EpochRange{b.LeaderEpoch(), b.BaseOffset()})
		c.knownEpoch(b.LeaderEpoch(), b.BaseOffset())
	}
}

// tail judges the bytes behind the last whole entry of a segment.
func (c *checker) tail(s *SegmentReport, e Entry) {
	if c.Running && c.last {
		return // an append under way
	}
	c.damage(e, fmt.Sprintf("%s:%d: %v", s.Name, e.Pos, e.Err))
}

// damage is a problem where the bytes were once known to be on disk, else it is the end that the
// next start finds.
func (c *checker) damage(e Entry, what string) {
	flushed := c.recovery.Segment > e.Segment || c.recovery.Segment == e.Segment && c.recovery.Pos > e.Pos
	if flushed || c.clean != nil || !c.last || c.Running {
		c.problem("%s", what)
		return
	}
	c.cut = true
	c.note("%s; the next start ends the log here", what)
}

// knownEpoch holds an epoch's first offset against the epochs file.
func (c *checker) knownEpoch(epoch int32, start int64) {
	if c.epochs == nil || c.Running || start >= c.recovery.Offset || start < c.LogStart {
		return
	}
	if known := c.epochs.at(start); known != epoch {
		c.note("epochs: offset %d is of epoch %d, the file says %d; it is made again", start, epoch, known)
	}
}

func (c *checker) cleanSize(name uint64, s *SegmentReport) {
	if c.clean == nil || !c.last {
		return
	}
	if c.clean.Segment != name || c.clean.Size != s.Size {
		c.problem("%s has %d bytes; at the clean stop the log ended in %s with %d", s.Name, s.Size, segmentFileName(c.clean.Segment), c.clean.Size)
	}
}

// readCheckpoint finds what the data directory knows of this log, if it is in one.
func (c *checker) readCheckpoint() error {
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	data := dataDirectoryOf(abs)
	id, ok := ParseID(filepath.Base(abs))
	if data == "" || !ok {
		return nil
	}
	entries, err := readCheckpoint(filepath.Join(data, checkpointName))
	if err := c.absentOrBad("checkpoint", err); err != nil {
		return err
	}
	for _, e := range entries {
		if e.ID == id {
			c.recovery, c.Recovery, c.LogStart = e.Recovery, e.Recovery.Offset, e.Start
		}
	}
	clean, err := readCleanShutdown(filepath.Join(data, cleanName))
	if err := c.absentOrBad("clean-shutdown", err); err != nil || clean == nil {
		return err
	}
	for i := range clean.Logs {
		if clean.Logs[i].ID == id {
			c.clean = &clean.Logs[i]
		}
	}
	return nil
}

func (c *checker) readEpochs() error {
	_, body, err := epochsFile.read(filepath.Join(c.Dir, epochsName))
	if err == nil {
		var e epochs
		if e, err = decodeEpochs(body); err == nil {
			c.epochs = &e
		}
	}
	return c.absentOrBad("epochs", err)
}

// absentOrBad keeps an error of a small file only if it is another one than that.
func (c *checker) absentOrBad(name string, err error) error {
	switch {
	case errors.Is(err, errBadFile):
		c.note("%s: %v", name, err)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// readLeftOver looks for files that are no part of a log at rest.
func (c *checker) readLeftOver() error {
	files, err := os.ReadDir(c.Dir)
	if err != nil || c.Running {
		return err
	}
	for _, f := range files {
		name := f.Name()
		switch {
		case strings.HasSuffix(name, ".START"), strings.HasSuffix(name, ".END"), strings.HasSuffix(name, ".TEMP"):
			c.leftOver = true
			c.note("%s: a truncation was cut off; the next start finishes it", name)
		case name == compactName:
			c.readSwap()
		case strings.HasPrefix(name, cutPrefix):
			c.note("%s: bytes that an earlier start cut off", name)
		}
	}
	return nil
}

// readSwap looks how far a compaction had come.
func (c *checker) readSwap() {
	switch _, err := readSwap(c.Dir); {
	case err == nil:
		c.leftOver, c.swapping = true, true
		c.note("%s: a compaction was cut off; the next start finishes it", compactName)
	case errors.Is(err, fs.ErrNotExist):
		c.note("%s: what a compaction had written; the next start removes it", compactName)
	default:
		c.problem("%s: %v", compactName, err)
	}
}
