package logstore

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// chores is what logs have done behind the appends: sidecars of sealed segments, the segment to
// come, files of deleted logs. What fails is tried again with the next checkpoint.
type chores struct {
	wake chan struct{}

	mu    sync.Mutex
	logs  map[*Log]struct{} // guarded by mu
	trash []string          // directories of deleted logs; guarded by mu
}

func (c *chores) add(l *Log) {
	c.mu.Lock()
	if c.logs == nil {
		c.logs = map[*Log]struct{}{}
	}
	c.logs[l] = struct{}{}
	c.mu.Unlock()
	c.nudge()
}

func (c *chores) discard(dir string) {
	c.mu.Lock()
	c.trash = append(c.trash, dir)
	c.mu.Unlock()
	c.nudge()
}

func (c *chores) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *chores) take() (logs []*Log, trash []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	logs, trash = slices.Collect(maps.Keys(c.logs)), c.trash
	clear(c.logs)
	c.trash = nil
	return logs, trash
}

// doChores does them until ctx ends.
func (s *Store) doChores(ctx context.Context) error {
	for {
		select {
		case <-s.chores.wake:
		case <-ctx.Done():
			return nil
		}
		logs, trash := s.chores.take()
		for _, l := range logs {
			if err := l.chore(); err != nil && l.Err() == nil {
				s.log.Warn("background work on a log failed; it is tried again", "log", l.id, "err", err)
				s.checkpoint.failed(l)
			}
		}
		s.empty(trash)
	}
}

// chore does one log's chores. The checkpoint's lock keeps truncation and reopening away.
func (l *Log) chore() error {
	l.store.checkpoint.mu.Lock()
	defer l.store.checkpoint.mu.Unlock()
	if err := l.makeNext(); err != nil {
		return err
	}
	return l.writeSidecars()
}

// writeSidecars writes down the indexes of sealed segments that are on disk; the caller holds the
// checkpoint's lock. Without a sidecar a segment keeps its index in memory, retention leaves it, and
// the next start reads it.
func (l *Log) writeSidecars() error {
	at := l.flush.at()
	for _, s := range *l.segs.Load() {
		x := s.index.Load()
		if x == nil || !s.sealed.Load() || s.name >= at.Segment {
			continue
		}
		if err := x.sidecar().write(sidecarPath(s.path)); err != nil {
			return err
		}
		s.caches.sidecars.forget(s)
		s.index.Store(nil)
	}
	return nil
}

// empty removes the directories of deleted logs, once the checkpoint does not name them any more and
// no power cut brings them back under their old names. What fails is left to the next start.
func (s *Store) empty(trash []string) {
	if len(trash) == 0 {
		return
	}
	err := errors.Join(s.writeCheckpoint(), syncDir(filepath.Join(s.cfg.Dir, logsName)))
	for _, dir := range trash {
		if err == nil {
			err = os.RemoveAll(dir)
		}
	}
	if err != nil {
		s.log.Warn("deleted logs are not all removed; the next start tries again", "err", err)
	}
}
