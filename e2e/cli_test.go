package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// result is what one run of the command came to.
type result struct {
	out, err string
	code     int
}

func (r result) asError() error {
	if r.code == 0 {
		return nil
	}
	return fmt.Errorf("exit code %d\n%s%s", r.code, r.out, r.err)
}

// chronik runs the binary to its end.
func chronik(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chronikBin(t), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = strings.NewReader(stdin), &out, &errs, t.TempDir()
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must runs the binary, which has to succeed, and returns what it printed.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	r := chronik(t, stdin, args...)
	if r.code != 0 {
		t.Fatalf("chronik %v: exit code %d\n%s%s", args, r.code, r.out, r.err)
	}
	return r.out
}

func TestCommands(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	b := "--bootstrap-servers=" + n.Kafka
	must(t, "", "topic", "create", b, "--partitions", "3", "--config", "retention.ms=7200000", "fruit")
	must(t, "", "topic", "create", b, "plain")
	if list := strings.Fields(must(t, "", "topic", "list", b)); !slices.Contains(list, "fruit") || !slices.Contains(list, "plain") {
		t.Errorf("topic list printed %q", list)
	}
	ids := strings.Fields(must(t, "", "topic", "list", b))
	if at := slices.Index(ids, "fruit"); !strings.Contains(must(t, "", "meta", "get", "--etcd", n.Etcd, "topics/fruit"), `"id":"`+ids[at+3]+`"`) {
		t.Errorf("topic list prints the id %s, the metadata another", ids[at+3])
	}
	if r := chronik(t, "", "topic", "create", b, "fruit", "new"); r.code != 1 || !strings.Contains(r.err, "fruit") || !strings.Contains(r.out, "created new") {
		t.Errorf("one of two topics is there: exit code %d\n%s%s", r.code, r.out, r.err)
	}
	if text := must(t, "", "topic", "describe", b, "fruit"); !strings.Contains(text, "7200000") {
		t.Errorf("topic describe printed %q", text)
	}
	var described any
	if text := must(t, "", "topic", "describe", b, "--output", "json", "fruit"); json.Unmarshal([]byte(text), &described) != nil {
		t.Errorf("topic describe --output json printed %q", text)
	}
	must(t, "", "topic", "alter", b, "--set", "retention.ms=3600000", "fruit")
	if text := must(t, "", "topic", "describe", b, "fruit"); !strings.Contains(text, "3600000") || strings.Contains(text, "7200000") {
		t.Errorf("after alter, topic describe printed %q", text)
	}

	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "k%d\tvalue %d\n", i%10, i)
	}
	must(t, lines.String(), "produce", b, "--key-delimiter", "\t", "--partition", "0", "--compression", "zstd", "fruit")
	got := must(t, "", "consume", b, "--offset", "beginning", "--exit", "--format", `%k\t%s\n`, "fruit")
	if got != lines.String() {
		t.Errorf("consume printed %d bytes, want the %d that were produced", len(got), lines.Len())
	}
	if got := must(t, "", "consume", b, "--offset", "-1", "--partition", "0", "--exit", "--format", `%t %p %o %S`, "fruit"); got != "fruit 0 999 9" {
		t.Errorf("the last record is printed as %q", got)
	}
	if got := must(t, "", "consume", b, "--offset", "998", "--partition", "0", "--count", "1", "fruit"); got != "value 998\n" {
		t.Errorf("from offset 998 it printed %q", got)
	}
	must(t, "a\nb\n", "produce", b, "--header", "h=1", "plain")
	var record map[string]any
	text := must(t, "", "consume", b, "--offset", "beginning", "--count", "1", "--json", "plain")
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		t.Errorf("consume --json printed %q: %v", text, err)
	}

	must(t, "", "topic", "delete", b, "plain")
	if list := strings.Fields(must(t, "", "topic", "list", b)); slices.Contains(list, "plain") {
		t.Errorf("after delete, topic list printed %q", list)
	}
	if text := must(t, "", "meta", "get", "--etcd", n.Etcd, "topics/"); !strings.Contains(text, `"leader"`) {
		t.Errorf("meta get printed %q", text)
	}
	if text := must(t, "", "version"); !strings.Contains(text, "chronik") || !strings.Contains(text, "etcd") {
		t.Errorf("version printed %q", text)
	}
}

