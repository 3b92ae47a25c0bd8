package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chronik/wire/batch"
)

// still opens a store whose background work does not run: nothing is flushed that nobody asks for.
func still(t testing.TB, dir string) (s *Store, kill func()) {
	t.Helper()
	s, err := Open(Config{Dir: dir, NodeID: 1})
	mustDo(t, err)
	mustDo(t, s.Recover(t.Context()))
	return s, func() {
		for _, l := range s.Logs() {
			s.caches.discard(*l.segs.Load())
		}
		mustDo(t, s.lock.Close())
	}
}

// written appends n batches of two records each and returns them.
func written(t testing.TB, l *Log, m *maker, n int) (all []string) {
	t.Helper()
	for range n {
		items := []Item{{Batch: m.batch(2, 200, 1)}}
		mustDo(t, l.Append(max(l.LastEpoch(), l.w.fenced+1), items))
		all = append(all, string(items[0].Batch))
	}
	return all
}

// holds checks that the log is these batches.
func holds(t testing.TB, l *Log, want []string) {
	t.Helper()
	mustDo(t, l.Err())
	got := readBack(t, l, 1<<20)
	if len(got) != len(want) {
		t.Fatalf("%d batches, want %d", len(got), len(want))
	}
	for i := range got {
		if string(got[i]) != want[i] {
			t.Fatalf("batch %d differs", i)
		}
	}
}

// sidecarsWritten waits until all sealed segments have theirs.
func sidecarsWritten(t testing.TB, l *Log) {
	t.Helper()
	eventually(t, func() error {
		segs := *l.segs.Load()
		for _, s := range segs[:len(segs)-1] {
			if s.index.Load() != nil {
				return errors.New("no sidecar of " + s.path)
			}
		}
		return nil
	})
}

func flip(t testing.TB, path string, at int64) {
	t.Helper()
	p, err := os.ReadFile(path)
	mustDo(t, err)
	p[at] ^= 0x40
	mustDo(t, os.WriteFile(path, p, 0o640))
}

func isShort(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Err(); !errors.Is(err, ErrPoisoned) || !errors.Is(err, errShort) {
		t.Fatalf("a log that misses records serves up to %d: %v", l.End(), err)
	}
}

// A short log is short at every start, until its records are there again; what the checkpoint knew
// of it is not forgotten.
func TestShortLogStaysShort(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 30)
	reached(t, l.AckedMark(), 60)
	mustDo(t, l.AdvanceStart(2))
	stop(true)
	third := (*l.segs.Load())[2].path
	away := filepath.Join(dir, "away")
	mustDo(t, os.Rename(third, away))
	for range 3 {
		s, stop = running(t, dir)
		l = taken(t, s, Options{})
		isShort(t, l)
		if l.Start() != 2 {
			t.Errorf("log start %d", l.Start())
		}
		stop(true)
	}
	mustDo(t, os.Rename(away, third))
	s, stop = running(t, dir)
	holds(t, taken(t, s, Options{}), all[1:])
	stop(true)
}

// A segment missing at the front is missed, too: retention would have moved the log start first.
func TestMissingFirstSegment(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	written(t, l, &m, 30)
	stop(true)
	mustDo(t, os.Remove((*l.segs.Load())[0].path))
	s, stop = running(t, dir)
	isShort(t, taken(t, s, Options{}))
	stop(true)
}

// Without its sidecar a sealed segment is read; what is damaged in it is no end of the log.
func TestDamagedSealedSegment(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 30)
	stop(true)
	second := (*l.segs.Load())[1].path
	mustDo(t, os.Remove(sidecarPath(second)))
	s, stop = running(t, dir)
	l = taken(t, s, Options{})
	holds(t, l, all)
	sidecarsWritten(t, l) // made again
	stop(true)
	mustDo(t, os.Remove(sidecarPath(second)))
	flip(t, second, 700)
	for range 2 {
		s, stop = running(t, dir)
		isShort(t, taken(t, s, Options{}))
		stop(false)
	}
}

// The index directory may be lost as a whole.
func TestLostSidecars(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 30)
	stop(true)
	for _, gone := range []string{indexName, producersName, epochsName} {
		mustDo(t, os.RemoveAll(filepath.Join(l.dir, gone)))
		s, stop = running(t, dir)
		l = taken(t, s, Options{SegmentBytes: 2000})
		holds(t, l, all)
		if l.LastEpoch() != 0 {
			t.Errorf("without %s the last epoch is %d", gone, l.LastEpoch())
		}
		all = append(all, written(t, l, &m, 10)...)
		reached(t, l.AckedMark(), l.End())
		sidecarsWritten(t, l)
		stop(true)
	}
}

