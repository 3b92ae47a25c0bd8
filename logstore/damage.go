package logstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"chronik/wire/batch"
)

// ErrDamaged says that a batch on disk is not what was written. The rest of the log can be read.
var ErrDamaged = errors.New("records are damaged on disk")

// damagedName is a file in the log's directory: it says what was found to be damaged, so that the
// next life knows.
const damagedName = "damaged"

var damagedFile = smallKind{magic: "chrkdmgd", version: 1}

// errRotten is a batch that was read and is not whole.
var errRotten = errors.New("the batch is not what was written")

// checkRead holds a batch against its checksum and the end of the one before.
func checkRead(b batch.Batch, end int64) error {
	switch {
	case b.Magic() != 2:
		return batch.ErrMagic
	case b.BaseOffset() < end:
		return fmt.Errorf("base offset %d below the end %d of the batch before", b.BaseOffset(), end)
	}
	return b.CheckCRC()
}

// isDamage reports whether an error of a read may come from files that are not as they were written.
func isDamage(err error) bool {
	for _, e := range []error{errRotten, errTail, io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// reread decides whether what a read met is damage, while nobody changes the files, and notes it.
func (l *Log) reread(s *segment, dst []byte, w wanted) ([]byte, error) {
	l.mu.Lock()
	if err := l.Err(); err != nil {
		l.mu.Unlock()
		return dst, err
	}
	if !slices.Contains(*l.segs.Load(), s) {
		l.mu.Unlock()
		return dst, errGone
	}
	w.Pipe = nil
	got, err := s.read(dst, w)
	l.mu.Unlock()
	if !isDamage(err) {
		return got, err
	}
	return dst, l.spoil(fmt.Errorf("%w: %s at offset %d: %w", ErrDamaged, l.id, w.From, err))
}

// spoil notes that the log is damaged, and tells so once.
func (l *Log) spoil(err error) error {
	if l.damage.CompareAndSwap(nil, &err) {
		l.store.log.Error("records of a log are damaged on disk; the rest of it is served", "log", l.id, "dir", l.dir, "err", err)
		l.store.troubled(l.id)
	}
	return err
}

// Damage is what was found to be damaged, nil when nothing was.
func (l *Log) Damage() error {
	if err := l.damage.Load(); err != nil {
		return *err
	}
	return nil
}

// NoteDamage writes the damage of a log down, durably, so that the next life of this broker does not
// take the log for a whole one.
func (s *Store) NoteDamage(id ID) error {
	l := s.Log(id)
	if l == nil || l.Damage() == nil || l.damageNoted.Load() {
		return nil
	}
	if err := damagedFile.write(filepath.Join(l.dir, damagedName), []byte(l.Damage().Error())); err != nil {
		return err
	}
	l.damageNoted.Store(true)
	return nil
}

// recallDamage reads what NoteDamage wrote.
func (l *Log) recallDamage() error {
	_, body, err := damagedFile.read(filepath.Join(l.dir, damagedName))
	switch {
	case errors.Is(err, errBadFile):
		body = []byte(err.Error())
	case err != nil:
		return err
	}
	was := fmt.Errorf("%w: found earlier: %s", ErrDamaged, body)
	l.damage.CompareAndSwap(nil, &was)
	l.damageNoted.Store(true)
	l.store.log.Error("records of a log are damaged on disk; the rest of it is served", "log", l.id, "dir", l.dir, "err", was)
	return nil
}

// settle notes every second what was written before the last one: from now on it is checked when it
// is read.
func (l *Log) settle() {
	l.settled.Store(l.before)
	l.before = l.written.Load()
}

// troubled tells the store's owner that something is wrong with a log.
func (s *Store) troubled(id ID) {
	if s.cfg.OnTrouble != nil {
		s.cfg.OnTrouble(id)
	}
}

// Settled is the end of what is checked when it is read.
func (l *Log) Settled() int64 { return min(l.settled.Load(), l.End()) }
