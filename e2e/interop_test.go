//go:build interop

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// family is a client library or tool with a driver of clients/README.md.
type family struct {
	name   string
	driver []string // command line before BOOTSTRAP; a path in it must exist
	env    []string
	codecs []string
	// What the family cannot do, by its own nature: stories, and "leave": it may have
	// committed a record that it does not print any more.
	cannot     string
	onlyGroups bool // it tells no others
}

func families(t *testing.T) []family {
	t.Helper()
	all := []string{"none", "gzip", "snappy", "lz4", "zstd"}
	clients, installed := filepath.Join(root(t), "e2e/clients"), filepath.Join(root(t), ".interop")
	python := filepath.Join(installed, "python/bin/python")
	script := filepath.Join(clients, "python/driver.py")
	node := filepath.Join(installed, "node/driver.js")
	jars := filepath.Join(installed, "java/jars")
	return []family{
		{name: "sarama", driver: []string{filepath.Join(installed, "go/sarama")}, codecs: all},
		{name: "sarama-0.11", driver: []string{filepath.Join(installed, "go/sarama")}, env: []string{"SARAMA_VERSION=0.11.0.2"}, codecs: all[:4], cannot: "alter group-delete"},
		{name: "kafka-go", driver: []string{filepath.Join(installed, "go/kafkago")}, codecs: all, cannot: "idempotent"},
		{name: "kafka-python", driver: []string{python, script, "kafka-python"}, codecs: all},
		{name: "confluent-kafka", driver: []string{python, script, "confluent-kafka"}, codecs: all},
		{name: "java", driver: []string{filepath.Join(clients, "java/driver")}, env: []string{"JARS=" + jars}, codecs: all},
		{name: "kcat", driver: []string{filepath.Join(clients, "kcat/driver")}, codecs: all, cannot: "create alter delete groups leave"},
		{name: "kafkajs", driver: []string{"node", node, "kafkajs"}, codecs: all[:3], cannot: "consume consume-odd"},
		{name: "platformatic", driver: []string{"node", node, "platformatic"}, codecs: all[:4], cannot: "consume consume-odd"},
		{name: "confluent-kafka-go", driver: []string{filepath.Join(installed, "go/confluentgo")}, onlyGroups: true},
	}
}

func (f family) can(story string) bool {
	return !strings.Contains(" "+f.cannot+" ", " "+story+" ")
}

// installed skips the test when make interop could not install the family.
func (f family) installed(t *testing.T) {
	t.Helper()
	needs := f.driver
	for _, e := range f.env {
		if _, path, ok := strings.Cut(e, "JARS="); ok {
			needs = append(needs, path, "java")
		}
	}
	if f.name == "kcat" {
		needs = append(needs, "kcat")
	}
	for _, need := range needs {
		if filepath.IsAbs(need) {
			if _, err := os.Stat(need); err != nil {
				t.Skipf("%s is not installed: %v", f.name, err)
			}
		} else if _, err := exec.LookPath(need); err != nil && !strings.HasPrefix(need, f.name) {
			t.Skipf("%s is not installed: %v", f.name, err)
		}
	}
}

func (f family) command(ctx context.Context, addr, story string, args ...string) *exec.Cmd {
	argv := append(append(append([]string{}, f.driver...), addr, story), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), f.env...)
	return cmd
}

// tell runs one story and returns what its driver printed.
func (f family) tell(t *testing.T, addr, story string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := f.command(ctx, addr, story, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s %v: %v\n%s%s", f.name, story, args, err, tail(out.String()), tail(errs.String()))
	}
	return strings.TrimSpace(out.String())
}

func TestInterop(t *testing.T) {
	for _, f := range families(t) {
		t.Run(f.name, func(t *testing.T) {
			f.installed(t)
			node, addr := nodeOrKafka(t)
			if !f.onlyGroups {
				f.plainStories(t, node, addr)
			}
			t.Run("group-resume", func(t *testing.T) { f.groupResume(t, node, addr) })
			t.Run("group-three", func(t *testing.T) { f.groupOfThree(t, addr) })
		})
	}
}

