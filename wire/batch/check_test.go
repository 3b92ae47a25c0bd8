package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// timed is a batch with records at these times, those at odd places without a key.
func timed(t *testing.T, codec Codec, times ...int64) Batch {
	t.Helper()
	build := NewBuilder(codec)
	for i, ts := range times {
		key := []byte("key")
		if i%2 == 1 {
			key = nil
		}
		build.Add(ts, key, []byte("value"), Header{Key: "h", Value: []byte("v")})
	}
	b, err := build.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCheckRecordsSums(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		var seen []Seen
		sum, err := timed(t, codec, 1000, 3000, 500, -1).CheckRecords(func(s Seen) { seen = append(seen, s) })
		if want := (Summary{500, 3000, true}); err != nil || sum != want {
			t.Errorf("%v: %+v, %v, want %+v", codec, sum, err, want)
		}
		if want := []Seen{{0, 1000, false}, {1, 3000, true}, {2, 500, false}, {3, -1, true}}; !slices.Equal(seen, want) {
			t.Errorf("%v: saw %v, want %v", codec, seen, want)
		}
		if sum, err := timed(t, codec, -1).CheckRecords(nil); err != nil || sum != (Summary{-1, -1, false}) {
			t.Errorf("%v: %+v, %v of a batch without a time", codec, sum, err)
		}
	}
}

// What is wrong in compressed records is found as in plain ones.
func TestCheckRecordsLooksInside(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		for name, change := range map[string]func(records []byte) []byte{
			"cut off":         func(p []byte) []byte { return p[:len(p)-3] },
			"bytes behind":    func(p []byte) []byte { return append(p, 0) },
			"offset delta":    func(p []byte) []byte { p[3] ^= 0x10; return p },
			"negative length": func(p []byte) []byte { p[0] = 1; return p },
			"a long key":      func(p []byte) []byte { p[4] = 126; return p },
			"nothing":         func([]byte) []byte { return nil },
		} {
			plain := timed(t, None, 1, 2, 3)
			packed, err := codec.Compress(nil, change(slices.Clone(plain[HeaderLen:])))
			if err != nil {
				t.Fatal(err)
			}
			b := append(slices.Clone(plain[:HeaderLen]), packed...)
			b[22] |= byte(codec)
			binary.BigEndian.PutUint32(b[8:], uint32(len(b)-lengthStart))
			b.setCRC()
			var bad *ErrRecord
			if _, err := b.CheckRecords(nil); !errors.As(err, &bad) {
				t.Errorf("%v, %s: %v", codec, name, err)
			}
		}
	}
}

// Data that is no data of its codec is an error of the batch, whatever it begins with.
func TestCheckRecordsOfGarbage(t *testing.T) {
	for codec := Gzip; codec <= Zstd; codec++ {
		good := timed(t, codec, 1, 2, 3)
		for n := HeaderLen; n < len(good); n++ {
			b := slices.Clone(good[:n])
			binary.BigEndian.PutUint32(b[8:], uint32(len(b)-lengthStart))
			if _, err := b.CheckRecords(nil); err == nil && n < len(good)-8 { // trailers of frames may be missing
				t.Errorf("%v: accepted when cut at %d of %d", codec, n, len(good))
			}
		}
	}
}

// A small batch that claims much is refused without taking the memory.
func TestCheckRecordsOfClaims(t *testing.T) {
	b := timed(t, None, 1)
	snappy := binary.AppendUvarint(nil, 200<<20)
	b = append(b[:HeaderLen], append(snappy, 0, 'x')...)
	b[22] |= byte(Snappy)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-lengthStart))
	allocated := testing.Benchmark(func(tb *testing.B) {
		for tb.Loop() {
			if _, err := b.CheckRecords(nil); err == nil {
				t.Error("a claim of 200 MB is accepted")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 1<<20 {
		t.Errorf("%d bytes for a claim", allocated)
	}
}

func BenchmarkCheckRecords(b *testing.B) {
	for codec := None; codec <= Zstd; codec++ {
		build := NewBuilder(codec)
		for i := range 1000 {
			build.Add(int64(i), []byte("some key"), binary.BigEndian.AppendUint64([]byte("a value of some length, which is more or less like text"), uint64(i)*0x9E3779B97F4A7C15))
		}
		batch, err := build.Build(nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(batch)))
			for b.Loop() {
				if _, err := batch.CheckRecords(nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A stored batch of which compaction took records is walked as far as it is asked for.
func TestWalkOverGaps(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		for _, test := range []struct {
			delta byte // of the third record, as a varint
			until int
			want  []int
			bad   bool
		}{{10, -1, []int{0, 1, 5}, false}, {10, 1, []int{0, 1}, false}, {4, -1, []int{0, 1, 2}, false}, {2, -1, []int{0, 1}, true}} {
			records := timed(t, None, 1, 1, 1)[HeaderLen:]
			records[len(records)*2/3+2] = test.delta // the second has no key: it is 3 bytes shorter
			packed, err := codec.Compress(nil, records)
			if err != nil {
				t.Fatal(err)
			}
			b := append(timed(t, None, 1, 1, 1)[:HeaderLen], packed...)
			b[22] = byte(codec)
			var seen []int
			err = b.Walk(func(s Seen) bool {
				seen = append(seen, s.Index)
				return s.Index != test.until
			})
			if (err != nil) != test.bad || !slices.Equal(seen, test.want) {
				t.Errorf("%v, delta %d until %d: %v, %v, want %v", codec, test.delta, test.until, seen, err, test.want)
			}
		}
	}
}

// The quick way over records takes what the thorough one takes and finds the same in it,
// whatever becomes of their bytes.
func TestCheckRecordsQuickly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 30, 63, 64, 200, 8191, 8192, 20_000}
	some := func() []byte {
		if r.IntN(4) == 0 {
			return nil
		}
		return make([]byte, sizes[r.IntN(len(sizes))])
	}
	accepted := 0
	for range 600 {
		build := NewBuilder(None)
		for range 1 + r.IntN(200)*r.IntN(2) {
			var headers []Header
			if r.IntN(8) == 0 {
				headers = append(headers, Header{Key: "h", Value: some()})
			}
			build.Add(int64(r.IntN(100))-1+int64(r.IntN(2)*r.IntN(1<<22)), some(), some(), headers...)
		}
		b, err := build.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		for changes := range 20 {
			quick, err := b.CheckRecords(nil)
			thorough, want := b.CheckRecords(func(Seen) {})
			if fmt.Sprint(err) != fmt.Sprint(want) || err == nil && quick != thorough {
				t.Fatalf("%+v, %v after %d changes; thoroughly %+v, %v", quick, err, changes, thorough, want)
			}
			if err == nil && changes > 0 {
				accepted++
			}
			at := HeaderLen + r.IntN(min(len(b)-HeaderLen, 40)) // most bytes are of keys and values
			b[at] ^= 1 << r.IntN(8)
		}
	}
	if accepted < 400 {
		t.Errorf("%d changed batches accepted: too few to compare", accepted)
	}
}
