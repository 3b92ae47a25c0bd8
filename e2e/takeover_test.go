package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Whoever is told of a new leader may write to it in that moment: it leads, or makes the
// writer wait until it does. A client that is refused may not ask again for seconds.
func TestClusterNewLeaderServes(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "")
	createReplicated(t, c.Node(1).Kafka, topic, 30, nil)
	for round := range rounds(3, 20) {
		victim := c.Node(round%3 + 1)
		others := c.others(victim)
		eventually(t, 10*time.Second, victim.isProbed)
		var asking sync.WaitGroup
		for i := range 20 {
			lost, asked := dialRaw(t, victim.Kafka), dialRaw(t, others[i%2].Kafka)
			leaders := map[int32]*rawConn{}
			for _, n := range others {
				leaders[int32(n.ID)] = dialRaw(t, n.Kafka)
			}
			asking.Go(func() {
				if err := lost.closedWithin(time.Minute); err != nil {
					t.Error(err)
				}
				if err := asked.writesToAll(topic, leaders); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		victim.Kill9()
		asking.Wait()
		victim.Start()
		c.WaitAllReady()
		c.WaitFullISR(topic)
	}
}

// writesToAll asks who leads the partitions of a topic, and has each leader append a record.
func (c *rawConn) writesToAll(topic string, leaders map[int32]*rawConn) error {
	asks, err := c.leadersToAsk(topic)
	for began := time.Now(); err == nil && !known(asks, leaders); asks, err = c.leadersToAsk(topic) {
		time.Sleep(20 * time.Millisecond)
		if time.Since(began) > 20*time.Second { // at once is another test's matter
			return fmt.Errorf("%s names who was killed", c.RemoteAddr())
		}
	}
	if err != nil {
		return err
	}
	for id, req := range asks {
		resp, err := leaders[id].exchange(req, 20*time.Second)
		if err != nil {
			return err
		}
		for _, p := range resp.(*kmsg.ProduceResponse).Topics[0].Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("node %d leads partition %d, says %s: %w", id, p.Partition, c.RemoteAddr(), err)
			}
		}
	}
	return nil
}

// leadersToAsk is what to ask each leader of a topic for: one record to each partition.
func (c *rawConn) leadersToAsk(topic string) (map[int32]*kmsg.ProduceRequest, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.Topics = 12, []kmsg.MetadataRequestTopic{{Topic: &topic}}
	resp, err := c.exchange(req, 20*time.Second)
	if err != nil {
		return nil, err
	}
	asks := map[int32]*kmsg.ProduceRequest{}
	for _, p := range resp.(*kmsg.MetadataResponse).Topics[0].Partitions {
		one := produceRequest(9, topic, p.Partition, seal(newBatch([]byte("v"))))
		if all := asks[p.Leader]; all != nil {
			all.Topics[0].Partitions = append(all.Topics[0].Partitions, one.Topics[0].Partitions...)
		} else {
			asks[p.Leader] = one
		}
	}
	return asks, nil
}

// known reports whether all who are to be asked are there.
func known(asks map[int32]*kmsg.ProduceRequest, leaders map[int32]*rawConn) bool {
	for id := range asks {
		if leaders[id] == nil {
			return false
		}
	}
	return true
}