// After a kill, a segment behind the recovery point that has a sidecar was on disk: damage there is
// no end. Without that witness it is, and what follows is kept aside.
func TestDamageBehindThePoint(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 30)
	reached(t, l.AckedMark(), 60)
	sidecarsWritten(t, l)
	stop(false)
	segs := *l.segs.Load()
	flip(t, segs[2].path, 700)
	s, kill := still(t, dir)
	isShort(t, taken(t, s, Options{}))
	if cut, err := filepath.Glob(filepath.Join(l.dir, cutPrefix+"*")); err != nil || len(cut) > 0 {
		t.Errorf("of a short log was cut: %q %v", cut, err)
	}
	kill()
	for _, seg := range segs[2:] {
		mustDo(t, removeLeft(sidecarPath(seg.path)))
	}
	s, kill = still(t, dir)
	l = taken(t, s, Options{})
	intact := int(segs[2].base/2) + 1 // of the third segment the first entry is whole
	holds(t, l, all[:intact])
	cut, err := filepath.Glob(filepath.Join(l.dir, cutPrefix+"*", "*"))
	mustDo(t, err)
	if len(cut) != len(segs)-2 {
		t.Errorf("kept aside: %q, want the tail of one segment and %d more", cut, len(segs)-3)
	}
	if l.Flushed() != l.End() {
		t.Errorf("flushed end %d, end %d", l.Flushed(), l.End())
	}
	kill()
}

// A whole entry with a right checksum is an end, too, if its offset or its epoch goes back.
func TestOrderOfTheTail(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l := taken(t, s, Options{})
	var m maker
	all := written(t, l, &m, 2)
	mustDo(t, l.Append(5, []Item{{Batch: m.batch(2, 200, 1)}}))
	mustDo(t, l.save())
	mustDo(t, s.writeCheckpoint())
	kill()
	path := l.active().path
	whole, err := os.ReadFile(path)
	mustDo(t, err)
	for _, b := range []batch.Batch{at(m.batch(2, 200, 1), 4, 5), at(m.batch(2, 200, 1), 6, 4), at(m.batch(2, 200, 1), 6, 5)} {
		tail := append(binary.AppendUvarint(nil, uint64(len(b))), b...)
		mustDo(t, os.WriteFile(path, append(bytes.Clone(whole), tail...), 0o640))
		s, kill = still(t, dir)
		l = taken(t, s, Options{})
		want := int64(6)
		if b.BaseOffset() == 6 && b.LeaderEpoch() == 5 {
			want = 8
		}
		if l.End() != want || len(readBack(t, l, 1<<20)) != len(all)+int(want/2)-2 {
			t.Errorf("with a tail at offset %d of epoch %d the log ends at %d", b.BaseOffset(), b.LeaderEpoch(), l.End())
		}
		kill()
	}
}

// A crash may undo the renaming of `next`: its bytes were never flushed.
func TestUndoneRoll(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 6)
	segs := *l.segs.Load()
	kill()
	last := segs[len(segs)-1]
	mustDo(t, os.Rename(last.path, filepath.Join(l.dir, nextName)))
	s, kill = still(t, dir)
	l = taken(t, s, Options{SegmentBytes: 2000})
	holds(t, l, all[:last.base/2])
	if kept, err := filepath.Glob(filepath.Join(l.dir, cutPrefix+"*", nextName)); err != nil || len(kept) != 1 {
		t.Errorf("kept aside: %q %v", kept, err)
	}
	written(t, l, &m, 20)
	kill()
}