// Failures say in one line on stderr what to do, with exit code 1; wrong usage is 2.
func TestCommandFailures(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	b := "--bootstrap-servers=" + n.Kafka
	nobody := "--bootstrap-servers=" + freePorts(t, 1)[0]
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"topic", "describe", b, "missing"}, 1, "missing"},
		{[]string{"topic", "delete", b, "missing"}, 1, "missing"},
		{[]string{"topic", "create", b, "--config", "retention.ms=soon", "x"}, 1, "retention.ms"},
		{[]string{"topic", "create", b, "--replication-factor", "3", "x"}, 1, ""},
		{[]string{"topic", "create", b, "bad/name"}, 1, ""},
		{[]string{"topic", "create", b}, 2, ""},
		{[]string{"topic", "list", nobody}, 1, strings.TrimPrefix(nobody, "--bootstrap-servers=")},
		{[]string{"consume", b, "--exit", "missing"}, 1, "missing"},
		{[]string{"produce", b}, 2, ""},
		{[]string{"nonsense"}, 2, "nonsense"},
		{[]string{"topic", "nonsense"}, 2, ""},
		{[]string{"start", "--no-such-flag"}, 2, "no-such-flag"},
		{[]string{"log", "check", filepath.Join(n.Dir, "missing")}, 1, "missing"},
		{[]string{"log", "check", n.Dir}, 1, "holds no log"},
		{[]string{"log", "dump", n.Dir}, 1, "holds no log"},
	} {
		r := chronik(t, "", c.args...)
		if r.code != c.code || !strings.Contains(r.err, c.says) || r.err == "" {
			t.Errorf("chronik %v: exit code %d, want %d naming %q\nstderr: %s\nstdout: %s", c.args, r.code, c.code, c.says, r.err, r.out)
		}
		if lines := strings.Count(strings.TrimSpace(r.err), "\n") + 1; c.code == 1 && lines > 1 {
			t.Errorf("chronik %v: an error of %d lines: %s", c.args, lines, r.err)
		}
	}
}

// What is wrong is refused at the start, with one clear line, and at once.
func TestStartRefusals(t *testing.T) {
	t.Parallel()
	running := StartNode(t, NodeConfig{})
	stopped := StartNode(t, NodeConfig{})
	stopped.Stop()
	badFile := filepath.Join(t.TempDir(), "server.properties")
	if err := os.WriteFile(badFile, []byte("node.id=1\n\nlog.retention.hourz=5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		args []string
		says []string
	}{
		"unknown setting":      {[]string{"--set", "num.partitons=5"}, []string{"num.partitons", "num.partitions"}},
		"value out of bounds":  {[]string{"--set", "num.partitions=0"}, []string{"num.partitions"}},
		"value of wrong type":  {[]string{"--set", "num.partitions=many"}, []string{"num.partitions"}},
		"misspelt in the file": {[]string{"--config", badFile}, []string{"log.retention.hourz", "3"}},
		"missing file":         {[]string{"--config", badFile + "x"}, []string{badFile + "x"}},
		"port taken":           {[]string{"--listen", running.Kafka}, []string{running.Kafka, "--listen"}},
		"HTTP port taken":      {[]string{"--http-listen", running.HTTP}, []string{running.HTTP, "--http-listen"}},
		"etcd port taken":      {[]string{"--etcd-listen", running.Etcd}, []string{running.Etcd, "--etcd-listen"}},
		"directory locked":     {[]string{"--data-dir", running.Dir}, []string{running.Dir}},
		"another node id":      {[]string{"--data-dir", stopped.Dir, "--node-id", "7"}, []string{"7", "1"}},
		"open etcd":            {[]string{"--etcd-listen", "0.0.0.0:" + port(stopped.Etcd)}, []string{"--insecure"}},
		"open peers":           {[]string{"--peer-listen", "0.0.0.0:" + port(stopped.Etcd)}, []string{"--insecure", "--peer-cert"}},
		"peers without own id": {[]string{"--peers", "2=127.0.0.1:1,3=127.0.0.1:2"}, []string{"--peers", "--node-id is 1"}},
		"peers and join":       {[]string{"--peers", "1=127.0.0.1:1", "--join", "127.0.0.1:2"}, []string{"--peers", "--join"}},
		"too many voters":      {[]string{"--peers", "1=a:1,2=a:2,3=a:3,4=a:4,5=a:5,6=a:6,7=a:7,8=a:8"}, []string{"--peers", "at most 7"}},
		"advertised to none":   {[]string{"--peers", "1=127.0.0.1:1,2=127.0.0.1:2", "--listen", "0.0.0.0:" + port(stopped.Kafka)}, []string{"--advertise"}},
		"half a certificate":   {[]string{"--peer-cert", badFile}, []string{"--peer-key"}},
		"no certificate":       {[]string{"--peer-cert", badFile, "--peer-key", badFile, "--peer-ca", badFile}, []string{badFile}},
		"election too short":   {[]string{"--etcd-election", "20ms"}, []string{"--etcd-election"}},
	} {
		t.Run(what, func(t *testing.T) {
			n := NewNode(t, NodeConfig{Args: c.args})
			n.Start()
			select {
			case <-n.exited:
			case <-time.After(20 * time.Second):
				t.Fatalf("it runs:\n%s", n.Log(4<<10))
			}
			text := n.Log(8 << 10)
			if n.cmd.ProcessState.ExitCode() == 0 {
				t.Errorf("exit code 0: %s", text)
			}
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("it does not say %q: %s", want, text)
				}
			}
			if lines := strings.Count(strings.TrimSpace(text), "\n") + 1; lines > 2 {
				t.Errorf("%d lines instead of a clear one: %s", lines, text)
			}
		})
	}
}

