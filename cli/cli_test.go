package cli

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chronik/wire"
	"chronik/wire/batch"
)

// ran runs a command line.
func ran(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(append([]string{"chronik"}, args...), strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func TestExitCodes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"version", 0, "etcd "},
		{"help", 0, "a Kafka-compatible broker"},
		{"nope", 2, "unknown command"},
		{"topic nonsense", 2, "unknown command"},
		{"topic", 0, "add-partitions"},
		{"topic create", 2, "needs a topic"},
		{"topic list --nope", 2, "flag provided but not defined"},
		{"consume", 2, "takes one topic"},
		{"consume t --offset x", 2, "--offset x"},
		{"consume t --format %q", 2, "%q is not known"},
		{"produce t --compression brotli", 2, "none, gzip"},
		{"produce t --acks 7", 2, "all, 1 or 0"},
		{"bench --duration 0s", 2, "more than 0"},
		{"bench --mode dance", 2, "--mode dance"},
		{"bench --server-pid 0", 2, "--server-pid 0"},
		{"start extra", 2, "takes no argument"},
		{"start --log-level loud", 2, "--log-level"},
		{"start --log-format xml", 2, "--log-format"},
		{"start --set a", 2, "NAME=VALUE"},
		{"start --set num.partitoins=1", 1, "did you mean num.partitions"},
		{"start --node-id 0", 2, "from 1 on"},
		{"start --config /does/not/exist", 1, "--config"},
		{"topic list -b " + nobody, 1, "no broker at " + nobody},
		{"log check /does/not/exist", 1, "no such file"},
	} {
		code, out, errs := ran(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("chronik %s: exit code %d, want %d; it said %q, %q", c.args, code, c.code, out, errs)
		}
		if c.code != 0 && strings.Count(errs, "\n") != 1 {
			t.Errorf("chronik %s: the error is not one line: %q", c.args, errs)
		}
	}
}

