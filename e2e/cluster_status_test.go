package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What chronik cluster status tells, and by its exit code, of a cluster that is
// healthy, has lost a node, and is gone; and who may be removed.
func TestClusterStatus(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	topic := topicName(t, "t")
	createTopic(t, c.Bootstrap(), topic, 6, nil)
	etcd := c.Node(1).Etcd + "," + c.Node(2).Etcd
	status := func(code int, health string, says ...string) (s clusterStatus) {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			r := chronik(t, "", "cluster", "status", "-o", "json", "-b", c.Bootstrap(), "--etcd", etcd)
			s = clusterStatus{}
			if err := json.Unmarshal([]byte(r.out), &s); err != nil {
				return fmt.Errorf("%w: %s %s", err, r.out, r.err)
			}
			if r.code != code || s.Health != health {
				return fmt.Errorf("exit code %d: %s", r.code, r.out)
			}
			for _, trouble := range says {
				if !strings.Contains(strings.Join(s.Troubles, ","), trouble) {
					return fmt.Errorf("it does not say %q: %s", trouble, r.out)
				}
			}
			return nil
		})
		return s
	}
	s := status(0, "healthy")
	if len(s.Brokers) != 3 || len(s.Members) != 3 || s.Partitions != 6 || s.Controller != c.Controller().ID {
		t.Errorf("healthy: %+v", s)
	}
	if out := must(t, "", "cluster", "status", "-b", c.Bootstrap(), "--etcd", etcd); !strings.Contains(out, "is healthy") || !strings.Contains(out, "leader") {
		t.Errorf("cluster status prints %s", out)
	}
	remove := func(says string) {
		t.Helper()
		if r := chronik(t, "", "cluster", "remove-node", "3", "--etcd", etcd); !strings.Contains(r.out+r.err, says) {
			t.Errorf("remove-node says %s%s, want %s", r.out, r.err, says)
		}
	}
	remove("node 3 stays: no other active node has in sync 2 of its partitions: " + topic + "-")
	c.Node(3).Stop()
	s = status(1, "degraded", "broker 3 is fenced", "member 3 of etcd: does not answer", "2 partitions are offline")
	c.Node(3).Start()
	c.WaitAllReady()
	if _, err := newAdmin(t, c.Bootstrap()).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if r := chronik(t, "", "cluster", "remove-node", "3", "--etcd", c.Node(3).Etcd); !strings.Contains(r.err, "cannot be removed through itself") {
		t.Errorf("through itself: %s%s", r.out, r.err)
	}
	remove("removed node 3") // though etcd has only just seen it again
	c.Node(3).awaitExit("removed from the cluster")
	if s = status(0, "healthy"); len(s.Brokers) != 2 || len(s.Members) != 2 {
		t.Errorf("after a removal: %+v", s)
	}
	remove("there is no node 3")
	c.Node(2).Restart()
	if text := c.Node(2).Log(8 << 10); !strings.Contains(text, "names a node that is no member of etcd") {
		t.Errorf("node 2 does not say that its --peers name one too many:\n%s", text)
	}
	removed := c.Node(3)
	removed.Start() // with what it has: it is told that it is out
	removed.awaitExit("removed from the cluster")
	c.StopAll()
	status(2, "unreachable")
}

type clusterStatus struct {
	Health           string
	Troubles         []string
	Controller       int
	Brokers, Members []any
	Partitions       int
	Offline          []string
}
