package wire

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The keys that are treated by hand.
const (
	ProduceKey     = 0
	FetchKey       = 1
	apiVersionsKey = 18
)

// ErrUnknownKey means a request type that Kafka does not have.
var ErrUnknownKey = errors.New("unknown request key")

// RequestHeader is the header of a request, versions 1 and 2.
type RequestHeader struct {
	Key, Version  int16
	CorrelationID int32
	ClientID      []byte // lies in the frame; nil is null
}

// flexibleFrom is the first flexible version of each key: kmsg's knowledge, and our own key.
var flexibleFrom = func() map[int16]int16 {
	from := map[int16]int16{PeerKey: 0}
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		from[key] = math.MaxInt16
		for v := range req.MaxVersion() + 1 {
			if req.SetVersion(v); req.IsFlexible() {
				from[key] = v
				break
			}
		}
	}
	return from
}()

// ParseRequestHeader splits a frame (without its size) into header and body. A
// version above those we know has the newest header.
func ParseRequestHeader(frame []byte) (h RequestHeader, body []byte, err error) {
	r := reader{p: frame}
	h.Key, h.Version, h.CorrelationID = r.i16(), r.i16(), r.i32()
	from, ok := flexibleFrom[h.Key]
	if !r.bad && !ok {
		return h, nil, ErrUnknownKey
	}
	h.ClientID = r.str()
	r.flexible = h.Version >= from
	r.tags(nil)
	return h, r.p, r.err()
}

// AppendResponseHeader begins a response after its 4-byte size.
func AppendResponseHeader(dst []byte, h RequestHeader, flexible bool) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CorrelationID))
	if flexible && h.Key != apiVersionsKey {
		dst = append(dst, 0)
	}
	return dst
}

// FinishFrame fills in the size of the frame that begins at start and ends with buf; outside are bytes
// of it that are kept elsewhere.
func FinishFrame(buf []byte, start, outside int) {
	binary.BigEndian.PutUint32(buf[start:], uint32(len(buf)-start-4+outside))
}
