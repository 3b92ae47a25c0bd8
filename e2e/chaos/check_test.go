package chaos

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// good is a history without fault: two writers send ten values each to two partitions,
// a consumer by hand and two members of a group read them, one after the other.
func good() *History {
	h := &History{Topic: "t", Partitions: 2}
	var logs [2][]Read
	for seq := range uint32(10) {
		for writer := range uint32(2) {
			v, p := Value{writer, seq}, int32(seq%2)
			begin := time.Duration(seq*10+writer) * ms
			o := Operation{Value: v, Partition: p, Outcome: Acknowledged, Offset: int64(len(logs[p])), Begin: begin, End: begin + 5*ms}
			h.Operations = append(h.Operations, o)
			logs[p] = append(logs[p], Read{Offset: o.Offset, Value: v, At: begin + 6*ms})
		}
	}
	for p, all := range logs {
		n := int32(p)
		h.Sessions = append(h.Sessions,
			Session{Consumer: "hand", Partition: n, From: 0, Reads: slices.Clone(all)},
			Session{Consumer: "m1", Group: "g", Partition: n, From: -1, Begin: 1 * ms, Reads: slices.Clone(all[:6])},
			Session{Consumer: "m2", Group: "g", Partition: n, From: -1, Begin: 70 * ms, Reads: slices.Clone(all[4:])})
		h.Commits = append(h.Commits, Commit{"g", n, 2, 30 * ms}, Commit{"g", n, 4, 60 * ms}, Commit{"g", n, 6, 80 * ms})
		h.Ends = append(h.Ends,
			End{Source: "ends", Partition: n, Offset: 3, Epoch: 1, Read: -1, Begin: 10 * ms, At: 20 * ms},
			End{Source: "other", Partition: n, Offset: 2, Epoch: 1, Read: -1, Begin: 11 * ms, At: 30 * ms}, // was asked before the answer 3
			End{Source: "hand", Partition: n, Offset: 5, Epoch: -1, Read: 4, Begin: 10 * ms, At: 20 * ms},
			End{Source: "ends", Partition: n, Offset: 10, Epoch: 2, Read: -1, Begin: 90 * ms, At: 99 * ms})
		h.Leaderships = append(h.Leaderships,
			Leadership{Revision: 5, Partition: n, Leader: 1, Epoch: 1, Life: 4, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}},
			Leadership{Revision: 7, Partition: n, Leader: 1, Epoch: 1, Life: 4, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}},
			Leadership{Revision: 8, Partition: n, Leader: -1, Epoch: 2, Replicas: []int32{1, 2, 3}, ISR: []int32{2}},
			Leadership{Revision: 9, Partition: n, Leader: 2, Epoch: 3, Life: 6, Replicas: []int32{1, 2, 3}, ISR: []int32{2}})
		h.Final = append(h.Final, Session{Consumer: "final", Partition: n, From: 0, Reads: slices.Clone(all)})
		for _, node := range []string{"1", "2", "3"} {
			h.Dumps = append(h.Dumps, Dump{node, n, []Entry{{0, 3, 1, "aa", ""}, {4, 9, 2, "bb", ""}}})
		}
	}
	h.Faults = []Fault{{"kill", "1", 41 * ms, 48 * ms}}
	return h
}

// compacted is a good history of a compacted topic: each writer has two keys.
func compacted() *History {
	h := &History{Topic: "t", Partitions: 1, Keys: 2}
	var all []Read
	for seq := range uint32(6) {
		o := Operation{Value: Value{0, seq}, Outcome: Acknowledged, Offset: int64(seq)}
		h.Operations = append(h.Operations, o)
		all = append(all, Read{Offset: o.Offset, Value: o.Value})
	}
	h.Sessions = []Session{{Consumer: "early", Reads: slices.Clone(all[:3])}, {Consumer: "late", Reads: slices.Clone(all[2:])}}
	h.Final = []Session{{Consumer: "final", Reads: slices.Clone(all[3:])}}
	h.Dumps = []Dump{
		{"1", 0, []Entry{{3, 3, 1, "dd", "b"}, {4, 4, 1, "ee", "a"}, {5, 5, 1, "ff", "b"}}},
		{"2", 0, []Entry{{4, 4, 1, "ee", "a"}, {5, 5, 1, "ff", "b"}}},
	}
	return h
}

