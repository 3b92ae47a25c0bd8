package meta

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestSessionLost(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	topic := created(t, m, "t", 1)
	for what, lose := range map[string]func(s *Session){
		"the lease is revoked": func(s *Session) {
			if _, err := m.client.Revoke(t.Context(), s.lease); err != nil {
				t.Fatal(err)
			}
		},
		"the live key is deleted": func(*Session) { etcdDelete(t, m, liveKey(1)) },
		"the live key is another": func(*Session) { etcdPut(t, m, liveKey(1), `{"incarnation":"me","directory":"dir-1"}`) },
	} {
		old := m.Session()
		began := time.Now()
		lose(old)
		if !wait(timeout(t, patience), old.Done()) {
			t.Fatalf("%s, and the session goes on", what)
		}
		eventually(t, patience, func() error {
			s, snap := m.Session(), m.Snapshot()
			if s == old || s.Incarnation() == old.Incarnation() || s.BrokerEpoch() <= old.BrokerEpoch() || !snap.IsActive(1) {
				return fmt.Errorf("%s: session %+v, brokers %v", what, s, snap.AllBrokers())
			}
			if id, ok := snap.Controller(); !ok || id != 1 {
				return fmt.Errorf("%s: controller %d %v", what, id, ok)
			}
			return nil
		})
		t.Logf("%s: registered again after %v", what, time.Since(began))
		if left, err := m.client.TimeToLive(t.Context(), old.lease); err != nil || left.TTL > 0 {
			t.Errorf("%s: the old lease is left for %d s, %v", what, left.TTL, err)
		}
		// The partition was led in a life that is over; an election mends it.
		snap := m.Snapshot()
		if epoch, _ := snap.Live(1); snap.Topic("t").Partitions[0].LeaderBrokerEpoch == epoch {
			t.Errorf("%s: it leads in a life in which it was not elected", what)
		}
		rev, err := m.Elect(t.Context(), elections(snap.Topic("t")))
		written(t, m, rev, err)
	}
	if got := m.Snapshot().Topic("t"); got.ID != topic.ID || got.Partitions[0].LeaderEpoch != 3 {
		t.Errorf("topic %+v", got.Partitions[0])
	}
}

// A write of a life that is over is refused by its own condition.
func TestWriteOfAnEndedLife(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	s := *m.Session()
	s.epoch--
	m.session.update(func(*Session) *Session { return &s })
	ctx := timeout(t, 200*time.Millisecond)
	if _, err := m.CreateTopic(ctx, NewTopic{Name: "t", ID: NewID(), Replicas: here(1)}); err == nil {
		t.Error("created a topic")
	}
	if m.Snapshot().Topic("t") != nil {
		t.Error("there is a topic")
	}
}

// The lease is renewed: it outlives its time to live.
func TestLeaseRenewed(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	cfg.LeaseTTL = time.Second // etcd makes it a few
	m := started(t, cfg)
	s := m.Session()
	granted, err := m.client.TimeToLive(t.Context(), s.lease)
	if err != nil || granted.GrantedTTL > 10 {
		t.Fatalf("granted %+v, %v", granted, err)
	}
	eventually(t, patience, func() error { // until it is renewed
		left, err := m.client.TimeToLive(t.Context(), s.lease)
		if err != nil || left.TTL < granted.GrantedTTL-1 {
			return fmt.Errorf("%d s are left of %d, %v", left.TTL, granted.GrantedTTL, err)
		}
		return nil
	})
	began := time.Now()
	eventually(t, 2*patience, func() error {
		if left := time.Duration(granted.GrantedTTL)*time.Second + time.Second - time.Since(began); left > 0 {
			return fmt.Errorf("%v to go", left)
		}
		return nil
	})
	if m.Session() != s || s.IsOver() {
		t.Error("the session is over")
	}
}

func TestSetBroker(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	m.SetBroker(Broker{Host: "other", Port: 9999, Rack: "r1", Directory: "dir-1", State: "nonsense"})
	eventually(t, patience, func() error {
		b := m.Snapshot().Broker(1)
		if b.Host != "other" || b.Port != 9999 || b.Rack != "r1" || b.State != Active || b.ID != 1 {
			return fmt.Errorf("broker %+v", b)
		}
		return nil
	})
	if err := m.SetState(t.Context(), Draining); err != nil || len(m.Snapshot().Brokers()) != 0 {
		t.Errorf("draining: %v, active %v", err, m.Snapshot().Brokers())
	}
	rev, err := m.CreateTopic(t.Context(), NewTopic{Name: "t", ID: NewID(), Replicas: here(1)})
	written(t, m, rev, err)
	if p := m.Snapshot().Topic("t").Partitions[0]; p.Leader != -1 {
		t.Errorf("a draining broker leads: %+v", p)
	}
}

func TestBeforeRun(t *testing.T) {
	m := New(testConfig(t.TempDir()))
	ctx := timeout(t, 10*time.Millisecond)
	if m.Snapshot() != nil || m.Session() != nil || m.Why() == "" {
		t.Error("it pretends to run")
	}
	if _, err := m.CreateTopic(ctx, NewTopic{Name: "t", ID: NewID(), Replicas: here(1)}); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("create: %v", err)
	}
	if _, _, err := m.ProducerIDs(ctx); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("producer ids: %v", err)
	}
	if err := m.SetState(ctx, Active); err == nil {
		t.Error("active")
	}
	if size, most := m.DatabaseSize(); size != 0 || most != defaultQuota {
		t.Errorf("database of %d of %d bytes", size, most)
	}
}
