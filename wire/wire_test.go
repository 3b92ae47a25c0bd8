package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestProduceRequestVersions(t *testing.T) {
	for v := range int16(14) {
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks, req.TimeoutMillis = v, -1, 1234
		if v >= 3 {
			req.TransactionID = new("tx")
		}
		for i := range 3 {
			rt := kmsg.NewProduceRequestTopic()
			rt.Topic, rt.TopicID = fmt.Sprint("topic-", i), [16]byte{byte(i), 1}
			for j := range 2 {
				rp := kmsg.NewProduceRequestTopicPartition()
				rp.Partition, rp.Records = int32(j), bytes.Repeat([]byte{byte(j)}, 200*i)
				rt.Partitions = append(rt.Partitions, rp)
			}
			req.Topics = append(req.Topics, rt)
		}
		body := req.AppendTo(nil)
		var got ProduceRequest
		if err := got.Decode(v, body); err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
		if got.Acks != -1 || got.TimeoutMs != 1234 || len(got.Topics) != 3 || v >= 3 && string(got.TransactionalID) != "tx" {
			t.Fatalf("version %d: %+v", v, got)
		}
		for i, gt := range got.Topics {
			if v < 13 && string(gt.Name) != req.Topics[i].Topic || v >= 13 && gt.ID != req.Topics[i].TopicID {
				t.Errorf("version %d: topic %d is %q %x", v, i, gt.Name, gt.ID)
			}
			for j, gp := range gt.Partitions {
				if gp.Index != int32(j) || !bytes.Equal(gp.Records, req.Topics[i].Partitions[j].Records) {
					t.Errorf("version %d: partition %d-%d differs", v, i, j)
				}
			}
		}
		for cut := range len(body) - 1 {
			if err := got.Decode(v, body[:cut]); !errors.Is(err, ErrShort) {
				t.Fatalf("version %d cut at %d: %v", v, cut, err)
			}
		}
	}
}

