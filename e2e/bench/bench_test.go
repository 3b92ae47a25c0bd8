package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{9, 1, 5, 6}, 5.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for want, got := range map[string]string{
		"12,345,678": number(12345678.4, 0), "999": number(999, 0), "-1,000.50": number(-1000.5, 2), "-100": number(-100, 0), "0.06": number(.058, 2),
		"–": cell(nil, 0), "5": cell([]float64{5}, 0), "5 (1–9)": cell([]float64{9, 1, 5}, 0),
		"2.00": ratio([]float64{10}, []float64{5}, true), "0.50": ratio([]float64{10}, []float64{5}, false),
		"≥ 1,400": want{mbps, 1400}.text([]float64{1400}), "≥ 1,400 missed": want{mbps, 1400}.text([]float64{1399}),
		"≤ 0.5 missed": want{cpuPerGB, .5}.text([]float64{.51}), "≤ 0.5": want{cpuPerGB, .5}.text(nil),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The report has the medians of both systems in one line, rows in the order of their
// numbers, and says what was not measured.
func TestReport(t *testing.T) {
	options.runs, options.seconds = 3, 1
	first := &measurement{row: row{number: 1, name: "first", wants: aims(mbps, 1000, p50, 0.)}, failed: map[string]string{}, runs: map[string][]figures{
		"chronik": {{mbps: 3000, p50: .1}, {mbps: 1000, p50: .3}, {mbps: 2000, p50: .2}},
		"Kafka":   {{mbps: 500, p50: .5}, {mbps: 1000, p50: .4}, {mbps: 700, p50: .6}},
	}}
	second := &measurement{
		row: row{number: 2, name: "second", wants: aims(cpuPerGB, 1)}, failed: map[string]string{"Kafka": "two\nlines"},
		runs: map[string][]figures{"chronik": {{cpuPerGB: 2}}},
	}
	systems := []*system{chronikSystem("x"), kafkaSystem("y")}
	path := filepath.Join(t.TempDir(), "new", "results.md")
	if err := write(report([]*measurement{second, first}, systems, time.Unix(0, 0)), path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, line := range []string{
		"date: 1970-01-01 00:00 UTC",
		"| # | row | figure | aim | chronik | Kafka | ratio |",
		"|---|---|---|---|---|---|---|",
		"| 1 | first | MB/s | ≥ 1,000 | 2,000 (1,000–3,000) | 700 (500–1,000) | 2.86 |",
		"|  |  | p50 ms |  | 0.20 (0.10–0.30) | 0.50 (0.40–0.60) | 2.50 |",
		"| 2 | second | CPU-s/GB | ≤ 1 missed | 2.00 | – | – |",
		"- row 2, second, Kafka: two lines",
	} {
		found := strings.Index(string(text[at:]), line+"\n")
		if found < 0 && !strings.Contains(string(text[at:]), line) {
			t.Fatalf("no line %q after byte %d in\n%s", line, at, text)
		}
		at += max(found, 0)
	}
}

// The table has every row but the soak, with aims and one way to be measured.
func TestTable(t *testing.T) {
	rows := table()
	for n := 1; n <= 26; n++ {
		found, err := chosen(rows, fmt.Sprint(n))
		if (n == 24) != (err != nil) || n != 24 && len(found) == 0 {
			t.Errorf("row %d: %d lines, %v", n, len(found), err)
		}
	}
	for _, r := range rows {
		if (r.load == nil) == (r.direct == nil) || len(r.wants) == 0 || r.nodes != 1 && r.nodes != 3 {
			t.Errorf("%+v", r)
		}
	}
	if got, err := chosen(rows, "6-8,1"); err != nil || len(got) != 5 || got[0].number != 1 {
		t.Errorf("6-8,1: %d rows, %v", len(got), err)
	}
	for _, list := range []string{"x", "3-1", "1,,2", "99"} {
		if _, err := chosen(rows, list); err == nil {
			t.Errorf("-rows %s is taken", list)
		}
	}
}

// What fails is not asked again, and the others are measured all the same, by turns.
func TestRuns(t *testing.T) {
	options.runs, options.fill = 3, false
	var asked []string
	r := row{number: 1, nodes: 1, wants: aims(p50, 0), direct: func(_ context.Context, s *system) (figures, error) {
		asked = append(asked, s.name)
		if s.name == "b" {
			return nil, fmt.Errorf("broken")
		}
		return figures{p50: 1}, nil
	}}
	s := &session{systems: []*system{{name: "a"}, {name: "b"}}, clusters: map[*system]*cluster{}}
	found, err := s.measure(t.Context(), []row{r})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if got := strings.Join(asked, ""); got != "abaa" || len(found[0].runs["a"]) != 3 || found[0].failed["b"] != "broken" {
		t.Errorf("asked %s, %+v", got, found[0])
	}
}

// A soak sees a record that is lost, one that comes twice, and one that never came.
func TestSoakChecks(t *testing.T) {
	s := &soaking{acks: newHistogram()}
	for p := range soakPartitions {
		s.highest[p], s.seen[p] = -1, -1
	}
	s.acknowledged(1, 0, time.Millisecond, nil)
	s.acknowledged(1, 1, time.Hour, nil)
	s.got(1, 0)
	if err := s.missing(); err == nil || !strings.Contains(err.Error(), "record 1 was acknowledged") {
		t.Errorf("missing: %v", err)
	}
	s.got(1, 1)
	if err := s.missing(); err != nil || s.firstError() != nil {
		t.Errorf("all there: %v, %v", err, s.firstError())
	}
	for _, number := range []int64{3, 3, 4} {
		s.got(1, number)
	}
	if n := s.failed.Load(); n != 2 || !strings.Contains(s.firstError().Error(), "record 1 is followed by 3") {
		t.Errorf("%d failed, %v", n, s.firstError())
	}
}

func TestProcess(t *testing.T) {
	cpu, err := cpuSeconds(os.Getpid())
	mb, err2 := residentMB(os.Getpid())
	if err != nil || err2 != nil || cpu < 0 || mb < 1 || math.IsNaN(mb) {
		t.Errorf("%v s, %v MB: %v, %v", cpu, mb, err, err2)
	}
	if _, err := cpuSeconds(1 << 30); err == nil {
		t.Error("a process that is none has used CPU")
	}
}
