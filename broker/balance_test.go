package broker

import (
	"fmt"
	"testing"
	"time"

	"chronik/meta"
)

// Partitions go back to their preferred leader unless the setting says no.
func TestBalanceFollowsTheSetting(t *testing.T) {
	for _, c := range []struct {
		enabled string
		leader  int32
	}{{"true", 1}, {"false", 2}} {
		t.Run(c.enabled, func(t *testing.T) {
			t.Parallel()
			ns := startNodes(t, 3, map[string]string{"auto.leader.rebalance.enable": c.enabled})
			ns.created("t", nil, 1, 2, 3)
			given := false
			eventually(t, func() error {
				for _, b := range ns.brokers {
					if id, ok := b.snap().Controller(); !ok || id != b.cfg.NodeID {
						continue
					}
					base := b.snap().Topic("t").Partitions[0]
					if base.Leader == 1 && !given {
						_, err := b.meta.Elect(t.Context(), []meta.Election{{Topic: "t", Leader: 2, Base: base}})
						given = err == nil
						return fmt.Errorf("given to 2: %v", err)
					}
					if err := b.balance(t.Context()); err != nil || base.Leader != c.leader {
						return fmt.Errorf("led by %d, want %d: %v", base.Leader, c.leader, err)
					}
					return nil
				}
				return fmt.Errorf("no controller")
			})
			if c.enabled == "false" {
				leader := func() int32 { return ns.node(3).snap().Topic("t").Partitions[0].Leader }
				eventually(t, func() error { // another node may have seen it first
					if id := leader(); id != 2 {
						return fmt.Errorf("node 3 sees %d lead", id)
					}
					return nil
				})
				never(t, balanceEvery+time.Second, func() bool { return leader() != 2 })
			}
		})
	}
}

// never watches for a while that something does not happen.
func never(t *testing.T, within time.Duration, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if happened() {
			t.Fatal("it happened")
		}
	}
}
