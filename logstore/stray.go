package logstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	straySuffix = "-stray"
	strayKept   = 24 * time.Hour
)

// SetAside takes a log out of service whose topic nobody knows. It is kept for a day, in case the
// topic is back: Take finds it then.
func (s *Store) SetAside(id ID) error {
	s.mu.Lock()
	l := s.logs[id]
	delete(s.logs, id)
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	s.checkpoint.changed.Store(true)
	l.end(ErrDeleted)
	err := os.Rename(l.dir, l.dir+straySuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // never written
	}
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	return errors.Join(os.Chtimes(l.dir+straySuffix, now, now), syncDir(filepath.Dir(l.dir)))
}

// takeBack brings a log back that was set aside; nothing happens when there is none.
func (l *Log) takeBack() error {
	err := os.Rename(l.dir+straySuffix, l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l.store.log.Warn("a log is back whose topic was unknown", "log", l.id)
	return errors.Join(syncDir(filepath.Dir(l.dir)), l.open(nil, nil))
}

// dropStrays removes what was set aside long ago.
func (s *Store) dropStrays() error {
	logs := filepath.Join(s.cfg.Dir, logsName)
	dirs, err := os.ReadDir(logs)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if !strings.HasSuffix(d.Name(), straySuffix) {
			continue
		}
		st, err := d.Info()
		if err == nil && s.cfg.Now().Sub(st.ModTime()) > strayKept {
			s.log.Info("removing a log whose topic was unknown for a day", "dir", d.Name())
			err = os.RemoveAll(filepath.Join(logs, d.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
