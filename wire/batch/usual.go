package batch

import "encoding/binary"

// usual walks over the plain records at the front that are as producers mostly write them:
// no headers, numbers of at most three bytes. It takes only what record would take, at a
// fraction of the time, and leaves the rest: it returns the index of the first that it did
// not take, and the bytes from there on.
func (w *walk) usual(rest []byte, i, n int) (int, []byte) {
	const front = 3 + 1 + 3 + 3 + 3 + 1 // of length, attributes, time, offset and key, and what short looks at
	least, most, keyless := w.sum.MinTimestamp, w.sum.MaxTimestamp, false
	for i < n && len(rest) >= front {
		size, width := short(rest)
		at := width + 1
		time, timeWidth := short(rest[at:])
		at += timeWidth
		delta, deltaWidth := short(rest[at:])
		at += deltaWidth
		key, keyWidth := short(rest[at:])
		at += keyWidth
		end := width + int(size>>1)
		if width*timeWidth*deltaWidth*keyWidth == 0 || delta != uint32(2*i) || size&1 != 0 || end > len(rest) {
			break
		}
		if key != null {
			if at += int(key >> 1); key&1 != 0 {
				break
			}
		}
		if at+4 > len(rest) {
			break
		}
		value, valueWidth := short(rest[at:])
		if at += valueWidth; value != null {
			at += int(value >> 1)
		}
		if valueWidth == 0 || value&1 != 0 && value != null || at+1 != end || rest[at] != 0 {
			break
		}
		keyless = keyless || key == null
		if ts := w.base + (int64(time>>1) ^ -int64(time&1)); ts != -1 {
			least, most = min(least, ts), max(most, ts)
		}
		rest = rest[end:]
		i++
	}
	w.sum = Summary{least, most, w.sum.Keyless || keyless}
	return i, rest
}

// null is the length of what is null, as short reads it.
const null = 1

// short reads a varint of one to three bytes at the front of at least four, without
// undoing its zigzag; the width is 0 if it is longer.
func short(p []byte) (v uint32, width int) {
	v = binary.LittleEndian.Uint32(p)
	switch {
	case v&0x80 == 0:
		return v & 0x7f, 1
	case v&0x8000 == 0:
		return v&0x7f | v>>1&0x3f80, 2
	case v&0x800000 == 0:
		return v&0x7f | v>>1&0x3f80 | v>>2&0x1fc000, 3
	}
	return 0, 0
}
