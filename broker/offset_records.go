package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/broker/group"
	"chronik/wire/batch"
)

// The records of __consumer_offsets are Kafka's: keys of version 0 and 1 are
// committed offsets, of version 2 groups; a null value deletes.
const (
	offsetKeyVersion     = 1
	groupKeyVersion      = 2
	offsetValueVersion   = 4
	expiringValueVersion = 1 // the last that says when the offset expires
	groupValueVersion    = 3
)

// encodeAppend makes one batch of what a group wants to be written.
func encodeAppend(id string, a *group.Append, now int64) (batch.Batch, error) {
	w := recordWriter{build: batch.NewBuilder(batch.None), id: id, now: now}
	for i := range a.Offsets {
		w.offset(&a.Offsets[i])
	}
	for _, tp := range a.DeletedOffsets {
		w.add(offsetKey(id, tp.Topic, tp.Partition), nil)
	}
	if a.Metadata != nil {
		w.metadata(a.Metadata)
	}
	if a.DeletedGroup {
		w.add(groupKey(id), nil)
	}
	return w.build.Build(nil)
}

type recordWriter struct {
	build *batch.Builder
	id    string
	now   int64
}

func (w *recordWriter) add(key, value []byte) { w.build.Add(w.now, key, value) }

func offsetKey(id, topic string, partition int32) []byte {
	k := kmsg.OffsetCommitKey{Version: offsetKeyVersion, Group: id, Topic: topic, Partition: partition}
	return k.AppendTo(nil)
}

func groupKey(id string) []byte {
	k := kmsg.GroupMetadataKey{Version: groupKeyVersion, Group: id}
	return k.AppendTo(nil)
}

func (w *recordWriter) offset(o *group.OffsetRecord) {
	v := kmsg.OffsetCommitValue{
		Version: offsetValueVersion, TopicID: o.TopicID, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch,
		Metadata: o.Metadata, CommitTimestamp: o.CommitTimestamp,
	}
	if o.ExpireTimestamp >= 0 {
		v.Version, v.ExpireTimestamp = expiringValueVersion, o.ExpireTimestamp
	}
	w.add(offsetKey(w.id, o.Topic, o.Partition), v.AppendTo(nil))
}

func (w *recordWriter) metadata(m *group.MetadataRecord) {
	v := kmsg.GroupMetadataValue{
		Version: groupValueVersion, ProtocolType: m.ProtocolType, Generation: m.Generation,
		Protocol: orNull(m.Protocol), Leader: orNull(m.Leader), CurrentStateTimestamp: m.StateTimestamp,
	}
	for i := range m.Members {
		r := &m.Members[i]
		v.Members = append(v.Members, kmsg.GroupMetadataValueMember{
			MemberID: r.MemberID, InstanceID: r.InstanceID, ClientID: r.ClientID, ClientHost: r.ClientHost,
			RebalanceTimeoutMillis: r.RebalanceTimeoutMs, SessionTimeoutMillis: r.SessionTimeoutMs,
			Subscription: r.Subscription, Assignment: r.Assignment,
		})
	}
	w.add(groupKey(w.id), v.AppendTo(nil))
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// errOffsetRecord is a record of __consumer_offsets that is none.
var errOffsetRecord = errors.New("not a record of groups or offsets")

// replayRecord hands one record of __consumer_offsets to visitor. Strings of a key
// are valid in the call only.
func replayRecord(key, value []byte, to replayer) error {
	if len(key) < 2 {
		return fmt.Errorf("%w: key of %d bytes", errOffsetRecord, len(key))
	}
	switch version := int16(binary.BigEndian.Uint16(key)); version {
	case 0, offsetKeyVersion:
		return replayOffset(key, value, to)
	case groupKeyVersion:
		return replayGroup(key, value, to)
	default:
		return fmt.Errorf("%w: key of version %d", errOffsetRecord, version)
	}
}

// replayer takes what the log says. A nil record is a tombstone.
type replayer interface {
	offset(id string, record group.OffsetRecord)
	noOffset(id string, tp group.TopicPartition)
	group(id string, record *group.MetadataRecord)
}

func replayOffset(key, value []byte, to replayer) error {
	var k kmsg.OffsetCommitKey
	if err := k.UnsafeReadFrom(key); err != nil {
		return fmt.Errorf("%w: %w", errOffsetRecord, err)
	}
	if value == nil {
		to.noOffset(k.Group, group.TopicPartition{Topic: k.Topic, Partition: k.Partition})
		return nil
	}
	v := kmsg.OffsetCommitValue{LeaderEpoch: -1} // version 3 and later say it
	if err := v.ReadFrom(value); err != nil {
		return fmt.Errorf("%w: %w", errOffsetRecord, err)
	}
	r := group.OffsetRecord{
		Topic: k.Topic, TopicID: v.TopicID, Partition: k.Partition, LeaderEpoch: v.LeaderEpoch, Offset: v.Offset,
		Metadata: v.Metadata, CommitTimestamp: v.CommitTimestamp, ExpireTimestamp: -1,
	}
	if v.Version == expiringValueVersion {
		r.ExpireTimestamp = v.ExpireTimestamp
	}
	to.offset(k.Group, r)
	return nil
}

func replayGroup(key, value []byte, to replayer) error {
	var k kmsg.GroupMetadataKey
	if err := k.UnsafeReadFrom(key); err != nil {
		return fmt.Errorf("%w: %w", errOffsetRecord, err)
	}
	if value == nil {
		to.group(k.Group, nil)
		return nil
	}
	var v kmsg.GroupMetadataValue
	v.Default()
	if err := v.ReadFrom(value); err != nil {
		return fmt.Errorf("%w: %w", errOffsetRecord, err)
	}
	m := &group.MetadataRecord{
		ProtocolType: v.ProtocolType, Generation: v.Generation, Protocol: orEmpty(v.Protocol),
		Leader: orEmpty(v.Leader), StateTimestamp: v.CurrentStateTimestamp,
	}
	for i := range v.Members {
		r := &v.Members[i]
		m.Members = append(m.Members, group.MemberRecord{
			MemberID: r.MemberID, InstanceID: r.InstanceID, ClientID: r.ClientID, ClientHost: r.ClientHost,
			RebalanceTimeoutMs: r.RebalanceTimeoutMillis, SessionTimeoutMs: r.SessionTimeoutMillis,
			Subscription: append([]byte(nil), r.Subscription...), Assignment: append([]byte(nil), r.Assignment...),
		})
	}
	to.group(k.Group, m)
	return nil
}

// interned keeps one copy of each string.
type interned map[string]string

func (in interned) keep(s string) string {
	if kept, ok := in[s]; ok {
		return kept
	}
	s = strings.Clone(s)
	in[s] = s
	return s
}
