package meta

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// EncodeID is the text form of an id, as Kafka prints it: 22 characters.
func EncodeID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// DecodeID reads the text form of an id.
func DecodeID(text string) (id [16]byte, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("no id: %.40q", text)
	}
	return [16]byte(raw), nil
}

// NewID returns a random id. None begins with '-' in its text form: tools take
// such a word for a flag.
func NewID() (id [16]byte) {
	for {
		rand.Read(id[:])
		if EncodeID(id)[0] != '-' {
			return id
		}
	}
}
