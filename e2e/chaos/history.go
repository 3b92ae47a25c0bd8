package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// History is all that is known of one topic. All times count from Began.
type History struct {
	Topic       string
	Partitions  int32
	Keys        uint32 // keys of each writer on a compacted topic; 0: not compacted
	Began       time.Time
	Operations  []Operation
	Sessions    []Session
	Commits     []Commit
	Ends        []End
	Leaderships []Leadership
	Final       []Session // one for each partition, from its log start to its end
	Dumps       []Dump
	Faults      []Fault
}

// Value tells one record from all others: a writer uses a sequence once.
type Value struct{ Writer, Seq uint32 }

func (v Value) String() string { return fmt.Sprintf("%d/%d", v.Writer, v.Seq) }

// Outcome is what a writer knows of what it sent.
type Outcome uint8

// The outcomes. The zero value is the careful one.
const (
	Unknown Outcome = iota
	Acknowledged
	Failed // it is proved that nothing was written
)

func (o Outcome) String() string { return [...]string{"unknown", "acknowledged", "failed"}[o] }

// Operation is one record that a writer sent.
type Operation struct {
	Value     Value
	Partition int32
	Outcome   Outcome
	Offset    int64 // if acknowledged
	Begin     time.Duration
	End       time.Duration // of the answer; 0 without one
	Err       string
}

// Session is what one consumer read of one partition, from its assignment to its loss.
type Session struct {
	Consumer  string
	Group     string // empty: assigned by hand
	Partition int32
	From      int64 // where it begins, -1: at the group's commit, or the log start
	Begin     time.Duration
	End       time.Duration
	Reads     []Read // in the order in which they came
}

// Read is one record that a consumer was given.
type Read struct {
	Offset  int64
	Value   Value
	Damaged bool // the checksum inside the value is wrong
	At      time.Duration
}

// Commit is an offset that a group committed and was told so.
type Commit struct {
	Group     string
	Partition int32
	Offset    int64
	At        time.Duration // of the answer
}

// End is a high watermark as a client was told it, by ListOffsets (with Epoch) or with
// records (Epoch -1).
type End struct {
	Source    string
	Partition int32
	Offset    int64
	Epoch     int32
	Read      int64 // largest offset of the records that came with it, -1 none
	Begin     time.Duration
	At        time.Duration
}

// Leadership is a partition's key as one revision of the metadata has it.
type Leadership struct {
	Revision  int64
	Partition int32
	Leader    int32 // -1: none
	Epoch     int32
	Life      int64 // the broker epoch in which the leader won
	Replicas  []int32
	ISR       []int32
	At        time.Duration
}

// Dump is the log of one replica.
type Dump struct {
	Node      string
	Partition int32
	Entries   []Entry
}

// Entry is a batch of a log, or a record of a compacted one.
type Entry struct {
	Base, Last int64
	Epoch      int32
	Sum        string // of its bytes
	Key        string // of a record
}

// Fault is something that was done to the nodes.
type Fault struct {
	Name, Target string
	Begin        time.Duration
	Healed       time.Duration // when the harm was undone, not when its effects were
}

// Save writes the history to a file, for a person or for [Load].
func (h *History) Save(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return json.NewEncoder(f).Encode(h)
}

// Load reads what Save wrote.
func Load(path string) (*History, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := new(History)
	return h, json.NewDecoder(f).Decode(h)
}
