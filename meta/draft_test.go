package meta

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// keyspace is a model of etcd: keys with values and mod revisions.
type keyspace struct {
	keys map[string]*mvccpb.KeyValue
	rev  int64
	rnd  *rand.Rand
	ids  [][16]byte
}

func newKeyspace(seed uint64) *keyspace {
	k := &keyspace{keys: map[string]*mvccpb.KeyValue{}, rnd: rand.New(rand.NewPCG(seed, 0))}
	for i := range 12 {
		k.ids = append(k.ids, [16]byte{byte(i), byte(i)})
	}
	return k
}

// event is one change; a nil value is a deletion.
type event struct {
	key   string
	value []byte
	rev   int64
}

// revision makes the events of one revision.
func (k *keyspace) revision() (events []event) {
	k.rev++
	topic := fmt.Sprint("t", k.rnd.IntN(12))
	switch k.rnd.IntN(9) {
	case 0, 1: // a topic with its partitions
		n := 1 + k.rnd.IntN(4)
		id := EncodeID(k.ids[k.rnd.IntN(len(k.ids))])
		events = append(events, event{key: topicKey(topic), value: fmt.Appendf(nil, `{"id":%q,"partitions":%d}`, id, n)})
		for i := range n {
			events = append(events, k.partition(topic, i))
		}
	case 2: // a deletion
		events = append(events, event{key: topicKey(topic)}, event{key: configsKey(TopicConfigs, topic)})
		from, to := partitionRange(topic)
		for key := range k.keys {
			if key >= from && key < to {
				events = append(events, event{key: key})
			}
		}
	case 3:
		events = append(events, k.partition(topic, k.rnd.IntN(5)))
	case 4:
		events = append(events, event{key: configsKey(TopicConfigs, topic), value: fmt.Appendf(nil, `{"n":"%d"}`, k.rev)})
	case 5:
		id := int32(k.rnd.IntN(3))
		b := fmt.Appendf(nil, `{"id":%d,"state":"active","incarnation":"i%d"}`, id, k.rnd.IntN(2))
		events = append(events, event{key: brokerKey(id), value: b})
	case 6:
		id := int32(k.rnd.IntN(3))
		events = append(events, event{key: liveKey(id), value: fmt.Appendf(nil, `{"incarnation":"i%d"}`, k.rnd.IntN(2))})
		events = append(events, event{key: controllerKey, value: fmt.Appendf(nil, `{"broker":%d,"brokerEpoch":%d}`, id, k.rev)})
	case 7: // one key by hand: gone, or garbage
		for _, key := range slices.Sorted(maps.Keys(k.keys))[:min(1, len(k.keys))] {
			events = append(events, event{key: key})
		}
		events = append(events, event{key: topicKey(topic) + "x", value: []byte("garbage")})
	case 8:
		events = append(events, event{key: configsKey(GroupConfigs, topic), value: []byte(`{"a":"b"}`)})
	}
	for i := range events {
		events[i].rev = k.rev
		k.apply(events[i])
	}
	return events
}

func (k *keyspace) partition(topic string, n int) event {
	return event{key: partitionKey(topic, n), value: fmt.Appendf(nil, `{"replicas":[1,2],"leader":%d,"isr":[1]}`, 1+k.rnd.IntN(2))}
}

func (k *keyspace) apply(e event) {
	if e.value == nil {
		delete(k.keys, e.key)
		return
	}
	k.keys[e.key] = &mvccpb.KeyValue{Key: []byte(e.key), Value: e.value, ModRevision: e.rev}
}

// listed is the snapshot of a node that lists the keyspace over an old snapshot.
func (k *keyspace) listed(old *Snapshot) *Snapshot {
	d := newDraft(old, slog.New(slog.DiscardHandler))
	seen := map[string]struct{}{}
	for _, key := range slices.Sorted(maps.Keys(k.keys)) {
		seen[key] = struct{}{}
		if old == nil || d.revisionOf(key) != k.keys[key].ModRevision {
			d.put(k.keys[key])
		}
	}
	if old != nil {
		d.removeUnlisted(old, seen)
	}
	d.endRevision()
	return d.finish(k.rev)
}

