package batch

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"testing"
)

// All but every third record go: those that stay are as they were, in whatever codec, read by
// another's code, too.
func TestKeep(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		for _, horizon := range []int64{NoHorizon, 5_000_000} {
			b := built(t, codec, 70)
			b.SetBaseOffset(5000)
			b.SetLeaderEpoch(3)
			var kept Kept
			kept = kept.Of(70)
			for i := range 70 {
				if i%3 == 1 {
					kept.Add(i)
				}
			}
			left, err := b.Keep([]byte("before"), kept, horizon)
			if err != nil {
				t.Fatalf("%v: %v", codec, err)
			}
			if left.CheckCRC() != nil || left.Size() != len(left) || left.BaseOffset() != 5000 || left.LastOffset() != 5069 || left.LeaderEpoch() != 3 ||
				left.ProducerID() != 7 || left.LastSequence() != 169 || left.Codec() != codec || left.NumRecords() != 23 || kept.Len() != 23 {
				t.Fatalf("%v: header %x", codec, []byte(left[:HeaderLen]))
			}
			if at, set := left.DeleteHorizon(); set != (horizon != NoHorizon) || set && at != horizon {
				t.Errorf("%v: horizon %d, %v", codec, at, set)
			}
			if n, err := readByKmsg(left); err != nil || n != 23 {
				t.Errorf("%v: kmsg finds %d records, %v", codec, n, err)
			}
			largest, next := int64(-1), int32(1)
			err = left.Records(func(_ int, r *Record) error {
				i := int(r.OffsetDelta)
				at := left.BaseTimestamp() + r.TimestampDelta
				largest = max(largest, at)
				if r.OffsetDelta != next || at != int64(1000+i%3) || len(r.Value) != 50*i && i != 1 || r.Headers[0].Value[0] != byte(i) {
					return fmt.Errorf("record %d at %d: %+v", i, at, r)
				}
				next += 3
				return nil
			})
			if err != nil || left.MaxTimestamp() != largest || largest != 1001 {
				t.Errorf("%v: %v, largest timestamp %d, %d in the header", codec, err, largest, left.MaxTimestamp())
			}
		}
	}
}

// A batch without records still says which offsets and sequences it had.
func TestEmptied(t *testing.T) {
	b := built(t, Zstd, 20)
	b.SetBaseOffset(80)
	e := b[:HeaderLen].Emptied()
	if e.CheckCRC() != nil || len(e) != HeaderLen || e.Size() != HeaderLen || e.NumRecords() != 0 || e.Codec() != None ||
		e.BaseOffset() != 80 || e.LastOffset() != 99 || e.LastSequence() != b.LastSequence() || e.MaxTimestamp() != 1002 {
		t.Errorf("header %x", []byte(e))
	}
	if err := e.Records(func(int, *Record) error { return errors.New("a record") }); err != nil {
		t.Error(err)
	}
	if again := e.Emptied(); !bytes.Equal(again, e) {
		t.Errorf("emptied twice: %x", []byte(again))
	}
}

// Scan tells keys apart, of any length, and tombstones from values.
func TestScan(t *testing.T) {
	long := bytes.Repeat([]byte("k"), 100_000)
	for codec := None; codec <= Zstd; codec++ {
		build := NewBuilder(codec)
		for _, key := range [][]byte{[]byte("a"), []byte("b"), nil, {}, long, append(bytes.Clone(long), 'x'), []byte("a")} {
			build.Add(1, key, []byte("value"))
			build.Add(1, key, nil)
		}
		b, err := build.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		var seen []Scanned
		if err := b.Scan(func(r *Scanned) { seen = append(seen, *r) }); err != nil || len(seen) != 14 {
			t.Fatalf("%v: %d records, %v", codec, len(seen), err)
		}
		keys := map[KeySum]int{}
		for i, r := range seen {
			if r.Index != i || r.OffsetDelta != int32(i) || r.Tombstone != (i%2 == 1) || r.Keyed != (i/2 != 2) {
				t.Errorf("%v: record %d: %+v", codec, i, r)
			}
			if r.Keyed {
				keys[r.Key]++
			}
		}
		if len(keys) != 5 || keys[seen[0].Key] != 4 {
			t.Errorf("%v: %v", codec, keys)
		}
	}
}

// What decompresses to much more than its size costs no such memory.
func TestKeepIsBounded(t *testing.T) {
	const size = 48 << 20
	for _, codec := range []Codec{Gzip, LZ4, Zstd} {
		build := NewBuilder(codec)
		build.Add(1, []byte("bomb"), make([]byte, size))
		build.Add(1, []byte("small"), nil)
		b, err := build.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		build = nil
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var kept Kept
		kept = kept.Of(2)
		kept.Add(0)
		err = b.Scan(func(*Scanned) {})
		left, keepErr := b.Keep(nil, kept, NoHorizon)
		runtime.ReadMemStats(&after)
		if err != nil || keepErr != nil || left.NumRecords() != 1 {
			t.Errorf("%v: %v, %v", codec, err, keepErr)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > size {
			t.Errorf("%v: %d bytes allocated for a batch of %d", codec, n, len(b))
		}
	}
}
