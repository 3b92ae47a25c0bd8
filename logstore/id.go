package logstore

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// An ID names a partition log: by topic id, so that no topic name is ever part of a path, and a
// topic deleted and created again never sees old records.
type ID struct {
	Topic     [16]byte
	Partition int32
}

// String returns the name of the log's directory: the topic id in base64url (22 characters), a
// dash, the partition.
func (id ID) String() string {
	return base64.RawURLEncoding.EncodeToString(id.Topic[:]) + "-" + strconv.Itoa(int(id.Partition))
}

// ParseID reads what String writes; nothing else is an ID.
func ParseID(s string) (id ID, ok bool) {
	if len(s) < 24 || s[22] != '-' {
		return ID{}, false
	}
	topic, err := base64.RawURLEncoding.Strict().DecodeString(s[:22])
	if err != nil || len(topic) != 16 {
		return ID{}, false
	}
	n, err := strconv.ParseUint(s[23:], 10, 31)
	if err != nil || strings.HasPrefix(s[23:], "0") && len(s) > 24 {
		return ID{}, false
	}
	return ID{Topic: [16]byte(topic), Partition: int32(n)}, true
}