func TestGoodHistories(t *testing.T) {
	for name, h := range map[string]*History{
		"plain": good(), "compacted": compacted(),
		"unknown and failed": edited(good(), func(h *History) {
			h.Operations = append(h.Operations,
				Operation{Value: Value{0, 10}, Partition: 0, Outcome: Unknown}, Operation{Value: Value{1, 10}, Partition: 0, Outcome: Unknown},
				Operation{Value: Value{0, 11}, Partition: 0, Outcome: Failed, Err: "MESSAGE_TOO_LARGE"})
			h.Final[0].Reads = append(h.Final[0].Reads, Read{Offset: 10, Value: Value{0, 10}})
		}),
		"written late": edited(good(), func(h *History) { // a request without an answer lay in a socket
			h.op(0, 4).Outcome = Unknown
			moveLast(h, 4)
		}),
	} {
		if found := Check(h); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func edited(h *History, edit func(*History)) *History {
	edit(h)
	return h
}

func (h *History) op(writer, seq uint32) *Operation {
	i := slices.IndexFunc(h.Operations, func(o Operation) bool { return o.Value == Value{writer, seq} })
	return &h.Operations[i]
}

// moveLast has writer 0's value of partition 0 lie at its end, as all observers see it.
func moveLast(h *History, seq uint32) {
	reads := h.Final[0].Reads
	i := slices.IndexFunc(reads, func(r Read) bool { return r.Value == Value{0, seq} })
	moved := reads[i]
	reads = append(slices.Delete(reads, i, i+1), moved)
	for i := range reads {
		reads[i].Offset = int64(i)
		o := h.op(reads[i].Value.Writer, reads[i].Value.Seq)
		o.Offset = int64(i)
	}
	h.Final[0].Reads = reads
	h.Sessions = slices.DeleteFunc(h.Sessions, func(s Session) bool { return s.Partition == 0 })
}

// badHistory breaks one claim; says is a part of what must be told of it.
type badHistory struct {
	check, says string
	edit        func(*History)
}

var bad = []badHistory{
	{"lost", "partition 0 offset 10: 0/10, sent at 0.100s, acknowledged at 0.105s", func(h *History) {
		h.Operations = append(h.Operations, Operation{Value: Value{0, 10}, Outcome: Acknowledged, Offset: 10, Begin: 100 * ms, End: 105 * ms})
	}},
	{"duplicate", "value 1/8: partition 0 offset 9 (acknowledged, at 0.086s) and partition 0 offset 10 (read by final, at 0.100s)", func(h *History) {
		h.Final[0].Reads = append(h.Final[0].Reads, Read{Offset: 10, Value: Value{1, 8}, At: 100 * ms})
	}},
	{"duplicate", "value 1/8: partition 0 offset 10 (acknowledged, at 0.086s) and partition 0 offset 9", func(h *History) { h.op(1, 8).Offset = 10 }},
	{"conflict", "partition 0 offset 9: 1/8 (acknowledged, at 0.086s) and 0/10 (read by hand", func(h *History) {
		h.Operations = append(h.Operations, Operation{Value: Value{0, 10}})
		h.Sessions[0].Reads[9].Value = Value{0, 10}
	}},
	{"order", "partition 0: 0/4 at offset 9 comes after 0/8 at offset 7", func(h *History) { moveLast(h, 4) }},
	{"missed", "partition 0 offset 10: 0/10, read by hand at 0.101s", func(h *History) {
		h.Operations = append(h.Operations, Operation{Value: Value{0, 10}})
		h.Sessions[0].Reads = append(h.Sessions[0].Reads, Read{Offset: 10, Value: Value{0, 10}, At: 101 * ms})
	}},
	{"invented", "partition 0 offset 10, read by final at 0.000s: 7/7 was never sent", func(h *History) {
		h.Final[0].Reads = append(h.Final[0].Reads, Read{Offset: 10, Value: Value{7, 7}})
	}},
	{"invented", `0/10 failed at 0.110s with "too large"`, func(h *History) {
		h.Operations = append(h.Operations, Operation{Value: Value{0, 10}, Outcome: Failed, Err: "too large", End: 110 * ms})
		h.Final[0].Reads = append(h.Final[0].Reads, Read{Offset: 10, Value: Value{0, 10}})
	}},
	{"invented", "0/11 was sent to partition 1", func(h *History) {
		h.Operations = append(h.Operations, Operation{Value: Value{0, 11}, Partition: 1})
		h.Final[0].Reads = append(h.Final[0].Reads, Read{Offset: 10, Value: Value{0, 11}})
	}},
	{"damaged", "partition 0 offset 4, read by hand", func(h *History) { h.Sessions[0].Reads[4].Damaged = true }},
	{"hole", "partition 0: offset 11 follows 9", func(h *History) {
		h.Operations = append(h.Operations, Operation{Value: Value{0, 10}})
		h.Final[0].Reads = append(h.Final[0].Reads, Read{Offset: 11, Value: Value{0, 10}})
	}},
	{"hole", "partition 2 was not read at the end", func(h *History) { h.Partitions = 3 }},
	{"jump", "partition 0: hand read offset 4 at 0.046s after 2", func(h *History) {
		h.Sessions[0].Reads = slices.Delete(h.Sessions[0].Reads, 3, 4)
	}},
	{"jump", "partition 0: hand read offset 1 at 0.007s after -1", func(h *History) { h.Sessions[0].Reads = h.Sessions[0].Reads[1:] }},
	{"jump", "partition 1: m2 began at 0.070s and read offset 7 first; no member of the group had read 6", func(h *History) {
		h.Sessions[5].Reads = h.Sessions[5].Reads[3:]
	}},
	{"back", "partition 0: hand read offset 3 at 0.027s after 3", func(h *History) {
		h.Sessions[0].Reads = slices.Insert(h.Sessions[0].Reads, 4, h.Sessions[0].Reads[3])
	}},
	{"back", "partition 0: m2 began at 0.070s and read offset 4 first; the group had committed 5 at 0.060s", func(h *History) { h.Commits[1].Offset = 5 }},
	{"end", "partition 0: the high watermark was 3 at 0.020s (ends, epoch 1) and then 2 at 0.030s", func(h *History) { h.Ends[1].Begin = 21 * ms }},
	{"end", "partition 0: the high watermark was 3 at 0.020s (ends, epoch 1) and then 1 at 0.099s (ends, epoch 2)", func(h *History) { h.Ends[3].Offset = 1 }},
	{"end", "partition 0: the high watermark was 11 at 0.099s (ends, epoch 2), the final read ends at 10", func(h *History) { h.Ends[3].Offset = 11 }},
	{"above", "partition 0: hand was given offset 4 at 0.020s, with the high watermark 4", func(h *History) { h.Ends[2].Offset = 4 }},
	{"leader", "partition 0: in epoch 3 both broker 2 in life 6 (revision 9, at 0.000s) and broker 1 in life 4", func(h *History) {
		h.Leaderships = append(h.Leaderships, Leadership{Revision: 10, Leader: 1, Epoch: 3, Life: 4, Replicas: []int32{1, 2}, ISR: []int32{1}})
	}},
	{"leader", "in epoch 3 both broker 2 in life 6 (revision 9, at 0.000s) and broker 2 in life 11", func(h *History) {
		h.Leaderships = append(h.Leaderships, Leadership{Revision: 10, Leader: 2, Epoch: 3, Life: 11, Replicas: []int32{1, 2}, ISR: []int32{2}})
	}},
	{"leader", "partition 0: epoch 0 at revision 10", func(h *History) {
		h.Leaderships = append(h.Leaderships, Leadership{Revision: 10, Leader: 2, Epoch: 0, Replicas: []int32{1, 2}, ISR: []int32{2}})
	}},
	{"leader", "the leader 2 is not in the ISR [1]", func(h *History) { h.Leaderships[3].ISR = []int32{1} }},
	{"leader", "the ISR [2 4] is not among the replicas [1 2 3]", func(h *History) { h.Leaderships[3].ISR = []int32{2, 4} }},
	{"replicas", "partition 0 offset 4: node 1 holds {Base:4 Last:9 Epoch:2 Sum:bb Key:}, node 3 {Base:4 Last:9 Epoch:2 Sum:xx Key:}", func(h *History) { h.Dumps[2].Entries[1].Sum = "xx" }},
	{"replicas", "partition 1: node 1 holds offsets 4 to 9 in epoch 2, node 2 ends before", func(h *History) { h.Dumps[4].Entries = h.Dumps[4].Entries[:1] }},
}

func TestBadHistories(t *testing.T) {
	for _, b := range bad {
		expect(t, edited(good(), b.edit), b.check, b.says)
	}
}

func TestBadCompactedHistories(t *testing.T) {
	expect(t, edited(compacted(), func(h *History) {
		h.Operations = append(h.Operations, Operation{Value: Value{1, 0}, Outcome: Acknowledged, Offset: 6})
	}), "lost", "partition 0 offset 6: 1/0")
	expect(t, edited(compacted(), func(h *History) {
		h.Operations = append(h.Operations, Operation{Value: Value{0, 6}})
		h.Sessions[1].Reads = append(h.Sessions[1].Reads, Read{Offset: 6, Value: Value{0, 6}})
	}), "missed", "partition 0 offset 6: 0/6, read by late")
	expect(t, edited(compacted(), func(h *History) { h.Dumps[1].Entries[0].Sum = "xx" }), "replicas", `key "a": node 1 holds`)
	expect(t, edited(compacted(), func(h *History) { h.Dumps[1].Entries = h.Dumps[1].Entries[1:] }), "replicas", `key "a": node 1 holds`)
}

// expect fails unless a history breaks one claim, and what is said of it holds says.
func expect(t *testing.T, h *History, check, says string) {
	t.Helper()
	found := Check(h)
	if len(found) == 0 {
		t.Errorf("%s is not found: want %q", check, says)
	}
	for _, v := range found {
		if v.Check != check || !strings.Contains(v.Text, says) {
			t.Errorf("want %s: …%s…\nfound %s", check, says, v)
		}
	}
}

// Each check of the package comment is broken by a hand-made history.
func TestEveryCheckFails(t *testing.T) {
	for _, check := range []string{
		"lost", "duplicate", "conflict", "order", "missed", "invented", "damaged",
		"hole", "jump", "back", "end", "above", "leader", "replicas",
	} {
		if !slices.ContainsFunc(bad, func(b badHistory) bool { return b.check == check }) {
			t.Errorf("no history breaks %s", check)
		}
	}
}

func TestManyViolationsAreCounted(t *testing.T) {
	h := good()
	h.Sessions = nil
	h.Final[0].Reads, h.Final[1].Reads, h.Ends = nil, nil, nil
	found := Check(h)
	if len(found) != shown+1 || found[shown].String() != "lost: 10 more" {
		t.Errorf("found %v", found)
	}
}

func TestGaps(t *testing.T) {
	h := good() // partition 0 acknowledges at 5, 6, 25, 26, 45, 46, … 85, 86 ms
	h.Faults = []Fault{{"kill", "1", 41 * ms, 48 * ms}, {"pause", "1", 46 * ms, 50 * ms}, {"kill", "1", 70 * ms, 75 * ms}}
	h.op(0, 6).Outcome, h.op(1, 6).Outcome = Unknown, Unknown // at 65 and 66 ms
	var got []string
	for _, g := range Gaps(h) {
		got = append(got, fmt.Sprint(g.Fault.Name, " ", g.Partition, " ", g.Length))
	}
	want := []string{"kill 0 19ms", "pause 0 24ms", "kill 0 39ms"}
	if !slices.Equal(got, want) {
		t.Errorf("gaps %v, want %v", got, want)
	}
	table := DescribeGaps(Gaps(h))
	if !strings.Contains(table, "kill                 2       19ms       39ms") {
		t.Errorf("table\n%s", table)
	}
	if text := Describe(h); !strings.Contains(text, "20 operations: 18 acknowledged, 0 failed, 2 unknown; 44 reads") {
		t.Error(text)
	}
}

func TestPayload(t *testing.T) {
	v := Value{3, 70_000}
	p := v.Encode()
	if got, whole := Decode(p); got != v || !whole {
		t.Errorf("decoded %v, whole %v", got, whole)
	}
	for i := range p {
		p[i] ^= 1
		if _, whole := Decode(p); whole {
			t.Errorf("a flipped bit in byte %d is not found", i)
		}
		p[i] ^= 1
	}
	for _, cut := range []int{0, 7, len(p) - 1} {
		if _, whole := Decode(p[:cut]); whole {
			t.Errorf("%d bytes are whole", cut)
		}
	}
}

func TestSave(t *testing.T) {
	h, path := good(), filepath.Join(t.TempDir(), "history.json")
	if err := h.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, h) {
		t.Errorf("loaded %+v", got)
	}
}
