//go:build parity

package parity

import (
	"bytes"
	"compress/gzip"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Codecs as the low bits of a batch's attributes.
const (
	codecGzip = 1 + iota
	codecSnappy
	codecLZ4
	codecZstd
)

// packed is a batch whose records are compressed.
func packed(b *kmsg.RecordBatch, codec int16) *kmsg.RecordBatch {
	var out bytes.Buffer
	switch codec {
	case codecGzip:
		w := gzip.NewWriter(&out)
		must(w.Write(b.Records))
		must(0, w.Close())
	case codecSnappy:
		out.Write(s2.EncodeSnappy(nil, b.Records))
	case codecLZ4:
		w := lz4.NewWriter(&out)
		must(w.Write(b.Records))
		must(0, w.Close())
	case codecZstd:
		w, err := zstd.NewWriter(nil)
		must(0, err)
		out.Write(w.EncodeAll(b.Records, nil))
	}
	b.Records, b.Attributes = out.Bytes(), b.Attributes|codec
	return b
}

func must(_ int, err error) {
	if err != nil {
		panic(err)
	}
}

func gzipped(b *kmsg.RecordBatch) *kmsg.RecordBatch { return packed(b, codecGzip) }

// put produces to partition 0 and looks at all that is there then.
func (s *script) put(topic string, records []byte) {
	s.ask(s.produce(topic, 0, records))
	s.look(s.fetch(topic, 0, 0))
}

// several joins Produce requests for one partition each into one request.
func several(reqs ...*kmsg.ProduceRequest) *kmsg.ProduceRequest {
	for _, req := range reqs[1:] {
		reqs[0].Topics = append(reqs[0].Topics, req.Topics...)
	}
	return reqs[0]
}

var produceScenes = []scene{
	{name: "good", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		s.put(a, batch(some(3)...))
		s.put(a, batch(keyed("k", "v"), record{}, keyed("", "")))
		later := newBatch(some(2)...)
		later.FirstOffset, later.PartitionLeaderEpoch = 77, 9
		s.put(a, build(later))
	}},
	{name: "codecs", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		for _, codec := range []int16{codecGzip, codecSnappy, codecLZ4, codecZstd} {
			s.put(a, build(packed(newBatch(some(9)...), codec)))
		}
	}},
	{name: "several partitions", from: 3, play: func(s *script) {
		a, b := s.topic("a", 3), s.topic("b", 1)
		s.ask(several(s.produce(a, 0, batch(some(1)...)), s.produce(a, 2, batch(some(2)...)), s.produce(b, 0, batch(some(3)...))))
		req := s.produce(a, 1, batch(some(1)...))
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, s.produce(a, 0, batch(some(1)...)).Topics[0].Partitions...)
		s.ask(req)
		s.ask(several(s.produce(a, 1, batch(rec("x"))), s.produce(a, 7, batch(rec("x"))), s.produce(s.name("none"), 0, batch(rec("x")))))
	}},
	{name: "twice in one request", from: 3, play: func(s *script) {
		a := s.topic("a", 2)
		req := s.produce(a, 0, batch(rec("x")))
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, s.produce(a, 0, batch(rec("y"))).Topics[0].Partitions...)
		s.ask(req)
		s.look(s.fetch(a, 0, 0))
		s.ask(several(s.produce(a, 0, batch(rec("x"))), s.produce(a, 0, batch(rec("y")))))
		s.look(s.fetch(a, 0, 0))
	}},
	{name: "unknown topics and partitions", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(s.produce(s.name("none"), 0, batch(rec("x"))))
		s.ask(s.produce(a, 1, batch(rec("x"))))
		s.ask(s.produce(a, -1, batch(rec("x"))))
		s.ask(s.produce("", 0, batch(rec("x"))))
		s.ask(s.produce("two words", 0, batch(rec("x"))))
		s.ask(s.produce(s.name("none"), 0, nil))
		s.ask(s.produce(s.name("none"), 0, []byte("garbage")))
	}},
	{name: "unknown ids", from: 13, play: func(s *script) {
		s.ids[s.name("none")] = unknownID
		s.ask(s.produce(s.name("none"), 0, batch(rec("x"))))
		s.ask(s.produce("", 0, batch(rec("x"))))
		a := s.topic("a", 1)
		s.ask(several(s.produce(s.name("none"), 0, batch(rec("x"))), s.produce(a, 0, batch(rec("x")))))
	}},
	{name: "nothing sent", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		req := s.produce(a, 0, []byte{}) // Kafka never answers records that are null
		s.ask(req)
		req.Topics[0].Partitions = nil
		s.ask(req)
		req.Topics = nil
		s.ask(req)
	}},
	{name: "acks", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		for _, acks := range []int16{1, -1, 2, -2, 100, 32767} {
			req := s.produce(a, 0, batch(rec("x")))
			req.Acks = acks
			s.ask(req)
		}
		req := several(s.produce(a, 7, batch(rec("x"))), s.produce(s.name("none"), 0, batch(rec("x"))))
		req.Acks = 3
		s.ask(req)
		s.look(s.fetch(a, 0, 0))
	}},
	{name: "acks 0", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		req := s.produce(a, 0, batch(rec("x")))
		req.Acks = 0
		s.unanswered(req)
		s.until("written", func() bool {
			return s.quiet(listOffset(a, 0, -1)).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset == 1
		})
		wrong := s.produce(a, 5, batch(rec("x")))
		wrong.Acks = 0
		s.unanswered(wrong)
		wrong = s.produce(a, 0, spoil(batch(rec("x")), 20))
		wrong.Acks = 0
		s.unanswered(wrong)
		wrong.Topics = nil
		s.unanswered(wrong)
		s.look(s.fetch(a, 0, 0))
	}},
	{name: "acks 0, old versions", to: 2, play: func(s *script) {
		req := s.produce(s.topic("a", 1), 0, batch(rec("x")))
		req.Acks = 0
		s.unanswered(req)
	}},
	{name: "old versions", to: 2, play: func(s *script) {
		a, b := s.topic("a", 1), s.topic("b", 1)
		s.ask(s.produce(a, 0, batch(rec("x"))))
		s.ask(several(s.produce(a, 0, batch(rec("x"))), s.produce(b, 0, nil), s.produce(s.name("none"), 0, nil)))
		s.look(s.fetch(a, 0, 0))
	}},
	{name: "timeouts", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		for _, ms := range []int32{0, -1, 2147483647} {
			req := s.produce(a, 0, batch(rec("x")))
			req.TimeoutMillis = ms
			s.ask(req)
		}
	}},
	{name: "a transactional id", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		req := s.produce(a, 0, batch(rec("x")))
		req.TransactionID = new("txn")
		s.ask(req)
		req.TransactionID = new("")
		s.ask(req)
		s.look(s.fetch(a, 0, 0))
	}},
	{name: "too large", from: 3, play: func(s *script) {
		a := s.topic("a", 1, "max.message.bytes", "200")
		fits := batch(record{value: bytes.Repeat([]byte("x"), 100)})
		s.put(a, fits)
		s.put(a, batch(record{value: bytes.Repeat([]byte("x"), 200)}))
		exact := batch(record{value: bytes.Repeat([]byte("x"), 200-len(fits)+100)})
		s.note("size", map[bool]string{true: "200", false: "other"}[len(exact) == 200])
		s.put(a, exact)
		s.put(a, batch(record{value: bytes.Repeat([]byte("x"), 201-len(fits)+100)}))
		s.put(a, build(gzipped(newBatch(record{value: bytes.Repeat([]byte("x"), 2000)}))))
	}},
	{name: "compression of the topic", from: 3, play: func(s *script) {
		a := s.topic("a", 1, "compression.type", "gzip")
		s.ask(s.produce(a, 0, batch(some(3)...)))
		s.ask(s.produce(a, 0, build(packed(newBatch(some(3)...), codecLZ4))))
		s.look(listOffset(a, 0, -1))
	}},
}

