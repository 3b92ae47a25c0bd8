package e2e

import (
	"testing"
	"time"
)

// franz-go's tests pass on three nodes of which one after the other is killed and comes
// back. A short run takes a few of them, and kills more often.
func TestClusterFranzGoSuiteWithKills(t *testing.T) {
	if _, err := compileKgoSuite(); err != nil { // not while nodes are killed
		t.Fatal(err)
	}
	c := StartCluster(t, 3)
	suite := kgoSuite{servers: c.Bootstrap(), replicas: 3, records: 5_000, only: "^(TestGroupSimple|TestIssue523|TestIssue1034|TestConsumeRegex)$", atLeast: 4}
	if rounds(1, 2) == 2 {
		suite.records, suite.only, suite.atLeast = 50_000, "^Test", 50
	}
	stop, stopped := make(chan struct{}), make(chan int)
	go func() { stopped <- c.killInTurn(stop, time.Duration(rounds(4, 10))*time.Second) }()
	suite.run(t)
	close(stop)
	kills := <-stopped
	t.Logf("%d nodes were killed meanwhile", kills)
	if kills == 0 {
		t.Error("no node was killed meanwhile")
	}
	c.WaitAllReady()
}

// killInTurn kills a node each time that every has passed, and starts it again.
func (c *Cluster) killInTurn(stop <-chan struct{}, every time.Duration) (kills int) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return kills
		case <-tick.C:
			victim := c.Nodes[kills%len(c.Nodes)]
			victim.Kill9()
			victim.Start()
			kills++
		}
	}
}
