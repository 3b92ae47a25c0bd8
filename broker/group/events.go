package group

import "time"

// An Event is what a Group is told: a request, the log's answer, the time, the loss of leadership.
// A request carries a Token, never nil, that comes back in its Reply; the group does not look at it.
type Event interface{ event() }

// Join is a JoinGroup request.
type Join struct {
	Token            any
	MemberID         string  // empty: a new member
	InstanceID       *string // nil: a dynamic member
	NewMemberID      string  // given to the member if it needs an id
	ClientID         string
	ClientHost       string
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration // version 0 has none: the session timeout
	ProtocolType     string
	Protocols        []Protocol // in the order of the member's preference

	RequireKnownMember bool // version 4 and later: a new dynamic member is sent away with an id first (KIP-394)
	SkipAssignment     bool // version 9 and later: a returning static leader is told to skip the assignment (KIP-814)
}

// A Protocol is one assignor that a member supports, and the member's metadata for it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Sync is a SyncGroup request.
type Sync struct {
	Token            any
	MemberID         string
	InstanceID       *string
	Generation       int32
	ProtocolType     *string // nil: not said
	Protocol         *string
	ProtocolRequired bool // version 5 and later: both must be said (KIP-559)
	Assignments      []Assignment
}

// An Assignment is what the leader gives to one member.
type Assignment struct {
	MemberID   string
	Assignment []byte
}

// Heartbeat is a Heartbeat request.
type Heartbeat struct {
	Token      any
	MemberID   string
	InstanceID *string
	Generation int32
}

// Leave is a LeaveGroup request; before version 3 it has one member.
type Leave struct {
	Token   any
	Members []LeavingMember
}

// A LeavingMember is named by its member id, or by its instance id with an empty member id.
type LeavingMember struct {
	MemberID   string
	InstanceID *string
}

// Commit is an OffsetCommit request.
type Commit struct {
	Token         any
	MemberID      string
	InstanceID    *string
	Generation    int32 // -1: not a member
	RetentionMs   int64 // versions 2 to 4; -1: the setting's
	GroupNotFound bool  // version 9 and later: an unknown group is GROUP_ID_NOT_FOUND, not ILLEGAL_GENERATION
	Offsets       []CommittedOffset
}

// A CommittedOffset is one partition of a Commit.
type CommittedOffset struct {
	Topic       string
	TopicID     [16]byte
	Partition   int32
	LeaderEpoch int32 // -1: not known
	Offset      int64
	Metadata    string
}

// DeleteOffsets is an OffsetDelete request.
type DeleteOffsets struct {
	Token      any
	Partitions []TopicPartition
}

// Delete is this group's part of a DeleteGroups request.
type Delete struct{ Token any }

// TopicDeleted says that a topic exists no more: its offsets go. Those of another topic
// of this name stay.
type TopicDeleted struct {
	Topic string
	ID    [16]byte
}

// Tick says that Deadline has come.
type Tick struct{}

// Appended is the log's answer to the Append with this Seq: committed, or Err.
type Appended struct {
	Seq uint64
	Err error
}

// Resign says that this broker is no longer the coordinator: every waiting request is answered
// with NOT_COORDINATOR and the group holds nothing any more.
type Resign struct{}

// A TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

func (Join) event()          {}
func (Sync) event()          {}
func (Heartbeat) event()     {}
func (Leave) event()         {}
func (Commit) event()        {}
func (DeleteOffsets) event() {}
func (Delete) event()        {}
func (TopicDeleted) event()  {}
func (Tick) event()          {}
func (Appended) event()      {}
func (Resign) event()        {}
