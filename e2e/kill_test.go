package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"chronik/e2e/chaos"
)

// rounds is how often a story is told: few times here, often in `make rounds`.
func rounds(short, full int) int {
	if os.Getenv("CHRONIK_ROUNDS") == "full" {
		return full
	}
	return short
}

// crashRounds writes at full speed, crashes the node, starts it again, and checks that
// nothing acknowledged is lost, nothing is there twice and order is kept; at the end,
// that the topics of all rounds are still what they were.
func crashRounds(t *testing.T, n *Node, count int, crash func()) {
	t.Helper()
	const partitions = 4
	held := map[string]contents{}
	var answers []time.Duration
	for round := range count {
		topic := topicName(t, fmt.Sprint("round", round))
		w := startWorkload(t, n.Kafka, topic, partitions)
		w.waitFor(5_000)
		time.Sleep(time.Duration(rand.IntN(800)) * time.Millisecond) // the crash comes at any moment
		atCrash := w.count()
		crash()
		began := time.Now()
		n.Start()
		answer := n.WaitAnswer(began)
		n.WaitReady()
		ready := time.Since(began)
		w.waitFor(w.count() + 2_000)
		resumed := time.Since(began)
		w.stop()
		held[topic] = w.check()
		answers = append(answers, answer)
		t.Logf("round %d: %d records acknowledged before the crash, %d in all; first answer %v, ready %v, writers go on %v after the start",
			round, atCrash, w.count(), answer.Round(time.Millisecond), ready.Round(time.Millisecond), resumed.Round(time.Millisecond))
		if t.Failed() {
			return
		}
	}
	for topic, want := range held {
		if got := contentsOf(readFinal(t, n.Kafka, &chaos.History{Topic: topic, Partitions: partitions, Began: time.Now()})); got != want {
			t.Errorf("%s held %+v, holds %+v after the last round", topic, want, got)
		}
	}
	slices.Sort(answers)
	t.Logf("%d rounds: restart to first answer median %v, longest %v", count, answers[len(answers)/2].Round(time.Millisecond), answers[len(answers)-1].Round(time.Millisecond))
	if longest := answers[len(answers)-1]; longest > 10*time.Second {
		t.Errorf("a restart took %v to its first answer", longest)
	}
}

func TestKillRounds(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	crashRounds(t, n, rounds(3, 20), n.Kill9)
}