func TestFlagsAnywhere(t *testing.T) {
	app := newApp(nil, nil, nil)
	for line, want := range map[string]string{
		"chronik topic create a -p 3 b":        "chronik topic create -p 3 a b",
		"chronik consume t -e -n 5":            "chronik consume -e -n 5 t",
		"chronik consume t --count=5 -e":       "chronik consume --count=5 -e t",
		"chronik produce t -- -x":              "chronik produce t -- -x",
		"chronik topic create -p 3 -- -x":      "chronik topic create -p 3 -- -x",
		"chronik":                              "chronik",
		"chronik --help":                       "chronik --help",
		"chronik meta get topics/ --rev 5":     "chronik meta get --rev 5 topics/",
		"chronik consume t -o -5 -f %s -J":     "chronik consume -o -5 -f %s -J t",
		"chronik topic alter t --set a=b -b c": "chronik topic alter --set a=b -b c t",
	} {
		if got := flagsFirst(app, strings.Fields(line)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestFormat(t *testing.T) {
	r := &kgo.Record{
		Topic: "t", Partition: 3, Offset: 42, Key: []byte("k"), Timestamp: time.UnixMilli(99),
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}},
	}
	show, err := parseFormat(`%t/%p@%o %k=%s|%S %K %T %h 100%%\t\\\n`)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	show(w, r)
	w.Flush()
	if want := "t/3@42 k=|-1 1 99 a=1,b=2 100%\t\\\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// A frame that the generator sends over and over is one that a broker takes.
func TestRawProduceFrame(t *testing.T) {
	cfg := &benchConfig{topic: "t", size: 100, batchSize: 5000, acks: "all", compression: "none", payload: "random"}
	records, n, err := rawBatch(cfg)
	if err != nil || n < 40 || len(records) > 5000 {
		t.Fatalf("%d records in %d bytes: %v", n, len(records), err)
	}
	h, body, err := wire.ParseRequestHeader(rawProduceFrame(cfg, records, 6)[4:])
	if err != nil || h.Key != wire.ProduceKey || h.Version != rawProduceVersion {
		t.Fatalf("%+v, %v", h, err)
	}
	var q wire.ProduceRequest
	if err := q.Decode(h.Version, body); err != nil {
		t.Fatal(err)
	}
	p := q.Topics[0].Partitions[0]
	if q.Acks != -1 || string(q.Topics[0].Name) != "t" || p.Index != 6 || !bytes.Equal(p.Records, records) {
		t.Errorf("%+v", q)
	}
	if err := records.Check(); err != nil {
		t.Error(err)
	}
}

// Raw batches carry the keys that are asked for, and stay within --batch-size.
func TestRawKeys(t *testing.T) {
	cfg := &benchConfig{topic: "t", size: 100, batchSize: 5000, compression: "none", payload: "zero", workers: 1}
	for pattern, want := range map[string]string{"none": "", "sequence": "2"} {
		cfg.keyPattern = pattern
		records, n, err := rawBatch(cfg)
		if err != nil || len(records) > 5000 {
			t.Fatalf("%s: %d bytes, %v", pattern, len(records), err)
		}
		var keys []string
		if err := records.Records(func(_ int, r *batch.Record) error {
			keys = append(keys, string(r.Key))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(keys) != n || keys[2] != want {
			t.Errorf("%s: keys %q of %d records", pattern, keys, n)
		}
	}
}

// The usage of several servers is the sum of theirs.
func TestServerUsage(t *testing.T) {
	var alone, both usage
	pids := []int{os.Getpid()}
	var err error
	if alone, err = usageOf(pids); err != nil || !alone.known || alone.serverRSS <= 0 {
		t.Fatalf("%+v, %v", alone, err)
	}
	if both, err = usageOf(append(pids, os.Getppid())); err != nil {
		t.Fatal(err)
	}
	_, parent, err := processUsage(os.Getppid())
	if err != nil || parent <= 0 {
		t.Fatalf("%d, %v", parent, err)
	}
	if more := both.serverRSS - alone.serverRSS; more < parent/2 {
		t.Errorf("two processes have %d bytes, one has %d, the other %d", both.serverRSS, alone.serverRSS, parent)
	}
	if u, err := usageOf(nil); err != nil || u.known {
		t.Errorf("no server: %+v, %v", u, err)
	}
	if _, err := usageOf([]int{1 << 30}); err == nil || !strings.Contains(err.Error(), "--server-pid 1073741824") {
		t.Errorf("a process that is none: %v", err)
	}
}

// With a rate the clock runs from when a record was due, and only the window counts.
func TestRecorderWindow(t *testing.T) {
	rec := newRecorder(nil)
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	rec.begin.Store(at(10).UnixNano())
	rec.end.Store(at(20).UnixNano())
	l := rec.lane()
	l.done(at(9.9), at(10.5), 1, 100) // warm-up
	l.done(at(10), at(10.5), 1, 100)
	l.done(at(19.9), at(25), 2, 200) // sent in the window, answered after it
	l.done(at(20), at(20.1), 1, 100) // too late
	if rec.records.Load() != 3 || rec.bytes.Load() != 300 || rec.requests.Load() != 2 {
		t.Errorf("%d records, %d bytes, %d requests", rec.records.Load(), rec.bytes.Load(), rec.requests.Load())
	}
	if m := rec.merged().Max(); m < 5_000_000 || m > 5_200_000 {
		t.Errorf("longest %d µs, want 5.1 s", m)
	}
	p := newPace(&benchConfig{rate: 100, workers: 2}, 1)
	first := p.next(t.Context())
	if next := p.next(t.Context()); next.Sub(first) != 20*time.Millisecond {
		t.Errorf("two senders at 100/s: %v between records", next.Sub(first))
	}
	p.start = p.start.Add(-time.Hour)
	if due := p.next(t.Context()); time.Since(due) < 50*time.Minute {
		t.Error("a late sender forgets how late it is")
	}
}
