//go:build interop

package e2e

import (
	"testing"
	"time"
)

// The members of one group know one node each, and other ones: they share the topic, and
// go on when the node that coordinates them is killed.
func TestInteropClusterMixedGroup(t *testing.T) {
	const partitions = 12
	python, java := familyNamed(t, "kafka-python"), familyNamed(t, "java")
	for _, f := range []family{python, java} {
		f.installed(t)
	}
	c := StartCluster(t, 3)
	topic, group := topicName(t, "t"), topicName(t, "g")
	createReplicated(t, c.Bootstrap(), topic, partitions, nil)
	w, l := startSpread(t, c.Bootstrap(), topic, partitions), newLedger(topic)
	step := steps(t, c.Bootstrap(), topic, group, partitions)

	franz := joinFranz(t, l, c.Node(1).Kafka, topic, group)
	others := []*process{startMember(t, python, l, c.Node(2).Kafka, topic, group), startMember(t, java, l, c.Node(3).Kafka, topic, group)}
	all := []*ledgerMember{franz.ledgerMember, others[0].ledgerMember, others[1].ledgerMember}
	step("three members share", 3)
	waitGoOn(t, all)
	for range rounds(2, 10) {
		coordinator := c.Coordinator(group)
		coordinator.Kill9()
		began := time.Now()
		waitGoOn(t, all)
		t.Logf("every member goes on %v after kill -9 of node %d, the coordinator", time.Since(began).Round(time.Millisecond), coordinator.ID)
		step("then", 3)
		coordinator.Start()
		c.WaitAllReady()
		c.WaitFullISR(topic)
		c.WaitFullISR("__consumer_offsets")
	}
	ends := w.stop()
	waitCommitted(t, c.Bootstrap(), topic, group, ends)
	franz.leave()
	for _, p := range others {
		p.leave()
	}
	l.check(t, ends)
	checkEmpty(t, c.Bootstrap(), group)
	c.CheckAlike(topic)
}
