package logstore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Recover opens every log of the directory, several at once. Its cost follows the bytes beyond the
// recovery points. A log that cannot be trusted is kept offline, with a loud reason, one that cannot
// be read is tried again later; an error is for what concerns all of them.
func (s *Store) Recover(ctx context.Context) error {
	points, err := s.readCheckpoint()
	if err != nil {
		return err
	}
	clean := s.clean
	if err := s.removeClean(); err != nil { // this life has not stopped yet
		return err
	}
	logs, err := s.findLogs(points)
	if err != nil {
		return err
	}
	all := make([]*Log, 0, len(logs))
	s.checkpoint.mu.Lock()
	for id, l := range logs {
		all = append(all, l)
		if p, ok := points[id]; ok {
			l.start.Store(p.Start)
			l.hint.Store(p.HighWatermark)
			s.checkpoint.set(id, savedPoint{p.Recovery, s.cfg.Now()})
		}
	}
	s.checkpoint.mu.Unlock()
	began := time.Now()
	err = parallel(ctx, 4*runtime.GOMAXPROCS(0), all, func(l *Log) error { l.open(points, clean); return nil })
	if err != nil {
		return err
	}
	if err := syncDir(filepath.Join(s.cfg.Dir, logsName)); err != nil { // names of logs made before a kill
		return err
	}
	s.mu.Lock()
	s.logs = logs
	s.mu.Unlock()
	s.checkpoint.recovered.Store(true)
	s.log.Info("logs recovered", "logs", len(logs), "clean", clean != nil, "took", time.Since(began).Round(time.Millisecond))
	return s.writeCheckpoint()
}

// findLogs lists the logs that have a directory or stand in the checkpoint, and has those removed
// that a crash kept from it.
func (s *Store) findLogs(points map[ID]checkpointEntry) (map[ID]*Log, error) {
	dirs, err := os.ReadDir(filepath.Join(s.cfg.Dir, logsName))
	if err != nil {
		return nil, err
	}
	logs := make(map[ID]*Log, len(dirs))
	for _, d := range dirs {
		if id, ok := ParseID(d.Name()); ok {
			logs[id] = newLog(s, id, Options{})
		} else if strings.HasSuffix(d.Name(), deletedSuffix) {
			s.chores.discard(filepath.Join(s.cfg.Dir, logsName, d.Name()))
		} else if name, ok := strings.CutSuffix(d.Name(), straySuffix); ok {
			s.keepStray(name, logs, points)
		}
	}
	for _, d := range dirs {
		if name, _, ok := strings.Cut(d.Name(), "."); ok && strings.HasSuffix(d.Name(), deletedSuffix) {
			if id, ok := ParseID(name); ok && logs[id] == nil {
				delete(points, id) // deleted, though the checkpoint did not get to it
			}
		}
	}
	for id := range points {
		if logs[id] == nil {
			logs[id] = newLog(s, id, Options{})
		}
	}
	return logs, nil
}

// keepStray keeps what is known of a log that was set aside.
func (s *Store) keepStray(name string, logs map[ID]*Log, points map[ID]checkpointEntry) {
	s.checkpoint.aside.Add(1)
	id, ok := ParseID(name)
	if p, known := points[id]; ok && known && logs[id] == nil {
		s.checkpoint.strays[id] = p
		delete(points, id)
	}
}

// readCheckpoint returns the checkpoint by log. A damaged one is worth as much as none: the logs
// are read whole.
func (s *Store) readCheckpoint() (map[ID]checkpointEntry, error) {
	entries, err := readCheckpoint(filepath.Join(s.cfg.Dir, checkpointName))
	switch {
	case errors.Is(err, errBadFile):
		s.log.Error("the checkpoint is damaged: all logs are read whole, and log starts of deleted records are lost", "err", err)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	points := make(map[ID]checkpointEntry, len(entries))
	for _, e := range entries {
		points[e.ID] = e
	}
	return points, nil
}

// readClean reads what the last clean stop said of its logs; nil after a crash. A damaged file
// counts as absent.
func (s *Store) readClean() (map[ID]cleanEntry, error) {
	file, err := readCleanShutdown(filepath.Join(s.cfg.Dir, cleanName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, errBadFile):
		s.log.Warn("the record of the last clean stop is damaged; logs are checked as after a crash", "err", err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	clean := make(map[ID]cleanEntry, len(file.Logs))
	for _, e := range file.Logs {
		clean[e.ID] = e
	}
	return clean, nil
}

func (s *Store) removeClean() error {
	s.clean = nil
	if err := removeLeft(filepath.Join(s.cfg.Dir, cleanName)); err != nil {
		return err
	}
	return syncDir(s.cfg.Dir)
}

// parallel calls f for each item, n at a time, until one fails or ctx ends.
func parallel[T any](ctx context.Context, n int, items []T, f func(T) error) error {
	g, stop := errgroup.WithContext(ctx)
	g.SetLimit(n)
	for _, item := range items {
		if stop.Err() != nil {
			break
		}
		g.Go(func() error { return f(item) })
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// open recovers one log at the start.
func (l *Log) open(points map[ID]checkpointEntry, clean map[ID]cleanEntry) {
	point, named := points[l.id]
	r := recovery{l: l, known: known{from: point.Recovery, start: point.Start, named: named, floor: point.Recovery.Offset}}
	if c, ok := clean[l.id]; ok {
		r.clean, r.floor = &c, max(r.floor, c.End)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch err := r.run(); {
	case errors.Is(err, errShort):
		l.offline(err)
	case err != nil:
		_ = l.poison("open", err) // logged there; it is tried again
	}
}
