package logstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"chronik/wire/batch"
)

// Entry is one record batch of a log on disk, as Check and Dump meet it.
type Entry struct {
	Segment uint64      // its segment's name: the index of the first entry there
	Index   uint64      // of the entry
	Pos     int64       // of its length prefix, in the segment
	Batch   batch.Batch // valid until the visitor returns
	Err     error       // what is wrong with it: checksum, header, order of offsets or epochs
}

// errTail says that a segment goes on behind its last whole entry.
var errTail = errors.New("no whole entry follows")

// Dump visits the entries of the log in dir, in order, damaged ones included. Where a segment's
// framing is lost it visits one last Entry of that segment with Err set and no Batch, and goes on
// with the next segment. On a running node the bytes behind the last whole entry of the last
// segment are an append under way and are left out; a compaction that ends meanwhile shows as entries
// out of order. It writes nothing.
func Dump(dir string, visit func(Entry) error) error {
	release, running, err := holdStopped(dir)
	if err != nil {
		return err
	}
	defer release()
	return dump(dir, running, visit)
}

func dump(dir string, running bool, visit func(Entry) error) error {
	names, err := segmentsIn(dir)
	if err != nil {
		return err
	}
	order := entryOrder{end: -1, epoch: -1}
	for i, name := range names {
		last := i == len(names)-1
		err := walkSegment(filepath.Join(dir, segmentFileName(name)), name, func(e Entry) error {
			if errors.Is(e.Err, errTail) && running && last {
				return nil
			}
			if e.Err == nil {
				e.Err = order.follow(e.Batch)
			}
			return visit(e)
		})
		if errors.Is(err, fs.ErrNotExist) && running {
			continue // retention took it meanwhile
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entryOrder holds one entry against those before it.
type entryOrder struct {
	end   int64 // offset behind the last one, -1 at the start
	epoch int32
}

func (o *entryOrder) follow(b batch.Batch) error {
	switch {
	case b.BaseOffset() < max(o.end, 0):
		return fmt.Errorf("base offset %d below the end %d of the entry before", b.BaseOffset(), o.end)
	case b.LeaderEpoch() < o.epoch:
		return fmt.Errorf("leader epoch %d after %d", b.LeaderEpoch(), o.epoch)
	}
	o.end, o.epoch = b.LastOffset()+1, b.LeaderEpoch()
	return nil
}

// walkSegment visits each whole entry of a segment file, then, if bytes are left, an Entry
// whose Err is errTail. What it reads is bounded by the size that the file had at first.
func walkSegment(path string, name uint64, visit func(Entry) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	r := bufio.NewReaderSize(io.LimitReader(f, size), 1<<20)
	var buf []byte
	e := Entry{Segment: name, Index: name}
	for e.Pos < size {
		n, err := binary.ReadUvarint(r)
		prefix := int64(uvarintLen(n))
		if err != nil || n < batch.HeaderLen || n > uint64(size-e.Pos-prefix) {
			e.Batch, e.Err = nil, fmt.Errorf("%w: %d bytes of the segment are left", errTail, size-e.Pos)
			return visit(e)
		}
		buf = slices.Grow(buf[:0], int(n))[:n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return err
		}
		e.Batch = buf
		e.Err = checkStored(e.Batch)
		if err := visit(e); err != nil {
			return err
		}
		e.Pos, e.Index = e.Pos+prefix+int64(n), e.Index+1
	}
	return nil
}

// checkStored holds a batch in a log against the format. A compacted one may have fewer records
// than offsets.
func checkStored(b batch.Batch) error {
	err := b.Check()
	if errors.Is(err, batch.ErrCount) && b.NumRecords() >= 0 && b.NumRecords() <= b.LastOffsetDelta()+1 {
		return nil
	}
	return err
}

func uvarintLen(n uint64) int {
	var p [binary.MaxVarintLen64]byte
	return binary.PutUvarint(p[:], n)
}

// segmentsIn lists the segments of a log directory by what the stock library takes for one.
func segmentsIn(dir string) ([]uint64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []uint64
	for _, f := range files {
		if n, err := strconv.ParseUint(f.Name(), 10, 64); err == nil && len(f.Name()) == segmentNameLen && n > 0 && !f.IsDir() {
			names = append(names, n)
		}
	}
	return names, nil // ReadDir sorts, and the names have one length
}

const segmentNameLen = 20

func segmentFileName(first uint64) string { return fmt.Sprintf("%0*d", segmentNameLen, first) }

// holdStopped takes the lock of the data directory that dir is a log of, so that no node starts
// meanwhile, or says that a node runs. A log directory somewhere else has no node.
func holdStopped(dir string) (release func(), running bool, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, false, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, false, err
	}
	data := dataDirectoryOf(dir)
	if data == "" {
		return func() {}, false, nil
	}
	f, err := os.Open(data)
	if err != nil {
		return nil, false, err
	}
	release = func() { _ = f.Close() } // opened for reading: nothing can be lost
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil || errors.Is(err, unix.EWOULDBLOCK) {
		return release, err != nil, nil
	}
	release()
	return nil, false, err
}

// dataDirectoryOf returns the data directory of a log directory <data>/logs/<id>, or "".
func dataDirectoryOf(dir string) string {
	logs := filepath.Dir(dir)
	data := filepath.Dir(logs)
	if filepath.Base(logs) != logsName {
		return ""
	}
	if _, err := os.Stat(filepath.Join(data, propertiesName)); err != nil {
		return ""
	}
	return data
}
