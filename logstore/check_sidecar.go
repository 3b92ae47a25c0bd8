package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// sidecarCheck walks a sidecar's rows beside the entries.
type sidecarCheck struct {
	car         *sidecar
	row         int // the next to be met
	entries     int64
	first, last uint32
	bad         string
}

func (c *checker) openSidecar(s *SegmentReport) *sidecarCheck {
	car, err := readSidecar(filepath.Join(c.Dir, indexName, s.Name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Sidecar = "none"
	case err != nil:
		s.Sidecar = err.Error()
	}
	return &sidecarCheck{car: car}
}

func (s *sidecarCheck) follow(e Entry) {
	if s.car == nil || e.Pos >= s.car.Size {
		return
	}
	if s.entries == 0 {
		s.first = e.Batch.CRC()
	}
	s.last = e.Batch.CRC()
	s.entries++
	if s.row == len(s.car.Rows) || s.car.Rows[s.row].Pos > e.Pos {
		return
	}
	if r := s.car.Rows[s.row]; r.Pos != e.Pos || r.Offset != e.Batch.BaseOffset() {
		s.bad = fmt.Sprintf("row %d is offset %d at %d, the entry is offset %d at %d", s.row, r.Offset, r.Pos, e.Batch.BaseOffset(), e.Pos)
	}
	s.row++
}

// verdict holds the sidecar against the whole segment; one of a last segment may describe less.
func (s *sidecarCheck) verdict(r *SegmentReport, last bool) string {
	switch {
	case s.bad != "":
		return s.bad
	case s.row != len(s.car.Rows):
		return fmt.Sprintf("%d of %d rows lie at an entry", s.row, len(s.car.Rows))
	case s.entries != s.car.Entries || s.car.Size > r.Size || !last && s.car.Size != r.Size:
		return fmt.Sprintf("describes %d entries in %d bytes, there are %d in %d", s.car.Entries, s.car.Size, s.entries, r.Size)
	case s.entries > 0 && (s.first != s.car.FirstCRC || s.last != s.car.LastCRC):
		return "belongs to other bytes"
	}
	return "ok"
}