// shown is what readers see of a snapshot, to be compared.
func shown(s *Snapshot) string {
	var text strings.Builder
	text.WriteString(fmt.Sprintf("topics %d partitions %d\n", s.NumTopics(), s.NumPartitions()))
	for t := range s.Topics() {
		text.WriteString(fmt.Sprintf("%s %x %v %v\n", t.Name, t.ID, t.Configs, s.TopicByID(t.ID) == t))
		for _, p := range t.Partitions {
			text.WriteString(fmt.Sprintf("  %+v\n", *p))
		}
	}
	for _, b := range s.AllBrokers() {
		epoch, ok := s.Live(b.ID)
		text.WriteString(fmt.Sprintf("%+v active %v live %d %v\n", *b, s.IsActive(b.ID), epoch, ok))
	}
	id, ok := s.Controller()
	return text.String() + fmt.Sprintf("active %d controller %d %v\n", len(s.Brokers()), id, ok)
}

// check holds a snapshot's indexes against each other.
func (s *Snapshot) check() error {
	topics, partitions, unfinished := 0, 0, 0
	last := ""
	for t := range s.topics.all() {
		if last >= t.Name || t.empty() {
			return fmt.Errorf("topic %s is out of order or empty", t.Name)
		}
		last = t.Name
		if t.keys.value.Creating != nil {
			unfinished++
		}
		if !t.shown() {
			continue
		}
		topics++
		partitions += len(t.Partitions)
		if s.Topic(t.Name) != t || s.TopicByID(t.ID) != t || slices.Contains(t.Partitions, nil) {
			return fmt.Errorf("topic %s is not found, or lacks a partition", t.Name)
		}
	}
	if topics != s.NumTopics() || partitions != s.NumPartitions() || unfinished != s.unfinished {
		return fmt.Errorf("counted %d topics, %d partitions; it says %d, %d", topics, partitions, s.NumTopics(), s.NumPartitions())
	}
	return nil
}

// Whatever comes in whatever portions, the indexes agree, old snapshots do not
// change, and a node that lists over any old snapshot comes to what a node that
// watched came to, as long as nothing was kept that etcd does not hold any more.
func TestDraft(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		k := newKeyspace(seed)
		s := newDraft(nil, slog.New(slog.DiscardHandler)).finish(0)
		var old []*Snapshot
		var oldShown []string
		for step := range 60 {
			d := newDraft(s, slog.New(slog.DiscardHandler))
			for range 1 + k.rnd.IntN(3) {
				for _, e := range k.revision() {
					if e.value == nil {
						d.remove(e.key)
					} else {
						d.put(&mvccpb.KeyValue{Key: []byte(e.key), Value: e.value, ModRevision: e.rev})
					}
				}
				d.endRevision()
			}
			s = d.finish(k.rev)
			if err := s.check(); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			again := k.listed(s)
			if got, want := shown(again), shown(s); got != want {
				t.Fatalf("seed %d step %d: a list over the present shows\n%s\nnot\n%s", seed, step, got, want)
			}
			for topic := range s.Topics() {
				if again.Topic(topic.Name) != topic {
					t.Fatalf("seed %d step %d: topic %s did not change and is another", seed, step, topic.Name)
				}
			}
			if err := k.listed(nil).check(); err != nil {
				t.Fatalf("seed %d step %d: a first list: %v", seed, step, err)
			}
			old, oldShown = append(old, s), append(oldShown, shown(s))
		}
		for i, o := range old {
			if shown(o) != oldShown[i] {
				t.Fatalf("seed %d: snapshot %d changed from\n%s\nto\n%s", seed, i, oldShown[i], shown(o))
			}
			if err := k.listed(o).check(); err != nil {
				t.Fatalf("seed %d: a list over snapshot %d: %v", seed, i, err)
			}
		}
	}
}

