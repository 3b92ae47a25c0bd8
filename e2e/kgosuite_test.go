package e2e

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// kgoSkips are the tests of franz-go that need what a step of their own brings.
var kgoSkips = []string{
	"Group", "848", // consumer groups
	"Issue523",      // a group that starts at a group's committed offsets
	"Issue1034",     // asks for the coordinators of three groups
	"ConsumeRegex$", // wants to see __consumer_offsets skipped
	"Txn",           // transactions
	"Share",         // share groups
	"SCRAM",         // SASL
}

// franz-go's own test suite, from the module cache, against the built binary. Each of
// its tests is a subtest here.
func TestFranzGoSuite(t *testing.T) {
	t.Parallel()
	suite := filepath.Join(buildDir, "kgo.test")
	compile := exec.Command("go", "test", "-c", "-o", suite, "github.com/twmb/franz-go/pkg/kgo")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	source, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/twmb/franz-go/pkg/kgo").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := StartNode(t, NodeConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite, "-test.v", "-test.run=^Test", "-test.timeout=7m", "-test.skip="+strings.Join(kgoSkips, "|"))
	cmd.Dir = strings.TrimSpace(string(source)) // where its tests look for their own files
	cmd.Env = append(os.Environ(), "KGO_SEEDS="+n.Kafka, "KGO_TEST_RF=1", "KGO_TEST_RECORDS=5000", "KGO_LOG_LEVEL=none")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	results := kgoResults(out)
	t.Logf("%d tests of franz-go in %v", len(results), time.Since(began).Round(time.Second))
	if len(results) < 50 {
		t.Errorf("only %d tests ran\n%s", len(results), tail(string(out)))
	}
	failed := false
	for _, r := range results {
		t.Run(r.name, func(t *testing.T) {
			switch r.end {
			case "FAIL":
				failed = true
				t.Errorf("failed after %s s\n%s", r.seconds, tail(r.output))
			case "SKIP":
				t.Logf("franz-go skips it itself: %s", r.output)
			}
		})
	}
	if err != nil && !failed {
		t.Errorf("%v\n%s", err, tail(string(out)))
	}
}

// kgoResult is one top-level test of a `-test.v` output.
type kgoResult struct{ name, end, seconds, output string }

var kgoEnd = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

func kgoResults(out []byte) []kgoResult {
	var results []kgoResult
	running, said := "", map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "=== "); ok {
			_, running, _ = strings.Cut(strings.Join(strings.Fields(rest), " "), " ")
			continue
		}
		if m := kgoEnd.FindStringSubmatch(line); m != nil {
			results = append(results, kgoResult{name: m[2], end: m[1], seconds: m[3]})
			running = m[2]
			continue
		}
		top, _, _ := strings.Cut(running, "/")
		said[top] += line + "\n"
	}
	for i := range results {
		results[i].output = said[results[i].name]
	}
	return results
}

// tail keeps the end of a long output.
func tail(s string) string {
	if len(s) > 3000 {
		s = "…" + s[len(s)-3000:]
	}
	return s
}
