package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The commands for groups, as a person uses them.
func TestGroupCommands(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	b := "--bootstrap-servers=" + n.Kafka
	must(t, "", "topic", "create", b, "--partitions", "2", "fruit")
	var lines strings.Builder
	for i := range 100 {
		fmt.Fprintln(&lines, i)
	}
	must(t, lines.String(), "produce", b, "--partition", "0", "fruit")
	consume := []string{"consume", b, "--group", "readers", "--offset", "beginning", "--count", "40", "fruit"}
	for i, want := range []string{"0\n1\n", "40\n41\n"} {
		if got := must(t, "", consume...); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 40 {
			t.Fatalf("consume %d printed %q", i, got)
		}
	}
	if got := must(t, "", "group", "list", b); !strings.Contains(got, "readers") || !strings.Contains(got, "Empty") {
		t.Errorf("group list printed %q", got)
	}
	lag := func() (committed, end, lag int64, behind float64) {
		t.Helper()
		var g struct {
			State      string
			Partitions []struct {
				Topic               string
				Partition           int32
				Committed, End, Lag int64
				BehindSeconds       float64
			}
		}
		text := must(t, "", "group", "describe", b, "--output", "json", "readers")
		if err := json.Unmarshal([]byte(text), &g); err != nil || len(g.Partitions) == 0 {
			t.Fatalf("group describe printed %q: %v", text, err)
		}
		p := g.Partitions[0]
		return p.Committed, p.End, p.Lag, p.BehindSeconds
	}
	if at, end, lag, behind := lag(); at != 80 || end != 100 || lag != 20 || behind <= 0 {
		t.Errorf("committed %d of %d, lag %d, %v s behind", at, end, lag, behind)
	}
	reset := func(args ...string) string {
		t.Helper()
		return must(t, "", append([]string{"group", "reset-offsets", b, "--output", "json"}, args...)...)
	}
	var plan []struct{ Committed, New int64 }
	if err := json.Unmarshal([]byte(reset("--to", "earliest", "readers")), &plan); err != nil || len(plan) != 1 || plan[0].Committed != 80 || plan[0].New != 0 {
		t.Errorf("the plan is %+v: %v", plan, err)
	}
	if at, _, _, _ := lag(); at != 80 {
		t.Errorf("a dry run moved to %d", at)
	}
	for to, want := range map[string]int64{"-30": 50, "latest": 100, "17": 17, "1000000": 100, "@0": 0} {
		if to == "-30" {
			reset("--to", "80", "--execute", "readers")
		}
		reset("--to", to, "--topic", "fruit:0", "--execute", "readers")
		if at, _, _, _ := lag(); at != want {
			t.Errorf("--to %s moved to %d, want %d", to, at, want)
		}
	}
	reset("--to", "0", "--topic", "fruit:0", "--execute", "readers") // its next member has something to read
	refusedGroups(t, n, b)
	if got := must(t, "", "group", "delete", b, "readers"); got != "deleted readers\n" {
		t.Errorf("group delete printed %q", got)
	}
	if got := must(t, "", "group", "list", b, "--output", "json"); strings.TrimSpace(got) != "[]" {
		t.Errorf("after that group list printed %q", got)
	}
}

// refusedGroups tries what must fail with one line, while the group has a member and not.
func refusedGroups(t *testing.T, n *Node, b string) {
	t.Helper()
	refused := func(says string, args ...string) {
		t.Helper()
		r := chronik(t, "", args...)
		if r.code == 0 || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, says) {
			t.Errorf("chronik %v: exit code %d, %q %q, want %q", args, r.code, r.out, r.err, says)
		}
	}
	refused("GROUP_ID_NOT_FOUND", "group", "describe", b, "nobody")
	refused("GROUP_ID_NOT_FOUND", "group", "delete", b, "nobody")
	refused("--topic names what to set", "group", "reset-offsets", b, "--to", "earliest", "nobody")
	refused("topic none: UNKNOWN_TOPIC_OR_PARTITION", "group", "reset-offsets", b, "--to", "earliest", "--topic", "none", "readers")
	refused("no partition 9", "group", "reset-offsets", b, "--to", "earliest", "--topic", "fruit:9", "readers")
	refused("--to soon", "group", "reset-offsets", b, "--to", "soon", "readers")
	refused("--state Dull", "group", "list", b, "--state", "Dull")
	refused("takes one group", "group", "describe", b)
	cl := newClient(t, n.Kafka, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("fruit"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := cl.PollFetches(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	refused("stop its members first", "group", "reset-offsets", b, "--to", "earliest", "readers")
	refused("NON_EMPTY_GROUP", "group", "delete", b, "readers")
	if got := must(t, "", "group", "describe", b, "readers"); !strings.Contains(got, "is Stable") || !strings.Contains(got, "fruit[0 1]") {
		t.Errorf("group describe printed %q", got)
	}
	cl.Close()
}
