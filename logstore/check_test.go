package logstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/wal"
)

// stockLog has the stock library write a log of 40 batches of 3 records in several segments, in a
// data directory whose checkpoint knows the first half as flushed.
func stockLog(t *testing.T) (dir string) {
	t.Helper()
	data := t.TempDir()
	id := ID{Topic: [16]byte{1, 2, 3}, Partition: 4}
	dir = filepath.Join(data, logsName, id.String())
	log, err := wal.Open(dir, &wal.Options{SegmentSize: 2000, NoSync: true, AllowEmpty: true})
	mustDo(t, err)
	var m maker
	e := &epochs{}
	for i := range uint64(40) {
		epoch := int32(i / 15)
		e.assign(epoch, int64(3*i))
		mustDo(t, log.Write(i+1, at(m.batch(3, 50, 1000), int64(3*i), epoch)))
	}
	mustDo(t, log.Close())
	names, err := segmentsIn(dir)
	mustDo(t, err)
	if len(names) < 4 {
		t.Fatalf("segments %v", names)
	}
	mustDo(t, epochsFile.write(filepath.Join(dir, epochsName), e.encode()))
	p := &properties{Identity: Identity{NodeID: 1}}
	mustDo(t, p.write(data))
	half := names[len(names)/2]
	mustDo(t, writeCheckpoint(filepath.Join(data, checkpointName), []checkpointEntry{
		{ID: id, Recovery: position{half, 0, int64(3 * (half - 1))}, Start: 0},
	}))
	return dir
}

func nthSegment(t *testing.T, dir string, i int) string {
	t.Helper()
	names, err := segmentsIn(dir)
	mustDo(t, err)
	if i < 0 {
		i += len(names)
	}
	return filepath.Join(dir, segmentFileName(names[i]))
}

func edit(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	p, err := os.ReadFile(path)
	mustDo(t, err)
	mustDo(t, os.WriteFile(path, change(p), 0o600))
}

func TestCheckGoodLog(t *testing.T) {
	dir := stockLog(t)
	r, err := Check(dir)
	mustDo(t, err)
	if !r.OK() || r.Stock != "ok" || len(r.Notes) > 0 || r.BaseOffset != 0 || r.End != 120 {
		t.Errorf("%+v", r)
	}
	if len(r.Epochs) != 3 || r.Epochs[1] != (EpochRange{1, 45}) {
		t.Errorf("epochs %+v", r.Epochs)
	}
	entries := int64(0)
	for _, s := range r.Segments {
		entries += s.Entries
		if s.Size != s.Whole || s.Sidecar != "none" || s.MaxTimestamp != 1002 {
			t.Errorf("%+v", s)
		}
	}
	if entries != 40 {
		t.Errorf("%d entries", entries)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(p []byte) []byte { p[(at+len(p))%len(p)] ^= 4; return p }
	}
	for _, c := range []struct {
		name    string
		do      func(t *testing.T, dir string)
		problem string // part of a problem; "" when the log is sound
		note    string // part of a note
	}{
		{"a flipped record below the recovery point", func(t *testing.T, dir string) {
			edit(t, nthSegment(t, dir, 0), flip(80))
		}, "wrong checksum", ""},
		{"a flipped record in the tail", func(t *testing.T, dir string) {
			edit(t, nthSegment(t, dir, -1), flip(80))
		}, "", "wrong checksum"},
		{"a cut tail", func(t *testing.T, dir string) {
			edit(t, nthSegment(t, dir, -1), func(p []byte) []byte { return p[:len(p)-3] })
		}, "", "ends the log here"},
		{"zeros behind the tail", func(t *testing.T, dir string) {
			edit(t, nthSegment(t, dir, -1), func(p []byte) []byte { return append(p, make([]byte, 4096)...) })
		}, "", "4096 bytes of the segment are left"},
		{"a cut sealed segment", func(t *testing.T, dir string) {
			edit(t, nthSegment(t, dir, 0), func(p []byte) []byte { return p[:len(p)-3] })
		}, "no whole entry", ""},
		{"a missing segment", func(t *testing.T, dir string) {
			mustDo(t, os.Remove(nthSegment(t, dir, 1)))
		}, "is due", ""},
		{"a truncation that was cut off", func(t *testing.T, dir string) {
			edit(t, nthSegment(t, dir, 0), func(p []byte) []byte {
				mustDo(t, os.WriteFile(nthSegment(t, dir, -1)+".END", p, 0o600))
				return p
			})
		}, "", "cut off"},
		{"damaged epochs", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, epochsName), flip(-1))
		}, "", "epochs"},
		{"epochs of another log", func(t *testing.T, dir string) {
			mustDo(t, epochsFile.write(filepath.Join(dir, epochsName), epochsOf(9, 0).encode()))
		}, "", "is of epoch 0, the file says 9"},
		{"a sidecar of another segment", func(t *testing.T, dir string) {
			mustDo(t, os.Mkdir(filepath.Join(dir, indexName), 0o700))
			s := &sidecar{LastOffset: 5, Size: 400, Rows: []indexRow{{3, 77, 0}}}
			mustDo(t, s.write(filepath.Join(dir, indexName, filepath.Base(nthSegment(t, dir, 0)))))
		}, "", "sidecar"},
		{"less than at the clean stop", func(t *testing.T, dir string) {
			id, _ := ParseID(filepath.Base(dir))
			c := &cleanShutdown{Logs: []cleanEntry{{id, 77, 5, 9}}}
			mustDo(t, c.write(filepath.Join(dir, "..", "..", cleanName)))
		}, "at the clean stop", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := stockLog(t)
			c.do(t, dir)
			r, err := Check(dir)
			mustDo(t, err)
			problems, notes := strings.Join(r.Problems, "\n"), strings.Join(r.Notes, "\n")
			if r.OK() != (c.problem == "") || !strings.Contains(problems, c.problem) || !strings.Contains(notes, c.note) {
				t.Errorf("problems:\n%s\nnotes:\n%s\nstock: %s", problems, notes, r.Stock)
			}
			if c.problem == "" && c.note == "" {
				t.Error("nothing found")
			}
		})
	}
}

