package logstore

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// spaceAfterFull is how much must be free before a full disk is written to again: enough for the
// metadata to take its ballast back, and for appends to be worth it.
const spaceAfterFull = 128 << 20

// diskWatch looks at the free space.
type diskWatch struct {
	dir     string
	minFree int64
	free    atomic.Int64
	total   atomic.Int64
	full    atomic.Bool // an append met ENOSPC; cleared when space is back
}

func (d *diskWatch) init(cfg Config) {
	d.dir, d.minFree = cfg.Dir, cfg.MinFree
	if err := d.look(); err != nil {
		cfg.Logger.Warn("free space is not known", "dir", cfg.Dir, "err", err)
		d.free.Store(1 << 62)
	}
}

// look reads the free space of the file system.
func (d *diskWatch) look() error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", d.dir, err)
	}
	total, free := int64(st.Blocks)*st.Bsize, int64(st.Bavail)*st.Bsize
	d.total.Store(total)
	d.free.Store(free)
	if d.full.Load() && free > min(spaceAfterFull, total/8) {
		d.full.Store(false)
	}
	return nil
}

// limit is the soft limit: below it producers are refused.
func (d *diskWatch) limit() int64 {
	if d.minFree > 0 {
		return d.minFree
	}
	return max(256<<20, min(2<<30, d.total.Load()/20))
}

// noSoftLimit is a soft limit of less than a block: the disk may fill up, and producers are told
// of a storage error that passes, not of a policy.
const noSoftLimit = 4096

// DiskLow reports whether the disk is so full that producers are refused, and says so in words.
func (s *Store) DiskLow() (bool, string) {
	free := s.disk.free.Load()
	if limit := s.disk.limit(); free >= limit || limit < noSoftLimit {
		return false, ""
	}
	return true, fmt.Sprintf("%d MiB free, %d MiB wanted", free>>20, s.disk.limit()>>20)
}

// Trouble says in words which logs do not serve, "" when all do.
func (s *Store) Trouble() string {
	n, first := 0, ""
	for _, l := range s.Logs() {
		if err := l.Err(); err != nil {
			if n++; n == 1 {
				first = err.Error()
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d logs do not serve; one of them: %s", n, first)
}

// Free returns the free and total bytes of the file system.
func (s *Store) Free() (free, total int64) { return s.disk.free.Load(), s.disk.total.Load() }
