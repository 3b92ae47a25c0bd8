package group

// OffsetRecord is a committed offset, as the log keeps it and queries show it.
type OffsetRecord struct {
	Topic           string
	TopicID         [16]byte // zero: not known
	Partition       int32
	LeaderEpoch     int32 // -1: not known
	Offset          int64
	Metadata        string
	CommitTimestamp int64 // milliseconds
	ExpireTimestamp int64 // -1: by the setting; else the commit said how long (needs record version 1)
}

// MetadataRecord is a generation of the group, as the log keeps it.
type MetadataRecord struct {
	ProtocolType   string // empty: none
	Generation     int32
	Protocol       string // empty: null
	Leader         string // empty: null
	StateTimestamp int64  // milliseconds; -1: not known
	Members        []MemberRecord
}

// MemberRecord is a member in a MetadataRecord.
type MemberRecord struct {
	MemberID           string
	InstanceID         *string
	ClientID           string
	ClientHost         string
	RebalanceTimeoutMs int32 // -1 in old records: the session timeout
	SessionTimeoutMs   int32
	Subscription       []byte
	Assignment         []byte
}
