package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chronik/e2e/chaos"
)

// plantedBug is a bug that a build with the tag plantedbugs has when CHRONIK_PLANTED
// names it. One of the checks has to find it.
type plantedBug struct {
	name   string        // the argument of planted in the product
	fault  string        // that brings it to light
	checks string        // any of them
	quick  bool          // tried in every test run
	length time.Duration // of a topic's time under the fault; 0: one strike
	nodes  int           // that it takes; 0: one
}

// plantedBugs are all that the product carries. What it does wrong:
var plantedBugs = []plantedBug{
	// a recovered log knows none of its producers: what they repeat is there twice
	{"forget-producers", "mute-kill", "duplicate", true, 0, 0},
	// a recovered log is cut in the middle of what was acknowledged since its checkpoint
	{"lose-tail", "kill", "lost,missed,end", true, 0, 0},
	// a broker leads on in the epoch of its former life
	{"keep-epoch", "kill", "leader", true, 0, 0},
	// a log takes any sequence number of a producer
	{"skip-sequence", "cut", "duplicate", false, 0, 0},
	// some acknowledgements name the offset before
	{"offset-twice", "latency", "duplicate,conflict", false, 0, 0},
	// a fetch gives records above the high watermark
	{"read-uncommitted", "latency", "above", false, 0, 0},
	// ListOffsets tells a high watermark of the past
	{"stale-end", "latency", "end", false, 0, 0},
	// a fetch leaves out records
	{"skip-batch", "latency", "jump", false, 0, 0},
	// a coordinator that starts knows none of the commits of its former life
	{"lose-commits", "kill", "back", false, 12 * time.Second, 0},
	// an acknowledgement does not wait for the disk
	{"ack-before-flush", "power", "lost,missed,end", false, 0, 0},
	// an acknowledgement does not wait for the other in-sync replicas
	{"ack-before-isr", "isolate", "lost,missed,end", false, 0, 3},
	// a follower that becomes leader knows no producers: what they repeat is there twice. Most kills
	// do not show it: who is muted gives its followers nothing either.
	{"forget-at-failover", "mute-kill", "duplicate", false, 20 * time.Second, 3},
	// a leader counts without those that it wants out of the ISR before they are out
	{"shrink-early", "isolate", "lost,missed,end", false, 20 * time.Second, 3},
}

var buildPlanted = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(buildDir, "chronik-planted")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", "plantedbugs", "-o", bin, ".")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

// Each planted bug is found, by a check that means it, within a few strikes of its fault.
// A short run looks for the quick ones.
func TestPlantedBugs(t *testing.T) {
	bin, err := buildPlanted()
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range plantedBugs {
		if bug.quick || rounds(1, 2) == 2 {
			t.Run(bug.name, func(t *testing.T) { bug.hunt(t, bin) })
		}
	}
}

// hunt strikes until the bug is found.
func (bug plantedBug) hunt(t *testing.T, bin string) {
	const strikes = 5
	p := chaosPlan{nodes: max(1, bug.nodes), replicas: max(1, bug.nodes), faults: bug.fault}
	f := fieldFor(p)
	f.command, f.env = []string{bin}, []string{"CHRONIK_PLANTED=" + bug.name}
	n, servers := startField(t, f, 1)
	n.choose(bug.fault)
	began := time.Now()
	var found []chaos.Violation
	for strike := range strikes {
		w := startChaos(t, n, load{
			servers: servers, topic: topicName(t, fmt.Sprint(strike)), partitions: 4, replicas: int16(p.replicas),
			patient: 4, hasty: 2, plain: 1, rate: 1000, hand: 1, members: 2,
		})
		n.run(w, time.Now().Add(max(bug.length, 2*time.Second))) // at least once
		w.quit()
		found = append(found, chaos.Check(w.history())...)
		for _, v := range found {
			if slices.Contains(strings.Split(bug.checks, ","), v.Check) {
				t.Logf("found at strike %d, %v: %s", strike+1, time.Since(began).Round(time.Millisecond), v)
				return
			}
		}
	}
	t.Errorf("not found by %s in %d strikes of %s; found: %v", bug.checks, strikes, bug.fault, found)
}
