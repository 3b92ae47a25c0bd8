package batch

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// stream reads compressed records as they are decompressed. err is its first
// error; left is how many bytes the record has yet.
type stream struct {
	r    *bufio.Reader
	left int64
	err  error
}

var errOutside = errors.New("field outside the record")

// ReadByte lets binary.ReadVarint read.
func (s *stream) ReadByte() (byte, error) {
	if s.left <= 0 {
		return 0, errOutside
	}
	s.left--
	return s.r.ReadByte()
}

func (s *stream) varint() int64 {
	if s.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(s)
	s.err = err
	return v
}

func (s *stream) skip(n int64) {
	if s.err != nil {
		return
	}
	if n < 0 || n > s.left {
		s.err = errOutside
		return
	}
	s.left -= n
	_, s.err = s.r.Discard(int(n))
}

// field skips bytes of that length; -1 is null.
func (s *stream) field(n int64) {
	if n != -1 {
		s.skip(n)
	}
}

// atEnd reports whether the decompressed data ends here, without damage.
func (s *stream) atEnd() bool {
	_, err := s.r.ReadByte()
	if err != nil && err != io.EOF {
		s.err = err
	}
	return err == io.EOF
}

// Decompressing costs memory by the codec's window: as many at once as there are
// processors, each with the window that its data claims, up to maxWindow. A
// decompressor with more than keptWindow is not kept.
const (
	maxWindow  = 128 << 20
	keptWindow = 8 << 20
)

var (
	decompressing = make(chan struct{}, runtime.GOMAXPROCS(0))
	streamBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 16<<10) }}
	gzipReaders   = sync.Pool{New: func() any { return new(gzip.Reader) }}
	snappyReaders = sync.Pool{New: func() any { return new(snappyReader) }}
	lz4Readers    = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
	zstdReaders   = sync.Pool{New: func() any { return newZstdReader() }}
)

func newZstdReader() *zstd.Decoder {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(err) // fixed options
	}
	return r
}

// stream calls f with src as it is decompressed, at most maxDecompressed bytes of it.
func (c Codec) stream(src []byte, f func(*stream) error) error {
	decompressing <- struct{}{}
	defer func() { <-decompressing }()
	r, done, err := c.reader(src)
	if err != nil {
		return &ErrRecord{0, fmt.Sprintf("no %s data: %v", c, err)}
	}
	defer done()
	return streamFrom(io.LimitReader(r, maxDecompressed), f)
}

// streamFrom calls f with what r reads.
func streamFrom(r io.Reader, f func(*stream) error) error {
	buf := streamBuffers.Get().(*bufio.Reader)
	buf.Reset(r)
	defer func() {
		buf.Reset(nil)
		streamBuffers.Put(buf)
	}()
	return f(&stream{r: buf})
}

// reader is a decompressor of src; done gives it back.
func (c Codec) reader(src []byte) (r io.Reader, done func(), err error) {
	in := bytes.NewReader(src)
	switch c {
	case Gzip:
		z := gzipReaders.Get().(*gzip.Reader)
		return z, func() { gzipReaders.Put(z) }, z.Reset(in)
	case Snappy:
		z := snappyReaders.Get().(*snappyReader)
		*z = snappyReader{rest: src, xerial: bytes.HasPrefix(src, xerialMagic), scratch: z.scratch}
		return z, z.free, nil
	case LZ4:
		z := lz4Readers.Get().(*lz4.Reader)
		z.Reset(in)
		return z, func() { lz4Readers.Put(z) }, nil
	case Zstd:
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return nil, nil, err
		}
		z := zstdReaders.Get().(*zstd.Decoder)
		return z, func() {
			if h.WindowSize > keptWindow {
				z.Close()
				return
			}
			zstdReaders.Put(z)
		}, z.Reset(in)
	}
	return nil, nil, ErrCodec
}

// snappyReader reads snappy data: one block, or those of xerial's framing.
type snappyReader struct {
	rest    []byte // compressed
	xerial  bool
	started bool
	block   []byte // decompressed and not read
	scratch []byte
}

func (s *snappyReader) free() {
	if s.rest, s.block = nil, nil; cap(s.scratch) <= keptWindow {
		snappyReaders.Put(s)
	}
}

func (s *snappyReader) Read(p []byte) (int, error) {
	for len(s.block) == 0 {
		src, err := s.next()
		if err != nil {
			return 0, err
		}
		n, err := s2.DecodedLen(src)
		if err != nil {
			return 0, err
		}
		if n > min(maxSnappyBlock, len(src)*snappyRatio) {
			return 0, ErrTooLarge // a claim, allocated before it is looked at
		}
		if s.block, err = s2.Decode(s.scratch, src); err != nil {
			return 0, err
		}
		s.scratch = s.block[:cap(s.block)]
	}
	n := copy(p, s.block)
	s.block = s.block[n:]
	return n, nil
}

// A snappy block is decompressed as a whole, at best to snappyRatio times its length.
const (
	maxSnappyBlock = 256 << 20
	snappyRatio    = 64
)

// next is the next compressed block.
func (s *snappyReader) next() ([]byte, error) {
	if !s.xerial {
		if s.started {
			return nil, io.EOF
		}
		s.started = true
		return s.rest, nil
	}
	if !s.started {
		s.started = true
		if len(s.rest) < xerialHeader {
			return nil, ErrShort
		}
		s.rest = s.rest[xerialHeader:]
	}
	if len(s.rest) == 0 {
		return nil, io.EOF
	}
	if len(s.rest) < 4 {
		return nil, ErrShort
	}
	n := binary.BigEndian.Uint32(s.rest)
	if uint64(n) > uint64(len(s.rest)-4) {
		return nil, ErrShort
	}
	block := s.rest[4 : 4+n]
	s.rest = s.rest[4+n:]
	return block, nil
}
