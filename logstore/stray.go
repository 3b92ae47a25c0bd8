package logstore

import (
	"errors"
	"fmt"
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
// topic is back: Take finds it then. The checkpoint goes on naming it.
func (s *Store) SetAside(id ID) error {
	s.checkpoint.mu.Lock()
	defer s.checkpoint.mu.Unlock()
	l := s.Log(id)
	if l == nil {
		return nil
	}
	if err := l.save(); err != nil && l.Err() == nil {
		return err
	}
	s.checkpoint.strays[id] = checkpointEntry{ID: id, Recovery: s.checkpoint.at[id].position, Start: l.Start(), HighWatermark: max(l.hw.Load(), l.hint.Load())}
	s.mu.Lock()
	delete(s.logs, id)
	s.mu.Unlock()
	l.end(ErrDeleted)
	err := os.Rename(l.dir, l.dir+straySuffix)
	if errors.Is(err, fs.ErrNotExist) {
		delete(s.checkpoint.strays, id) // never written
		s.checkpoint.changed.Store(true)
		return nil
	}
	if err != nil {
		return err
	}
	s.checkpoint.aside.Add(1)
	now := s.cfg.Now()
	return errors.Join(os.Chtimes(l.dir+straySuffix, now, now), syncDir(filepath.Dir(l.dir)), s.writePoints(s.Logs()))
}

// takeBack brings a log back that was set aside; nothing happens when there is none. The caller holds
// the checkpoint's lock.
func (l *Log) takeBack() error {
	err := os.Rename(l.dir+straySuffix, l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c := &l.store.checkpoint
	c.aside.Add(-1)
	if err := syncDir(filepath.Dir(l.dir)); err != nil {
		return err
	}
	points := map[ID]checkpointEntry{}
	if p, ok := c.strays[l.id]; ok {
		points[l.id] = p
		l.start.Store(p.Start)
		c.set(l.id, savedPoint{p.Recovery, l.store.cfg.Now()})
		delete(c.strays, l.id)
	}
	l.open(points, nil)
	l.store.log.Warn("a log is back whose topic was unknown", "log", l.id, "end", l.End())
	return nil
}

// dropStrays removes what was set aside long ago.
func (s *Store) dropStrays() error {
	logs := filepath.Join(s.cfg.Dir, logsName)
	dirs, err := os.ReadDir(logs)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		name, stray := strings.CutSuffix(d.Name(), straySuffix)
		if !stray {
			continue
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && s.cfg.Now().Sub(st.ModTime()) <= strayKept {
			continue // taken back meanwhile, or young
		}
		if err != nil {
			return err
		}
		if err := s.dropStray(name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) dropStray(name string) error {
	s.checkpoint.mu.Lock()
	defer s.checkpoint.mu.Unlock()
	dir := filepath.Join(s.cfg.Dir, logsName, name)
	gone := s.deletedName(dir)
	if err := os.Rename(dir+straySuffix, gone); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	s.checkpoint.aside.Add(-1)
	s.log.Info("removing a log whose topic was unknown for a day", "log", name)
	if id, ok := ParseID(name); ok {
		delete(s.checkpoint.strays, id)
		s.checkpoint.changed.Store(true)
	}
	s.chores.discard(gone)
	return nil
}

// deletedName is a name for the directory of a deleted log that no other has.
func (s *Store) deletedName(dir string) string {
	return fmt.Sprintf("%s.%d%s", dir, s.cfg.Now().UnixNano(), deletedSuffix)
}
