package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// kgoSkips are the tests of franz-go that need what a step of their own brings. Those of
// share groups and of the new group protocol (848) it skips itself, by ApiVersions.
var kgoSkips = []string{
	"TxnEtl", // transactions
	"SCRAM",  // SASL
}

// kgoMust are tests that franz-go skips itself where it believes the broker to be too old.
var kgoMust = []string{
	"TestGroupETL/range", "TestGroupETL/cooperative-sticky", "TestGroupETL/cooperative-sticky/static",
	"TestGroupSimple/classic", "TestIssue523/sticky", "TestIssue1034", "TestConsumeRegex",
}

// franz-go's own test suite, from the module cache, against the built binary. Each of
// its tests is a subtest here.
func TestFranzGoSuite(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	out := kgoSuite{servers: n.Kafka, replicas: 1, records: 50_000, only: "^Test", atLeast: 50}.run(t)
	for _, name := range kgoMust {
		if !bytes.Contains(out, []byte("--- PASS: "+name+" ")) {
			t.Errorf("%s has not run", name)
		}
	}
}

// kgoSuite is franz-go's tests, or some of them, against brokers.
type kgoSuite struct {
	servers           string
	replicas, records int
	only              string // regular expression
	atLeast           int    // so many have to run
}

// compileKgoSuite makes the binary of franz-go's tests, once.
var compileKgoSuite = sync.OnceValues(func() (suite string, err error) {
	suite = filepath.Join(buildDir, "kgo.test")
	out, err := exec.Command("go", "test", "-c", "-o", suite, "github.com/twmb/franz-go/pkg/kgo").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return suite, err
})

// run reports what became of each.
func (s kgoSuite) run(t *testing.T) []byte {
	t.Helper()
	suite, err := compileKgoSuite()
	if err != nil {
		t.Fatal(err)
	}
	source, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/twmb/franz-go/pkg/kgo").Output()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite, "-test.v", "-test.run="+s.only, "-test.timeout=7m", "-test.skip="+strings.Join(kgoSkips, "|"))
	cmd.Dir = strings.TrimSpace(string(source)) // where its tests look for their own files
	cmd.Env = append(os.Environ(), "KGO_SEEDS="+s.servers, fmt.Sprint("KGO_TEST_RF=", s.replicas), fmt.Sprint("KGO_TEST_RECORDS=", s.records), "KGO_LOG_LEVEL=none")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("franz-go's tests took %v", time.Since(began).Round(time.Second))
	reportSuite(t, out, err, s.atLeast)
	return out
}

// reportSuite makes a subtest of each top-level test in the output of a foreign test
// binary, which must have run at least so many.
func reportSuite(t *testing.T, out []byte, err error, atLeast int) {
	t.Helper()
	results := suiteResults(out)
	t.Logf("%d tests ran", len(results))
	if len(results) < atLeast {
		t.Errorf("fewer than %d tests ran\n%s", atLeast, tail(string(out)))
	}
	failed := false
	for _, r := range results {
		t.Run(r.name, func(t *testing.T) {
			switch r.end {
			case "FAIL":
				failed = true
				t.Errorf("failed after %s s\n%s", r.seconds, tail(r.output))
			case "SKIP":
				t.Logf("it skips itself: %s", r.output)
			}
		})
	}
	if err != nil && !failed {
		t.Errorf("%v\n%s", err, tail(string(out)))
	}
}

// suiteResult is one top-level test of a `-test.v` output.
type suiteResult struct{ name, end, seconds, output string }

var suiteEnd = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

func suiteResults(out []byte) []suiteResult {
	var results []suiteResult
	running, said := "", map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "=== "); ok {
			_, running, _ = strings.Cut(strings.Join(strings.Fields(rest), " "), " ")
			continue
		}
		if m := suiteEnd.FindStringSubmatch(line); m != nil {
			results = append(results, suiteResult{name: m[2], end: m[1], seconds: m[3]})
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
