package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// built makes a batch of n records, the second without key and value.
func built(t testing.TB, codec Codec, n int) Batch {
	t.Helper()
	b := NewBuilder(codec)
	b.SetProducer(7, 2, 100)
	for i := range n {
		key, value := fmt.Appendf(nil, "key %d", i), bytes.Repeat([]byte{byte(i)}, 50*i)
		if i == 1 {
			key, value = nil, nil
		}
		b.Add(int64(1000+i%3), key, value, Header{"h", []byte{byte(i)}}, Header{"null", nil})
	}
	made, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestBuildAndRead(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		b := built(t, codec, 20)
		if err := errors.Join(b.Check(), walked(b)); err != nil {
			t.Fatalf("%v: %v", codec, err)
		}
		b.SetBaseOffset(5000)
		b.SetLeaderEpoch(9)
		if err := b.CheckCRC(); err != nil {
			t.Errorf("%v: offset and epoch are under the checksum: %v", codec, err)
		}
		if b.LastOffset() != 5019 || b.LeaderEpoch() != 9 || b.ProducerID() != 7 || b.LastSequence() != 119 || b.MaxTimestamp() != 1002 || b.Codec() != codec {
			t.Errorf("%v: header %v", codec, []byte(b[:HeaderLen]))
		}
		seen := 0
		err := b.Records(func(i int, r *Record) error {
			seen++
			if int(r.OffsetDelta) != i || r.TimestampDelta != int64(i%3) || len(r.Headers) != 2 || r.Headers[0].Value[0] != byte(i) || r.Headers[1].Value != nil {
				return fmt.Errorf("record %d: %+v", i, r)
			}
			if (r.Key == nil) != (i == 1) || (r.Value == nil) != (i == 1) || len(r.Value) != 50*i && i != 1 {
				return fmt.Errorf("record %d: key %q, %d bytes", i, r.Key, len(r.Value))
			}
			return nil
		})
		if err != nil || seen != 20 {
			t.Errorf("%v: %d records, %v", codec, seen, err)
		}
		if again, err := readByKmsg(b); err != nil || again != 20 {
			t.Errorf("%v: kmsg finds %d records, %v", codec, again, err)
		}
	}
}

// readByKmsg decodes the header with another's code.
func readByKmsg(b Batch) (int32, error) {
	var rb kmsg.RecordBatch
	err := rb.ReadFrom(b)
	return rb.NumRecords, err
}

func TestCheckRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(Batch) Batch
		want   error
	}{
		"magic":       {func(b Batch) Batch { b[16] = 1; return b }, ErrMagic},
		"checksum":    {func(b Batch) Batch { b[70]++; return b }, ErrCRC},
		"cut":         {func(b Batch) Batch { return b[:len(b)-1] }, ErrDamaged},
		"header only": {func(b Batch) Batch { return b[:20] }, ErrShort},
		"count":       {func(b Batch) Batch { b[60]++; b.setCRC(); return b }, ErrCount},
		"codec":       {func(b Batch) Batch { b[22] |= 7; b.setCRC(); return b }, ErrCodec},
	} {
		if err := c.change(built(t, None, 3)).Check(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func walked(b Batch) error {
	_, err := b.CheckRecords(nil)
	return err
}

func TestCheckRecordsRefuses(t *testing.T) {
	for i := range 400 {
		b := built(t, None, 3)
		at := HeaderLen + i%(len(b)-HeaderLen)
		b[at] ^= 1 << (i % 8)
		err := walked(b)
		readErr := b.Records(func(int, *Record) error { return nil })
		if err == nil && readErr != nil {
			t.Errorf("byte %d: accepted, and cannot be read: %v", at, readErr)
		}
	}
	b := built(t, None, 3)
	b[HeaderLen+3] ^= 0x10 // the first record's offset delta
	var bad *ErrRecord
	if err := walked(b); !errors.As(err, &bad) {
		t.Errorf("an offset delta out of order: %v", err)
	}
}

func TestFirst(t *testing.T) {
	one, two := built(t, None, 2), built(t, LZ4, 3)
	both := append(bytes.Clone(one), two...)
	b, rest, err := First(both)
	if err != nil || !bytes.Equal(b, one) || !bytes.Equal(rest, two) {
		t.Errorf("%d and %d bytes: %v", len(b), len(rest), err)
	}
	for cut := range len(one) {
		if _, _, err := First(one[:cut]); !errors.Is(err, ErrShort) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	binary.BigEndian.PutUint32(both[8:], 1)
	if _, _, err := First(both); !errors.Is(err, ErrDamaged) {
		t.Errorf("a length of 1: %v", err)
	}
}

func TestLogAppendTime(t *testing.T) {
	b := built(t, Gzip, 2)
	b.SetLogAppendTime(123456)
	if err := b.Check(); err != nil || !b.LogAppendTime() || b.MaxTimestamp() != 123456 || b.Codec() != Gzip {
		t.Errorf("%v, append time %v, %d, %v", err, b.LogAppendTime(), b.MaxTimestamp(), b.Codec())
	}
}

func TestSequenceWraps(t *testing.T) {
	b := built(t, None, 3)
	binary.BigEndian.PutUint32(b[53:], 1<<31-2)
	if b.LastSequence() != 0 {
		t.Errorf("last sequence %d", b.LastSequence())
	}
}

// Java clients frame snappy in blocks of their own.
func TestXerialSnappy(t *testing.T) {
	want := bytes.Repeat([]byte("some text "), 1000)
	framed := append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 3000)
		block := s2.EncodeSnappy(nil, rest[:n])
		framed = append(binary.BigEndian.AppendUint32(framed, uint32(len(block))), block...)
		rest = rest[n:]
	}
	got, err := Snappy.Decompress(nil, framed, 1<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestDecompressIsBounded(t *testing.T) {
	bomb := make([]byte, 1<<20)
	for codec := Gzip; codec <= Zstd; codec++ {
		packed, err := codec.Compress(nil, bomb)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := codec.Decompress(nil, packed, 1<<16); err == nil {
			t.Errorf("%v: a megabyte came out of a limit of 64 KiB", codec)
		}
	}
}

func FuzzBatch(f *testing.F) {
	for codec := None; codec <= Zstd; codec++ {
		f.Add([]byte(built(f, codec, 3)))
	}
	f.Add([]byte(built(f, None, 1))[:HeaderLen])
	f.Fuzz(func(t *testing.T, p []byte) {
		b, _, err := First(p)
		if err != nil {
			return
		}
		_, _ = b.CheckCRC(), b.Check()
		clean := walked(b) == nil
		readErr := b.Records(func(int, *Record) error { return nil })
		if readErr != nil && clean {
			t.Errorf("checked, and not to be read: %v", readErr)
		}
		if b.NumRecords() < 0 || b.NumRecords() > 1<<20 {
			return
		}
		var kept Kept
		kept = kept.Of(int(b.NumRecords()))
		err = b.Scan(func(r *Scanned) {
			if r.Index%2 == 0 {
				kept.Add(r.Index)
			}
		})
		left, keepErr := b.Keep(nil, kept, 77)
		if clean && (err != nil || keepErr != nil) {
			t.Errorf("checked, and not to be kept: %v, %v", err, keepErr)
		}
		if readErr == nil && err == nil && keepErr == nil && left.Records(func(int, *Record) error { return nil }) != nil {
			t.Errorf("read and kept, and not to be read any more")
		}
	})
}
