package e2e

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Thousands of connections that asked once and idle: each is answered again afterwards.
// What they cost is printed.
func TestIdleConnections(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	n.WaitReady()
	count, before := rounds(1000, 8000), rss(t, n)
	conns := make([]*rawConn, count)
	req := kmsg.NewPtrApiVersionsRequest()
	for i := range conns {
		conns[i] = dialRaw(t, n.Kafka)
		conns[i].ask(req)
	}
	idle := rss(t, n) - before
	cpu := cpuTime(t, n)
	const pause = 2 * time.Second
	time.Sleep(pause) // of nothing, to see what that costs
	cpu = cpuTime(t, n) - cpu
	for _, c := range conns {
		c.ask(req)
	}
	t.Logf("%d idle connections: %d MiB, %d KiB each; %.1f %% of a core", count, idle>>20, idle>>10/int64(count), 100*cpu.Seconds()/pause.Seconds())
}
