//go:build parity

package parity

import (
	"encoding/binary"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// spoil flips a byte of a batch.
func spoil(p []byte, at int) []byte {
	p = slices.Clone(p)
	p[at] ^= 0x55
	return p
}

// changed is a batch of three records with a field changed before it is sealed.
func changed(change func(b *kmsg.RecordBatch)) []byte {
	b := newBatch(some(3)...)
	change(b)
	return build(b)
}

// lengthened is a batch whose length field says n bytes more than there are.
func lengthened(n int) []byte {
	p := batch(some(3)...)
	binary.BigEndian.PutUint32(p[8:], uint32(int(binary.BigEndian.Uint32(p[8:]))+n))
	return p
}

// attributed are batches with attribute bits set, as they are and compressed wrongly.
func attributed(bits ...int16) [][]byte {
	var all [][]byte
	for _, a := range bits {
		all = append(all, changed(func(b *kmsg.RecordBatch) { b.Attributes = a }))
	}
	return all
}

// refusals plays a list of batches that should be refused, or not, each to a partition
// of its own; what is there at the end shows which were.
func refusals(batches func() [][]byte) func(*script) {
	return func(s *script) {
		all := batches()
		a := s.topic("a", int32(len(all)))
		for i, b := range all {
			s.ask(s.produce(a, int32(i), b))
		}
		s.look(s.fetchAll(a, len(all)))
	}
}

// fetchAll fetches the partitions 0 to n-1.
func (s *script) fetchAll(topic string, n int) *kmsg.FetchRequest {
	req := s.fetch(topic, 0, 0)
	for i := 1; i < n; i++ {
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, s.fetchPartition(int32(i), 0))
	}
	return req
}

var spoiledScenes = slices.Concat(timestampScenes, []scene{
	{name: "flipped bytes", from: 3, play: refusals(func() [][]byte {
		var all [][]byte
		for _, at := range []int{0, 12, 17, 20, 21, 22, 26, 30, 40, 50, 56, 60, 61, 70} {
			all = append(all, spoil(batch(some(3)...), at))
		}
		return all
	})},
	{name: "magic", from: 3, play: refusals(func() [][]byte {
		var all [][]byte
		for _, magic := range []int8{-1, 0, 1, 3, 127} {
			all = append(all, changed(func(b *kmsg.RecordBatch) { b.Magic = magic }))
		}
		return all
	})},
	{name: "more or less than a batch", from: 3, play: refusals(func() [][]byte {
		good := batch(some(3)...)
		return [][]byte{
			slices.Concat(good, good), slices.Concat(good, good[:20]), slices.Concat(good, []byte{0}), good[:len(good)-1], good[:61], good[:60], good[:17], good[:12], good[:5],
			lengthened(1), lengthened(-1), lengthened(1000), lengthened(-1000),
			{0},
			make([]byte, 100),
		}
	})},
	{name: "counts", from: 3, play: refusals(func() [][]byte {
		var all [][]byte
		for _, n := range []int32{0, 1, 2, 4, -1, 2147483647} {
			all = append(all, changed(func(b *kmsg.RecordBatch) { b.NumRecords = n }))
			all = append(all, changed(func(b *kmsg.RecordBatch) { b.LastOffsetDelta = n }))
			all = append(all, changed(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = n, n-1 }))
		}
		return append(all, changed(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta, b.Records = 0, -1, nil }),
			changed(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta, b.Records = 0, 0, nil }))
	})},
	{name: "attributes", from: 3, play: refusals(func() [][]byte {
		return attributed(0x08, 0x10, 0x20, 0x30, 0x40, 0x80, 0x100, -0x8000, 0x0f)
	})},
	{name: "codecs that are none", from: 3, play: refusals(func() [][]byte { return attributed(5, 6, 7) })},
	{name: "records that are not compressed as said", from: 3, play: refusals(func() [][]byte { return attributed(1, 2, 3, 4) })},
	{name: "records cut off before they were compressed", from: 3, play: refusals(func() [][]byte {
		var all [][]byte
		for codec := int16(1); codec <= 4; codec++ {
			all = append(all, changed(func(b *kmsg.RecordBatch) {
				b.Records = b.Records[:len(b.Records)-5]
				packed(b, codec)
			}), changed(func(b *kmsg.RecordBatch) {
				b.NumRecords, b.LastOffsetDelta = 2, 1
				packed(b, codec)
			}))
		}
		return all
	})},
	{name: "offsets of records", from: 3, play: refusals(func() [][]byte {
		return [][]byte{
			batch(record{value: []byte("x"), offset: 1}),
			batch(rec("x"), record{value: []byte("y"), offset: 2}),
			batch(rec("x"), record{value: []byte("y"), offset: -1}),
			build(gzipped(newBatch(rec("x"), record{value: []byte("y"), offset: 2}))),
		}
	})},
	{name: "records", from: 3, play: refusals(func() [][]byte {
		var all [][]byte
		for _, r := range [][]byte{
			{},
			{0},
			{1},
			{14, 0, 0, 0, 1, 2, 'x', 0, 0},
			{14, 0, 0, 0, 1, 2, 'x'},
			{12, 0, 0, 0, 1, 2, 'x', 0},
			{14, 0, 0, 0, 1, 2, 'x', 1},
			{14, 0, 0, 0, 1, 2, 'x', 2},
			{14, 0, 0, 0, 1, 100, 'x', 0},
			{14, 0, 0, 0, 3, 2, 'x', 0},
			{14, 9, 0, 0, 1, 2, 'x', 0},
			{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0},
			{16, 0, 0, 0, 1, 2, 'x', 2, 1},
			{18, 0, 0, 0, 1, 2, 'x', 2, 0, 1},
			{14, 0, 0, 0, 1, 2, 'x', 0},
		} {
			all = append(all, changed(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta, b.Records = 1, 0, r }))
		}
		return all
	})},
	{name: "zstd before v7", from: 3, to: 6, play: refusals(func() [][]byte { return [][]byte{build(packed(newBatch(some(3)...), codecZstd))} })},
	{name: "one good and one bad", from: 3, play: func(s *script) {
		a := s.topic("a", 3)
		s.ask(several(s.produce(a, 0, batch(rec("x"))), s.produce(a, 1, spoil(batch(rec("x")), 20)), s.produce(a, 2, batch(rec("x")))))
		bad := s.produce(a, 0, batch(rec("x")))
		bad.Topics[0].Partitions = append(bad.Topics[0].Partitions, s.produce(a, 1, slices.Concat(batch(rec("x")), batch(rec("y")))).Topics[0].Partitions...)
		s.ask(bad)
		s.look(s.fetch(a, 0, 0))
	}},
})

