//go:build parity

package parity

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// written writes down all records of a group in the topic of offsets.
func (s *script) written(group string) {
	s.step++
	all := s.logged(group)
	for n, r := range all {
		s.tree.groupRecord(fmt.Sprintf("%d.record %d.", s.step, n), r)
	}
	s.tree.add(fmt.Sprintf("%d.records", s.step), fmt.Sprint(len(all)))
}

// ends says whether the last record of a group is that of a generation without members.
func (s *script) ends(group string) bool {
	all := s.logged(group)
	if len(all) == 0 {
		return false
	}
	last := all[len(all)-1]
	var v kmsg.GroupMetadataValue
	return last.Key[1] == 2 && v.ReadFrom(last.Value) == nil && len(v.Members) == 0
}

// logged are the records of a group in the topic of offsets.
func (s *script) logged(group string) (found []kmsg.Record) {
	topic := s.quiet(metadata(false, offsetsTopic)).(*kmsg.MetadataResponse).Topics[0]
	s.ids[offsetsTopic] = topic.TopicID
	partition := javaHash(group) % int32(len(topic.Partitions))
	fetched := s.quiet(s.fetch(offsetsTopic, max(partition, -partition), 0)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	s.check(kerr.ErrorForCode(fetched.ErrorCode))
	all, err := records(fetched.RecordBatches)
	s.check(err)
	for _, r := range all {
		if strings.Contains(string(r.Key), group) && !begins(r) {
			found = append(found, r)
		}
	}
	return found
}

// begins says whether a record is that of a group before its first generation, which
// only Kafka writes.
func begins(r kmsg.Record) bool {
	if len(r.Key) < 2 || r.Key[1] != 2 || r.Value == nil {
		return false
	}
	var v kmsg.GroupMetadataValue
	return v.ReadFrom(r.Value) == nil && v.Generation == 0 && len(v.Members) == 0
}

// javaHash is String.hashCode of an ASCII text.
func javaHash(text string) (h int32) {
	for _, c := range []byte(text) {
		h = 31*h + int32(c)
	}
	return h
}

// records are those of all whole batches, which are not compressed.
func records(raw []byte) (all []kmsg.Record, err error) {
	for len(raw) > 12 {
		n := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		if n > len(raw) {
			return all, nil
		}
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw[:n]); err != nil {
			return nil, err
		}
		for raw := b.Records; len(raw) > 0; {
			length, prefix := binary.Varint(raw)
			if prefix <= 0 || length < 0 || length > int64(len(raw)-prefix) {
				return nil, fmt.Errorf("a record of %d bytes", length)
			}
			var r kmsg.Record
			if err := r.ReadFrom(raw[:prefix+int(length)]); err != nil {
				return nil, err
			}
			all, raw = append(all, r), raw[prefix+int(length):]
		}
		raw = raw[n:]
	}
	return all, nil
}

// readable is what kmsg has for keys and values.
type readable interface {
	ReadFrom(src []byte) error
	AppendTo(dst []byte) []byte
}

// groupRecord adds a record about offsets or members.
func (t *tree) groupRecord(path string, r kmsg.Record) {
	var key, value readable = &kmsg.OffsetCommitKey{}, &kmsg.OffsetCommitValue{}
	if len(r.Key) > 1 && r.Key[1] == 2 {
		key, value = &kmsg.GroupMetadataKey{}, &kmsg.GroupMetadataValue{}
	}
	t.seen = map[string]int{}
	t.encoded(path+"Key.", key, r.Key)
	t.add(path+"Headers", fmt.Sprint(len(r.Headers)))
	if r.Value == nil {
		t.add(path+"Value", "null")
		return
	}
	t.encoded(path+"Value.", value, r.Value)
}

// encoded adds a key or a value with its version.
func (t *tree) encoded(path string, to readable, raw []byte) {
	if err := to.ReadFrom(raw); err != nil {
		t.add(path+"outcome", "undecodable: "+err.Error())
		return
	}
	if again := to.AppendTo(nil); string(again) != string(raw) {
		t.add(path+"encoding", fmt.Sprintf("%+d bytes", len(raw)-len(again)))
	}
	v := reflect.ValueOf(to).Elem()
	t.add(path+"Version", fmt.Sprint(v.FieldByName("Version").Interface()))
	t.fields(path, v)
}
