package batch

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Kept is a set of records of one batch, by their index.
type Kept []uint64

// Of empties the set and makes room for n records.
func (k Kept) Of(n int) Kept {
	words := (n + 63) / 64
	if cap(k) < words {
		return make(Kept, words)
	}
	k = k[:words]
	clear(k)
	return k
}

// Add takes record i in.
func (k Kept) Add(i int) { k[i/64] |= 1 << (i % 64) }

// Has reports whether record i is in.
func (k Kept) Has(i int) bool { return k[i/64]&(1<<(i%64)) != 0 }

// Len is the number of records.
func (k Kept) Len() (n int) {
	for _, w := range k {
		n += bits.OnesCount64(w)
	}
	return n
}

// NoHorizon leaves a batch's delete horizon as it is.
const NoHorizon = math.MinInt64

// Keep appends to dst what becomes of b when only the kept records stay, and returns it alone: the
// offsets of records, the last offset, producer, leader epoch and codec are as they were, and so is
// the largest timestamp of what stays. A horizon becomes the delete horizon (KIP-534): it takes
// the place of the base timestamp, and the timestamps of records are counted from it.
func (b Batch) Keep(dst []byte, kept Kept, horizon int64) (Batch, error) {
	start := len(dst)
	out := bytes.NewBuffer(append(dst, b[:HeaderLen]...))
	k := keeper{b: b, kept: kept, base: b.BaseTimestamp(), maxTime: -1}
	if horizon != NoHorizon {
		k.base = horizon
	}
	w, done := b.Codec().writer(out)
	k.w = onlyWriter{w}
	err := b.streamed(k.copy)
	if err == nil {
		err = w.Close()
	}
	done()
	if err != nil {
		return nil, err
	}
	made := Batch(out.Bytes()[start:])
	be := binary.BigEndian
	if horizon != NoHorizon {
		made[22] |= horizonBit
		be.PutUint64(made[27:], uint64(horizon))
	}
	if !b.LogAppendTime() {
		be.PutUint64(made[35:], uint64(k.maxTime))
	}
	be.PutUint32(made[57:], uint32(k.n))
	made.seal()
	return made, nil
}

// Emptied is what is left of a batch that loses all its records and yet says which offsets and
// which sequence numbers of its producer there were. The header of b is enough.
func (b Batch) Emptied() Batch {
	made := Batch(bytes.Clone(b[:HeaderLen]))
	made[22] &^= codecMask | horizonBit
	copy(made[27:35], b[35:43])
	clear(made[57:61])
	made.seal()
	return made
}

// seal sets length and checksum.
func (b Batch) seal() {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-lengthStart))
	b.setCRC()
}

// keeper copies the records that stay.
type keeper struct {
	b       Batch
	kept    Kept
	w       io.Writer
	base    int64 // what timestamps are counted from
	maxTime int64
	n       int
	head    []byte
}

func (k *keeper) copy(s *stream) error {
	n := int(k.b.NumRecords())
	for i := range n {
		size := s.begin()
		if !k.kept.Has(i) {
			s.skip(size)
		} else if err := k.record(s); err != nil {
			return err
		}
		if s.err != nil {
			return &ErrRecord{i, s.because("fields do not fill the record")}
		}
	}
	return s.ended(n)
}

// record copies a record. Only its timestamp may be written otherwise.
func (k *keeper) record(s *stream) error {
	attributes, err := s.ReadByte()
	delta := s.varint()
	if err != nil || s.err != nil {
		s.err = errOutside
		return nil
	}
	at := k.b.BaseTimestamp() + delta
	k.maxTime = max(k.maxTime, at)
	k.n++
	var ts [binary.MaxVarintLen64]byte
	width := binary.PutVarint(ts[:], at-k.base)
	k.head = binary.AppendVarint(k.head[:0], int64(1+width)+s.left)
	k.head = append(append(k.head, attributes), ts[:width]...)
	if _, err := k.w.Write(k.head); err != nil {
		return err
	}
	_, err = io.CopyN(k.w, s.r, s.left)
	return err
}

var zstdWriters = sync.Pool{New: func() any {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // fixed options
	}
	return w
}}

// writer compresses what is written to it into out as it comes; done gives it back.
func (c Codec) writer(out *bytes.Buffer) (w io.WriteCloser, done func()) {
	switch c {
	case Gzip:
		return pooled(&gzipWriters, out)
	case LZ4:
		return pooled(&lz4Writers, out)
	case Zstd:
		return pooled(&zstdWriters, out)
	case Snappy:
		return &snappyWriter{out: out}, func() {}
	}
	return plainWriter{out}, func() {}
}

// resetter is a compressor that can be used again.
type resetter interface {
	io.WriteCloser
	Reset(io.Writer)
}

func pooled(pool *sync.Pool, out io.Writer) (io.WriteCloser, func()) {
	w := pool.Get().(resetter)
	w.Reset(out)
	return w, func() {
		w.Reset(io.Discard)
		pool.Put(w)
	}
}

// onlyWriter hides what else a compressor can: lz4's ReadFrom takes a whole stream at once.
type onlyWriter struct{ io.Writer }

type plainWriter struct{ *bytes.Buffer }

func (plainWriter) Close() error { return nil }

// xerialBlock is how much of a record stream xerial's framing compresses at once.
const xerialBlock = 32 << 10

// snappyWriter writes xerial's framing, which takes records block by block.
type snappyWriter struct {
	out   *bytes.Buffer
	block []byte
	begun bool
}

// Write compresses each block that is full.
func (w *snappyWriter) Write(p []byte) (n int, err error) {
	n = len(p)
	for len(p) > 0 {
		take := min(len(p), xerialBlock-len(w.block))
		w.block, p = append(w.block, p[:take]...), p[take:]
		if len(w.block) == xerialBlock {
			w.flush()
		}
	}
	return n, nil
}

// Close compresses the rest.
func (w *snappyWriter) Close() error {
	w.flush()
	return nil
}

func (w *snappyWriter) flush() {
	if !w.begun {
		w.begun = true
		w.out.Write(xerialMagic)
		w.out.Write([]byte{0, 0, 0, 1, 0, 0, 0, 1})
	}
	if len(w.block) == 0 {
		return
	}
	packed := s2.EncodeSnappy(nil, w.block)
	w.out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(packed))))
	w.out.Write(packed)
	w.block = w.block[:0]
}
