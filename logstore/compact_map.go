package logstore

import (
	"encoding/binary"

	"chronik/wire/batch"
)

// offsetMap is the latest offset of each key of a part of a log. Its memory is given at the start;
// what does not fit is left to the next compaction.
type offsetMap struct {
	slots []keySlot
	used  int
	most  int // keys that fit
}

// keySlot has no pointers, so a large map costs the garbage collector nothing.
type keySlot struct {
	key  batch.KeySum
	next int64 // offset+1; 0 for a free slot
}

const (
	keySlotBytes = 24
	mapLoad      = 0.9 // of the slots, so that looking on for a free one stays short
)

// newOffsetMap makes a map for so many keys, of at most so many bytes.
func newOffsetMap(keys, bytes int64) *offsetMap {
	slots := max(16, min(int64(float64(keys)/mapLoad)+1, bytes/keySlotBytes))
	return &offsetMap{slots: make([]keySlot, slots), most: int(float64(slots) * mapLoad)}
}

// find returns the slot of a key: its own, or the free one that it belongs into.
func (m *offsetMap) find(key batch.KeySum) *keySlot {
	i := int(binary.LittleEndian.Uint64(key[:]) % uint64(len(m.slots)))
	for m.slots[i].next != 0 && m.slots[i].key != key {
		if i++; i == len(m.slots) {
			i = 0
		}
	}
	return &m.slots[i]
}

// put notes a later offset of a key; false: there is no room for one more.
func (m *offsetMap) put(key batch.KeySum, offset int64) bool {
	s := m.find(key)
	if s.next == 0 {
		if m.used == m.most {
			return false
		}
		m.used++
		s.key = key
	}
	s.next = offset + 1
	return true
}

// latest is the last offset of a key, -1 when it is not in the map.
func (m *offsetMap) latest(key batch.KeySum) int64 { return m.find(key).next - 1 }
