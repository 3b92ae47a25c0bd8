package chaos

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// payloadLen is the length of a record's value: Value, filling, checksum.
const payloadLen = 100

// Encode is the record value that carries v: it says whether it is whole.
func (v Value) Encode() []byte {
	p := make([]byte, payloadLen)
	binary.BigEndian.PutUint32(p, v.Writer)
	binary.BigEndian.PutUint32(p[4:], v.Seq)
	for i := 8; i < payloadLen-4; i++ {
		p[i] = byte(v.Seq) + byte(i)
	}
	binary.BigEndian.PutUint32(p[payloadLen-4:], crc32.ChecksumIEEE(p[:payloadLen-4]))
	return p
}

// Decode reads a record value; whole says whether it is as Encode made it.
func Decode(p []byte) (v Value, whole bool) {
	if len(p) >= 8 {
		v = Value{binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])}
	}
	return v, bytes.Equal(p, v.Encode())
}
