package logstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says where a store lies and how often its background work runs. The zero value of every
// field but Dir and NodeID is right.
type Config struct {
	Dir    string // the data directory
	NodeID int32
	Logger *slog.Logger
	Now    func() time.Time

	MaxOpenFiles       int           // segments held open; default 4096, below the process limit
	CheckpointInterval time.Duration // default 5 s
	RetentionInterval  time.Duration // default 5 min
	MinFree            int64         // free bytes below which the disk counts as nearly full; 0: by its size
	OnReopen           func(ID)      // a poisoned log is back; what lay above its flushed end is cut
}

// Store is the partition logs of one data directory. State: mu guards the index of logs; a Log
// guards itself; background work runs in Run.
type Store struct {
	cfg        Config
	log        *slog.Logger
	lock       *os.File
	flusher    flusher
	files      fileCache
	disk       diskWatch
	checkpoint checkpointer
	trash      chan string // directories to remove

	mu    sync.RWMutex
	logs  map[ID]*Log // guarded by mu
	props *properties // guarded by mu
}

var (
	// ErrDeleted says that the log was deleted.
	ErrDeleted = errors.New("log is deleted")
	// ErrPoisoned says that a write, fsync, create or rename of the log failed, or that its files
	// are damaged: it serves nothing until it was recovered.
	ErrPoisoned = errors.New("log storage failed")
	// ErrDiskFull says that the disk has no space; appends are refused until it has.
	ErrDiskFull = errors.New("disk is full")
	// ErrFencedEpoch says that a newer leader epoch wrote to the log.
	ErrFencedEpoch = errors.New("leader epoch is older than the log's last")
	// ErrOutOfRange says that an offset is outside the log.
	ErrOutOfRange = errors.New("offset out of range")
)

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxOpenFiles == 0 {
		c.MaxOpenFiles = 4096
	}
	if c.CheckpointInterval == 0 {
		c.CheckpointInterval = 5 * time.Second
	}
	if c.RetentionInterval == 0 {
		c.RetentionInterval = 5 * time.Minute
	}
	return c
}

// Open takes the data directory for this process, making it if need be. It reads the small files
// only; Recover opens the logs.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(filepath.Join(cfg.Dir, logsName), 0o750); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	lock, err := lockDirectory(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, log: cfg.Logger, lock: lock, logs: map[ID]*Log{}, trash: make(chan string, 1024),
		flusher: flusher{wake: make(chan struct{}, 1)},
	}
	s.files.max = cfg.MaxOpenFiles
	s.disk.init(cfg)
	if err := s.openProperties(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// openProperties reads who the directory belongs to and notes this boot of the machine.
func (s *Store) openProperties() error {
	props, created, err := openProperties(s.cfg.Dir, s.cfg.NodeID)
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return fmt.Errorf("read the machine's boot id: %w", err)
	}
	s.props = props
	clean := s.cleanFileThere()
	if created || props.BootID != boot {
		if !created && !clean {
			props.OtherBoot = true
		}
		props.BootID = boot
		return props.write(s.cfg.Dir)
	}
	return nil
}

func (s *Store) cleanFileThere() bool {
	_, err := os.Stat(filepath.Join(s.cfg.Dir, cleanName))
	return err == nil
}

// Identity is who the data directory belongs to.
func (s *Store) Identity() Identity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.props.Identity
}

// SetClusterID notes durably which cluster the directory belongs to. ErrClusterID: to another.
func (s *Store) SetClusterID(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.props.ClusterID {
	case id:
		return nil
	case "":
		s.props.ClusterID = id
		s.props.NewDirectory = false // one replica: nothing can be short before the first record
		return s.props.write(s.cfg.Dir)
	}
	return fmt.Errorf("%w: %s, not %s", ErrClusterID, s.props.ClusterID, id)
}

// Run does the background work until ctx ends: flushes, checkpoints, retention, closing of idle
// files, reopening of poisoned logs.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.flusher.run(ctx) })
	g.Go(func() error { return s.every(ctx, s.cfg.CheckpointInterval, s.writeCheckpoint) })
	g.Go(func() error { return s.every(ctx, s.cfg.RetentionInterval, s.retain) })
	g.Go(func() error { return s.every(ctx, time.Second, s.second) })
	g.Go(func() error { return s.emptyTrash(ctx) })
	return g.Wait()
}

// every calls f at each interval. Its errors are logged: the next call may succeed, and what must
// not go on after an error poisons its log.
func (s *Store) every(ctx context.Context, interval time.Duration, f func(context.Context) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := f(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("background work on the logs failed", "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// second is what is looked at every second.
func (s *Store) second(context.Context) error {
	err := s.disk.look()
	for _, l := range s.Logs() {
		l.flushByTime()
		l.tryReopen()
	}
	s.files.closeIdle(time.Minute)
	return err
}

// Take returns the log of a partition: the one on disk, or a new empty one, whose directory its
// first append makes.
func (s *Store) Take(id ID, o Options) (*Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.logs[id]; l != nil {
		l.Configure(o)
		return l, nil
	}
	l := newLog(s, id, o)
	if err := l.takeBack(); err != nil {
		return nil, err
	}
	s.logs[id] = l
	s.checkpoint.changed.Store(true)
	return l, nil
}

// Log returns a log that was taken or found on disk, nil when there is none.
func (s *Store) Log(id ID) *Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.logs[id]
}

// Logs returns all logs.
func (s *Store) Logs() []*Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	logs := make([]*Log, 0, len(s.logs))
	for _, l := range s.logs {
		logs = append(logs, l)
	}
	return logs
}

const deletedSuffix = "-delete"

// Delete ends a log: whoever waits on it is told ErrDeleted, and its files go in the background.
func (s *Store) Delete(id ID) error {
	s.mu.Lock()
	l := s.logs[id]
	delete(s.logs, id)
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	s.checkpoint.changed.Store(true)
	l.end(ErrDeleted)
	gone := l.dir + deletedSuffix
	err := os.Rename(l.dir, gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // never written
	}
	if err != nil {
		return err
	}
	select {
	case s.trash <- gone:
	default: // the next start removes it
	}
	return nil
}

// emptyTrash removes deleted logs.
func (s *Store) emptyTrash(ctx context.Context) error {
	for {
		select {
		case dir := <-s.trash:
			if err := os.RemoveAll(dir); err != nil {
				s.log.Warn("a deleted log is not removed; the next start tries again", "dir", dir, "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Close stops cleanly, after Run has ended: everything is flushed and closed, and the next start
// need not read the logs.
func (s *Store) Close() error {
	logs := s.Logs()
	s.flusher.finish(logs)
	clean := cleanShutdown{Incarnation: fmt.Sprint(s.cfg.Now().UnixNano())}
	var errs []error
	for _, l := range logs {
		if l.Err() != nil {
			continue // recovered at the next start
		}
		entry, err := l.close()
		errs = append(errs, err)
		clean.Logs = append(clean.Logs, entry)
	}
	errs = append(errs, s.writeCheckpointNow())
	if err := errors.Join(errs...); err == nil && s.checkpoint.recovered.Load() {
		errs = append(errs, clean.write(filepath.Join(s.cfg.Dir, cleanName)))
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// parallel calls f for each log, n at a time, and joins the errors.
func parallel[T any](ctx context.Context, n int, items []T, f func(T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(n)
	for _, item := range items {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return f(item)
		})
	}
	return g.Wait()
}
