package meta

import (
	"errors"
	"slices"
	"testing"
)

// appears registers another broker, active, by hand.
func appears(t *testing.T, m running, id int32, incarnation string) (epoch int64) {
	t.Helper()
	broker, err := encode(Broker{ID: id, Host: "localhost", Port: 1, State: Active, Incarnation: incarnation, Listeners: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	live, err := encode(liveValue{Incarnation: incarnation})
	if err != nil {
		t.Fatal(err)
	}
	c := change{}
	c.when(at(prefix+"nothing", 0))
	c.put(brokerKey(id), broker)
	c.put(liveKey(id), live)
	resp, err := m.send(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	written(t, m, resp.Header.Revision, nil)
	return resp.Header.Revision
}

func TestChangeMembers(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	two := appears(t, m, 2, "a")
	life := m.Session().BrokerEpoch()
	rev, err := m.CreateTopic(t.Context(), NewTopic{Name: "t", ID: NewID(), Replicas: [][]int32{{1, 2}, {1, 2}, {1, 2}}})
	written(t, m, rev, err)
	of := func(n int) *Partition { return m.Snapshot().Topic("t").Partitions[n] }
	shrink := func(n int) MemberChange {
		return MemberChange{Topic: "t", Partition: int32(n), Base: of(n), Life: life, Members: Members{ISR: []int32{1}, ELR: []int32{2}}}
	}
	stale := shrink(1)
	rev, err = m.ChangeMembers(t.Context(), []MemberChange{shrink(0), shrink(1)})
	written(t, m, rev, err)
	for n := range 2 {
		if p := of(n); !slices.Equal(p.ISR, []int32{1}) || !slices.Equal(p.ELR, []int32{2}) || p.LeaderEpoch != 0 || p.PartitionEpoch != 1 || p.Leader != 1 {
			t.Errorf("partition %d: %+v", n, p)
		}
	}

	grow := func(n int, epoch int64) MemberChange {
		return MemberChange{Topic: "t", Partition: int32(n), Base: of(n), Life: life, Members: Members{ISR: []int32{1, 2}}, Added: []Replica{{2, epoch}}}
	}
	// One is overtaken: the others are written.
	rev, err = m.ChangeMembers(t.Context(), []MemberChange{stale, grow(0, two), shrink(2)})
	if !errors.Is(err, ErrConflict) {
		t.Errorf("an overtaken change: %v", err)
	}
	written(t, m, rev, nil)
	if len(of(0).ISR) != 2 || len(of(1).ISR) != 1 || len(of(2).ISR) != 1 {
		t.Errorf("beside an overtaken change: %v %v %v", of(0).ISR, of(1).ISR, of(2).ISR)
	}
	again := appears(t, m, 2, "b")
	for what, c := range map[string]MemberChange{
		"who joined in another life": grow(1, two),
		"decided in another life":    {Topic: "t", Partition: 2, Base: of(2), Life: life - 1, Members: Members{ISR: []int32{1}}},
	} {
		if _, err := m.ChangeMembers(t.Context(), []MemberChange{c}); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	rev, err = m.ChangeMembers(t.Context(), []MemberChange{grow(1, again)})
	written(t, m, rev, err)

	resign := MemberChange{Topic: "t", Partition: 1, Base: of(1), Life: life, Members: Members{ISR: []int32{2}}, Resign: true}
	rev, err = m.ChangeMembers(t.Context(), []MemberChange{resign})
	written(t, m, rev, err)
	if p := of(1); p.Leader != -1 || p.LeaderEpoch != 1 || p.LeaderBrokerEpoch != 0 || !slices.Equal(p.ISR, []int32{2}) {
		t.Errorf("resigned: %+v", p)
	}
}

// The conditions stand in the transaction, whatever the snapshot said.
func TestChangeMembersConditions(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	two := appears(t, m, 2, "a")
	rev, err := m.CreateTopic(t.Context(), NewTopic{Name: "t", ID: NewID(), Replicas: [][]int32{{1, 2}}})
	written(t, m, rev, err)
	join := MemberChange{
		Topic: "t", Base: m.Snapshot().Topic("t").Partitions[0], Life: m.Session().BrokerEpoch(),
		Members: Members{ISR: []int32{1, 2}}, Added: []Replica{{2, two}},
	}
	for what, overtake := range map[string]func(c *change){
		"the broker's state": func(c *change) { c.put(brokerKey(2), `{"id":2,"state":"fenced"}`) },
		"its life":           func(c *change) { c.put(liveKey(2), `{"incarnation":"z"}`) },
		"the partition":      func(c *change) { c.put(partitionKey("t", 0), `{"replicas":[1,2],"leader":1,"isr":[1]}`) },
	} {
		c := change{}
		if err := m.memberChanges(&c, []MemberChange{join}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		first := change{}
		first.when(at(prefix+"nothing", 0))
		overtake(&first)
		if _, err := m.send(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if _, _, err := m.write(t.Context(), c); !errors.Is(err, ErrConflict) {
			t.Errorf("%s changed first, and it was written: %v", what, err)
		}
		join.Added[0].BrokerEpoch = appears(t, m, 2, what)
		if join.Base = m.Snapshot().Topic("t").Partitions[0]; join.Base == nil {
			t.Fatal("no partition")
		}
	}
}

// The controller changes members with and without an election.
func TestElectMembers(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	appears(t, m, 2, "a")
	rev, err := m.CreateTopic(t.Context(), NewTopic{Name: "t", ID: NewID(), Replicas: [][]int32{{1, 2}, {2, 1}}})
	written(t, m, rev, err)
	of := func(n int) *Partition { return m.Snapshot().Topic("t").Partitions[n] }
	out := &Members{ISR: []int32{1}, ELR: []int32{2}}
	rev, err = m.Elect(t.Context(), []Election{
		{Topic: "t", Partition: 0, Keep: true, Members: out, Base: of(0)},
		{Topic: "t", Partition: 1, Leader: 1, Members: out, Base: of(1)},
	})
	written(t, m, rev, err)
	if p := of(0); p.Leader != 1 || p.LeaderEpoch != 0 || p.PartitionEpoch != 1 || len(p.ISR) != 1 || len(p.ELR) != 1 {
		t.Errorf("members alone: %+v", p)
	}
	if p := of(1); p.Leader != 1 || p.LeaderEpoch != 1 || p.LeaderBrokerEpoch != m.Session().BrokerEpoch() || len(p.ISR) != 1 {
		t.Errorf("leader and members: %+v", p)
	}
}
