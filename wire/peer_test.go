package wire

import (
	"encoding/binary"
	"reflect"
	"testing"
)

func TestPeerRoundTrip(t *testing.T) {
	q := PeerRequest{
		Kind: PeerLogEnds, From: PeerLife{1, 1 << 40}, WaitMs: 1000, About: PeerLife{3, 77},
		Partitions: []PeerPartition{{[16]byte{1, 2}, 5}, {[16]byte{15: 9}, 1 << 20}},
	}
	frame := q.AppendFrame([]byte("before"), 42)[len("before"):]
	if size := binary.BigEndian.Uint32(frame); int(size) != len(frame)-4 {
		t.Errorf("size %d of %d bytes", size, len(frame))
	}
	h, body, err := ParseRequestHeader(frame[4:])
	if err != nil || h.Key != PeerKey || h.Version != 0 || h.CorrelationID != 42 {
		t.Fatalf("header %+v, %v", h, err)
	}
	var got PeerRequest
	if err := got.Decode(body); err != nil || !reflect.DeepEqual(got, q) {
		t.Errorf("request %+v, %v", got, err)
	}
	for n := range len(body) {
		if err := got.Decode(body[:n]); err == nil {
			t.Errorf("%d of %d bytes pass for a request", n, len(body))
		}
	}

	s := PeerResponse{ErrorCode: 3, From: PeerLife{2, 99}, Standing: PeerStopping, LogEnds: []PeerLogEnd{{4, 1000, 900, PeerLogFailed}, {-1, -1, -1, PeerLogServes}}}
	answer := s.Append(AppendResponseHeader(nil, h, true))
	var back PeerResponse
	if err := back.DecodeFrame(answer, 42); err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("response %+v, %v", back, err)
	}
	if err := back.DecodeFrame(answer, 41); err == nil {
		t.Error("an answer to another request is taken")
	}
	for n := range len(answer) {
		if err := back.DecodeFrame(answer[:n], 42); err == nil {
			t.Errorf("%d of %d bytes pass for a response", n, len(answer))
		}
	}
}

func TestPeerBounds(t *testing.T) {
	q := PeerRequest{Partitions: make([]PeerPartition, MaxPeerPartitions+1)}
	_, body, err := ParseRequestHeader(q.AppendFrame(nil, 1)[4:])
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Decode(body); err == nil {
		t.Error("too many partitions are taken")
	}
	largest := PeerResponse{LogEnds: make([]PeerLogEnd, MaxPeerPartitions)}
	n := len(largest.Append(AppendResponseHeader(nil, RequestHeader{Key: PeerKey}, true)))
	for size, fits := range map[int]bool{n: true, 0: false, 3: false, maxPeerFrame + 1: false, 1<<32 - 1: false} {
		var head [4]byte
		binary.BigEndian.PutUint32(head[:], uint32(size))
		if got, err := PeerFrameSize(head); (err == nil) != fits || fits && got != size {
			t.Errorf("size %d: %d, %v", size, got, err)
		}
	}
}
