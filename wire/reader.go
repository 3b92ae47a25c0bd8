package wire

import (
	"encoding/binary"
	"errors"
)

// ErrShort means that a field does not fit into the bytes that remain.
var ErrShort = errors.New("request is cut off or has an impossible length")

// reader takes fields off the front of p. After the first that does not fit, bad
// is set and everything reads as zero.
type reader struct {
	p        []byte
	flexible bool
	bad      bool
	items    int // elements of arrays so far
}

// maxItems bounds the elements of all arrays of a request: one of three bytes
// takes twenty times as much memory. A request with more than keptItems leaves
// its slices to the collector.
const (
	maxItems  = 1 << 17
	keptItems = 256
)

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.p) {
		r.bad, r.p = true, nil
		return nil
	}
	v := r.p[:n:n]
	r.p = r.p[n:]
	return v
}

func (r *reader) i16() int16 {
	if v := r.take(2); v != nil {
		return int16(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (r *reader) i32() int32 {
	if v := r.take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

func (r *reader) i64() int64 {
	if v := r.take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

func (r *reader) i8() int8 {
	if v := r.take(1); v != nil {
		return int8(v[0])
	}
	return 0
}

func (r *reader) uuid() (id [16]byte) {
	copy(id[:], r.take(16))
	return id
}

func (r *reader) uvarint() int {
	v, n := binary.Uvarint(r.p)
	if n <= 0 || v > 1<<31-1 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return int(v)
}

// str reads a nullable string; nil is null.
func (r *reader) str() []byte {
	var n int
	if r.flexible {
		n = r.uvarint() - 1
	} else {
		n = int(r.i16())
	}
	if n == -1 || r.bad {
		return nil
	}
	return r.take(n)
}

// bytes reads nullable bytes; nil is null.
func (r *reader) bytes() []byte {
	var n int
	if r.flexible {
		n = r.uvarint() - 1
	} else {
		n = int(r.i32())
	}
	if n == -1 || r.bad {
		return nil
	}
	return r.take(n)
}

// count reads the length of an array whose elements take at least each bytes.
// Null counts as empty.
func (r *reader) count(each int) int {
	var n int
	if r.flexible {
		n = r.uvarint() - 1
	} else {
		n = int(r.i32())
	}
	if n == -1 || r.bad {
		return 0
	}
	if n < 0 || n > len(r.p)/each || n > maxItems-r.items {
		r.bad, r.p = true, nil
		return 0
	}
	r.items += n
	return n
}

// tags reads a tag section in flexible versions. Known ones are given to f, if
// there is one; others are skipped.
func (r *reader) tags(f func(tag int, field *reader)) {
	if !r.flexible {
		return
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		tag := r.uvarint()
		field := reader{p: r.take(r.uvarint()), flexible: true}
		if f != nil && !r.bad {
			f(tag, &field)
			r.bad = r.bad || field.bad
		}
	}
}

func (r *reader) err() error {
	if r.bad {
		return ErrShort
	}
	return nil
}
