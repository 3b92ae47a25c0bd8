package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik/logstore"
	"chronik/wire"
)

// A broker tells another where its logs end, in the order that was asked, once it has
// recovered them.
func TestPeerLogEnds(t *testing.T) {
	b, _ := started(t, t.TempDir(), nil)
	produceAll(t, client(t, b, kgo.AllowAutoTopicCreation()), "t", 10)
	id := b.snap().Topic("t").ID
	q := &wire.PeerRequest{Kind: wire.PeerLogEnds, From: b.peers.self(), Partitions: []wire.PeerPartition{{Partition: 4}, {Topic: id}}}
	want := []wire.PeerLogEnd{{LeaderEpoch: -1, End: -1, Flushed: -1}, {End: 10, Flushed: 10}}
	s, err := linked(t, b).ask(t.Context(), q)
	if err != nil || s.ErrorCode != 0 || !slices.Equal(s.LogEnds, want) {
		t.Errorf("%+v, %v", s, err)
	}
	early := &Broker{life: life{recovered: make(chan struct{})}}
	if s := early.logEnds(q.Partitions); s.ErrorCode != kerr.BrokerNotAvailable.Code || s.LogEnds != nil {
		t.Errorf("before the logs are recovered: %+v", s)
	}
}

// All brokers are asked at once; who is silent or lives another life is left out, and costs
// no more than one patience.
func TestAskLogEnds(t *testing.T) {
	ns := startNodes(t, 3, nil)
	ns.created("t", nil, 1, 2, 3)
	produceAll(t, ns.client(), "t", 5)
	b := ns.node(1)
	p := wire.PeerPartition{Topic: b.snap().Topic("t").ID}
	wanted := map[brokerLife][]wire.PeerPartition{}
	for id := range int32(3) {
		epoch, _ := b.snap().Live(id + 1)
		wanted[brokerLife{id + 1, epoch}] = []wire.PeerPartition{p, p}
	}
	over := brokerLife{2, 1}
	wanted[over] = []wire.PeerPartition{p}
	wanted[brokerLife{9, 1}] = []wire.PeerPartition{p}
	var told map[brokerLife][]wire.PeerLogEnd
	eventually(t, func() error { // who is slower than askPatience is left out as well
		began := time.Now()
		told = b.peers.askLogEnds(t.Context(), wanted)
		if took := time.Since(began); took > 10*askPatience {
			t.Errorf("took %v", took)
		}
		if len(told) != 3 {
			return fmt.Errorf("%d brokers told: %+v", len(told), told)
		}
		return nil
	})
	if told[over] != nil {
		t.Errorf("another life told: %+v", told[over])
	}
	for l, ends := range told {
		want := wire.PeerLogEnd{End: 5, Flushed: 5}
		if log := ns.node(l.id).store.Log(logstore.ID{Topic: p.Topic}); log != nil {
			want.LeaderEpoch = log.LastEpoch()
		}
		if !slices.Equal(ends, []wire.PeerLogEnd{want, want}) {
			t.Errorf("broker %d: %+v", l.id, ends)
		}
	}
}
