package wire

// LeaderAndEpoch names the leader that a client should turn to (KIP-951).
type LeaderAndEpoch struct {
	LeaderID, LeaderEpoch int32
}

// Node is where a broker is that an answer names as a leader.
type Node struct {
	ID   int32
	Host string
	Port int32
	Rack string // "" is null
}

// Tags of answers to Produce and Fetch.
const (
	produceLeaderTag = 0 // of a partition
	fetchLeaderTag   = 1 // of a partition
	nodesTag         = 0 // of the answer

	leaderTagLen = 4 + 4 + 1
)

// leaderTag writes one tagged field; the caller counts it.
func (w *writer) leaderTag(tag int, l *LeaderAndEpoch) {
	w.uvarint(tag)
	w.uvarint(leaderTagLen)
	w.i32(l.LeaderID)
	w.i32(l.LeaderEpoch)
	w.noTags()
}

// nodes ends an answer: its tagged fields, which are the nodes that it names, if any.
func (w *writer) nodes(nodes []Node) {
	if !w.flexible || len(nodes) == 0 {
		w.noTags()
		return
	}
	list := writer{flexible: true}
	list.count(len(nodes))
	for i := range nodes {
		n := &nodes[i]
		list.i32(n.ID)
		list.str([]byte(n.Host))
		list.i32(n.Port)
		list.nullable(n.Rack)
		list.noTags()
	}
	w.uvarint(1)
	w.uvarint(nodesTag)
	w.uvarint(len(list.p))
	w.p = append(w.p, list.p...)
}

// sizeOf is at least the length of encoded nodes.
func sizeOf(nodes []Node) int {
	n := 16
	for i := range nodes {
		n += 24 + len(nodes[i].Host) + len(nodes[i].Rack)
	}
	return n
}
