package meta

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ballast is a file beside etcd that is given up when the disk is full: etcd
// ends the process when it cannot write, and metadata must outlive a full disk.
type ballast struct {
	path string
	log  *slog.Logger
}

const (
	ballastSize  = 64 << 20
	ballastDrop  = 16 << 20        // free bytes below which it is given up
	ballastBack  = 4 * ballastSize // free bytes above which it is made again
	ballastCheck = 500 * time.Millisecond
)

func newBallast(cfg Config) *ballast {
	return &ballast{path: filepath.Join(cfg.Dir, "ballast"), log: cfg.Logger}
}

// run keeps the ballast while there is room and drops it when there is none.
func (b *ballast) run(ctx context.Context) error {
	tick := time.NewTicker(ballastCheck)
	defer tick.Stop()
	for {
		if err := b.check(); err != nil {
			b.log.Warn("ballast for a full disk", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (b *ballast) check() error {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(b.path), &st); err != nil {
		return err
	}
	free := int64(st.Bavail) * st.Bsize
	_, err := os.Stat(b.path)
	there := err == nil
	switch {
	case there && free < ballastDrop:
		b.log.Warn("disk full: giving up the ballast so that metadata can be written", "free", free)
		return os.Remove(b.path)
	case !there && errors.Is(err, fs.ErrNotExist) && free > ballastBack:
		return b.make()
	}
	return nil
}

func (b *ballast) make() error {
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, ballastSize); err != nil {
		return errors.Join(err, f.Close(), os.Remove(b.path))
	}
	return f.Close()
}
