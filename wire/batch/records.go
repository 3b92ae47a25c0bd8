package batch

import (
	"encoding/binary"
	"fmt"
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte // nil is null
}

// Record is one record of a batch. Nil keys and values are null.
type Record struct {
	OffsetDelta    int32
	TimestampDelta int64
	Key, Value     []byte
	Headers        []Header
}

// ErrRecord says which record of a batch breaks the format, and how.
type ErrRecord struct {
	Index  int
	Reason string
}

func (e *ErrRecord) Error() string { return fmt.Sprintf("record %d: %s", e.Index, e.Reason) }

// maxDecompressed bounds what one batch may decompress to.
const maxDecompressed = 1 << 30

// cursor reads fields off the front of p; bad is set at the first that does not fit.
type cursor struct {
	p   []byte
	bad bool
}

func (c *cursor) varint() int64 {
	v, w := binary.Varint(c.p)
	if w <= 0 {
		c.bad, c.p = true, nil
		return 0
	}
	c.p = c.p[w:]
	return v
}

func (c *cursor) take(n int64) []byte {
	if n < 0 || n > int64(len(c.p)) {
		c.bad, c.p = true, nil
		return nil
	}
	v := c.p[:n:n]
	c.p = c.p[n:]
	return v
}

// field reads bytes with a length before them; -1 is null.
func (c *cursor) field() []byte {
	n := c.varint()
	if n == -1 {
		return nil
	}
	return c.take(n)
}

// Records calls fn for each record in order; r is valid only in the call. It
// decompresses where needed.
func (b Batch) Records(fn func(i int, r *Record) error) error {
	data := []byte(b[HeaderLen:])
	if b.Codec() != None {
		var err error
		if data, err = b.Codec().Decompress(nil, data, maxDecompressed); err != nil {
			return fmt.Errorf("decompress %s records: %w", b.Codec(), err)
		}
	}
	c := cursor{p: data}
	var r Record
	for i := range int(b.NumRecords()) {
		rc := cursor{p: c.take(c.varint())}
		if c.bad {
			return &ErrRecord{i, "length outside the batch"}
		}
		if !rc.record(&r) {
			return &ErrRecord{i, "fields do not fill the record"}
		}
		if err := fn(i, &r); err != nil {
			return err
		}
	}
	if len(c.p) > 0 {
		return &ErrRecord{int(b.NumRecords()), "bytes behind the last record"}
	}
	return nil
}

func (c *cursor) record(r *Record) bool {
	c.take(1)
	r.TimestampDelta = c.varint()
	r.OffsetDelta = int32(c.varint())
	r.Key, r.Value = c.field(), c.field()
	r.Headers = r.Headers[:0]
	n := c.varint()
	if n < 0 || n > int64(len(c.p)) {
		return false
	}
	for range n {
		key := c.take(c.varint())
		r.Headers = append(r.Headers, Header{Key: string(key), Value: c.field()})
	}
	return !c.bad && len(c.p) == 0
}
