package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A script is lines of: milliseconds, what happens, the life; behind "->" what is
// expected: over, missing since …, silent since …
func TestObserved(t *testing.T) {
	for name, script := range map[string]string{
		"killed": `
			0 answered 7
			1000 broke 7 -> missing 7 since 1000, silent since 1000
			1001 refused 7 -> missing 7 since 1000, silent since 1000
			1051 refused 7 -> over, missing 7 since 1000, silent since 1000`,
		"killed, and proved once": `
			0 answered 7
			10 refused 7 -> missing 7 since 10, silent since 10
			60 refused 7 -> over, missing 7 since 10, silent since 10
			110 refused 7 -> missing 7 since 10, silent since 10
			160 refused 7 -> missing 7 since 10, silent since 10`,
		"the listener of a process that dies is closed last": `
			0 answered 7
			1000 broke 7 -> missing 7 since 1000, silent since 1000
			1001 away 7 -> missing 7 since 1000, silent since 1000
			1011 away 7 -> missing 7 since 1000, silent since 1000
			1021 refused 7 -> missing 7 since 1000, silent since 1000
			1071 refused 7 -> over, missing 7 since 1000, silent since 1000`,
		"it takes no more connections": `
			0 answered 7
			1000 broke 7 -> missing 7 since 1000, silent since 1000
			1190 away 7 -> missing 7 since 1000, silent since 1000
			1201 away 7 -> silent since 1000
			1701 away 7 -> silent since 1000
			9000 answered 7`,
		"refusals too far apart": `
			0 answered 7
			10 refused 7 -> missing 7 since 10, silent since 10
			300 refused 7 -> missing 7 since 10, silent since 10
			400 refused 7 -> over, missing 7 since 10, silent since 10`,
		"an idle connection was closed": `
			0 answered 7
			10 broke 7 -> missing 7 since 10, silent since 10
			12 answered 7`,
		"paused: nothing is proved, nothing is held": `
			0 answered 7
			4000 failed 7 -> silent since 4000
			8000 failed 7 -> silent since 4000
			8100 answered 7`,
		"refused, then not": `
			0 answered 7
			10 refused 7 -> missing 7 since 10, silent since 10
			60 failed 7 -> silent since 10
			110 refused 7 -> missing 7 since 110, silent since 10
			160 refused 7 -> over, missing 7 since 110, silent since 10`,
		"used once until it is reached": `
			0 answered 7
			10 refused 7 -> missing 7 since 10, silent since 10
			60 refused 7 -> over, missing 7 since 10, silent since 10
			100 refused 9 -> missing 7 since 10, silent since 10
			150 refused 9 -> missing 7 since 10, silent since 10
			2000 refused 9 -> missing 7 since 10, silent since 10
			2100 answered 9 -> missing 7 since 10
			2200 broke 9 -> missing 9 since 2200, silent since 2200
			2201 refused 9 -> missing 9 since 2200, silent since 2200
			2251 refused 9 -> over, missing 9 since 2200, silent since 2200`,
		"never reached: a wrong address has its time": `
			0 refused 7 -> missing 7 since 0, silent since 0
			50 refused 7 -> missing 7 since 0, silent since 0
			950 refused 7 -> missing 7 since 0, silent since 0
			1000 refused 7 -> over, missing 7 since 0, silent since 0`,
		"refusals of two lives are not two of one": `
			0 answered 7
			10 refused 7 -> missing 7 since 10, silent since 10
			1100 refused 9 -> missing 9 since 1100, silent since 10
			1150 refused 9 -> missing 9 since 1100, silent since 10
			1160 answered 9`,
		"it said that it stops": `
			0 answered 7
			10 stopping 7
			20 broke 7 -> missing 7 since 20, silent since 20
			21 refused 7 -> missing 7 since 20, silent since 20
			71 refused 7 -> missing 7 since 20, silent since 20
			171 refused 7 -> missing 7 since 20, silent since 20
			900 answered 8 -> missing 7 since 20
			910 refused 8 -> missing 8 since 910, silent since 910
			960 refused 8 -> over, missing 8 since 910, silent since 910`,
		"it dies while it is about to stop": `
			0 answered 7
			10 draining 7 -> missing 7 since 10, silent since 10
			60 draining 7 -> missing 7 since 10, silent since 10
			3000 draining 7 -> missing 7 since 10, silent since 10
			3010 draining 7 -> over, missing 7 since 10, silent since 10`,
		"others reach it": `
			0 answered 7
			10 refused 7 -> missing 7 since 10, silent since 10
			60 refused 7 -> over, missing 7 since 10, silent since 10
			61 refuted 7 -> silent since 10
			110 refused 7 -> silent since 10`,
	} {
		t.Run(name, func(t *testing.T) {
			var o observed
			base := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
			for line := range strings.Lines(strings.TrimSpace(script)) {
				event, want, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				if got := observedStep(t, &o, base, event); got != want {
					t.Errorf("%s: %q, want %q", event, got, want)
				}
			}
		})
	}
}

func observedStep(t *testing.T, o *observed, base time.Time, event string) string {
	t.Helper()
	var ms, epoch int64
	var what string
	if _, err := fmt.Sscan(event, &ms, &what, &epoch); err != nil {
		t.Fatalf("%q: %v", event, err)
	}
	now := base.Add(time.Duration(ms) * time.Millisecond)
	over := false
	switch what {
	case "answered", "stopping":
		o.answered(epoch, what == "stopping", now)
	case "away":
		o.turnedAway(epoch, now)
	case "broke":
		o.broke(epoch, now)
	case "failed":
		o.failed(epoch, now)
	case "refused", "draining":
		over = o.refused(epoch, what == "draining", now)
	case "refuted":
		o.refuted()
	default:
		t.Fatalf("%q", event)
	}
	var out []string
	if over {
		out = append(out, "over")
	}
	if m := o.missing; m.epoch != 0 {
		out = append(out, fmt.Sprintf("missing %d since %d", m.epoch, m.since.Sub(base).Milliseconds()))
	}
	if !o.silent.IsZero() {
		out = append(out, fmt.Sprintf("silent since %d", o.silent.Sub(base).Milliseconds()))
	}
	return strings.Join(out, ", ")
}

// How long a broker is not reached counts from its last answer.
func TestUnreachedFor(t *testing.T) {
	base := time.Now()
	at := func(s int) time.Time { return base.Add(time.Duration(s) * time.Second) }
	var o observed
	o.failed(7, at(0))
	if got := o.unreachedFor(at(3)); got != 3*time.Second {
		t.Errorf("never reached: %v", got)
	}
	o.answered(7, false, at(4))
	if got := o.unreachedFor(at(4).Add(keepAliveEvery)); got != 0 {
		t.Errorf("reached: %v", got)
	}
	if got := o.unreachedFor(at(7).Add(keepAliveEvery)); got != 3*time.Second {
		t.Errorf("its answer is due for 3 s, on a connection that has not failed: %v", got)
	}
	o.failed(7, at(8))
	if got := o.unreachedFor(at(9).Add(keepAliveEvery)); got != 5*time.Second {
		t.Errorf("its answer is due for 5 s: %v", got)
	}
	o.begins(at(20))
	if got := o.unreachedFor(at(21)); got != time.Second {
		t.Errorf("another life began a second ago: %v", got)
	}
}
