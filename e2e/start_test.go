package e2e

import (
	"os"
	"slices"
	"testing"
	"time"
)

// From exec to the first answer, cold and warm; memory and CPU when idle; SIGTERM to exit.
func TestStartFigures(t *testing.T) {
	n := NewNode(t, NodeConfig{})
	chronikBin(t)
	start := func() (answer, ready time.Duration) {
		began := time.Now()
		n.Start()
		answer = n.WaitAnswer(began)
		n.WaitReady()
		return answer, time.Since(began)
	}
	var cold, coldReady, warm, warmReady, stops []time.Duration
	for range 3 {
		if err := os.RemoveAll(n.Dir); err != nil {
			t.Fatal(err)
		}
		answer, ready := start()
		cold, coldReady = append(cold, answer), append(coldReady, ready)
		stops = append(stops, n.Stop())
		answer, ready = start()
		warm, warmReady = append(warm, answer), append(warmReady, ready)
		stops = append(stops, n.Stop())
	}
	start()
	time.Sleep(2 * time.Second) // let the start settle
	cpu, began := cpuTime(t, n), time.Now()
	time.Sleep(4 * time.Second) // what is measured is doing nothing
	idle := 100 * float64(cpuTime(t, n)-cpu) / float64(time.Since(began))
	memory := rss(t, n)
	stops = append(stops, n.Stop())

	t.Logf("start of an empty node: first answer %v, ready %v (medians of 3)", median(cold), median(coldReady))
	t.Logf("start again: first answer %v, ready %v", median(warm), median(warmReady))
	t.Logf("idle: %d MiB resident, %.2f %% of a core", memory>>20, idle)
	t.Logf("SIGTERM to exit: median %v, longest %v", median(stops), slices.Max(stops).Round(time.Millisecond))
	if slices.Max(coldReady) > 5*time.Second || slices.Max(stops) > 10*time.Second || memory > 600<<20 {
		t.Error("ten times beyond what is aimed at: 0.5 s to ready, 1 s to exit, 60 MiB")
	}
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2].Round(time.Millisecond)
}
