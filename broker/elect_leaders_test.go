package broker

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// Who is elected when an operator wants it, and what is answered when nobody is.
func TestElectByHand(t *testing.T) {
	key := func(leader int32, isr, elr []int32) *meta.Partition {
		return &meta.Partition{Replicas: ids(1, 2, 3), Leader: leader, LeaderBrokerEpoch: int64(100 + leader), ISR: isr, ELR: elr}
	}
	offline := key(2, ids(1, 2, 3), nil)
	offline.Offline = ids(1)
	known := key(-1, ids(), nil)
	known.LastKnown = ids(1)
	for name, c := range map[string]struct {
		decide func(view, *meta.Partition, planRules) (meta.Election, error)
		v      cast
		p      *meta.Partition
		leader int32
		isr    []int32 // nil: as it was
		err    error
	}{
		"the first replica":                  {electPreferred, stand(serving, serving, serving), key(2, ids(1, 2, 3), nil), 1, nil, nil},
		"it leads":                           {electPreferred, stand(serving, serving, serving), key(1, ids(1, 2, 3), nil), 0, nil, kerr.ElectionNotNeeded},
		"it leads, dead as it is":            {electPreferred, stand(dead, serving, serving), key(1, ids(1, 2, 3), nil), 0, nil, kerr.ElectionNotNeeded},
		"it is not in sync":                  {electPreferred, stand(serving, serving, serving), key(2, ids(2, 3), nil), 0, nil, kerr.PreferredLeaderNotAvailable},
		"it is dead":                         {electPreferred, stand(dead, serving, serving), key(2, ids(1, 2, 3), nil), 0, nil, kerr.PreferredLeaderNotAvailable},
		"it is starting":                     {electPreferred, stand(starting, serving, serving), key(2, ids(1, 2, 3), nil), 0, nil, kerr.PreferredLeaderNotAvailable},
		"it is leaving":                      {electPreferred, stand(leaving, serving, serving), key(2, ids(1, 2, 3), nil), 0, nil, kerr.PreferredLeaderNotAvailable},
		"its log is offline":                 {electPreferred, stand(serving, serving, serving), offline, 0, nil, kerr.PreferredLeaderNotAvailable},
		"unclean, with a leader":             {electUnclean, stand(serving, serving, serving), key(2, ids(2), nil), 0, nil, kerr.ElectionNotNeeded},
		"unclean, one in sync":               {electUnclean, stand(serving, serving, serving), key(-1, ids(3), nil), 3, nil, nil},
		"unclean, one eligible":              {electUnclean, stand(serving, serving, serving), key(-1, ids(), ids(2)), 2, ids(2), nil},
		"unclean, the fullest":               {electUnclean, stand(serving, serving, serving), known, 3, ids(3), nil},
		"unclean, whoever serves":            {electUnclean, stand(dead, starting, serving), key(-1, ids(), ids(1)), 3, ids(3), nil},
		"unclean, without waiting":           {electUnclean, stand(starting, serving, serving), key(-1, ids(1), nil), 3, ids(3), nil},
		"unclean, nobody serves":             {electUnclean, stand(dead, starting, dead), key(-1, ids(), ids(1)), 0, nil, kerr.EligibleLeadersNotAvailable},
		"unclean, only one that is stopping": {electUnclean, stand(dead, leaving, dead), key(-1, ids(), ids(1)), 0, nil, kerr.EligibleLeadersNotAvailable},
	} {
		e, err := c.decide(c.v, c.p, planRules{minISR: 2, unclean: true, told: map[int32]logEnd{2: {epoch: 4, end: 9}, 3: {epoch: 5, end: 7}}})
		if !errors.Is(err, c.err) || e.Leader != c.leader || e.Keep {
			t.Errorf("%s: %+v %v, want leader %d, %v", name, e, err, c.leader, c.err)
		}
		if c.isr != nil && (e.Members == nil || !slices.Equal(e.Members.ISR, c.isr)) {
			t.Errorf("%s: members %+v, want %v in sync", name, e.Members, c.isr)
		}
	}
}

// Any node elects, and the answer comes when it has taken that up.
func TestElectLeadersAnywhere(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": "false", "default.replication.factor": "3"})
	ns.created("t", nil, 1, 2, 3)
	for _, b := range ns.brokers {
		ns.moved("t", 2)
		cl := client(t, b)
		req := kmsg.NewPtrElectLeadersRequest()
		req.TimeoutMillis = 10_000
		raw, err := cl.Broker(int(b.cfg.NodeID)).Request(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		resp := raw.(*kmsg.ElectLeadersResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 || resp.ErrorCode != 0 {
			t.Errorf("node %d: %+v", b.cfg.NodeID, resp)
		}
		if p := b.snap().Topic("t").Partitions[0]; p.Leader != 1 || !slices.Equal(p.ISR, ids(1, 2, 3)) {
			t.Errorf("node %d shows %+v", b.cfg.NodeID, p)
		}
	}
	ns.stop(1)
	eventually(t, func() error {
		if p := ns.node(2).snap().Topic("t").Partitions[0]; slices.Contains(p.ISR, 1) {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	res, err := kadm.NewClient(client(t, ns.node(3))).ElectLeaders(t.Context(), kadm.ElectPreferredReplica, nil)
	if got := res["t"][0]; err != nil || !errors.Is(got.Err, kerr.PreferredLeaderNotAvailable) {
		t.Errorf("%+v, %v", got, err)
	}
}

// An operator can have a partition led again whose last replica in sync is gone.
func TestElectUncleanLeader(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"replica.lag.time.max.ms": "1000"})
	ns.created("t", map[string]*string{"min.insync.replicas": new("1")}, 3, 2)
	produceAll(t, ns.client(), "t", 10)
	release := ns.held(2, "t")
	produceAll(t, ns.client(), "t", 1) // may be on its way to 2
	produceAll(t, ns.client(), "t", 5) // acknowledged when 2 has left
	ns.stop(3)
	release()
	adm := kadm.NewClient(client(t, ns.node(1)))
	set := kadm.TopicsSet{}
	set.Add("t", 0)
	elect := func(how kadm.ElectLeadersHow) error {
		res, err := adm.ElectLeaders(t.Context(), how, set)
		return errors.Join(err, res["t"][0].Err)
	}
	eventually(t, func() error {
		if err := elect(kadm.ElectPreferredReplica); !errors.Is(err, kerr.PreferredLeaderNotAvailable) {
			return err
		}
		return elect(kadm.ElectLiveReplica)
	})
	if b := ns.leaderOf("t"); b.cfg.NodeID != 2 {
		t.Fatalf("led by %d", b.cfg.NodeID)
	}
	if err := elect(kadm.ElectLiveReplica); !errors.Is(err, kerr.ElectionNotNeeded) {
		t.Errorf("once more: %v", err)
	}
	if p, err := ns.node(2).partition("t", 0); err != nil || p.log.End() > 11 {
		t.Errorf("%d records are left, %v", p.log.End(), err)
	}
	produceAll(t, client(t, ns.node(2)), "t", 3)
}
