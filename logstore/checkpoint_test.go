package logstore

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"
)

func randomID(r *rand.Rand) (id ID) {
	for i := range id.Topic {
		id.Topic[i] = byte(r.Uint32())
	}
	id.Partition = r.Int32()
	return id
}

func TestCheckpoint(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 7))
	path := filepath.Join(t.TempDir(), "checkpoint")
	if _, err := readCheckpoint(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("absent: %v", err)
	}
	for _, n := range []int{0, 1, 100} {
		entries := make([]checkpointEntry, n)
		for i := range entries {
			entries[i] = checkpointEntry{randomID(r), position{r.Uint64(), r.Int64(), r.Int64()}, r.Int64(), r.Int64()}
		}
		if err := writeCheckpoint(path, entries); err != nil {
			t.Fatal(err)
		}
		if got, err := readCheckpoint(path); err != nil || !reflect.DeepEqual(got, entries) {
			t.Fatalf("%d entries: %+v, %v", n, got, err)
		}
	}
	if _, err := decodeCheckpoint(make([]byte, checkpointEntryBytes-1)); !errors.Is(err, errBadFile) {
		t.Errorf("short: %v", err)
	}
	negative := []checkpointEntry{{Recovery: position{Pos: -1}}}
	if _, err := decodeCheckpoint(encodeCheckpoint(negative)); !errors.Is(err, errBadFile) {
		t.Errorf("negative position: %v", err)
	}
}

func TestCleanShutdown(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 7))
	path := filepath.Join(t.TempDir(), "clean-shutdown")
	for _, n := range []int{0, 1, 100} {
		c := &cleanShutdown{Incarnation: "life", Logs: make([]cleanEntry, n)}
		for i := range c.Logs {
			c.Logs[i] = cleanEntry{randomID(r), r.Uint64(), r.Int64(), r.Int64()}
		}
		if err := c.write(path); err != nil {
			t.Fatal(err)
		}
		if got, err := readCleanShutdown(path); err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("%d logs: %+v, %v", n, got, err)
		}
		p := c.encode()
		for i := range p {
			if got, err := decodeCleanShutdown(p[:i]); err != nil && !errors.Is(err, errBadFile) || err == nil && len(got.Logs) >= n {
				t.Fatalf("cut at %d of %d: %+v, %v", i, len(p), got, err)
			}
		}
	}
}
