package logstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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

	MaxOpenFiles       int           // segments held open; default: a quarter of the process limit, at most 4096
	CheckpointInterval time.Duration // default 5 s
	RetentionInterval  time.Duration // default 5 min
	MinFree            int64         // free bytes below which the disk counts as nearly full; 0: by its size
	Compaction         CompactionConfig
	OnReopen           func(ID) // a poisoned log is back; what lay above its flushed end is cut
	OnTrouble          func(ID) // a log has stopped, or damage was found in it; must not block
}

// Store is the partition logs of one data directory. State: mu guards the index of logs; a Log
// guards itself; background work runs in Run.
type Store struct {
	cfg        Config
	log        *slog.Logger
	lock       *os.File
	flusher    *flusher
	chores     chores
	caches     caches
	disk       diskWatch
	checkpoint checkpointer
	compactor  *compactor
	clean      map[ID]cleanEntry // what the last clean stop said, until Recover

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
		c.MaxOpenFiles = openFiles()
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
	if err := makeDataDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	lock, err := lockDirectory(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, log: cfg.Logger, lock: lock, logs: map[ID]*Log{}}
	s.flusher = newFlusher(s)
	s.compactor = newCompactor(s)
	s.checkpoint.at, s.checkpoint.strays = map[ID]savedPoint{}, map[ID]checkpointEntry{}
	s.chores.wake = make(chan struct{}, 1)
	s.caches.files.max = cfg.MaxOpenFiles
	s.disk.init(cfg)
	if err := s.openProperties(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// makeDataDir makes the data directory if it is not there, durably.
func makeDataDir(dir string) error {
	logs := filepath.Join(dir, logsName)
	if _, err := os.Stat(logs); err == nil {
		return nil
	}
	if err := os.MkdirAll(logs, 0o750); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(filepath.Clean(dir))))
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
	if s.clean, err = s.readClean(); err != nil {
		return err
	}
	if created || props.BootID != boot {
		if !created && s.clean == nil {
			props.OtherBoot = true
		}
		props.BootID = boot
		return props.write(s.cfg.Dir)
	}
	return nil
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
		return s.props.write(s.cfg.Dir)
	}
	return fmt.Errorf("%w: %s, not %s", ErrClusterID, s.props.ClusterID, id)
}

// Run does the background work until ctx ends: flushes, checkpoints, retention, compaction, closing
// of idle files, reopening of poisoned logs.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.flusher.run(ctx) })
	g.Go(func() error { return s.doChores(ctx) })
	g.Go(func() error { return s.every(ctx, s.cfg.CheckpointInterval, s.checkpointRound) })
	g.Go(func() error { return s.every(ctx, s.cfg.RetentionInterval, s.retain) })
	g.Go(func() error { return s.every(ctx, time.Second, s.second) })
	g.Go(func() error { return s.compactor.run(ctx) })
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
		l.tryReopen()
		l.settle()
	}
	s.caches.files.closeIdle(time.Minute)
	return err
}

// Take returns the log of a partition: the one on disk, or a new empty one, whose directory its
// first append makes. Logs are recovered before.
func (s *Store) Take(id ID, o Options) (*Log, error) {
	if !s.checkpoint.recovered.Load() {
		return nil, errors.New("take up a log: the logs are not recovered")
	}
	if l := s.Log(id); l != nil {
		l.Configure(o)
		return l, nil
	}
	l := newLog(s, id, o)
	if s.checkpoint.aside.Load() > 0 {
		s.checkpoint.mu.Lock()
		defer s.checkpoint.mu.Unlock()
		if err := l.takeBack(); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.logs[id]; other != nil { // taken up at the same time
		other.Configure(o)
		return other, nil
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
	gone := s.deletedName(l.dir)
	err := os.Rename(l.dir, gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // never written
	}
	if err != nil {
		return err
	}
	s.chores.discard(gone)
	return nil
}

// Close stops cleanly, after Run has ended: everything is flushed and closed, and the next start
// need not read the logs.
func (s *Store) Close() error {
	if !s.checkpoint.recovered.Load() {
		return s.lock.Close() // the files speak of the life before
	}
	s.checkpoint.mu.Lock()
	defer s.checkpoint.mu.Unlock()
	logs := s.Logs()
	var errs []error
	errs = append(errs, parallel(context.Background(), parallelFlushes, logs, func(l *Log) error {
		l.doFlush()
		if l.Err() != nil {
			return nil // logged; recovered at the next start
		}
		return l.writeSidecars()
	}))
	errs = append(errs, s.saveAll(logs), s.writePoints(logs))
	if errors.Join(errs...) == nil {
		errs = append(errs, s.writeClean(logs))
	}
	for _, l := range logs {
		s.caches.discard(*l.segs.Load())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// saveAll makes the ends of all logs their recovery points.
func (s *Store) saveAll(logs []*Log) error {
	changed := slices.DeleteFunc(slices.Clone(logs), func(l *Log) bool {
		return l.Err() != nil || l.flush.at() == s.checkpoint.at[l.id].position
	})
	points := make([]position, len(changed))
	numbers := make([]int, len(changed))
	for i := range numbers {
		numbers[i] = i
	}
	err := parallel(context.Background(), parallelFlushes, numbers, func(i int) (err error) {
		points[i], err = changed[i].savePoint()
		return err
	})
	if err != nil {
		return err
	}
	for i, l := range changed {
		s.checkpoint.set(l.id, savedPoint{points[i], s.cfg.Now()})
	}
	return nil
}

// writeClean writes the last file of a clean stop. What is not in it is recovered as after a crash.
func (s *Store) writeClean(logs []*Log) error {
	clean := cleanShutdown{Incarnation: fmt.Sprint(s.cfg.Now().UnixNano())}
	for _, l := range logs {
		if p := l.flush.at(); l.Err() == nil {
			clean.Logs = append(clean.Logs, cleanEntry{ID: l.id, Segment: p.Segment, Size: p.Pos, End: p.Offset})
		}
	}
	return clean.write(filepath.Join(s.cfg.Dir, cleanName))
}
