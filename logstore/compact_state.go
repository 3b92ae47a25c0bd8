package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
)

// cleanedName is the file that says how far a log is compacted: from there on it is dirty. Without
// it a log is compacted from its start on, which changes nothing that is compacted.
const cleanedName = "compacted"

var cleanedFile = smallKind{magic: "chrclend", version: 1}

// compactState is what compaction remembers of a log between its looks.
type compactState struct {
	cleaned atomic.Int64 // offset up to which the log is compacted, +1; 0 before the file was read

	first map[*segment]int64 // timestamp of the first batch of dirty segments; the compactor's own
}

// cleanedTo is the offset up to which the log is compacted.
func (l *Log) cleanedTo() (int64, error) {
	if n := l.compact.cleaned.Load(); n > 0 {
		return n - 1, nil
	}
	l.store.checkpoint.mu.Lock() // not while it is truncated
	defer l.store.checkpoint.mu.Unlock()
	offset, err := readCleaned(l.dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errBadFile) || offset > l.End() {
		offset, err = 0, nil
	}
	if err == nil {
		l.compact.cleaned.Store(offset + 1)
	}
	return offset, err
}

func readCleaned(dir string) (int64, error) {
	_, body, err := cleanedFile.read(filepath.Join(dir, cleanedName))
	if err != nil {
		return 0, err
	}
	if len(body) != 8 {
		return 0, fmt.Errorf("%w: %s of %d bytes", errBadFile, cleanedName, len(body))
	}
	return int64(binary.BigEndian.Uint64(body)), nil
}

// writeCleaned notes durably how far the log in dir is compacted.
func writeCleaned(dir string, offset int64) error {
	return cleanedFile.write(filepath.Join(dir, cleanedName), binary.BigEndian.AppendUint64(nil, uint64(offset)))
}

// forgetCleaned forgets what was compacted of a log that is cut to end: what comes there is new. The
// caller holds the checkpoint's lock and makes the directory durable.
func (l *Log) forgetCleaned(end int64) error {
	offset, err := readCleaned(l.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && offset <= end {
		return nil
	}
	l.compact.cleaned.Store(0)
	return removeLeft(filepath.Join(l.dir, cleanedName))
}