// On a running node's directory the tools read, and take an append under way for what it is.
func TestCheckRunning(t *testing.T) {
	dir := stockLog(t)
	f, err := lockDirectory(filepath.Join(dir, "..", ".."))
	mustDo(t, err)
	edit(t, nthSegment(t, dir, -1), func(p []byte) []byte { return append(p, 0xff, 0x01, 'h', 'a', 'l', 'f') })
	r, err := Check(dir)
	mustDo(t, err)
	if !r.Running || !r.OK() || len(r.Notes) > 0 || r.End != 120 {
		t.Errorf("%+v", r)
	}
	mustDo(t, f.Close())
	if r, err = Check(dir); err != nil || r.Running || len(r.Notes) == 0 {
		t.Errorf("stopped: %+v %v", r, err)
	}
	if f, err = lockDirectory(filepath.Join(dir, "..", "..")); err != nil {
		t.Fatalf("Check kept the lock: %v", err)
	}
	mustDo(t, f.Close())
}

func TestDump(t *testing.T) {
	dir := stockLog(t)
	edit(t, nthSegment(t, dir, 0), func(p []byte) []byte { p[80] ^= 1; return p })
	edit(t, nthSegment(t, dir, -1), func(p []byte) []byte { return p[:len(p)-1] })
	var good, bad, tails int
	next := uint64(1)
	mustDo(t, Dump(dir, func(e Entry) error {
		switch {
		case e.Batch == nil:
			tails++
		case e.Err != nil:
			bad++
		default:
			good++
		}
		if e.Index != next {
			t.Errorf("entry %d, not %d", e.Index, next)
		}
		next++
		return nil
	}))
	if good != 38 || bad != 1 || tails != 1 {
		t.Errorf("%d good, %d bad, %d tails", good, bad, tails)
	}
	if err := Dump(filepath.Join(dir, "absent"), nil); !os.IsNotExist(err) {
		t.Errorf("absent: %v", err)
	}
}
