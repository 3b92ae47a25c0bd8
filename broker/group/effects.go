package group

// An Effect is what the shell must do: Reply or Append, in their order.
type Effect interface{ effect() }

// Reply answers the request that carried Token.
type Reply struct {
	Token    any
	Response Response
}

// Append is to be written to the group's partition of __consumer_offsets, as one batch, after
// all Appends before it. The shell tells the outcome by Appended with the same Seq, once.
// The group keeps the slices: nobody may change them.
type Append struct {
	Seq            uint64
	Offsets        []OffsetRecord
	DeletedOffsets []TopicPartition // tombstones
	Metadata       *MetadataRecord
	DeletedGroup   bool // tombstone of the metadata, after those of the offsets
}

func (Reply) effect()  {}
func (Append) effect() {}

// A Response answers a request. An Err is nil or a *kerr.Error.
type Response interface{ response() }

// JoinResponse answers Join. Generation is -1 with an error. Nil strings are nulls for versions
// that have them, else empty.
type JoinResponse struct {
	Err            error
	MemberID       string
	Generation     int32
	ProtocolType   *string
	Protocol       *string
	Leader         string
	SkipAssignment bool
	Members        []JoinMember // for the leader only
}

// JoinMember is what the leader learns of a member: its metadata for the chosen protocol.
type JoinMember struct {
	MemberID   string
	InstanceID *string
	Metadata   []byte
}

// SyncResponse answers Sync.
type SyncResponse struct {
	Err          error
	ProtocolType *string
	Protocol     *string
	Assignment   []byte
}

// HeartbeatResponse answers Heartbeat.
type HeartbeatResponse struct{ Err error }

// LeaveResponse answers Leave: Err for the whole request, or Errs with one entry (nil: left)
// for each of the request's members, in their order.
type LeaveResponse struct {
	Err  error
	Errs []error
}

// CommitResponse answers Commit: Err for all offsets, else Errs with one entry for each of the
// request's offsets, in their order; nil when all are committed.
type CommitResponse struct {
	Err  error
	Errs []error
}

// DeleteOffsetsResponse answers DeleteOffsets: Err for the whole request, else Errs with one entry
// for each of the request's partitions, in their order; nil when all are deleted.
type DeleteOffsetsResponse struct {
	Err  error
	Errs []error
}

// DeleteResponse answers Delete.
type DeleteResponse struct{ Err error }

func (JoinResponse) response()          {}
func (SyncResponse) response()          {}
func (HeartbeatResponse) response()     {}
func (LeaveResponse) response()         {}
func (CommitResponse) response()        {}
func (DeleteOffsetsResponse) response() {}
func (DeleteResponse) response()        {}
