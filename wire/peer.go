package wire

import (
	"encoding/binary"
	"fmt"
)

// PeerKey is the request type of what brokers ask each other beside Kafka's own
// requests. No client is told of it. Version 0, flexible:
//
//	request   kind int8 | broker int32 | broker epoch int64 | wait ms int32 |
//	          about broker int32 | about broker epoch int64 | [topic id | partition int32 | tags] | tags
//	response  error int16 | broker int32 | broker epoch int64 | standing int8 |
//	          [leader epoch int32 | end int64 | flushed end int64 | state int8 | tags] | tags
const PeerKey = 20_000

// PeerKind says what a PeerRequest wants.
type PeerKind int8

// The kinds of PeerRequest.
const (
	PeerKeepAlive   PeerKind = iota // an answer within the wait, earlier when the broker stops
	PeerRefused                     // how the broker stands with About, at whose address nobody listens for the one who asks
	PeerUnreachable                 // note that About cannot be reached from the one who asks
	PeerLogEnds                     // where logs end
	PeerSilent                      // whether About has not answered for seconds, for the one who is asked
)

// PeerStanding is what a PeerResponse tells beside its errors.
type PeerStanding int8

const (
	PeerUnknown   PeerStanding = iota // nothing to tell
	PeerReached                       // About is reached in that life, at this moment
	PeerStopping                      // the one who answers is about to stop
	PeerUnreached                     // About has not answered for seconds, in that life
)

// PeerLogState is what the end of a log is worth.
type PeerLogState int8

const (
	PeerLogServes PeerLogState = iota // the log has all that it ever promised
	PeerLogFailed                     // a write or fsync failed: it is out of service until it was recovered
	PeerLogShort                      // it may lack records that were on disk or acknowledged
)

// MaxPeerPartitions bounds a PeerRequest.
const MaxPeerPartitions = 10_000

// PeerLife is a broker in one of its lives.
type PeerLife struct {
	Broker int32
	Epoch  int64
}

// PeerPartition is a partition by the id of its topic.
type PeerPartition struct {
	Topic     [16]byte
	Partition int32
}

// PeerRequest is what one broker asks another.
type PeerRequest struct {
	Kind       PeerKind
	From       PeerLife // who asks
	WaitMs     int32
	About      PeerLife
	Partitions []PeerPartition
}

// PeerLogEnd is where a log ends and in which leader epoch; -1, -1, -1 is no log.
type PeerLogEnd struct {
	LeaderEpoch int32
	End         int64
	Flushed     int64
	State       PeerLogState
}

// PeerResponse answers a PeerRequest; LogEnds are in the order of its partitions.
type PeerResponse struct {
	ErrorCode int16
	From      PeerLife // who answers
	Standing  PeerStanding
	LogEnds   []PeerLogEnd
}

// Decode reads the body of a request.
func (q *PeerRequest) Decode(body []byte) error {
	r := reader{p: body, flexible: true}
	*q = PeerRequest{Kind: PeerKind(r.i8()), From: r.life(), WaitMs: r.i32(), About: r.life()}
	n := r.count(21)
	if n > MaxPeerPartitions {
		return fmt.Errorf("%d partitions, above %d", n, MaxPeerPartitions)
	}
	q.Partitions = make([]PeerPartition, n)
	for i := range q.Partitions {
		q.Partitions[i] = PeerPartition{Topic: r.uuid(), Partition: r.i32()}
		r.tags(nil)
	}
	r.tags(nil)
	return r.err()
}

// AppendFrame appends a whole request frame.
func (q *PeerRequest) AppendFrame(dst []byte, correlationID int32) []byte {
	start := len(dst)
	w := writer{p: append(dst, 0, 0, 0, 0), flexible: true}
	w.i16(PeerKey)
	w.i16(0)
	w.i32(correlationID)
	w.i16(-1) // no client id
	w.noTags()
	w.i8(int8(q.Kind))
	w.life(q.From)
	w.i32(q.WaitMs)
	w.life(q.About)
	w.count(len(q.Partitions))
	for _, p := range q.Partitions {
		w.p = append(w.p, p.Topic[:]...)
		w.i32(p.Partition)
		w.noTags()
	}
	w.noTags()
	FinishFrame(w.p, start, 0)
	return w.p
}

// Append appends the body of a response.
func (s *PeerResponse) Append(dst []byte) []byte {
	w := writer{p: dst, flexible: true}
	w.i16(s.ErrorCode)
	w.life(s.From)
	w.i8(int8(s.Standing))
	w.count(len(s.LogEnds))
	for _, e := range s.LogEnds {
		w.i32(e.LeaderEpoch)
		w.i64(e.End)
		w.i64(e.Flushed)
		w.i8(int8(e.State))
		w.noTags()
	}
	w.noTags()
	return w.p
}

// DecodeFrame reads a response frame, without its size, to the request with a
// correlation id.
func (s *PeerResponse) DecodeFrame(frame []byte, correlationID int32) error {
	r := reader{p: frame, flexible: true}
	if id := r.i32(); id != correlationID && !r.bad {
		return fmt.Errorf("an answer to request %d, %d was due", id, correlationID)
	}
	r.tags(nil)
	*s = PeerResponse{ErrorCode: r.i16(), From: r.life(), Standing: PeerStanding(r.i8())}
	s.LogEnds = make([]PeerLogEnd, r.count(22))
	for i := range s.LogEnds {
		s.LogEnds[i] = PeerLogEnd{LeaderEpoch: r.i32(), End: r.i64(), Flushed: r.i64(), State: PeerLogState(r.i8())}
		r.tags(nil)
	}
	r.tags(nil)
	return r.err()
}

func (r *reader) life() PeerLife { return PeerLife{Broker: r.i32(), Epoch: r.i64()} }

func (w *writer) life(l PeerLife) {
	w.i32(l.Broker)
	w.i64(l.Epoch)
}

func (w *writer) i8(v int8) { w.p = append(w.p, byte(v)) }

// maxPeerFrame bounds the answer that a broker takes from another.
const maxPeerFrame = 64 + 22*MaxPeerPartitions

// PeerFrameSize reads the size of a response frame.
func PeerFrameSize(size [4]byte) (int, error) {
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxPeerFrame {
		return 0, fmt.Errorf("an answer of %d bytes", n)
	}
	return int(n), nil
}
