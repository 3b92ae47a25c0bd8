package logstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

var (
	// ErrDuplicate says that a producer's batch is in the log already, at the offset that comes with it.
	ErrDuplicate = errors.New("duplicate of an appended batch")
	// ErrOutOfOrderSequence says that a producer's batch does not follow its last one.
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	// ErrProducerEpoch says that a producer was fenced by a newer epoch of itself.
	ErrProducerEpoch = errors.New("producer epoch is older than the last one seen")
)

// windowBatches is how many batches of a producer are known again: its limit of requests in flight.
const windowBatches = 5

// producerBatch is what one record batch says about its producer. Batches without a producer
// (ID < 0) are never passed. BaseSequence < 0 (control batches, a coordinator's commits) takes
// part in the epoch alone.
type producerBatch struct {
	ID           int64
	Epoch        int16
	BaseSequence int32
	BaseOffset   int64 // not yet known to check
	LastDelta    int32 // last offset delta, by which sequences count too
	Timestamp    int64 // largest of the batch
}

// producers is the state of the idempotent producers of one log (KIP-98): for each producer id
// its epoch and its last five batches. It is pure: the log guards it, tells it the time and
// writes it down. Retention does not touch it: a producer is known until it expires.
type producers struct{ byID map[int64]*producer }

type producer struct {
	epoch   int16
	n       uint8 // batches in window, oldest first
	partial bool  // more than the window made it what it is: older batches or epochs, markers
	window  [windowBatches]sequenceRange
	stamp   int64 // largest timestamp of the last batch
	seen    int64 // our clock at the last batch, for expiry: a producer may write any timestamp
	at      int64 // base offset of the last batch

	coordinatorEpoch int32 // of the last transaction marker, -1 none
	txnStart         int64 // first offset of the open transaction, -1 none
}

// sequenceRange is one batch: sequences last-delta..last at offsets base..base+delta.
type sequenceRange struct {
	base  int64
	last  int32
	delta int32
}

// ProducerState is what DescribeProducers tells of one producer. LastSequence is -1 and
// LastOffset -1 when the window is empty.
type ProducerState struct {
	ProducerID, LastTimestamp, LastOffset, TxnStartOffset int64
	ProducerEpoch                                         int16
	LastSequence, CoordinatorEpoch                        int32
}

var producersFile = smallKind{magic: "chrprodu", version: 1}

// check says whether a client's batch may be appended. With ErrDuplicate comes the original's
// base offset. Batches of one append are checked and applied one after the other.
func (p *producers) check(b *producerBatch) (original int64, err error) {
	st := p.byID[b.ID]
	if st == nil || planted("skip-sequence") {
		return 0, nil // forgotten by expiry or truncation, or new: whatever it sends is accepted (KIP-360)
	}
	if b.BaseSequence >= 0 && b.Epoch == st.epoch {
		last := addSequence(b.BaseSequence, b.LastDelta)
		for _, r := range st.window[:st.n] {
			if r.last == last && r.delta == b.LastDelta {
				return r.base, ErrDuplicate
			}
		}
	}
	switch {
	case b.Epoch < st.epoch:
		return 0, fmt.Errorf("%w: producer %d sent epoch %d, last was %d", ErrProducerEpoch, b.ID, b.Epoch, st.epoch)
	case b.BaseSequence < 0:
		return 0, nil
	case b.Epoch > st.epoch && b.BaseSequence != 0:
		return 0, fmt.Errorf("%w: producer %d began epoch %d with sequence %d, not 0", ErrOutOfOrderSequence, b.ID, b.Epoch, b.BaseSequence)
	case b.Epoch == st.epoch && b.BaseSequence != st.expected():
		return 0, fmt.Errorf("%w: producer %d sent sequence %d, not %d", ErrOutOfOrderSequence, b.ID, b.BaseSequence, st.expected())
	}
	return 0, nil
}

// apply notes a batch that was appended, on a leader after check, elsewhere as it comes: what is
// in the log is true. now is our clock in milliseconds.
func (p *producers) apply(b *producerBatch, now int64) {
	st := p.byID[b.ID]
	if st == nil {
		st = &producer{epoch: b.Epoch, coordinatorEpoch: -1, txnStart: -1}
		if b.BaseSequence > 0 {
			st.partial = true // it wrote before; that is forgotten
		}
		if p.byID == nil {
			p.byID = make(map[int64]*producer)
		}
		p.byID[b.ID] = st
	}
	st.stamp, st.seen, st.at = b.Timestamp, now, b.BaseOffset
	if b.Epoch != st.epoch {
		st.epoch, st.n, st.partial = b.Epoch, 0, true
	}
	if b.BaseSequence < 0 {
		st.partial = true
		return
	}
	if st.n == windowBatches {
		copy(st.window[:], st.window[1:])
		st.n, st.partial = windowBatches-1, true
	}
	st.window[st.n] = sequenceRange{b.BaseOffset, addSequence(b.BaseSequence, b.LastDelta), b.LastDelta}
	st.n++
}

