package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// swap is the journal of a compaction: the old segments go, the new ones, numbered from 1 on in
// its directory, get their names. Once it is on disk the swap is finished, at the next open if need
// be; without it the log is as it was. Every step may be done again.
type swap struct {
	cleaned int64 // the log is compacted up to this offset
	old     []uint64
	made    []swapped
}

// swapped is the name of a new segment and its size.
type swapped struct {
	name uint64
	size int64
}

const swapName = "swap"

var swapFile = smallKind{magic: "chrswap\x00", version: 1}

func (j *swap) encode() []byte {
	p := binary.BigEndian.AppendUint64(nil, uint64(j.cleaned))
	p = binary.BigEndian.AppendUint32(p, uint32(len(j.old)))
	p = binary.BigEndian.AppendUint32(p, uint32(len(j.made)))
	for _, name := range j.old {
		p = binary.BigEndian.AppendUint64(p, name)
	}
	for _, s := range j.made {
		p = binary.BigEndian.AppendUint64(p, s.name)
		p = binary.BigEndian.AppendUint64(p, uint64(s.size))
	}
	return p
}

func decodeSwap(p []byte) (*swap, error) {
	if len(p) < 16 {
		return nil, fmt.Errorf("%w: %s of %d bytes", errBadFile, swapName, len(p))
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(p[16+8*i:]) }
	old, made := int(binary.BigEndian.Uint32(p[8:])), int(binary.BigEndian.Uint32(p[12:]))
	if len(p)-16 != 8*old+16*made || made == 0 {
		return nil, fmt.Errorf("%w: %s of %d bytes for %d and %d segments", errBadFile, swapName, len(p), old, made)
	}
	j := &swap{cleaned: int64(binary.BigEndian.Uint64(p))}
	for i := range old {
		j.old = append(j.old, at(i))
	}
	for i := range made {
		j.made = append(j.made, swapped{at(old + 2*i), int64(at(old + 2*i + 1))})
	}
	return j, nil
}

func readSwap(dir string) (*swap, error) {
	_, body, err := swapFile.read(filepath.Join(dir, compactName, swapName))
	if err != nil {
		return nil, err
	}
	return decodeSwap(body)
}

// commit makes the journal durable: from here on the swap happens.
func (j *swap) commit(dir string) error {
	return swapFile.write(filepath.Join(dir, compactName, swapName), j.encode())
}

// steps are what the swap does in dir, in order.
func (j *swap) steps(dir string) []func() error {
	var all []func() error
	in := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	for _, name := range j.old {
		if file := segmentFileName(name); !slices.ContainsFunc(j.made, func(s swapped) bool { return s.name == name }) {
			all = append(all, func() error { return removeLeft(in(indexName, file)) }, func() error { return removeLeft(in(file)) })
		}
	}
	for i, s := range j.made {
		from, file := in(compactName, strconv.Itoa(i+1)), segmentFileName(s.name)
		all = append(all,
			func() error { return moveLeft(stagedSidecar(from), in(indexName, file)) },
			func() error { return moveLeft(from, in(file)) })
	}
	return append(all,
		func() error { return errors.Join(syncDir(dir), syncDir(in(indexName)), syncDir(in(compactName))) },
		func() error { return j.check(dir) },
		func() error { return writeCleaned(dir, j.cleaned) },
		func() error { return errors.Join(removeLeft(in(compactName, swapName)), syncDir(in(compactName))) },
		func() error { return errors.Join(os.RemoveAll(in(compactName)), syncDir(dir)) })
}

// moveLeft gives a file its name, if that was not done before.
func moveLeft(from, to string) error {
	if err := os.Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// check looks for the new segments under their names.
func (j *swap) check(dir string) error {
	for _, s := range j.made {
		st, err := os.Stat(segmentPath(dir, s.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || st.Size() != s.size {
			return fmt.Errorf("%w: %s, which a compaction made, is not there with its %d bytes", errShort, segmentPath(dir, s.name), s.size)
		}
	}
	return nil
}

// finishCompaction finishes the swap that a crash left in dir, or takes away what has no journal.
func finishCompaction(dir string) error {
	j, err := readSwap(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.Join(os.RemoveAll(filepath.Join(dir, compactName)), syncDir(dir))
	case errors.Is(err, errBadFile):
		return fmt.Errorf("%w: how far a compaction came is not known: %w", errShort, err)
	case err != nil:
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, indexName), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := j.commit(dir); err != nil { // once more: whether it is on disk is not known
		return err
	}
	for _, do := range j.steps(dir) {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// swap puts the new segments into the log in place of the old ones. Readers go on all the time: on the
// old segments until the new list is there, then on the new ones, wherever their files lie.
func (c *compaction) swap() error {
	l := c.l
	l.store.checkpoint.mu.Lock()
	defer l.store.checkpoint.mu.Unlock()
	defer l.guard()
	j, made, err := c.prepare()
	if err != nil {
		return err
	}
	if err := j.commit(l.dir); err != nil {
		return err // the caller looks whether the journal is there
	}
	old, err := c.publish(made)
	if err != nil {
		return err // the log stopped: its next recovery finishes the swap
	}
	l.store.caches.discard(old)
	for _, do := range j.steps(l.dir) {
		if err := do(); err != nil {
			return l.poison("compact", err)
		}
	}
	for _, s := range made {
		s.file.staged.Store(nil)
	}
	l.compact.cleaned.Store(j.cleaned + 1)
	return nil
}

// prepare makes the journal, and the segments as readers will see them. Nothing at or above the
// recovery point is touched, and what lies below the log start may be gone once that is durable.
func (c *compaction) prepare() (*swap, []*segment, error) {
	l := c.l
	if err := c.goOn(); err != nil {
		return nil, nil, err
	}
	segs := *l.segs.Load()
	at := slices.Index(segs, c.segs[len(c.segs)-1])
	if at < 0 || at+1 == len(segs) || at >= len(c.segs) || !slices.Equal(segs[:at+1], c.segs[len(c.segs)-at-1:]) {
		return nil, nil, errAbandoned
	}
	next := segs[at+1].name
	if l.store.checkpoint.at[l.id].Segment < next {
		if err := l.save(); err != nil {
			return nil, nil, err
		}
	}
	if err := l.store.writePoints(l.store.Logs()); err != nil {
		return nil, nil, err
	}
	if l.store.checkpoint.at[l.id].Segment < next {
		return nil, nil, errAbandoned
	}
	j := &swap{cleaned: c.mapped}
	for _, s := range segs[:at+1] {
		j.old = append(j.old, s.name)
	}
	made := make([]*segment, len(c.out.done))
	for i, f := range slices.Backward(c.out.done) {
		next -= uint64(f.side.Entries)
		s := newSegment(l, next, f.side.BaseOffset)
		s.publish(&f.side)
		s.sealed.Store(true)
		s.file.staged.Store(&f.path)
		made[i] = s
		j.made = append(j.made, swapped{next, f.side.Size})
	}
	slices.Reverse(j.made)
	return j, made, nil
}

// publish puts the new segments into the list that readers see, and returns the old ones.
func (c *compaction) publish(made []*segment) (old []*segment, err error) {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.Err(); err != nil {
		return nil, err
	}
	segs := *l.segs.Load()
	n := slices.Index(segs, c.segs[len(c.segs)-1]) + 1
	if n == 0 {
		return nil, errAbandoned
	}
	list := slices.Concat(made, segs[n:])
	l.segs.Store(&list)
	return segs[:n:n], nil
}
