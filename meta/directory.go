package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/server/v3/storage/wal"
)

// directory is where etcd keeps a member. Until etcd has a log there, the file
// "entering" says what was begun: forming, or joining.
type directory struct{ path, wal string }

const joining = "joining"

func (c Config) directory() directory {
	d := directory{c.Dir, c.WALDir}
	if d.wal == "" {
		d.wal = filepath.Join(d.path, "member", "wal")
	}
	return d
}

func (d directory) marker() string { return filepath.Join(d.path, "entering") }

// stage says how far this directory is. What a start left behind that did not get
// as far as a log is removed; a database without a log of which nothing is known is
// refused: with another log it would miss changes.
func (d directory) stage() (string, error) {
	if wal.Exist(d.wal) {
		return inEtcd, nil
	}
	if _, err := os.Stat(d.marker()); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(d.path, "member", "snap", "db")); err == nil {
			return "", fmt.Errorf("%s holds a database of etcd but not its log: move it away to let this node join anew", d.path)
		}
		return empty, nil
	}
	stage, err := d.look()
	return stage, errors.Join(err, d.clear())
}

// look is the stage as others are told of it. It changes nothing.
func (d directory) look() (string, error) {
	if wal.Exist(d.wal) {
		return inEtcd, nil
	}
	text, err := os.ReadFile(d.marker())
	if err == nil && strings.TrimSpace(string(text)) == forming {
		return forming, nil
	}
	return empty, ignoreNotExist(err)
}

// clear removes what a start without a log left behind.
func (d directory) clear() error { return os.RemoveAll(filepath.Join(d.path, "member")) }

// mark notes durably what is begun.
func (d directory) mark(what string) error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(d.marker()+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(what + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), d.marker()); err != nil {
		return err
	}
	return errors.Join(syncDir(d.path), syncDir(filepath.Dir(d.path)))
}

// entered notes that etcd has its log.
func (d directory) entered() error { return ignoreNotExist(os.Remove(d.marker())) }

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
