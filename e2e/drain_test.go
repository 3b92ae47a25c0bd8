package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A leader that stops in order does not just end its connections: whoever writes to it
// within a while is told that another leads.
func TestClusterStopTellsWriters(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "")
	createReplicated(t, c.Bootstrap(), topic, 1, nil)
	c.WaitFullISR(topic)
	leader := c.Leader(topic, 0)
	conn, batch := dialRaw(t, leader.Kafka), seal(newBatch([]byte("v")))
	leader.signal(syscall.SIGTERM)
	began, told := time.Now(), 0
	for tick := time.NewTicker(20 * time.Millisecond); told < 3; <-tick.C {
		got := conn.ask(produceRequest(9, topic, 0, batch)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		switch err := kerr.ErrorForCode(got.ErrorCode); err {
		case nil:
			if time.Since(began) > 10*time.Second {
				t.Fatalf("node %d leads on after SIGTERM", leader.ID)
			}
		case kerr.NotLeaderForPartition:
			told++
			if err := c.others(leader)[0].lists(3); err != nil {
				t.Error(err)
			}
		default:
			t.Fatal(err)
		}
	}
	leader.ended()
	t.Logf("ended after %v", time.Since(began).Round(time.Millisecond))
}
