package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/broker/group"
	"chronik/logstore"
	"chronik/wire/batch"
)

// replayed takes down what a replay says.
type replayed struct{ said []any }

func (r *replayed) offset(id string, record group.OffsetRecord) { r.said = append(r.said, id, record) }

func (r *replayed) noOffset(id string, tp group.TopicPartition) {
	r.said = append(r.said, id, fmt.Sprint("no ", tp))
}

func (r *replayed) group(id string, record *group.MetadataRecord) {
	if record == nil {
		r.said = append(r.said, id, "no group")
		return
	}
	r.said = append(r.said, id, *record)
}

func TestOffsetRecordsAreReadAsWritten(t *testing.T) {
	offset := group.OffsetRecord{
		Topic: "t", TopicID: [16]byte{1, 2}, Partition: 3, LeaderEpoch: 4, Offset: 1 << 40,
		Metadata: "grüße", CommitTimestamp: 1_700_000_000_000, ExpireTimestamp: -1,
	}
	expiring := group.OffsetRecord{Topic: "t", Partition: 5, LeaderEpoch: -1, Offset: 6, CommitTimestamp: 7, ExpireTimestamp: 8}
	generation := group.MetadataRecord{
		ProtocolType: "consumer", Generation: 7, Protocol: "range", Leader: "a", StateTimestamp: 9,
		Members: []group.MemberRecord{
			{MemberID: "a", InstanceID: new("i"), ClientID: "c", ClientHost: "/h", RebalanceTimeoutMs: 1, SessionTimeoutMs: 2, Subscription: []byte("s"), Assignment: []byte("x")},
			{MemberID: "b", ClientID: "c", ClientHost: "/h"},
		},
	}
	b, err := encodeAppend("g", &group.Append{
		Offsets: []group.OffsetRecord{offset, expiring}, DeletedOffsets: []group.TopicPartition{{Topic: "u", Partition: 9}},
		Metadata: &generation, DeletedGroup: true,
	}, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got replayed
	err = b.Records(func(_ int, r *batch.Record) error { return replayRecord(r.Key, r.Value, &got) })
	want := []any{"g", offset, "g", expiring, "g", "no {u 9}", "g", generation, "g", "no group"}
	if err != nil || !reflect.DeepEqual(got.said, want) {
		t.Errorf("written\n%+v\nread\n%+v: %v", want, got.said, err)
	}
}

// Records of every version that Kafka wrote are read; what they do not say is not known.
func TestOffsetRecordsOfOldVersions(t *testing.T) {
	for version := range int16(5) {
		v := kmsg.OffsetCommitValue{Version: version, Offset: 5, LeaderEpoch: 6, Metadata: "m", CommitTimestamp: 7, ExpireTimestamp: 8, TopicID: [16]byte{9}}
		want := group.OffsetRecord{Topic: "t", Partition: 1, Offset: 5, LeaderEpoch: -1, Metadata: "m", CommitTimestamp: 7, ExpireTimestamp: -1}
		switch {
		case version == 1:
			want.ExpireTimestamp = 8
		case version == 3:
			want.LeaderEpoch = 6
		case version == 4:
			want.LeaderEpoch, want.TopicID = 6, [16]byte{9}
		}
		var got replayed
		if err := replayRecord(offsetKey("g", "t", 1), v.AppendTo(nil), &got); err != nil || !reflect.DeepEqual(got.said, []any{"g", want}) {
			t.Errorf("version %d is read as %+v: %v", version, got.said, err)
		}
	}
	for version := range int16(5) {
		v := kmsg.GroupMetadataValue{Version: version, ProtocolType: "consumer", Generation: 5, Members: []kmsg.GroupMetadataValueMember{{MemberID: "a", SessionTimeoutMillis: 6, RebalanceTimeoutMillis: 7}}}
		var got replayed
		if err := replayRecord(groupKey("g"), v.AppendTo(nil), &got); err != nil {
			t.Errorf("version %d: %v", version, err)
			continue
		}
		m := got.said[1].(group.MetadataRecord)
		if m.Generation != 5 || len(m.Members) != 1 || m.Members[0].SessionTimeoutMs != 6 || version > 0 && m.Members[0].RebalanceTimeoutMs != 7 {
			t.Errorf("version %d is read as %+v", version, m)
		}
	}
}

// What is no record of groups is an error, never a panic, wherever it is cut.
func TestOffsetRecordsThatAreNone(t *testing.T) {
	v := kmsg.OffsetCommitValue{Version: 4, Offset: 5, Metadata: "m", TopicID: [16]byte{1}}
	m := kmsg.GroupMetadataValue{Version: 3, ProtocolType: "consumer", Members: []kmsg.GroupMetadataValueMember{{MemberID: "a", Subscription: []byte("x")}}}
	for _, record := range [][2][]byte{{offsetKey("g", "t", 1), v.AppendTo(nil)}, {groupKey("g"), m.AppendTo(nil)}} {
		for i := range len(record[0]) {
			if err := replayRecord(record[0][:i], record[1], &replayed{}); !errors.Is(err, errOffsetRecord) {
				t.Errorf("key cut at %d: %v", i, err)
			}
		}
		for i := range len(record[1]) {
			if err := replayRecord(record[0], record[1][:i], &replayed{}); !errors.Is(err, errOffsetRecord) {
				t.Errorf("value cut at %d: %v", i, err)
			}
		}
	}
	if err := replayRecord([]byte{0, 3, 0, 1, 'g'}, nil, &replayed{}); !errors.Is(err, errOffsetRecord) {
		t.Errorf("a key of another version: %v", err)
	}
	// It is skipped, what is around it counts.
	build := batch.NewBuilder(batch.None)
	build.Add(1, offsetKey("g", "t", 1), v.AppendTo(nil))
	build.Add(1, []byte("x"), []byte("y"))
	build.Add(1, offsetKey("g", "t", 2), v.AppendTo(nil))
	raw, err := build.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &coordinator{b: &Broker{log: slog.New(slog.DiscardHandler)}, p: &partition{}, groups: map[string]*heldGroup{}}
	l := groupLoad{c: c, topics: interned{}, seen: map[group.TopicDeleted]bool{}}
	if _, err := l.replay(raw); err != nil || l.wrong != 1 || len(slices.Collect(c.groups["g"].group.Offsets())) != 2 {
		t.Errorf("%d records are wrong, %d groups: %v", l.wrong, len(c.groups), err)
	}
}

// The timers give the earliest group, whatever was set before.
func TestGroupTimers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var timers groupTimers
	all := make([]*heldGroup, 50)
	due := make([]int, len(all)) // 0: none
	for i := range all {
		all[i] = &heldGroup{index: -1}
	}
	start := time.Now()
	for range 10_000 {
		i := r.IntN(len(all))
		at := time.Time{}
		if due[i] = r.IntN(100); due[i] > 0 {
			at = start.Add(time.Duration(due[i]) * time.Hour)
		}
		timers.set(all[i], at)
		earliest, n := 0, 0
		for _, d := range due {
			if d > 0 {
				n++
				if earliest == 0 || d < earliest {
					earliest = d
				}
			}
		}
		if len(timers) != n || n > 0 && !timers[0].due.Equal(start.Add(time.Duration(earliest)*time.Hour)) {
			t.Fatalf("%d timers, want %d, the first in %v, want %d h", len(timers), n, timers.wait(), earliest)
		}
	}
}

// A coordinator that reads its partition while too few replicas are in sync waits for
// them; who could try again is told, and the groups are served in the end.
func TestLoadWaitsForReplicas(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	p := &partition{topic: &topic{name: offsetsTopic, session: b.meta.Session().BrokerEpoch()}, log: logOf(t, b)}
	p.repl = newReplication(p, func(*partition) {}, nil)
	if err := p.log.Append(0, []logstore.Item{{Batch: oneBatch(t, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	c := newCoordinator(b, p)
	ctx, cancel := context.WithCancel(t.Context())
	c.end = cancel
	ended := make(chan struct{})
	go func() { defer close(ended); c.run(ctx) }()
	for again := time.Now().Add(200 * time.Millisecond); time.Now().Before(again); time.Sleep(time.Millisecond) {
		p.repl.dismiss() // as metadata of the topic changes
		if !c.loading.Load() {
			t.Fatal("the groups are served, or never will be, before their state is committed")
		}
	}
	p.repl.hw.Raise(1)
	p.repl.hw.Notify()
	served := make(chan error, 1)
	c.ask(op{do: func(*coordinator) { served <- nil }, refuse: func(err error) { served <- err }})
	if err := <-served; err != nil {
		t.Error(err)
	}
	cancel()
	<-ended
}