// plainStories are those without groups.
func (f family) plainStories(t *testing.T, node *Node, addr string) {
	f.fresh(t, node)
	f.admin(t, addr)
	f.records(t, addr)
	t.Run("large", func(t *testing.T) { f.large(t, addr) })
	if f.can("idempotent") {
		t.Run("idempotent", func(t *testing.T) { f.idempotent(t, node, addr) })
	}
	if f.name == "java" {
		t.Run("perf", func(t *testing.T) { f.perf(t, addr) })
	}
}

// fresh lists the topics of a node that has none.
func (f family) fresh(t *testing.T, node *Node) {
	if node == nil {
		return
	}
	t.Run("fresh", func(t *testing.T) {
		if got := f.tell(t, node.Kafka, "list"); got != "" {
			t.Errorf("a fresh node lists %q", got)
		}
	})
}

func (f family) admin(t *testing.T, addr string) {
	if !f.can("create") {
		return
	}
	t.Run("admin", func(t *testing.T) {
		topic := topicName(t, "t")
		f.tell(t, addr, "create", topic, "3")
		if got := f.tell(t, addr, "list"); !strings.Contains("\n"+got+"\n", "\n"+topic+"\n") {
			t.Errorf("%s is not in the list %q", topic, got)
		}
		if got := f.tell(t, addr, "describe", topic); got != "3" {
			t.Errorf("described with %q partitions, want 3", got)
		}
		if f.can("alter") {
			if got := f.tell(t, addr, "alter", topic); !strings.HasSuffix(got, "123456789") {
				t.Errorf("retention.ms reads back as %q", got)
			}
		}
		f.tell(t, addr, "delete", topic)
		if got := f.tell(t, addr, "list"); strings.Contains(got, topic) {
			t.Errorf("%s is deleted and in the list %q", topic, got)
		}
	})
}

// records are written by the family and read by franz-go, and the other way round.
func (f family) records(t *testing.T, addr string) {
	for _, codec := range f.codecs {
		t.Run("produce-"+codec, func(t *testing.T) {
			topic := f.topic(t, addr)
			f.tell(t, addr, "produce", topic, codec, "10000")
			checkRecords(t, addr, topic, 10_000, plainRecord)
			if f.can("consume") {
				f.tell(t, addr, "consume", topic, "10000")
			}
		})
		if f.can("consume") {
			t.Run("consume-"+codec, func(t *testing.T) {
				topic := f.topic(t, addr)
				produce(t, addr, topic, 10_000, plainRecord, kgo.ProducerBatchCompression(codecs[codec]))
				f.tell(t, addr, "consume", topic, "10000")
			})
		}
	}
	t.Run("odd", func(t *testing.T) {
		topic := f.topic(t, addr)
		f.tell(t, addr, "produce-odd", topic)
		checkRecords(t, addr, topic, oddRecords, oddRecord)
		if f.can("consume-odd") {
			f.tell(t, addr, "consume-odd", topic)
		}
	})
}

// topic is a new name. Of a foreign broker nobody knows how many partitions it gives
// to a topic that is made by producing, so it is made with one.
func (f family) topic(t *testing.T, addr string) string {
	t.Helper()
	name := topicName(t, "t")
	if os.Getenv("KAFKA") != "" {
		createTopic(t, addr, name, 1, nil)
	}
	return name
}

var tooLarge = regexp.MustCompile(`(?i)too.?large|larger than`)

