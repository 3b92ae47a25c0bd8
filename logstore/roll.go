package logstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// nextState is how far the segment to come is made ahead.
type nextState struct {
	wanted bool        // asked for, once per segment; guarded by the log's mu
	made   atomic.Bool // the file is there, empty
}

// roll begins a new segment at offset; the caller holds mu. The old one stays unflushed until the
// flusher comes: it syncs the old file and the directory before the flushed end enters the new one.
func (l *Log) roll(offset int64) error {
	segs := *l.segs.Load()
	if len(segs) == 0 {
		l.w.served = true
		if err := l.makeDir(); err != nil {
			return err
		}
	}
	s := newSegment(l, l.w.entry, offset)
	if err := l.createSegment(s.path); err != nil {
		return err
	}
	s.index.Store(&liveIndex{})
	l.flush.rolled(s)
	if len(segs) > 0 {
		segs[len(segs)-1].sealed.Store(true)
	}
	next := append(segs[:len(segs):len(segs)], s)
	l.segs.Store(&next)
	l.w.opened, l.w.next.wanted = l.store.cfg.Now(), false
	return nil
}

// createSegment gives `next` its name, or makes a file if there is no `next`; never over a file
// that is there.
func (l *Log) createSegment(path string) error {
	if l.w.next.made.Swap(false) {
		err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(l.dir, nextName), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) { // not every file system can
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}

// makeDir makes the log's directory, with its first record.
func (l *Log) makeDir() error {
	if err := os.MkdirAll(filepath.Join(l.dir, indexName), 0o750); err != nil {
		return err
	}
	l.flush.newDir.Store(true)
	l.store.checkpoint.changed.Store(true)
	return nil
}

// wantNext has `next` made in the background; the caller holds mu.
func (l *Log) wantNext() {
	if !l.w.next.wanted {
		l.w.next.wanted = true
		l.store.chores.add(l)
	}
}

// makeNext makes `next`. Without it a roll makes its own file.
func (l *Log) makeNext() error {
	l.mu.Lock()
	need := l.w.next.wanted && !l.w.next.made.Load() && l.Err() == nil
	l.mu.Unlock()
	if !need {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(l.dir, nextName), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err == nil {
		err = f.Close()
	}
	l.w.next.made.Store(true)
	return err
}

// segmentOpened is when the active segment was begun; the caller holds mu. After a start that is
// when its file was made.
func (l *Log) segmentOpened(s *segment) time.Time {
	if !l.w.opened.IsZero() {
		return l.w.opened
	}
	l.w.opened = l.store.cfg.Now()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, s.path, 0, unix.STATX_BTIME, &st); err == nil && st.Mask&unix.STATX_BTIME != 0 {
		if born := time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)); born.Before(l.w.opened) {
			l.w.opened = born
		}
	}
	return l.w.opened
}
