//go:build parity

package parity

import (
	"flag"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	showMessages = flag.Bool("messages", false, "print the error messages that differ")
	showAnswers  = flag.Bool("answers", false, "print all that Kafka answers")
)

// TestParity plays every scene in every version against both brokers.
func TestParity(t *testing.T) {
	kafka, ours := startBoth(t)
	list, err := readIntended("../parity.md")
	if err != nil {
		t.Fatal(err)
	}
	began, plays, scenes, all := time.Now(), 0, 0, 0
	for _, key := range slices.Sorted(maps.Keys(apis)) {
		all += len(apis[key])
		t.Run(key.Name(), func(t *testing.T) {
			for _, sc := range apis[key] {
				t.Run(sc.name, func(t *testing.T) {
					scenes++
					plays += compare(t, side{kafka, ours}, key, sc, list)
				})
			}
		})
	}
	t.Logf("%d scenes, %d plays each, in %v", scenes, plays, time.Since(began).Round(time.Second))
	for _, i := range list {
		if !i.used && scenes == all && *other == "chronik" {
			t.Errorf("nothing differs as parity.md says: %s", i.line)
		}
	}
}

// side is the pair that is compared.
type side struct{ kafka, ours *broker }

func compare(t *testing.T, b side, key kmsg.Key, sc scene, list []*intended) (plays int) {
	var found, texts []difference
	from, to := max(sc.from, b.kafka.oldest[int16(key)]), b.kafka.newest[int16(key)]
	if sc.to > 0 {
		to = min(to, sc.to)
	}
	if sc.once {
		from = to
	}
	name := key.Name() + "/" + sc.name
	for v := from; v <= to; v++ {
		var left, right *tree
		var both sync.WaitGroup
		both.Go(func() { left = sc.perform(b.kafka, key.Name(), v) })
		both.Go(func() { right = sc.perform(b.ours, key.Name(), v) })
		both.Wait()
		found = append(found, labelled(differ(left.leaves, right.leaves), name, v)...)
		texts = append(texts, labelled(differ(left.messages, right.messages), name, v)...)
		for _, l := range left.leaves {
			if strings.HasSuffix(l.path, ".stopped") {
				t.Errorf("%s v%d does not end with Kafka: %s", name, v, l.value)
			}
		}
		if *showAnswers {
			for _, l := range append(left.leaves, left.messages...) {
				t.Logf("v%d %s: %s", v, l.path, l.value)
			}
		}
		plays++
	}
	for _, d := range merge(unintended(found, list)) {
		t.Error(d)
	}
	if *showMessages {
		for _, d := range merge(texts) {
			t.Log(d)
		}
	}
	if plays == 0 {
		t.Errorf("no version of %s to play in", name)
	}
	return plays
}

func labelled(all []difference, scene string, v int16) []difference {
	for i := range all {
		all[i].scene, all[i].versions = scene, []int16{v}
	}
	return all
}