func (f family) large(t *testing.T, addr string) {
	topic := f.topic(t, addr)
	if got := f.tell(t, addr, "large", topic, "1000000"); got != "written" {
		t.Errorf("1,000,000 bytes: %q", got)
	}
	if got := f.tell(t, addr, "large", topic, "1100000"); !strings.HasPrefix(got, "refused: ") || !tooLarge.MatchString(got) {
		t.Errorf("1,100,000 bytes: %q", got)
	}
	records := 0
	readPartition(t, addr, topic, 0, func(r *kgo.Record) {
		records++
		if len(r.Value) != 1_000_000 {
			t.Errorf("a record came back with %d bytes", len(r.Value))
		}
	})
	if records != 1 {
		t.Errorf("%d records are in the topic, want 1", records)
	}
}

// idempotent kills the node while the family produces: nothing lost, nothing twice.
func (f family) idempotent(t *testing.T, node *Node, addr string) {
	const n = 10_000
	topic := topicName(t, "t")
	createTopic(t, addr, topic, 1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := f.command(ctx, addr, "idempotent", topic, fmt.Sprint(n), "2")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	if node != nil {
		eventually(t, 30*time.Second, func() error {
			ends, err := newAdmin(t, addr).ListEndOffsets(ctx, topic)
			if err != nil {
				return err
			}
			if end, _ := ends.Lookup(topic, 0); end.Offset < n/10 {
				return fmt.Errorf("%d records are written", end.Offset)
			}
			return nil
		})
		node.Kill9()
		node.Start()
	}
	if err := <-done; err != nil {
		t.Fatalf("%s: %v\n%s", f.name, err, tail(out.String()))
	}
	checkRecords(t, addr, topic, n, plainRecord)
}

// perf is Kafka's own load generator.
func (f family) perf(t *testing.T, addr string) {
	topic := f.topic(t, addr)
	got := f.tell(t, addr, "perf", topic, "200000")
	if !strings.Contains(got, "200000 records sent") {
		t.Errorf("it printed %q", got)
	}
	t.Log(got)
}

// What a newcomer does first: chronik without arguments, and a Python client that is
// told nothing but localhost:9092.
func TestInteropFirstSteps(t *testing.T) {
	f := families(t)[3] // kafka-python
	f.installed(t)
	node := startDefault(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	python := func(code string) string {
		t.Helper()
		out, err := exec.CommandContext(ctx, f.driver[0], "-c", code).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, out, node.Log(4<<10))
		}
		return strings.TrimSpace(string(out))
	}
	const list = `from kafka.admin import KafkaAdminClient
print(KafkaAdminClient(bootstrap_servers='localhost:9092').list_topics())`
	if got := python(list); got != "[]" {
		t.Errorf("list_topics printed %q, want []", got)
	}
	python(`from kafka import KafkaProducer
p = KafkaProducer(bootstrap_servers='localhost:9092')
print(p.send('first', b'hello').get(20).offset)
p.close()`)
	got := python(`from kafka import KafkaConsumer
for r in KafkaConsumer('first', bootstrap_servers='localhost:9092', auto_offset_reset='earliest', group_id=None, consumer_timeout_ms=10000):
    print(r.value.decode())
    break`)
	if got != "hello" {
		t.Errorf("consumed %q, want hello", got)
	}
	if got := python(list); got != "['first']" {
		t.Errorf("list_topics printed %q", got)
	}
}

// startDefault starts chronik without arguments in an empty folder, as a newcomer does:
// on the default ports, which must be free.
func startDefault(t testing.TB) *Node {
	t.Helper()
	for _, port := range []string{"9092", "9644", "2379", "2380"} {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatalf("a default port is taken by another process: %v", err)
		}
		l.Close()
	}
	dir := t.TempDir()
	n := &Node{
		Dir: filepath.Join(dir, "chronik-data"), Kafka: "localhost:9092", HTTP: "localhost:9644", Etcd: "localhost:2379",
		t: t, command: []string{chronikBin(t)}, workDir: dir, log: filepath.Join(t.TempDir(), "log"),
	}
	t.Cleanup(n.cleanup)
	n.Start()
	n.WaitReady()
	return n
}