// A log ends before its first entry that is not whole, wherever the file ends, or whatever bit of it
// is wrong.
func TestRecoverAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	s, kill := still(t, dir)
	l := taken(t, s, Options{})
	var m maker
	var ends []int64
	var all []string
	for i := range 3 {
		items := []Item{{Batch: m.produced(1+i, 9, 0, int32(i*(i+1)/2))}}
		mustDo(t, l.Append(int32(i), items))
		all, ends = append(all, string(items[0].Batch)), append(ends, l.Size())
	}
	kill()
	path := l.active().path
	whole, err := os.ReadFile(path)
	mustDo(t, err)
	whole = bytes.Clone(whole)
	for at := range int64(len(whole)) {
		damages := []func(){func() { mustDo(t, os.Truncate(path, at)) }}
		if at%3 == 0 {
			damages = append(damages, func() { flip(t, path, at) })
		}
		for _, damage := range damages {
			mustDo(t, os.WriteFile(path, whole, 0o640))
			damage()
			s, kill = still(t, dir)
			n := 0
			for n < len(ends) && ends[n] <= at {
				n++
			}
			l = taken(t, s, Options{})
			if uncovered := l.End() > int64(n*(n+1)/2); uncovered && !outsideCRC(at, ends) {
				t.Fatalf("damaged at byte %d: ends at %d", at, l.End())
			} else if !uncovered {
				holds(t, l, all[:n])
				if l.LastEpoch() != int32(n-1) || len(l.Producers()) != min(n, 1) {
					t.Fatalf("damaged at byte %d: epoch %d, producers %v", at, l.LastEpoch(), l.Producers())
				}
			}
			kill()
			mustDo(t, os.Remove(filepath.Join(dir, checkpointName)))
		}
	}
}

// outsideCRC says that a byte is base offset or leader epoch, of which not every wrong value shows.
func outsideCRC(at int64, ends []int64) bool {
	begin := int64(0)
	for _, end := range ends {
		if at < end {
			break
		}
		begin = end
	}
	at -= begin + 1 // the prefix of so small an entry has one byte
	return at >= 0 && at < 8 || at >= 12 && at < 16
}

// What a crash leaves of a truncation is finished.
func TestLeftOverTruncation(t *testing.T) {
	for _, step := range []string{"temp", "end", "removed"} {
		dir := t.TempDir()
		s, stop := running(t, dir)
		l := taken(t, s, Options{SegmentBytes: 2000})
		var m maker
		all := written(t, l, &m, 12)
		reached(t, l.AckedMark(), 24)
		segs := *l.segs.Load()
		c, err := l.cutBelow(segs[1].base + 2)
		mustDo(t, err)
		s.checkpoint.mu.Lock()
		_, err = l.lowerPoint(c)
		s.checkpoint.mu.Unlock()
		mustDo(t, err)
		stop(false)
		second, err := os.ReadFile(segs[1].path)
		mustDo(t, err)
		switch want := all; step {
		case "temp":
			mustDo(t, os.WriteFile(segs[1].path+".END.TEMP", second[:10], 0o640))
			s, stop = running(t, dir)
			holds(t, taken(t, s, Options{}), want)
		default:
			mustDo(t, os.WriteFile(segs[1].path+".END", second[:c.end.Pos], 0o640))
			if step == "removed" {
				mustDo(t, os.Remove(segs[1].path))
			}
			s, stop = running(t, dir)
			holds(t, taken(t, s, Options{}), want[:segs[1].base/2+1])
		}
		files, err := os.ReadDir(l.dir)
		mustDo(t, err)
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".END") || strings.HasSuffix(f.Name(), ".TEMP") {
				t.Errorf("%s: left over: %s", step, f.Name())
			}
		}
		stop(true)
	}
}

// Without the checkpoint everything is read; the producers' file still says how far the disk had it.
func TestLostCheckpoint(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{SegmentBytes: 2000})
	var m maker
	all := written(t, l, &m, 20)
	stop(true)
	flip(t, filepath.Join(dir, checkpointName), 30)
	s, stop = running(t, dir)
	holds(t, taken(t, s, Options{}), all)
	stop(true)
	mustDo(t, os.Remove(filepath.Join(dir, checkpointName)))
	mustDo(t, os.Remove(filepath.Join(dir, cleanName)))
	mustDo(t, os.Truncate(l.active().path, 5))
	s, stop = running(t, dir)
	isShort(t, taken(t, s, Options{}))
	stop(true)
}

// A log of which nothing is left, directory and all, is not an empty one.
func TestLostDirectory(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	l := taken(t, s, Options{})
	var m maker
	written(t, l, &m, 3)
	empty, err := s.Take(ID{Topic: [16]byte{1}}, Options{})
	mustDo(t, err)
	stop(true)
	mustDo(t, os.RemoveAll(l.dir))
	s, stop = running(t, dir)
	isShort(t, taken(t, s, Options{}))
	if l := s.Log(empty.ID()); l == nil || l.Err() != nil || l.End() != 0 {
		t.Errorf("the empty log: %v", l)
	}
	stop(true)
}
