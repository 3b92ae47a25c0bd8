package logstore

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"
)

func randomSidecar(r *rand.Rand) *sidecar {
	s := &sidecar{
		BaseOffset: r.Int64N(1e6), FirstCRC: r.Uint32(), LastCRC: r.Uint32(),
		MaxTimestampOffset: -1, Rows: []indexRow{},
	}
	offset, pos, ts := s.BaseOffset, int64(0), r.Int64N(1e13)-1
	for range r.IntN(50) {
		s.Rows = append(s.Rows, indexRow{offset, pos, ts})
		s.MaxTimestamp, s.MaxTimestampOffset = ts, offset
		offset, pos, ts = offset+1+r.Int64N(1000), pos+16384+r.Int64N(1<<20), ts+r.Int64N(3)
		s.Entries += 1 + r.Int64N(5)
	}
	s.LastOffset, s.Size = offset-1, pos
	for range r.IntN(3) {
		s.Aborted = append(s.Aborted, abortedTxn{r.Int64(), r.Int64(), r.Int64(), r.Int64()})
	}
	return s
}

func TestSidecarEncode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "00000000000000000001")
	for seed := range uint64(100) {
		s := randomSidecar(rand.New(rand.NewPCG(seed, 6)))
		if seed < 3 { // fsyncs
			if err := s.write(path); err != nil {
				t.Fatal(err)
			}
			if got, err := readSidecar(path); err != nil || !reflect.DeepEqual(got, s) {
				t.Fatalf("seed %d: read %+v, %v", seed, got, err)
			}
		}
		p := s.encode()
		if got, err := decodeSidecar(p); err != nil || !reflect.DeepEqual(got, s) {
			t.Fatalf("seed %d: %+v, %v; want %+v", seed, got, err, s)
		}
		for i := range p { // the checksum keeps such bytes away; they must not panic all the same
			if _, err := decodeSidecar(p[:i]); !errors.Is(err, errBadFile) {
				t.Fatalf("seed %d: cut at %d: %v", seed, i, err)
			}
		}
	}
}

func TestSidecarRefusesRowsOutside(t *testing.T) {
	for name, s := range map[string]*sidecar{
		"position": {LastOffset: 9, Size: 100, Rows: []indexRow{{0, 100, 0}}},
		"offset":   {LastOffset: 9, Size: 100, Rows: []indexRow{{10, 50, 0}}},
		"back":     {LastOffset: 9, Size: 100, Rows: []indexRow{{5, 50, 0}, {4, 60, 0}}},
	} {
		if _, err := decodeSidecar(s.encode()); !errors.Is(err, errBadFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIndexRows(t *testing.T) {
	rows := []indexRow{{10, 0, 100}, {20, 1000, 100}, {30, 2000, 300}}
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"offset before", rowAt(rows, 9), -1},
		{"offset first", rowAt(rows, 10), 0},
		{"offset between", rowAt(rows, 29), 1},
		{"offset last", rowAt(rows, 99), 2},
		{"position exact", rowAtPos(rows, 1000), 1},
		{"position between", rowAtPos(rows, 1999), 1},
		{"time before", rowAtTime(rows, 1), 0},
		{"time of two rows", rowAtTime(rows, 100), 0},
		{"time between", rowAtTime(rows, 101), 2},
		{"time after", rowAtTime(rows, 301), 3},
		{"no rows", rowAt(nil, 0), -1},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}
