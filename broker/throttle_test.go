package broker

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What passes in a while is what the rate allows, and one portion more.
func TestPace(t *testing.T) {
	now, passed := time.Unix(1000, 0), 0
	var p pace
	for end := now.Add(10 * time.Second); now.Before(end); {
		if wait := p.wait(1000, now); wait > 0 {
			now = now.Add(wait)
			continue
		}
		p.passed(1500, 1000, now)
		passed += 1500
	}
	if passed < 10_000 || passed > 12_000 {
		t.Errorf("%d bytes in 10 s", passed)
	}
	if wait := p.wait(1, now); wait != throttleLook {
		t.Errorf("waits %v at a lower rate", wait)
	}
	if wait := p.wait(longest, now); wait != 0 {
		t.Errorf("waits %v without a limit", wait)
	}
	var stopped pace
	if wait := stopped.wait(0, now); wait != throttleLook {
		t.Errorf("waits %v at rate 0", wait)
	}
}

func TestThrottledReplicaLists(t *testing.T) {
	for text, ok := range map[string]bool{"": true, "*": true, "0:1": true, "0:1,12:3": true, " 0:1 , 1:2 ": true, "1": false, "0:1,*": false, "a:1": false, "0:-1": false, "**": false} {
		if _, err := replicaList(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	for list, want := range map[string]bool{"*": true, "3:2": true, "0:1, 3:2": true, "": false, "3:1": false, "13:2": false, "3:22": false} {
		if listedOn(list, 2).has(3) != want {
			t.Errorf("%q has 3:2: %v", list, !want)
		}
	}
}

// A replica that catches up is slowed down to the rate, by itself or by its leader; one
// that is in sync is not.
func TestThrottledCatchUp(t *testing.T) {
	const rate, size = 8 << 20, 16 << 20
	for _, side := range []string{"follower", "leader"} {
		t.Run(side, func(t *testing.T) {
			ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": "false"})
			ns.created("t", nil, 1, 2)
			free := ns.catchUp(t, size)
			set := func(name, value string) []kadm.AlterConfig {
				return []kadm.AlterConfig{{Op: kadm.SetConfig, Name: side + name, Value: &value}}
			}
			limit := func(rate int) {
				adm := kadm.NewClient(ns.client()) // node 2 has another address in each life
				for id := range ns.brokers {
					if rs, err := adm.AlterBrokerConfigs(t.Context(), set(".replication.throttled.rate", fmt.Sprint(rate)), int32(id+1)); err != nil || rs[0].Err != nil {
						t.Fatal(err, rs)
					}
				}
			}
			limit(rate)
			if rs, err := kadm.NewClient(ns.client()).AlterTopicConfigs(t.Context(), set(".replication.throttled.replicas", "*"), "t"); err != nil || rs[0].Err != nil {
				t.Fatal(err, rs)
			}
			slow := ns.catchUp(t, size)
			limit(rate / 8)
			began := time.Now()
			ns.fill(t, size)
			inSync := time.Since(began)
			t.Logf("%d bytes: %v without a throttle, %v at %d bytes/s (%.0f bytes/s), %v produced to all in sync",
				size, free.Round(time.Millisecond), slow.Round(time.Millisecond), rate, size/slow.Seconds(), inSync.Round(time.Millisecond))
			if slow < 1500*time.Millisecond || slow > 20*time.Second {
				t.Errorf("caught up in %v", slow)
			}
			if inSync > size/rate*4*time.Second {
				t.Errorf("replicas in sync are throttled: %v", inSync)
			}
		})
	}
}

// fill produces about so many bytes, with acks=all.
func (ns *nodes) fill(t *testing.T, size int) {
	t.Helper()
	cl := ns.client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	const each = 64 << 10
	var records []*kgo.Record
	for range size / each {
		records = append(records, &kgo.Record{Topic: "t", Value: bytes.Repeat([]byte{'x'}, each)})
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// catchUp has node 2 miss about so many bytes and returns how long it then takes to be in
// sync again.
func (ns *nodes) catchUp(t *testing.T, size int) time.Duration {
	t.Helper()
	ns.stop(2)
	ns.fill(t, size)
	began := time.Now()
	ns.begin(2)
	ns.ready(2)
	eventually(t, func() error {
		if p := ns.node(1).snap().Topic("t").Partitions[0]; !slices.Contains(p.ISR, 2) {
			return fmt.Errorf("in sync: %v", p.ISR)
		}
		return nil
	})
	return time.Since(began)
}
