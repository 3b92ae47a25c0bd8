package group

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// situations are the states of a group, and how it comes into them. The leader is a1, of the static
// instance i; the follower is b1, of no instance; z1 is an id that was given out.
var situations = []struct{ name, way string }{
	{"Dead", ""},
	{"Empty", "commit x t:0=1"},
	{"Empty, an id out", "join z known"},
	{"Empty, had members", "join a instance=i\nleave a a1"},
	{"first rebalance", "set initial=3s\njoin a instance=i\njoin b\njoin z known"},
	{"PreparingRebalance", stable + "\njoin c"},
	{"CompletingRebalance", two},
	{"CompletingRebalance, storing", two + "\nhold\nsync a id=a1 gen=2 assign=a1:t-0,b1:t-1"},
	{"Stable", stable},
	{"Stable, loaded", stable + "\nreload"},
	{"deleted, not stored", "commit x t:0=1\nhold\ndelete x"},
}

const (
	two    = "join a instance=i topics=t\njoin b topics=t\njoin a id=a1 instance=i topics=t"
	stable = two + "\nsync a id=a1 gen=2 assign=a1:t-0,b1:t-1\nsync b id=b1 gen=2"
)

// questions are the requests that each state is asked.
var questions = []string{
	"join q",
	"join q known",
	"join q instance=k",
	"join q instance=i topics=t",
	"join q instance=i topics=t skip",
	"join q id=z1",
	"join q id=a1 instance=i topics=t",
	"join q id=a1 instance=k",
	"join q id=b1 instance=i",
	"join q id=b1 topics=t",
	"join q id=b1 topics=u",
	"join q id=none",
	"join q protocols=other",
	"join q type=connect",
	"join q session=1ms",
	"sync q id=a1 gen=2 assign=a1:t-1",
	"sync q id=a1 gen=1",
	"sync q id=b1 gen=2",
	"sync q id=b1 instance=i gen=2",
	"sync q id=z1 gen=2",
	"sync q id=none gen=2",
	"sync q id=b1 gen=2 required",
	"sync q id=b1 gen=2 protocol=other",
	"heartbeat q id=b1 gen=2",
	"heartbeat q id=b1 gen=1",
	"heartbeat q id=b1 instance=i gen=2",
	"heartbeat q id=a1 instance=k gen=2",
	"heartbeat q id=z1 gen=2",
	"heartbeat q id=none gen=2",
	"leave q a1",
	"leave q b1",
	"leave q z1",
	"leave q none",
	"leave q @i",
	"leave q b1@i",
	"leave q a1 b1",
	"commit q t:0=9",
	"commit q id=b1 gen=2 t:0=9",
	"commit q id=b1 gen=1 t:0=9",
	"commit q id=b1 instance=i gen=2 t:0=9",
	"commit q id=none gen=2 t:0=9",
	"commit q id=none gen=2 notfound t:0=9",
	"delete-offsets q t:0",
	"delete-offsets q u:0",
	"delete q",
	"topic-deleted t",
	"after 10s",
	"stored err=NOT_LEADER_FOR_PARTITION",
	"resign",
}

// TestMatrix asks every state every question, each in a group of its own, and compares with
// testdata/matrix: the answers in one line, and the state behind.
func TestMatrix(t *testing.T) {
	const path = "testdata/matrix"
	var is bytes.Buffer
	for _, at := range situations {
		fmt.Fprintf(&is, "# %s\n", at.name)
		for _, q := range questions {
			s := newScript()
			for line := range strings.SplitSeq(at.way, "\n") {
				if err := s.line(line); err != nil {
					t.Fatalf("%s: %s: %v", at.name, line, err)
				}
			}
			s.take()
			if err := s.line(q); err != nil {
				continue // nothing is held
			}
			outcome := strings.ReplaceAll(strings.TrimSpace(s.take()), "\n", " | ")
			fmt.Fprintf(&is, "%s\n\t%s\n\t%s\n", q, outcome, s.state())
			s.resign()
			if err := s.ledger.check(); err != nil {
				t.Errorf("%s: %s: %v", at.name, q, err)
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, is.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	said, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	compareLines(t, path, string(said), is.String())
}