// rollback forgets batches at or above offset, for a log cut there (offset is a batch boundary).
// It says whether what remains is the state as of that offset; if not (older batches of a
// producer had left its window), the state has to be built again from an earlier one and the log.
func (p *producers) rollback(offset int64) (exact bool) {
	exact = true
	for id, st := range p.byID {
		if st.at < offset {
			continue
		}
		exact = exact && !st.partial
		for st.n > 0 && st.window[st.n-1].base >= offset {
			st.n--
		}
		if st.n == 0 {
			delete(p.byID, id)
			continue
		}
		st.at = st.window[st.n-1].base
	}
	return exact
}

// expire forgets producers that have not written since before, and have no open transaction.
// It returns how many.
func (p *producers) expire(before int64) int {
	n := len(p.byID)
	maps.DeleteFunc(p.byID, func(_ int64, st *producer) bool { return st.seen < before && st.txnStart < 0 })
	return n - len(p.byID)
}

// states lists the producers by id.
func (p *producers) states() []ProducerState {
	out := make([]ProducerState, 0, len(p.byID))
	for id, st := range p.byID {
		s := ProducerState{
			ProducerID: id, ProducerEpoch: st.epoch, LastSequence: -1, LastOffset: -1,
			LastTimestamp: st.stamp, CoordinatorEpoch: st.coordinatorEpoch, TxnStartOffset: st.txnStart,
		}
		if st.n > 0 {
			r := st.window[st.n-1]
			s.LastSequence, s.LastOffset = r.last, r.base+int64(r.delta)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ProducerState) int { return cmp.Compare(a.ProducerID, b.ProducerID) })
	return out
}

// expected is the sequence that the next batch of this epoch starts with.
func (st *producer) expected() int32 {
	if st.n == 0 {
		return 0
	}
	return addSequence(st.window[st.n-1].last, 1)
}

// addSequence counts on, from the largest int32 to 0.
func addSequence(seq, n int32) int32 {
	if seq > math.MaxInt32-n {
		return n - (math.MaxInt32 - seq) - 1
	}
	return seq + n
}

const producerFixed = 8 + 2 + 1 + 1 + 8 + 8 + 8 + 4 + 8

// encode writes the state as of offset: all batches below it are in it, none above.
func (p *producers) encode(offset int64) []byte {
	buf := make([]byte, 0, 8+len(p.byID)*(producerFixed+16*windowBatches))
	buf = binary.BigEndian.AppendUint64(buf, uint64(offset))
	for _, id := range slices.Sorted(maps.Keys(p.byID)) {
		st := p.byID[id]
		buf = binary.BigEndian.AppendUint64(buf, uint64(id))
		buf = binary.BigEndian.AppendUint16(buf, uint16(st.epoch))
		buf = append(buf, st.n, 0)
		if st.partial {
			buf[len(buf)-1] = 1
		}
		buf = binary.BigEndian.AppendUint64(buf, uint64(st.stamp))
		buf = binary.BigEndian.AppendUint64(buf, uint64(st.seen))
		buf = binary.BigEndian.AppendUint64(buf, uint64(st.at))
		buf = binary.BigEndian.AppendUint32(buf, uint32(st.coordinatorEpoch))
		buf = binary.BigEndian.AppendUint64(buf, uint64(st.txnStart))
		for _, r := range st.window[:st.n] {
			buf = binary.BigEndian.AppendUint64(buf, uint64(r.base))
			buf = binary.BigEndian.AppendUint32(buf, uint32(r.last))
			buf = binary.BigEndian.AppendUint32(buf, uint32(r.delta))
		}
	}
	return buf
}

func decodeProducers(buf []byte) (p producers, offset int64, err error) {
	if len(buf) < 8 {
		return producers{}, 0, fmt.Errorf("%w: producers of %d bytes", errBadFile, len(buf))
	}
	offset, buf = int64(binary.BigEndian.Uint64(buf)), buf[8:]
	for len(buf) > 0 {
		if len(buf) < producerFixed || buf[10] > windowBatches || len(buf) < producerFixed+16*int(buf[10]) {
			return producers{}, 0, fmt.Errorf("%w: a producer in %d bytes", errBadFile, len(buf))
		}
		st := &producer{
			epoch: int16(binary.BigEndian.Uint16(buf[8:])), n: buf[10], partial: buf[11] == 1,
			stamp: int64(binary.BigEndian.Uint64(buf[12:])), seen: int64(binary.BigEndian.Uint64(buf[20:])),
			at:               int64(binary.BigEndian.Uint64(buf[28:])),
			coordinatorEpoch: int32(binary.BigEndian.Uint32(buf[36:])), txnStart: int64(binary.BigEndian.Uint64(buf[40:])),
		}
		id := int64(binary.BigEndian.Uint64(buf))
		buf = buf[producerFixed:]
		for i := range st.window[:st.n] {
			st.window[i] = sequenceRange{
				base:  int64(binary.BigEndian.Uint64(buf)),
				last:  int32(binary.BigEndian.Uint32(buf[8:])),
				delta: int32(binary.BigEndian.Uint32(buf[12:])),
			}
			buf = buf[16:]
		}
		if p.byID == nil {
			p.byID = make(map[int64]*producer)
		}
		p.byID[id] = st
	}
	return p, offset, nil
}