// A change of one thing leaves all others the same.
func TestDraftShares(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	d := newDraft(nil, log)
	put := func(d *draft, rev int64, key, value string) {
		if err := d.put(&mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: rev}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		name := fmt.Sprint("t", i)
		put(d, 1, topicKey(name), fmt.Sprintf(`{"id":%q,"partitions":2}`, EncodeID([16]byte{byte(i)})))
		put(d, 1, partitionKey(name, 0), `{"replicas":[1],"leader":1,"isr":[1]}`)
		put(d, 1, partitionKey(name, 1), `{"replicas":[1],"leader":1,"isr":[1]}`)
	}
	before := d.finish(1)
	d = newDraft(before, log)
	put(d, 2, partitionKey("t1", 1), `{"replicas":[1],"leader":-1,"isr":[1]}`)
	d.endRevision()
	after := d.finish(2)
	if after.Topic("t1") == before.Topic("t1") || after.Topic("t1").Partitions[1].Leader != -1 {
		t.Error("the change is not seen")
	}
	if before.Topic("t1").Partitions[1].Leader != 1 {
		t.Error("the old snapshot changed")
	}
	if after.Topic("t0") != before.Topic("t0") || after.Topic("t2") != before.Topic("t2") ||
		after.Topic("t1").Partitions[0] != before.Topic("t1").Partitions[0] {
		t.Error("what did not change was copied")
	}
	if reflect.ValueOf(after.brokers).Pointer() != reflect.ValueOf(before.brokers).Pointer() {
		t.Error("the brokers were copied")
	}
}

func TestKeys(t *testing.T) {
	for _, k := range []key{
		{kind: clusterKind},
		{kind: controllerKind},
		{kind: brokerKind, number: 7},
		{kind: liveKind, number: 0},
		{kind: topicKind, name: "a.b_c-D9"},
		{kind: partitionKind, name: "a", number: 12},
		{kind: configsKind, configs: TopicConfigs, name: "a"},
		{kind: configsKind, configs: BrokerConfigs, name: "default"},
		{kind: configsKind, configs: GroupConfigs, name: "a/b %zz\xff"},
	} {
		got, err := parseKey(k.String())
		if err != nil || got != k {
			t.Errorf("%s is read as %+v, %v", k, got, err)
		}
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{clusterKey, topicKey("a"), partitionKey("a", 3), configsKey(GroupConfigs, "a/b"), prefix + "x/y/z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := parseKey(text); err == nil && k.kind != unknownKind && k.String() != text {
			t.Errorf("%q is read as %q", text, k)
		}
	})
}

// FuzzValue puts any value under every kind of key.
func FuzzValue(f *testing.F) {
	f.Add([]byte(`{"replicas":[1],"leader":1}`))
	f.Add([]byte(`{"id":"AAAAAAAAAAAAAAAAAAAAAA","partitions":1}`))
	f.Add([]byte(`{"id":"AAAAAAAAAAAAAAAAAAAAAA","partitions":2,"creating":{"replicas":[[1],null]}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, value []byte) {
		d := newDraft(nil, slog.New(slog.DiscardHandler))
		rev := int64(0)
		for range 2 {
			for _, k := range []string{
				clusterKey, controllerKey, brokerKey(1), liveKey(1), topicKey("a"), partitionKey("a", 0), partitionKey("a", 1),
				configsKey(TopicConfigs, "a"), configsKey(GroupConfigs, "g"),
			} {
				rev++
				d.put(&mvccpb.KeyValue{Key: []byte(k), Value: value, ModRevision: rev})
				d.endRevision()
			}
			d = newDraft(d.finish(rev), d.log)
		}
		if err := d.finish(rev).check(); err != nil {
			t.Error(err)
		}
	})
}
