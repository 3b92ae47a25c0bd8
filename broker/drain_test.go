package broker

import (
	"slices"
	"testing"
)

// Who stops is out of the ISRs before it does, whether it led or not, and stays in those
// that could not do without.
func TestDrainLeavesISR(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": "false"})
	ns.created("led", nil, 2, 1, 3)
	ns.created("followed", nil, 1, 2, 3)
	ns.created("pair", nil, 1, 2)
	ns.isr("led", 1, 2, 3)
	ns.isr("followed", 1, 2, 3)
	ns.isr("pair", 1, 2)
	b := ns.node(2)
	b.drain(t.Context())
	for topic, want := range map[string]bool{"led": false, "followed": false, "pair": true} {
		if p := b.snap().Topic(topic).Partitions[0]; p.Leader == 2 || slices.Contains(p.ISR, 2) != want {
			t.Errorf("%s: leader %d, in sync %v", topic, p.Leader, p.ISR)
		}
	}
}

// One that only follows leaves them too.
func TestDrainOfFollower(t *testing.T) {
	ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": "false"})
	ns.created("followed", nil, 1, 2, 3)
	ns.isr("followed", 1, 2, 3)
	b := ns.node(2)
	b.drain(t.Context())
	if p := b.snap().Topic("followed").Partitions[0]; slices.Contains(p.ISR, 2) {
		t.Errorf("in sync %v", p.ISR)
	}
}
