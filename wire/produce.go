package wire

// ProduceRequest is a decoded Produce request, versions 0–13. Names and records
// lie in the frame; Decode reuses the slices.
type ProduceRequest struct {
	TransactionalID []byte // nil is null
	Acks            int16
	TimeoutMs       int32
	Topics          []ProduceTopic

	large bool // has slices not to be kept
}

// ProduceTopic is named by id from version 13 on, by name before.
type ProduceTopic struct {
	Name       []byte
	ID         [16]byte
	Partitions []ProducePartition
}

// ProducePartition holds the batches for one partition; nil is null.
type ProducePartition struct {
	Index   int32
	Records []byte
}

// Decode reads the body of a request. Bytes behind it are ignored, as Kafka does.
func (q *ProduceRequest) Decode(version int16, body []byte) error {
	r := reader{p: body, flexible: version >= 9}
	if q.large {
		*q = ProduceRequest{}
	}
	defer func() { q.large = r.items > keptItems }()
	q.TransactionalID = nil
	if version >= 3 {
		q.TransactionalID = r.str()
	}
	q.Acks, q.TimeoutMs = r.i16(), r.i32()
	n := r.count(3)
	q.Topics = resize(q.Topics, n)
	for i := range n {
		t := &q.Topics[i]
		t.Name, t.ID = nil, [16]byte{}
		if version >= 13 {
			t.ID = r.uuid()
		} else {
			t.Name = r.str()
		}
		parts := r.count(5)
		t.Partitions = resize(t.Partitions, parts)
		for j := range parts {
			p := &t.Partitions[j]
			p.Index, p.Records = r.i32(), r.bytes()
			r.tags(nil)
		}
		r.tags(nil)
	}
	r.tags(nil)
	return r.err()
}

// resize returns a slice of n elements that keeps what the elements hold.
func resize[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s[:n]
	}
	return append(s[:cap(s)], make([]T, n-cap(s))...)
}

// RecordError is what was wrong with one record of a batch.
type RecordError struct {
	Index   int32
	Message string
}

// ProducePartitionResponse is the outcome for one partition.
type ProducePartitionResponse struct {
	Index          int32
	ErrorCode      int16
	BaseOffset     int64
	LogAppendTime  int64 // ms, -1 when the producer's timestamps stand
	LogStartOffset int64
	RecordErrors   []RecordError
	ErrorMessage   string          // "" is null
	CurrentLeader  *LeaderAndEpoch // nil is not told; told from version 10 on
}

// ProduceTopicResponse holds the outcomes for one topic.
type ProduceTopicResponse struct {
	Name       []byte
	ID         [16]byte
	Partitions []ProducePartitionResponse
}

// ProduceResponse is the answer to a Produce request. Reset and the Add methods
// reuse its slices.
type ProduceResponse struct {
	Topics     []ProduceTopicResponse
	ThrottleMs int32
	Nodes      []Node // where the leaders are that it names
}

// Reset empties the response.
func (s *ProduceResponse) Reset() { s.Topics, s.ThrottleMs, s.Nodes = s.Topics[:0], 0, nil }

// AddTopic adds a topic without partitions. The pointer is good until the next one.
func (s *ProduceResponse) AddTopic(name []byte, id [16]byte) *ProduceTopicResponse {
	s.Topics = resize(s.Topics, len(s.Topics)+1)
	t := &s.Topics[len(s.Topics)-1]
	t.Name, t.ID, t.Partitions = name, id, t.Partitions[:0]
	return t
}

// AddPartition adds a partition with the defaults of the schema. The pointer is
// good until the next one.
func (t *ProduceTopicResponse) AddPartition(index int32) *ProducePartitionResponse {
	t.Partitions = resize(t.Partitions, len(t.Partitions)+1)
	p := &t.Partitions[len(t.Partitions)-1]
	*p = ProducePartitionResponse{Index: index, LogAppendTime: -1, LogStartOffset: -1, RecordErrors: p.RecordErrors[:0]}
	return p
}

// Size is at least the length of the encoded response.
func (s *ProduceResponse) Size() int {
	n := 32 + sizeOf(s.Nodes)
	for i := range s.Topics {
		t := &s.Topics[i]
		n += 32 + len(t.Name) + 64*len(t.Partitions)
		for j := range t.Partitions {
			n += len(t.Partitions[j].ErrorMessage)
			for _, e := range t.Partitions[j].RecordErrors {
				n += 16 + len(e.Message)
			}
		}
	}
	return n
}

// Append encodes the response.
func (s *ProduceResponse) Append(dst []byte, version int16) []byte {
	w := writer{p: dst, flexible: version >= 9}
	w.count(len(s.Topics))
	for i := range s.Topics {
		t := &s.Topics[i]
		if version >= 13 {
			w.p = append(w.p, t.ID[:]...)
		} else {
			w.str(t.Name)
		}
		w.count(len(t.Partitions))
		for j := range t.Partitions {
			t.Partitions[j].append(&w, version)
		}
		w.noTags()
	}
	if version >= 1 {
		w.i32(s.ThrottleMs)
	}
	w.nodes(s.Nodes)
	return w.p
}

func (p *ProducePartitionResponse) append(w *writer, version int16) {
	w.i32(p.Index)
	w.i16(p.ErrorCode)
	w.i64(p.BaseOffset)
	if version >= 2 {
		w.i64(p.LogAppendTime)
	}
	if version >= 5 {
		w.i64(p.LogStartOffset)
	}
	if version >= 8 {
		w.count(len(p.RecordErrors))
		for _, e := range p.RecordErrors {
			w.i32(e.Index)
			w.nullable(e.Message)
			w.noTags()
		}
		w.nullable(p.ErrorMessage)
	}
	if version >= 10 && p.CurrentLeader != nil {
		w.uvarint(1)
		w.leaderTag(produceLeaderTag, p.CurrentLeader)
		return
	}
	w.noTags()
}
