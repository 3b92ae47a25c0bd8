package wire

import "encoding/binary"

// writer appends fields to p.
type writer struct {
	p        []byte
	flexible bool
}

func (w *writer) i16(v int16) { w.p = binary.BigEndian.AppendUint16(w.p, uint16(v)) }
func (w *writer) i32(v int32) { w.p = binary.BigEndian.AppendUint32(w.p, uint32(v)) }
func (w *writer) i64(v int64) { w.p = binary.BigEndian.AppendUint64(w.p, uint64(v)) }

func (w *writer) uvarint(v int) { w.p = binary.AppendUvarint(w.p, uint64(v)) }

func (w *writer) count(n int) {
	if w.flexible {
		w.uvarint(n + 1)
	} else {
		w.i32(int32(n))
	}
}

func (w *writer) str(s []byte) {
	w.strLen(len(s))
	w.p = append(w.p, s...)
}

func (w *writer) strLen(n int) {
	if w.flexible {
		w.uvarint(n + 1)
	} else {
		w.i16(int16(n))
	}
}

// nullable writes s, or null when it is empty.
func (w *writer) nullable(s string) {
	if s == "" {
		w.strLen(-1)
		return
	}
	w.strLen(len(s))
	w.p = append(w.p, s...)
}

func (w *writer) noTags() {
	if w.flexible {
		w.p = append(w.p, 0)
	}
}
