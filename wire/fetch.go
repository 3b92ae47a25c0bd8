package wire

// FetchRequest is a decoded Fetch request, versions 4–18. Names lie in the
// frame; Decode reuses the slices.
type FetchRequest struct {
	ReplicaID       int32 // -1 for consumers
	ReplicaEpoch    int64
	MaxWaitMs       int32
	MinBytes        int32
	MaxBytes        int32
	IsolationLevel  int8
	SessionID       int32
	SessionEpoch    int32
	Topics          []FetchTopic
	ForgottenTopics []ForgottenTopic
	RackID          []byte

	large bool // has slices not to be kept
}

// FetchTopic is named by id from version 13 on, by name before.
type FetchTopic struct {
	Name       []byte
	ID         [16]byte
	Partitions []FetchPartition
}

// FetchPartition says where to read one partition.
type FetchPartition struct {
	Index              int32
	CurrentLeaderEpoch int32 // -1 is no claim
	FetchOffset        int64
	LastFetchedEpoch   int32
	LogStartOffset     int64
	MaxBytes           int32
	FlushedEnd         int64 // a follower's, -1 is not told
	PartitionEpoch     int32 // that a follower has seen, -1 is not told
}

// ForgottenTopic lists partitions that leave the session.
type ForgottenTopic struct {
	Name       []byte
	ID         [16]byte
	Partitions []int32
}

// Tags of a Fetch request.
const (
	replicaStateTag = 1 // 0 is the cluster id, which only voters of a quorum send

	// FlushedEndTag is our own, of a partition: up to where a follower has the
	// records on disk, 8 bytes.
	FlushedEndTag = 10_000

	// PartitionEpochTag is our own, of a partition: the partition epoch that a follower
	// has seen. What it tells came after that.
	PartitionEpochTag = 10_001
)

// Decode reads the body of a request. Bytes behind it are ignored, as Kafka does.
func (q *FetchRequest) Decode(version int16, body []byte) error {
	r := reader{p: body, flexible: version >= 12}
	if q.large {
		*q = FetchRequest{}
	}
	defer func() { q.large = r.items > keptItems }()
	q.ReplicaID, q.ReplicaEpoch = -1, -1
	if version <= 14 {
		q.ReplicaID = r.i32()
	}
	q.MaxWaitMs, q.MinBytes, q.MaxBytes, q.IsolationLevel = r.i32(), r.i32(), r.i32(), r.i8()
	q.SessionID, q.SessionEpoch = 0, -1
	if version >= 7 {
		q.SessionID, q.SessionEpoch = r.i32(), r.i32()
	}
	n := r.count(3)
	q.Topics = resize(q.Topics, n)
	for i := range n {
		q.Topics[i].decode(&r, version)
	}
	q.decodeForgotten(&r, version)
	q.RackID = nil
	if version >= 11 {
		q.RackID = r.str()
	}
	r.tags(func(tag int, f *reader) {
		if tag == replicaStateTag && version >= 15 {
			q.ReplicaID, q.ReplicaEpoch = f.i32(), f.i64()
			f.tags(nil)
		}
	})
	return r.err()
}

func (t *FetchTopic) decode(r *reader, version int16) {
	t.Name, t.ID = nil, [16]byte{}
	if version >= 13 {
		t.ID = r.uuid()
	} else {
		t.Name = r.str()
	}
	n := r.count(16)
	t.Partitions = resize(t.Partitions, n)
	for i := range n {
		p := &t.Partitions[i]
		*p = FetchPartition{CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, LogStartOffset: -1, FlushedEnd: -1, PartitionEpoch: -1}
		p.Index = r.i32()
		if version >= 9 {
			p.CurrentLeaderEpoch = r.i32()
		}
		p.FetchOffset = r.i64()
		if version >= 12 {
			p.LastFetchedEpoch = r.i32()
		}
		if version >= 5 {
			p.LogStartOffset = r.i64()
		}
		p.MaxBytes = r.i32()
		r.tags(func(tag int, f *reader) {
			switch tag {
			case FlushedEndTag:
				p.FlushedEnd = f.i64()
			case PartitionEpochTag:
				p.PartitionEpoch = f.i32()
			}
		})
	}
	r.tags(nil)
}

func (q *FetchRequest) decodeForgotten(r *reader, version int16) {
	q.ForgottenTopics = q.ForgottenTopics[:0]
	if version < 7 {
		return
	}
	n := r.count(3)
	q.ForgottenTopics = resize(q.ForgottenTopics, n)
	for i := range n {
		t := &q.ForgottenTopics[i]
		t.Name, t.ID = nil, [16]byte{}
		if version >= 13 {
			t.ID = r.uuid()
		} else {
			t.Name = r.str()
		}
		parts := r.count(4)
		t.Partitions = resize(t.Partitions, parts)
		for j := range parts {
			t.Partitions[j] = r.i32()
		}
		r.tags(nil)
	}
}
