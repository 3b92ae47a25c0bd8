package wire

import (
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzRequest gives bytes to everything that decodes a request of a client.
func FuzzRequest(f *testing.F) {
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("fuzz"))
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		for v := range req.MaxVersion() + 1 {
			req.SetVersion(v)
			f.Add(format.AppendRequest(nil, req, 1)[4:])
		}
	}
	produce := kmsg.NewPtrProduceRequest()
	produce.Version = 12
	produce.Topics = []kmsg.ProduceRequestTopic{{Topic: "t", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: make([]byte, 70)}}}}
	f.Add(format.AppendRequest(nil, produce, 1)[4:])
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version = 17
	fetch.Topics = []kmsg.FetchRequestTopic{{TopicID: [16]byte{1}, Partitions: []kmsg.FetchRequestTopicPartition{kmsg.NewFetchRequestTopicPartition()}}}
	f.Add(format.AppendRequest(nil, fetch, 1)[4:])

	peer := PeerRequest{Kind: PeerLogEnds, Partitions: make([]PeerPartition, 3)}
	f.Add(peer.AppendFrame(nil, 1)[4:])

	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseRequestHeader(frame)
		if err != nil {
			return
		}
		switch h.Key {
		case ProduceKey:
			var q ProduceRequest
			if err := q.Decode(h.Version, body); err == nil {
				countsFit(t, len(q.Topics), len(body))
			}
		case FetchKey:
			var q FetchRequest
			if err := q.Decode(h.Version, body); err == nil {
				countsFit(t, len(q.Topics)+len(q.ForgottenTopics), len(body))
			}
		case PeerKey:
			var q PeerRequest
			if err := q.Decode(body); err == nil {
				countsFit(t, len(q.Partitions), len(body))
			}
		}
	})
}

// countsFit holds what was decoded against the bytes that it came from.
func countsFit(t *testing.T, n, bytes int) {
	if n > bytes {
		t.Errorf("%d elements out of %d bytes", n, bytes)
	}
}

// A count that claims more than there is allocates nothing.
func TestClaimsAllocateNothing(t *testing.T) {
	body := binary.BigEndian.AppendUint32([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 1<<30)
	var q ProduceRequest
	if err := q.Decode(8, body); err == nil || cap(q.Topics) > 0 {
		t.Errorf("%d topics made for a claim, %v", cap(q.Topics), err)
	}
}
