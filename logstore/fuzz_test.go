package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"chronik/wire/batch"
)

// fuzzedLogs are data directories after a kill, by what had happened in them.
func fuzzedLogs(f *testing.F) (dirs []string) {
	for _, life := range []struct {
		saved, compacted, cut bool
	}{{}, {saved: true}, {saved: true, compacted: true}, {saved: true, compacted: true, cut: true}} {
		dir := f.TempDir()
		s, kill := still(f, dir)
		l := filled(f, s, compactable())
		if !life.saved {
			mustDo(f, removeLeft(filepath.Join(dir, checkpointName)))
		} else {
			mustDo(f, l.save())
			mustDo(f, s.writeCheckpoint())
			mustDo(f, l.Append(7, []Item{{Batch: keyedBatch(batch.None, kv{key: "tail", value: "tail"})}}))
			l.doFlush()
		}
		if life.cut { // a compaction between its journal and its names
			c := builtFor(f, l)
			s.checkpoint.mu.Lock()
			j, _, err := c.prepare()
			mustDo(f, err)
			mustDo(f, j.commit(l.dir))
			for _, do := range j.steps(l.dir)[:7] {
				mustDo(f, do())
			}
			s.checkpoint.mu.Unlock()
		} else if life.compacted {
			mustDo(f, s.compactor.round(f.Context()))
		}
		kill()
		dirs = append(dirs, dir)
	}
	return dirs
}

// copied copies a data directory and returns its files, in order.
func copied(t *testing.T, from, to string) (files []string) {
	t.Helper()
	mustDo(t, os.CopyFS(to, os.DirFS(from)))
	mustDo(t, filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	slices.Sort(files)
	return files
}

// damaged does to a file what the next bytes of p say, and returns the rest of them.
func damaged(t *testing.T, files []string, p []byte) (path string, rest []byte) {
	t.Helper()
	path = files[int(p[0])%len(files)]
	at, value := int(binary.BigEndian.Uint16(p[2:])), p[4]
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, p[5:]
	}
	mustDo(t, err)
	at %= len(content) + 1
	switch p[1] % 5 {
	case 0:
		content = content[:at]
	case 1:
		content = append(content, bytes.Repeat([]byte{value}, at)...)
	case 2:
		clear(content[at:])
	case 3:
		mustDo(t, os.Remove(path))
		return path, p[5:]
	default:
		if at < len(content) {
			content[at] ^= value
		}
	}
	mustDo(t, os.WriteFile(path, content, 0o640))
	return path, p[5:]
}

// FuzzRecover opens a log whose files were damaged: it never panics, and what it serves has the right
// checksum, except below the recovery point, where a start compares sizes and reads nothing.
func FuzzRecover(f *testing.F) {
	dirs := fuzzedLogs(f)
	for life := range byte(4) {
		for file := range byte(40) {
			f.Add([]byte{life, file, file, 0, 200, 0x40})
		}
		f.Add([]byte{life, 3, 4, 0, 90, 1, 9, 3, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < 6 {
			return
		}
		dir := filepath.Join(t.TempDir(), "data")
		files := copied(t, dirs[int(p[0])%len(dirs)], dir)
		spoiled := map[string]bool{}
		for p = p[1:]; len(p) >= 5; {
			var path string
			path, p = damaged(t, files, p)
			spoiled[filepath.Base(path)] = true
		}
		s, err := Open(Config{Dir: dir, NodeID: 1})
		if err != nil {
			return // what it belongs to is not to be read
		}
		defer s.lock.Close()
		if err := s.Recover(t.Context()); err != nil {
			return
		}
		for _, l := range s.Logs() {
			if err := servesWhole(l, spoiled); err != nil {
				t.Errorf("%v; damaged: %v", err, spoiled)
			}
			exercise(t, s, l)
			s.caches.discard(*l.segs.Load())
		}
	})
}

// servesWhole reads a log to its end.
func servesWhole(l *Log, spoiled map[string]bool) error {
	for at := l.Start(); l.Err() == nil && at < l.End(); {
		got, err := l.Read(nil, at, l.End(), 1000)
		if err != nil || len(got) == 0 {
			return trusted(l, at, spoiled, fmt.Errorf("nothing at %d of %d: %w", at, l.End(), err))
		}
		for len(got) > 0 {
			b, rest, err := batch.First(got)
			if err == nil {
				err = b.Check()
			}
			if errors.Is(err, batch.ErrCount) {
				err = checkStored(b)
			}
			if err != nil || b.LastOffset() < at {
				return trusted(l, at, spoiled, fmt.Errorf("the batch at %d of %d: %w", at, l.End(), err))
			}
			got, at = rest, b.LastOffset()+1
		}
	}
	return nil
}

// trusted drops the error of what lies in a damaged segment below the recovery point: the start does
// not read it.
func trusted(l *Log, at int64, spoiled map[string]bool, err error) error {
	if at >= l.store.checkpoint.at[l.id].Offset {
		return err
	}
	for name := range spoiled {
		if _, notNumber := strconv.ParseUint(name, 10, 64); notNumber == nil { // a segment, or one to be
			return nil
		}
	}
	return err
}

// exercise asks a log everything and goes on with it.
func exercise(t *testing.T, s *Store, l *Log) {
	_, _, _, _ = l.OffsetForTime(0)
	_, _, _, _ = l.MaxTimestamp()
	_ = l.SizeFrom(l.Start(), l.End(), 1<<20)
	l.Configure(compactable())
	_ = l.chore()
	if err := s.compactor.round(t.Context()); err != nil {
		t.Error(err)
	}
	s.compactor.ill = map[*Log]illness{}
	_ = l.Append(100, []Item{{Batch: keyedBatch(batch.None, kv{key: "new", value: "new", ts: time.Now().UnixMilli()})}})
	l.doFlush()
	_ = l.TruncateTo(l.End() / 2)
}