func TestProduceRequestDoesNotAllocate(t *testing.T) {
	req := kmsg.NewPtrProduceRequest()
	req.Version = 12
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = "topic"
	rt.Partitions = []kmsg.ProduceRequestTopicPartition{{Records: make([]byte, 1000)}}
	req.Topics = append(req.Topics, rt)
	body := req.AppendTo(nil)
	var q ProduceRequest
	var s ProduceResponse
	var out []byte
	if n := testing.AllocsPerRun(100, func() {
		if err := q.Decode(12, body); err != nil {
			t.Fatal(err)
		}
		s.Reset()
		s.AddTopic(q.Topics[0].Name, q.Topics[0].ID).AddPartition(0).BaseOffset = 7
		out = s.Append(out[:0], 12)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestProduceResponseVersions(t *testing.T) {
	for v := range int16(14) {
		var s ProduceResponse
		tr := s.AddTopic([]byte("a"), [16]byte{9})
		tr.AddPartition(0).BaseOffset = 77
		p := tr.AddPartition(1)
		p.ErrorCode, p.BaseOffset, p.ErrorMessage = 87, -1, "bad"
		p.RecordErrors = append(p.RecordErrors, RecordError{3, "no key"})
		tr.AddPartition(2).CurrentLeader = &LeaderAndEpoch{7, 3}
		if v >= 10 {
			s.Nodes = hintedNodes
		}
		encoded := s.Append(nil, v)
		if len(encoded) > s.Size() {
			t.Errorf("version %d: %d bytes, above Size %d", v, len(encoded), s.Size())
		}

		want := kmsg.NewPtrProduceResponse()
		want.Version = v
		wt := kmsg.NewProduceResponseTopic()
		if v >= 13 {
			wt.TopicID = [16]byte{9}
		} else {
			wt.Topic = "a"
		}
		ok, bad := kmsg.NewProduceResponseTopicPartition(), kmsg.NewProduceResponseTopicPartition()
		ok.BaseOffset = 77
		bad.Partition, bad.ErrorCode, bad.BaseOffset = 1, 87, -1
		if v >= 8 {
			bad.ErrorMessage = new("bad")
			re := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			re.RelativeOffset, re.ErrorMessage = 3, new("no key")
			bad.ErrorRecords = append(bad.ErrorRecords, re)
		}
		moved := kmsg.NewProduceResponseTopicPartition()
		moved.Partition = 2
		if v >= 10 {
			moved.CurrentLeader.LeaderID, moved.CurrentLeader.LeaderEpoch = 7, 3
			for _, n := range hintedNodes {
				want.Brokers = append(want.Brokers, kmsg.ProduceResponseBroker{NodeID: n.ID, Host: n.Host, Port: n.Port, Rack: orNull(n.Rack)})
			}
		}
		wt.Partitions = append(wt.Partitions, ok, bad, moved)
		want.Topics = append(want.Topics, wt)
		sameResponse(t, v, encoded, want)
	}
}

var hintedNodes = []Node{{7, "host-7", 9092, "east"}, {8, "host-8", 19092, ""}}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// sameResponse compares an encoded body with what kmsg makes of want.
func sameResponse(t *testing.T, version int16, encoded []byte, want kmsg.Response) {
	t.Helper()
	back, again := kmsg.ResponseForKey(want.Key()), kmsg.ResponseForKey(want.Key())
	back.SetVersion(version)
	again.SetVersion(version)
	if err := back.ReadFrom(encoded); err != nil {
		t.Fatalf("version %d: kmsg cannot read it: %v", version, err)
	}
	if err := again.ReadFrom(want.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, again) {
		t.Errorf("version %d:\n got %+v\nwant %+v", version, back, again)
	}
}

func TestFetchRequestVersions(t *testing.T) {
	for v := int16(4); v <= 18; v++ {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = v, 500, 1, 1<<20
		req.SessionID, req.SessionEpoch, req.Rack = 5, 6, "r1"
		req.ReplicaState.ID, req.ReplicaState.Epoch, req.ReplicaID = 3, 44, 3
		req.ClusterID = new("c")
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = "topic", [16]byte{1, 2}
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.LogStartOffset = 4, 99, 1<<19, 7
		rp.CurrentLeaderEpoch, rp.LastFetchedEpoch = 8, 9
		if v >= 12 {
			rp.UnknownTags.Set(FlushedEndTag, binary.BigEndian.AppendUint64(nil, 77))
			rp.UnknownTags.Set(PartitionEpochTag, binary.BigEndian.AppendUint32(nil, 5))
		}
		rt.Partitions = append(rt.Partitions, rp, rp)
		req.Topics = append(req.Topics, rt)
		ft := kmsg.NewFetchRequestForgottenTopic()
		ft.Topic, ft.TopicID, ft.Partitions = "old", [16]byte{3}, []int32{1, 2}
		req.ForgottenTopics = append(req.ForgottenTopics, ft)
		var got FetchRequest
		if err := got.Decode(v, req.AppendTo(nil)); err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
		if got.ReplicaID != 3 || got.MaxBytes != 1<<20 || got.MinBytes != 1 || len(got.Topics) != 1 {
			t.Errorf("version %d: %+v", v, got)
		}
		if v >= 7 && (got.SessionID != 5 || got.SessionEpoch != 6 || len(got.ForgottenTopics) != 1 || got.ForgottenTopics[0].Partitions[1] != 2) {
			t.Errorf("version %d: session %+v", v, got)
		}
		want := FetchPartition{Index: 4, CurrentLeaderEpoch: -1, FetchOffset: 99, LastFetchedEpoch: -1, LogStartOffset: -1, MaxBytes: 1 << 19, FlushedEnd: -1, PartitionEpoch: -1}
		if v >= 5 {
			want.LogStartOffset = 7
		}
		if v >= 9 {
			want.CurrentLeaderEpoch = 8
		}
		if v >= 12 {
			want.LastFetchedEpoch, want.FlushedEnd, want.PartitionEpoch = 9, 77, 5
		}
		if p := got.Topics[0].Partitions[1]; p != want {
			t.Errorf("version %d: partition %+v, want %+v", v, p, want)
		}
	}
}

func TestFetchResponseVersions(t *testing.T) {
	for v := int16(4); v <= 18; v++ {
		for _, size := range []int{0, 1, 126, 127, 128, 20000} {
			for _, hint := range []int{0, 127, 20000, 1 << 20} {
				fetchResponse(t, v, size, hint)
			}
		}
	}
}

func fetchResponse(t *testing.T, v int16, size, hint int) {
	t.Helper()
	records := bytes.Repeat([]byte{0xab}, size)
	var f FetchWriter
	f.Begin(nil, v, 0, 12)
	for i := range 2 {
		f.Topic([]byte{'a' + byte(i)}, [16]byte{byte(i)})
		for j := range 2 {
			h := NewFetchPartitionHeader(int32(j))
			h.HighWatermark, h.LastStableOffset, h.LogStartOffset, h.SizeHint = 10, 10, 2, hint
			h.Committed = j == 1
			h.PreferredReplica = int32(j - 1)
			n, err := f.Partition(h, func(dst []byte) ([]byte, int, error) {
				out := size / 3 * (i + j) // none, some, most
				return append(dst, records[out:]...), out, nil
			})
			if n != size || err != nil {
				t.Fatal(n, err)
			}
		}
		moved := NewFetchPartitionHeader(6)
		moved.CurrentLeader = &LeaderAndEpoch{7, 3}
		if i == 1 {
			moved.Diverging = EpochEnd{2, 9}
		}
		if _, err := f.Partition(moved, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Partition(NewFetchPartitionHeader(5), func(dst []byte) ([]byte, int, error) {
			return append(dst, 1, 2, 3), 7, errors.New("read")
		}); err == nil {
			t.Fatal("the error of a read is lost")
		}
	}
	want := kmsg.NewPtrFetchResponse()
	want.Version = v
	if v >= 7 {
		want.SessionID = 12
	}
	for i := range 2 {
		wt := kmsg.NewFetchResponseTopic()
		wt.Topic, wt.TopicID = string('a'+rune(i)), [16]byte{byte(i)}
		for j := range 2 {
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.HighWatermark, p.LastStableOffset = int32(j), 10, 10
			p.LogStartOffset, p.RecordBatches, p.PreferredReadReplica = 2, records, int32(j-1)
			if j == 1 {
				p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
			}
			wt.Partitions = append(wt.Partitions, p)
		}
		moved := kmsg.NewFetchResponseTopicPartition()
		moved.Partition, moved.HighWatermark, moved.RecordBatches = 6, -1, []byte{}
		if v >= 12 {
			moved.CurrentLeader.LeaderID, moved.CurrentLeader.LeaderEpoch = 7, 3
		}
		if v >= 12 && i == 1 {
			moved.DivergingEpoch.Epoch, moved.DivergingEpoch.EndOffset = 2, 9
		}
		wt.Partitions = append(wt.Partitions, moved)
		want.Topics = append(want.Topics, wt)
	}
	var nodes []Node
	if v >= 16 {
		nodes = hintedNodes
		for _, n := range nodes {
			want.Brokers = append(want.Brokers, kmsg.FetchResponseBroker{NodeID: n.ID, Host: n.Host, Port: n.Port, Rack: orNull(n.Rack)})
		}
	}
	sameResponse(t, v, whole(&f, nodes, 0xab), want)
}

// whole is the finished answer with what is outside put into it.
func whole(f *FetchWriter, nodes []Node, record byte) (p []byte) {
	rest, at := f.Finish(nodes), 0
	for _, o := range f.Outside() {
		p = append(p, rest[at:o.At]...)
		p = append(p, bytes.Repeat([]byte{record}, o.Size)...)
		at = o.At
	}
	return append(p, rest[at:]...)
}

// Counts of more than a byte move what follows.
func TestFetchResponseOfMany(t *testing.T) {
	var f FetchWriter
	f.Begin(nil, 16, 0, 0)
	want := kmsg.NewPtrFetchResponse()
	want.Version = 16
	for i := range 130 {
		f.Topic(nil, [16]byte{byte(i)})
		wt := kmsg.NewFetchResponseTopic()
		wt.TopicID = [16]byte{byte(i)}
		for j := range i * 2 {
			read := func(dst []byte) ([]byte, int, error) {
				if j%3 == 0 {
					return append(dst, 7), 1, nil
				}
				return append(dst, 7, 7), 0, nil
			}
			if _, err := f.Partition(NewFetchPartitionHeader(int32(j)), read); err != nil {
				t.Fatal(err)
			}
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.HighWatermark, p.RecordBatches = int32(j), -1, []byte{7, 7}
			wt.Partitions = append(wt.Partitions, p)
		}
		want.Topics = append(want.Topics, wt)
	}
	sameResponse(t, 16, whole(&f, nil, 7), want)
}

func TestRequestHeader(t *testing.T) {
	for _, c := range []struct {
		key, version int16
		tagged       bool
	}{{ProduceKey, 8, false}, {ProduceKey, 9, true}, {FetchKey, 11, false}, {FetchKey, 12, true}, {apiVersionsKey, 99, true}} {
		frame := []byte{byte(c.key >> 8), byte(c.key), byte(c.version >> 8), byte(c.version), 0, 0, 0, 42, 0, 2, 'm', 'e'}
		if c.tagged {
			frame = append(frame, 1, 5, 2, 0, 0) // one unknown tag
		}
		h, body, err := ParseRequestHeader(append(frame, "body"...))
		if err != nil || h.CorrelationID != 42 || string(h.ClientID) != "me" || string(body) != "body" {
			t.Errorf("key %d version %d: %+v, body %q, %v", c.key, c.version, h, body, err)
		}
		for cut := range len(frame) {
			if _, _, err := ParseRequestHeader(frame[:cut]); err == nil {
				t.Errorf("key %d version %d cut at %d is accepted", c.key, c.version, cut)
			}
		}
	}
	if _, _, err := ParseRequestHeader([]byte{0x7f, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("unknown key: %v", err)
	}
}

// A request of very many tiny elements is refused, and one of many does not leave its
// memory with the connection.
func TestRequestsOfManyElements(t *testing.T) {
	produce := func(topics int) []byte {
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Topics = 9, make([]kmsg.ProduceRequestTopic, topics)
		return req.AppendTo(nil)
	}
	fetch := func(topics int) []byte {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.Topics = 12, make([]kmsg.FetchRequestTopic, topics)
		return req.AppendTo(nil)
	}
	var p ProduceRequest
	var f FetchRequest
	if err := p.Decode(9, produce(maxItems+1)); !errors.Is(err, ErrShort) {
		t.Errorf("produce: %v", err)
	}
	if err := f.Decode(12, fetch(maxItems+1)); !errors.Is(err, ErrShort) {
		t.Errorf("fetch: %v", err)
	}
	for _, n := range []int{maxItems, 1} {
		if err := errors.Join(p.Decode(9, produce(n)), f.Decode(12, fetch(n))); err != nil {
			t.Fatalf("%d topics: %v", n, err)
		}
	}
	if cap(p.Topics) > keptItems || cap(f.Topics) > keptItems {
		t.Errorf("room for %d and %d topics is kept", cap(p.Topics), cap(f.Topics))
	}
}
