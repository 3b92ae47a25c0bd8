package logstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// indexRow says where a batch begins. A row follows the one before it by 16 KiB or more.
type indexRow struct {
	Offset int64 // base offset of the batch
	Pos    int64 // position of its entry, the length prefix, in the segment
	// MaxTimestamp is the largest of all batches of the segment before the next row, so it never
	// falls from row to row, and the first row that reaches a time holds the first batch that does.
	MaxTimestamp int64
}

// sidecar is what we know of a segment without reading it: of a sealed one, or of the part of
// the last one that lies below the recovery point.
type sidecar struct {
	BaseOffset, LastOffset int64 // LastOffset is BaseOffset-1 while there is no batch
	Size                   int64 // bytes described, from the segment's start
	Entries                int64 // in them, so the next segment's name is known
	MaxTimestamp           int64
	MaxTimestampOffset     int64  // last offset of the first batch that has it; -1 without batches
	FirstCRC, LastCRC      uint32 // CRC fields of the first and last batch, to know the segment by
	Rows                   []indexRow
	Aborted                []abortedTxn
}

// abortedTxn is an aborted transaction whose marker is in the segment (KIP-98); none are written
// before there are transactions.
type abortedTxn struct {
	ProducerID                          int64
	FirstOffset, LastOffset, LastStable int64
}

var sidecarFile = smallKind{magic: "chrindex", version: 1}

// sidecarFixed is the body before the rows: 6 numbers of 8 bytes, 2 of 4, and two counts.
const sidecarFixed = 6*8 + 2*4 + 2*4

// rowAt returns the index of the last row at or below offset, -1 when there is none.
func rowAt(rows []indexRow, offset int64) int {
	i, exact := slices.BinarySearchFunc(rows, offset, func(r indexRow, o int64) int { return cmp.Compare(r.Offset, o) })
	if exact {
		return i
	}
	return i - 1
}

// rowAtPos returns the index of the last row that begins at or before pos, -1 when there is none.
func rowAtPos(rows []indexRow, pos int64) int {
	i, exact := slices.BinarySearchFunc(rows, pos, func(r indexRow, p int64) int { return cmp.Compare(r.Pos, p) })
	if exact {
		return i
	}
	return i - 1
}

// rowAtTime returns the index of the first row whose batches, or those before it, reach ts;
// len(rows) when none does.
func rowAtTime(rows []indexRow, ts int64) int {
	i, _ := slices.BinarySearchFunc(rows, ts, func(r indexRow, t int64) int { return cmp.Compare(r.MaxTimestamp, t) })
	return i
}

// encode writes the fixed part, then the rows as differences, then the aborted transactions.
func (s *sidecar) encode() []byte {
	p := make([]byte, 0, sidecarFixed+len(s.Rows)*12+len(s.Aborted)*32)
	for _, v := range [...]int64{s.BaseOffset, s.LastOffset, s.Size, s.Entries, s.MaxTimestamp, s.MaxTimestampOffset} {
		p = binary.BigEndian.AppendUint64(p, uint64(v))
	}
	for _, v := range [...]uint32{s.FirstCRC, s.LastCRC, uint32(len(s.Rows)), uint32(len(s.Aborted))} {
		p = binary.BigEndian.AppendUint32(p, v)
	}
	last := indexRow{Offset: s.BaseOffset}
	for _, r := range s.Rows {
		p = binary.AppendUvarint(p, uint64(r.Offset-last.Offset))
		p = binary.AppendUvarint(p, uint64(r.Pos-last.Pos))
		p = binary.AppendVarint(p, r.MaxTimestamp-last.MaxTimestamp)
		last = r
	}
	for _, a := range s.Aborted {
		for _, v := range [...]int64{a.ProducerID, a.FirstOffset, a.LastOffset, a.LastStable} {
			p = binary.BigEndian.AppendUint64(p, uint64(v))
		}
	}
	return p
}

func decodeSidecar(p []byte) (*sidecar, error) {
	if len(p) < sidecarFixed {
		return nil, fmt.Errorf("%w: sidecar of %d bytes", errBadFile, len(p))
	}
	i64 := func(i int) int64 { return int64(binary.BigEndian.Uint64(p[8*i:])) }
	u32 := func(i int) uint32 { return binary.BigEndian.Uint32(p[6*8+4*i:]) }
	s := &sidecar{
		BaseOffset: i64(0), LastOffset: i64(1), Size: i64(2), Entries: i64(3), MaxTimestamp: i64(4), MaxTimestampOffset: i64(5),
		FirstCRC: u32(0), LastCRC: u32(1),
	}
	rows, aborted := int(u32(2)), int(u32(3))
	rest := p[sidecarFixed:]
	if rows > len(rest)/3 || aborted > len(rest)/32 { // a row takes 3 bytes or more
		return nil, fmt.Errorf("%w: %d rows and %d transactions in %d bytes", errBadFile, rows, aborted, len(rest))
	}
	rest, err := s.decodeRows(rest, rows)
	if err != nil {
		return nil, err
	}
	if len(rest) != 32*aborted {
		return nil, fmt.Errorf("%w: %d bytes for %d transactions", errBadFile, len(rest), aborted)
	}
	for ; len(rest) > 0; rest = rest[32:] {
		at := func(i int) int64 { return int64(binary.BigEndian.Uint64(rest[8*i:])) }
		s.Aborted = append(s.Aborted, abortedTxn{at(0), at(1), at(2), at(3)})
	}
	return s, nil
}

func (s *sidecar) decodeRows(p []byte, n int) ([]byte, error) {
	s.Rows = make([]indexRow, 0, n)
	last := indexRow{Offset: s.BaseOffset}
	for range n {
		offset, a := binary.Uvarint(p)
		pos, b := binary.Uvarint(p[max(a, 0):])
		ts, c := binary.Varint(p[max(a, 0)+max(b, 0):])
		if a <= 0 || b <= 0 || c <= 0 {
			return nil, fmt.Errorf("%w: row %d of %d", errBadFile, len(s.Rows), n)
		}
		r := indexRow{last.Offset + int64(offset), last.Pos + int64(pos), last.MaxTimestamp + ts}
		if r.Offset < last.Offset || r.Pos < last.Pos || r.Pos >= s.Size || r.Offset > s.LastOffset {
			return nil, fmt.Errorf("%w: row %d of %d outside its segment", errBadFile, len(s.Rows), n)
		}
		s.Rows, last, p = append(s.Rows, r), r, p[a+b+c:]
	}
	return p, nil
}

// write makes the sidecar durable at path. The bytes that it describes must be on disk already.
func (s *sidecar) write(path string) error { return sidecarFile.write(path, s.encode()) }

func readSidecar(path string) (*sidecar, error) {
	_, body, err := sidecarFile.read(path)
	if err != nil {
		return nil, err
	}
	s, err := decodeSidecar(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}