func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

// A Kafka user's server.properties starts chronik: what it means here is obeyed, what has
// no meaning here is listed in one line.
func TestConfigFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "server.properties")
	data := filepath.Join(t.TempDir(), "data")
	listen := freePorts(t, 1)[0]
	text := fmt.Sprintf(`# a broker of mine
process.roles=broker,controller
node.id=5
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://%s
advertised.listeners=PLAINTEXT://%s
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
log.dirs=%s
num.partitions=6
log.retention.hours=48
log.segment.bytes=8388608
`, listen, listen, data)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// Only what the file does not say is given as a flag.
	p := freePorts(t, 3)
	n := NewNode(t, NodeConfig{})
	n.Dir, n.Kafka, n.HTTP, n.Etcd = data, listen, p[0], p[1]
	n.args = []string{"start", "--config", file, "--http-listen", p[0], "--etcd-listen", p[1], "--peer-listen", p[2]}
	n.Start()
	n.WaitReady()
	topic := topicName(t, "t")
	must(t, "a\n", "produce", "-b", n.Kafka, topic)
	details, err := newAdmin(t, n.Kafka).ListTopics(t.Context(), topic)
	if err != nil || len(details[topic].Partitions) != 6 || details[topic].Partitions[0].Leader != 5 {
		t.Errorf("the topic has %d partitions: %+v (%v)", len(details[topic].Partitions), details[topic], err)
	}
	checkConfig(t, newAdmin(t, n.Kafka), topic, "retention.ms", "172800000")
	checkConfig(t, newAdmin(t, n.Kafka), topic, "segment.bytes", "8388608")
	if log := n.Log(64 << 10); !strings.Contains(log, "num.io.threads") || !strings.Contains(log, "process.roles") {
		t.Errorf("the log does not list what has no meaning here:\n%s", log)
	}
}

// chronik log check and dump: of a stopped node, of a running one, of a damaged log.
func TestLogCommands(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	topic := topicName(t, "t")
	produce(t, n.Kafka, topic, 10_000, plainRecord)
	dirs, err := filepath.Glob(filepath.Join(n.Dir, "logs", "*-0"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("log directories %v (%v)", dirs, err)
	}
	check := func() result { return chronik(t, "", "log", "check", dirs[0]) }
	if r := check(); r.code != 0 || !strings.Contains(r.out, "9999") && !strings.Contains(r.out, "10000") {
		t.Errorf("of a running node: %+v", r)
	}
	n.Stop()
	if r := check(); r.code != 0 {
		t.Errorf("of a stopped node: %+v", r)
	}
	if text := must(t, "", "log", "dump", dirs[0]); !strings.Contains(text, "9999") {
		t.Errorf("log dump ends with %q", tail(text))
	}
	segment := filepath.Join(dirs[0], "00000000000000000001")
	bytes, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	bytes[len(bytes)/2] ^= 1
	if err := os.WriteFile(segment, bytes, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := check(); r.code != 1 {
		t.Errorf("of a log with a flipped bit: %+v", r)
	}
}

// The health pages say what they should, at every time.
func TestHealth(t *testing.T) {
	t.Parallel()
	n := StartNode(t, NodeConfig{})
	for path, want := range map[string]string{"/livez": "alive", "/readyz": "ready", "/readyz?verbose": "broker 1", "/metrics": "kafka_server_brokertopicmetrics_messagesin_total"} {
		if code, text, err := n.Get(path); err != nil || code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.200q (%v), want %q in it", path, code, text, err, want)
		}
	}
	off := NewNode(t, NodeConfig{Args: []string{"--http-listen", ""}})
	off.Start()
	off.WaitAnswer(time.Now())
	if _, _, err := off.Get("/livez"); err == nil {
		t.Error("--http-listen '' listens")
	}
}
