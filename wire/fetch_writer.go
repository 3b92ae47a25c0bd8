package wire

import "encoding/binary"

// FetchPartitionHeader is what a Fetch answer says of one partition before its
// records.
type FetchPartitionHeader struct {
	Index            int32
	ErrorCode        int16
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64
	Committed        bool  // aborted transactions are none, not null
	PreferredReplica int32 // -1 is none
	Diverging        EpochEnd
	CurrentLeader    *LeaderAndEpoch // nil is not told; told from version 12 on
	SizeHint         int             // bytes of records that are expected
}

// EpochEnd is where the records of a leader epoch end; 0, 0 is not told.
type EpochEnd struct {
	Epoch  int32
	Offset int64
}

// divergingTag is the tag of where the client's log differs from the leader's (KIP-595).
const divergingTag = 0

// NewFetchPartitionHeader returns the defaults of the schema: nothing is known.
func NewFetchPartitionHeader(index int32) FetchPartitionHeader {
	return FetchPartitionHeader{Index: index, HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1, PreferredReplica: -1}
}

// FetchWriter encodes a Fetch answer around records that are read straight into
// it. The counts of topics and partitions are known only afterwards: one byte is
// kept for each, and the rare count that needs more moves what follows.
type FetchWriter struct {
	w          writer
	version    int16
	topicsAt   int // where the count of topics stands
	topics     int
	partsAt    int // where the count of partitions of the last topic stands
	partitions int
	outside    []Outside
}

// Outside are records that belong into an answer at a place and are kept elsewhere.
type Outside struct{ At, Size int }

// Begin writes what stands before the topics; dst ends with the response header.
func (f *FetchWriter) Begin(dst []byte, version, errorCode int16, sessionID int32) {
	*f = FetchWriter{w: writer{p: dst, flexible: version >= 12}, version: version, outside: f.outside[:0]}
	f.w.i32(0) // throttle time
	if version >= 7 {
		f.w.i16(errorCode)
		f.w.i32(sessionID)
	}
	f.topicsAt = f.reserveCount()
}

func (f *FetchWriter) reserveCount() int {
	at := len(f.w.p)
	if f.w.flexible {
		f.w.p = append(f.w.p, 0)
	} else {
		f.w.i32(0)
	}
	return at
}

func (f *FetchWriter) fillCount(at, n int) {
	if !f.w.flexible {
		binary.BigEndian.PutUint32(f.w.p[at:], uint32(n))
		return
	}
	if more := uvarintLen(n+1) - 1; more > 0 {
		f.w.p = append(f.w.p, make([]byte, more)...)
		copy(f.w.p[at+1+more:], f.w.p[at+1:len(f.w.p)-more])
		for i := range f.outside {
			if f.outside[i].At > at {
				f.outside[i].At += more
			}
		}
	}
	binary.PutUvarint(f.w.p[at:], uint64(n+1))
}

// Topic begins a topic: by name up to version 12, by id from 13 on.
func (f *FetchWriter) Topic(name []byte, id [16]byte) {
	f.endTopic()
	f.topics++
	if f.version >= 13 {
		f.w.p = append(f.w.p, id[:]...)
	} else {
		f.w.str(name)
	}
	f.partsAt, f.partitions = f.reserveCount(), 0
}

func (f *FetchWriter) endTopic() {
	if f.topics > 0 {
		f.fillCount(f.partsAt, f.partitions)
		f.w.noTags()
	}
}

// ReadRecords appends records to dst and returns the whole, and how many bytes of records it keeps
// elsewhere, which stand before these.
type ReadRecords func(dst []byte) (whole []byte, outside int, err error)

// Partition writes one partition of the last topic; without read it has no records. It returns how
// many bytes they are. After an error of read nothing of the partition is left in the answer.
func (f *FetchWriter) Partition(h FetchPartitionHeader, read ReadRecords) (int, error) {
	start := len(f.w.p)
	f.w.i32(h.Index)
	f.w.i16(h.ErrorCode)
	f.w.i64(h.HighWatermark)
	f.w.i64(h.LastStableOffset)
	if f.version >= 5 {
		f.w.i64(h.LogStartOffset)
	}
	if h.Committed {
		f.w.count(0)
	} else {
		f.w.count(-1)
	}
	if f.version >= 11 {
		f.w.i32(h.PreferredReplica)
	}
	n, err := f.records(h.SizeHint, read)
	if err != nil {
		f.w.p = f.w.p[:start]
		return 0, err
	}
	f.tags(&h)
	f.partitions++
	return n, nil
}

// tags ends a partition.
func (f *FetchWriter) tags(h *FetchPartitionHeader) {
	diverging, leader := h.Diverging != (EpochEnd{}), h.CurrentLeader != nil
	if f.version < 12 || !diverging && !leader {
		f.w.noTags()
		return
	}
	if diverging && leader {
		f.w.uvarint(2)
	} else {
		f.w.uvarint(1)
	}
	if diverging {
		f.w.uvarint(divergingTag)
		f.w.uvarint(4 + 8 + 1)
		f.w.i32(h.Diverging.Epoch)
		f.w.i64(h.Diverging.Offset)
		f.w.noTags()
	}
	if leader {
		f.w.leaderTag(fetchLeaderTag, h.CurrentLeader)
	}
}

// records writes the length and has read put the bytes behind it. The width of
// the length is guessed from hint; a wrong guess moves the records.
func (f *FetchWriter) records(hint int, read ReadRecords) (int, error) {
	if read == nil {
		f.recordsLen(0)
		return 0, nil
	}
	at := len(f.w.p)
	f.recordsLen(hint)
	start := len(f.w.p)
	p, outside, err := read(f.w.p)
	if err != nil {
		return 0, err
	}
	here := len(p) - start
	n := here + outside
	width, want := start-at, 4
	if f.w.flexible {
		want = uvarintLen(n + 1)
	}
	if want != width {
		if want > width {
			p = append(p, make([]byte, want-width)...)
		}
		copy(p[at+want:], p[start:start+here])
	}
	f.w.p = p[:at]
	f.recordsLen(n)
	f.w.p = p[:at+want+here]
	if outside > 0 {
		f.outside = append(f.outside, Outside{at + want, outside})
	}
	return n, nil
}

func uvarintLen(v int) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

func (f *FetchWriter) recordsLen(n int) {
	if f.w.flexible {
		f.w.uvarint(n + 1)
	} else {
		f.w.i32(int32(n))
	}
}

// Outside is what stands elsewhere, in order; it is known when the answer is finished.
func (f *FetchWriter) Outside() []Outside { return f.outside }

// Finish fills in what is open, names where leaders are, and returns the whole answer.
func (f *FetchWriter) Finish(nodes []Node) []byte {
	f.endTopic()
	f.fillCount(f.topicsAt, f.topics)
	f.w.nodes(nodes)
	return f.w.p
}