// clocked is a batch with records at these times.
func clocked(times ...int64) []byte {
	b := newBatch(some(len(times))...)
	b.FirstTimestamp, b.MaxTimestamp, b.Records = times[0], slices.Max(times), nil
	for i, at := range times {
		r := record{value: []byte("x"), offset: int32(i), ago: at - times[0]}
		b.Records = append(b.Records, r.encode()...)
	}
	return build(b)
}

var timestampScenes = []scene{
	{name: "times given", from: 3, play: func(s *script) {
		a := s.topic("a", 9, "retention.ms", "-1")
		for i, at := range [][]int64{{0}, {-1}, {-2}, {-1, 5}, {then, then - 5, then + 5}, {begun + 1800_000}, {begun + 7200_000}, {1<<63 - 1}, {-1 << 63}} {
			s.ask(s.produce(a, int32(i), clocked(at...)))
		}
	}},
	{name: "times with bounds", from: 3, play: func(s *script) {
		a := s.topic("a", 7, "message.timestamp.before.max.ms", "7200000", "message.timestamp.after.max.ms", "3600000")
		for p, ago := range [][]int64{{0}, {600_000}, {9000_000}, {0, 9000_000, 0}, {-600_000}, {-7200_000}, {0, -7200_000, 9000_000}} {
			times := make([]int64, len(ago))
			for i := range ago {
				times[i] = begun - ago[i]
			}
			s.ask(s.produce(a, int32(p), clocked(times...)))
		}
		s.ask(s.produce(a, 0, clocked(then)))
	}},
	{name: "times of appending", from: 3, play: func(s *script) {
		a := s.topic("a", 1, "message.timestamp.type", "LogAppendTime")
		s.put(a, clocked(then, then+1000))
		s.put(a, clocked(begun+7200_000))
		s.put(a, clocked(-1))
		s.ask(s.produce(a, 0, build(gzipped(newBatch(some(3)...)))))
		s.look(listOffset(a, 0, -1))
	}},
	{name: "a wrong max timestamp", from: 3, play: func(s *script) {
		a := s.topic("a", 1, "retention.ms", "-1")
		for _, at := range []int64{then + 5000, then - 5000, -1, 0} {
			b := newBatch(some(2)...)
			b.MaxTimestamp = at
			s.put(a, build(b))
		}
	}},
}
