package batch

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
)

// KeySum stands for a key: 128 bits of its SHA-256.
type KeySum [16]byte

// Scanned is a record as Scan meets it.
type Scanned struct {
	Index       int
	OffsetDelta int32
	Keyed       bool
	Key         KeySum // of a keyed record
	Tombstone   bool   // it has no value
}

// Scan calls fn for each record in order, without its bytes: compressed ones pass through in
// bounded memory, whatever they decompress to. r is valid only in the call.
func (b Batch) Scan(fn func(r *Scanned)) error {
	n := int(b.NumRecords())
	return b.streamed(func(s *stream) error {
		var r Scanned
		for i := range n {
			size := s.begin()
			s.skip(1)
			s.varint()
			r.Index, r.OffsetDelta = i, int32(s.varint())
			length := s.varint()
			if r.Keyed = length != -1; r.Keyed {
				r.Key = s.sum(length)
			}
			r.Tombstone = s.varint() == -1
			if s.skip(s.left); s.err != nil || size <= 0 {
				return &ErrRecord{i, s.because("fields do not fill the record")}
			}
			fn(&r)
		}
		return s.ended(n)
	})
}

// streamed calls f with the records as they are decompressed.
func (b Batch) streamed(f func(*stream) error) error {
	if b.Codec() != None {
		return b.Codec().stream(b[HeaderLen:], f)
	}
	return streamFrom(bytes.NewReader(b[HeaderLen:]), f)
}

// begin steps over a record's length and returns it.
func (s *stream) begin() int64 {
	s.left = math.MaxInt64
	size := s.varint()
	if s.err == nil && (size < 0 || size > maxDecompressed) {
		s.err = errOutside
	}
	s.left = size
	return size
}

// sum reads a key of that length.
func (s *stream) sum(length int64) (key KeySum) {
	if s.err != nil {
		return key
	}
	if length < 0 || length > s.left {
		s.err = errOutside
		return key
	}
	var full [sha256.Size]byte
	if length <= int64(s.r.Size()) {
		p, err := s.r.Peek(int(length))
		if err != nil {
			s.err = fmt.Errorf("a key of %d bytes: %w", length, err)
			return key
		}
		full = sha256.Sum256(p)
		s.skip(length)
	} else {
		h := sha256.New()
		_, s.err = io.CopyN(h, s.r, length)
		s.left -= length
		h.Sum(full[:0])
	}
	copy(key[:], full[:])
	return key
}

// ended is the error of records that go on behind the last.
func (s *stream) ended(n int) error {
	if !s.atEnd() {
		return &ErrRecord{n, s.because("bytes behind the last record")}
	}
	return nil
}
