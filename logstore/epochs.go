package logstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// epochStart is the first offset written in a leader epoch.
type epochStart struct {
	Epoch int32
	Start int64
}

// epochs are the leader epochs of one log with their start offsets, both strictly growing
// (KIP-101, KIP-279). It is pure: the log guards it and writes it down. Changing methods say
// whether anything changed.
type epochs struct{ list []epochStart }

var epochsFile = smallKind{magic: "chrepoch", version: 1}

// last returns the newest epoch with records, -1 when there is none.
func (e *epochs) last() int32 {
	if len(e.list) == 0 {
		return -1
	}
	return e.list[len(e.list)-1].Epoch
}

// assign notes that epoch begins at start. What it knew at or above either of them is replaced:
// those offsets were truncated away, or never written.
func (e *epochs) assign(epoch int32, start int64) bool {
	if n := len(e.list); n > 0 && e.list[n-1].Epoch == epoch && e.list[n-1].Start <= start {
		return false
	}
	keep := len(e.list)
	for keep > 0 && (e.list[keep-1].Epoch >= epoch || e.list[keep-1].Start >= start) {
		keep--
	}
	e.list = append(e.list[:keep], epochStart{epoch, start})
	return true
}

// endFor answers OffsetForLeaderEpoch (KIP-320): the largest epoch at or below the asked one and
// its end, which is the start of the next epoch, or the log end for the newest. An epoch older
// than all that is known ends where the first known one starts; an unknown newer one is -1, -1.
func (e *epochs) endFor(epoch int32, logEnd int64) (found int32, end int64) {
	if epoch < 0 || epoch > e.last() {
		return -1, -1
	}
	if epoch == e.last() {
		return epoch, logEnd
	}
	next := e.after(epoch)
	if next == 0 {
		return epoch, e.list[0].Start
	}
	return e.list[next-1].Epoch, e.list[next].Start
}

// at returns the epoch of the record at offset, -1 when it lies before all that is known.
func (e *epochs) at(offset int64) int32 {
	i, exact := slices.BinarySearchFunc(e.list, offset, func(s epochStart, o int64) int { return cmp.Compare(s.Start, o) })
	switch {
	case exact:
		return e.list[i].Epoch
	case i == 0:
		return -1
	}
	return e.list[i-1].Epoch
}

// truncateEnd forgets epochs that begin at or above end, for a log cut to end.
func (e *epochs) truncateEnd(end int64) bool {
	keep := len(e.list)
	for keep > 0 && e.list[keep-1].Start >= end {
		keep--
	}
	changed := keep < len(e.list)
	e.list = e.list[:keep]
	return changed
}

// truncateStart forgets epochs that end at or below start, for a log that now begins there. The
// one that start lies in begins at start.
func (e *epochs) truncateStart(start int64) bool {
	i, exact := slices.BinarySearchFunc(e.list, start, func(s epochStart, o int64) int { return cmp.Compare(s.Start, o) })
	if !exact {
		i--
	}
	if i < 0 || i == 0 && exact {
		return false
	}
	e.list = slices.Delete(e.list, 0, i)
	e.list[0].Start = start
	return true
}

// after returns the index of the first entry above epoch.
func (e *epochs) after(epoch int32) int {
	i, _ := slices.BinarySearchFunc(e.list, epoch, func(s epochStart, x int32) int {
		if s.Epoch <= x {
			return -1
		}
		return 1
	})
	return i
}

func (e *epochs) encode() []byte {
	p := make([]byte, 0, 12*len(e.list))
	for _, s := range e.list {
		p = binary.BigEndian.AppendUint32(p, uint32(s.Epoch))
		p = binary.BigEndian.AppendUint64(p, uint64(s.Start))
	}
	return p
}

func decodeEpochs(p []byte) (epochs, error) {
	if len(p)%12 != 0 {
		return epochs{}, fmt.Errorf("%w: epochs of %d bytes", errBadFile, len(p))
	}
	e := epochs{list: make([]epochStart, 0, len(p)/12)}
	lastEpoch, lastStart := int32(-1), int64(-1)
	for ; len(p) > 0; p = p[12:] {
		s := epochStart{int32(binary.BigEndian.Uint32(p)), int64(binary.BigEndian.Uint64(p[4:]))}
		if s.Epoch <= lastEpoch || s.Start <= lastStart {
			return epochs{}, fmt.Errorf("%w: epoch %d at %d follows %d at %d", errBadFile, s.Epoch, s.Start, lastEpoch, lastStart)
		}
		lastEpoch, lastStart = s.Epoch, s.Start
		e.list = append(e.list, s)
	}
	return e, nil
}