// numbered is a batch of n records of an idempotent producer.
func numbered(id int64, epoch int16, sequence int32, n int) []byte {
	b := newBatch(some(n)...)
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = id, epoch, sequence
	return build(b)
}

// turn is a batch of a scene about one producer.
type turn struct {
	epoch    int16
	sequence int32
	n        int
}

// turns plays batches of one producer in turn.
func turns(all ...turn) func(*script) {
	return func(s *script) {
		a := s.topic("a", 1)
		id := s.producer()
		for _, t := range all {
			s.ask(s.produce(a, 0, numbered(id, t.epoch, t.sequence, t.n)))
		}
		s.look(s.fetch(a, 0, 0))
	}
}

// producer is a new producer id.
func (s *script) producer() int64 {
	var resp *kmsg.InitProducerIDResponse
	s.until("a producer id", func() bool {
		resp = s.quiet(initProducer(-1, -1)).(*kmsg.InitProducerIDResponse)
		return resp.ErrorCode == 0
	})
	s.tree.number("ProducerID", resp.ProducerID)
	return resp.ProducerID
}

const lastSequence = 2147483647

var idempotentScenes = []scene{
	{name: "idempotent: in order", from: 3, play: turns(turn{0, 0, 1}, turn{0, 1, 3}, turn{0, 4, 1})},
	{name: "idempotent: duplicates", from: 3, play: turns(
		turn{0, 0, 1}, turn{0, 0, 1}, turn{0, 1, 3}, turn{0, 4, 2}, turn{0, 1, 3}, turn{0, 0, 1}, turn{0, 6, 1}, turn{0, 7, 1}, turn{0, 8, 1},
		turn{0, 4, 2}, turn{0, 1, 3}, turn{0, 0, 1}, turn{0, 1, 2}, turn{0, 2, 2}, turn{0, 8, 2}, turn{0, 7, 2},
	)},
	{name: "idempotent: gaps", from: 3, play: turns(turn{0, 0, 1}, turn{0, 2, 1}, turn{0, 100, 1}, turn{0, 1, 1}, turn{0, 3, 1}, turn{0, 2, 1})},
	{name: "idempotent: a first sequence that is not 0", from: 3, play: turns(turn{0, 5, 1}, turn{0, 6, 1}, turn{0, 0, 1}, turn{0, 5, 1})},
	{name: "idempotent: epochs", from: 3, play: turns(
		turn{0, 0, 1}, turn{1, 1, 1}, turn{1, 5, 1}, turn{1, 0, 1}, turn{0, 1, 1}, turn{0, 0, 1}, turn{1, 1, 1}, turn{7, 0, 1}, turn{1, 2, 1},
	)},
	{name: "idempotent: a first epoch that is not 0", from: 3, play: turns(turn{5, 0, 1}, turn{4, 0, 1}, turn{4, 1, 1}, turn{5, 1, 1})},
	{name: "idempotent: a first epoch and sequence that are not 0", from: 3, play: turns(turn{5, 9, 1}, turn{6, 10, 1}, turn{6, 0, 1})},
	{name: "idempotent: the last sequences", from: 3, play: turns(
		turn{0, lastSequence - 2, 2}, turn{0, lastSequence, 3}, turn{0, lastSequence, 3}, turn{0, 2, 1}, turn{0, 3, 1}, turn{0, 0, 1}, turn{0, lastSequence - 2, 2},
	)},
	{name: "idempotent: wraps to 0", from: 3, play: turns(turn{0, lastSequence, 1}, turn{0, 0, 1}, turn{0, 1, 1}, turn{0, lastSequence, 1})},
	{name: "idempotent: negative numbers", from: 3, play: func(s *script) {
		a, id := s.topic("a", 5), s.producer()
		for i, t := range []turn{{0, -1, 1}, {-1, 0, 1}, {-1, -1, 1}, {0, -2, 1}, {-2, 0, 1}} {
			s.ask(s.produce(a, int32(i), numbered(id, t.epoch, t.sequence, t.n)))
		}
	}},
	{name: "idempotent: ids", from: 3, play: func(s *script) {
		a := s.topic("a", 1)
		for _, id := range []int64{-2, 1 << 40, 1<<63 - 1} {
			s.ask(s.produce(a, 0, numbered(id, 0, 0, 1)))
			s.ask(s.produce(a, 0, numbered(id, 0, 5, 1)))
		}
		s.ask(s.produce(a, 0, numbered(-1, 3, -1, 1)))
		s.ask(s.produce(a, 0, numbered(-1, -1, 3, 1)))
	}},
	{name: "idempotent: each partition counts by itself", from: 3, play: func(s *script) {
		a, id := s.topic("a", 2), s.producer()
		s.ask(several(s.produce(a, 0, numbered(id, 0, 0, 1)), s.produce(a, 1, numbered(id, 0, 0, 2))))
		s.ask(several(s.produce(a, 0, numbered(id, 0, 1, 1)), s.produce(a, 1, numbered(id, 0, 1, 2))))
		s.ask(several(s.produce(a, 0, numbered(id, 0, 1, 1)), s.produce(a, 1, numbered(id, 0, 2, 2))))
	}},
	{name: "idempotent: after DeleteRecords", from: 3, play: func(s *script) {
		a, id := s.topic("a", 1), s.producer()
		s.ask(s.produce(a, 0, numbered(id, 0, 0, 2)))
		s.quiet(deleteRecords(a, 0, -1))
		s.ask(s.produce(a, 0, numbered(id, 0, 0, 2)))
		s.ask(s.produce(a, 0, numbered(id, 0, 2, 2)))
		s.ask(s.produce(a, 0, numbered(id, 0, 7, 2)))
	}},
	{name: "idempotent: refused batches are not counted", from: 3, play: func(s *script) {
		a, id := s.topic("a", 1), s.producer()
		s.ask(s.produce(a, 0, numbered(id, 0, 0, 2)))
		s.ask(s.produce(a, 0, spoil(numbered(id, 0, 2, 2), 30)))
		s.ask(s.produce(a, 0, numbered(id, 0, 2, 2)))
	}},
	{name: "idempotent: with acks 1", from: 3, play: func(s *script) {
		a, id := s.topic("a", 1), s.producer()
		for _, sequence := range []int32{0, 0, 2, 1} {
			req := s.produce(a, 0, numbered(id, 0, sequence, 1))
			req.Acks = 1
			s.ask(req)
		}
	}},
	{name: "transactional without a transaction", from: 3, play: func(s *script) {
		a, id := s.topic("a", 1), s.producer()
		b := newBatch(some(1)...)
		b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.Attributes = id, 0, 0, 0x10
		s.ask(s.produce(a, 0, build(b)))
		b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
		s.ask(s.produce(a, 0, build(b)))
	}},
}
