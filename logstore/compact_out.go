package logstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"chronik/wire/batch"
)

// compactName is the directory in which compaction writes, and its journal lies.
const compactName = "compact"

// compactOut writes the segments of a compaction, under numbers: what they are called in the log is
// known when all of them are there.
type compactOut struct {
	dir      string
	limit    int64 // bytes of a segment
	interval int64
	modified time.Time // of the segment that is read
	done     []compactedSegment

	f   *os.File // nil between segments
	w   *bufio.Writer
	x   *liveIndex
	pos int64
}

// compactedSegment is a new segment that is on disk, with its sidecar.
type compactedSegment struct {
	path string
	side sidecar // without rows
}

func stagedSidecar(path string) string { return path + ".index" }

// newCompactOut makes the directory, durably, without what an earlier compaction left in it.
func newCompactOut(l *Log) (*compactOut, error) {
	o := l.options.Load()
	out := &compactOut{dir: filepath.Join(l.dir, compactName), limit: o.SegmentBytes, interval: o.IndexIntervalBytes}
	if err := os.RemoveAll(out.dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(out.dir, 0o750); err != nil {
		return nil, err
	}
	return out, syncDir(l.dir)
}

// add writes a batch.
func (o *compactOut) add(b batch.Batch) error {
	size := entrySize(b)
	if o.f != nil && (o.pos+size > o.limit || b.LastOffset()-o.x.fixed.BaseOffset > math.MaxInt32) {
		if err := o.seal(); err != nil {
			return err
		}
	}
	if o.f == nil {
		if err := o.begin(); err != nil {
			return err
		}
	}
	prefix := binary.AppendUvarint(o.w.AvailableBuffer(), uint64(len(b)))
	if _, err := o.w.Write(prefix); err != nil {
		return err
	}
	if _, err := o.w.Write(b); err != nil {
		return err
	}
	o.x.note(notedAt(b, o.pos, size), o.interval)
	o.pos += size
	return nil
}

func (o *compactOut) begin() error {
	f, err := os.OpenFile(filepath.Join(o.dir, strconv.Itoa(len(o.done)+1)), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	if o.w == nil {
		o.w = bufio.NewWriterSize(nil, 256<<10)
	}
	o.w.Reset(f)
	o.f, o.x, o.pos = f, &liveIndex{}, 0
	return nil
}

// seal puts a segment and its sidecar on disk. It is as old as the last segment that is in it:
// retention may ask.
func (o *compactOut) seal() error {
	if o.f == nil {
		return nil
	}
	f := o.f
	o.f = nil
	err := o.w.Flush()
	if err == nil && !o.modified.IsZero() {
		err = os.Chtimes(f.Name(), o.modified, o.modified)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	side := o.x.sidecar()
	if err := sidecarFile.stage(stagedSidecar(f.Name()), side.encode()); err != nil {
		return err
	}
	side.Rows = nil
	o.done = append(o.done, compactedSegment{f.Name(), *side})
	return nil
}

// finish ends the last segment and makes the names of all durable.
func (o *compactOut) finish() error {
	if err := o.seal(); err != nil {
		return err
	}
	if len(o.done) == 0 {
		return fmt.Errorf("nothing is left of %s", o.dir)
	}
	return syncDir(o.dir)
}

// abandon removes what was written.
func (o *compactOut) abandon() error {
	if o.f != nil {
		_ = o.f.Close() // it goes
		o.f = nil
	}
	return os.RemoveAll(o.dir)
}

// bytes is the size of the segments that are done.
func (o *compactOut) bytes() (n int64) {
	for i := range o.done {
		n += o.done[i].side.Size
	}
	return n
}
