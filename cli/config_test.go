package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadProperties(t *testing.T) {
	text := "# comment\n! another\n\nnode.id=7\n  broker.rack : r1\\\n   2\nlog.dirs /a\\ b\nname\\=x=1\\u0041\\t.\nempty\n"
	props, err := readProperties(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []property{{"node.id", "7", 4}, {"broker.rack", "r12", 5}, {"log.dirs", "/a b", 7}, {"name=x", "1A\t.", 8}, {"empty", "", 9}}
	if len(props) != len(want) {
		t.Fatalf("%+v", props)
	}
	for i := range want {
		if props[i] != want[i] {
			t.Errorf("%+v, want %+v", props[i], want[i])
		}
	}
	for _, bad := range []string{"a=\\u12", "a=b\\"} {
		if _, err := readProperties(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLoadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.properties")
	load := func(text string) (*nodeSettings, error) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return loadConfig(path)
	}
	n, err := load("process.roles=broker,controller\nnode.id=3\nlisteners=PLAINTEXT://:9092,CONTROLLER://:9093\n" +
		"advertised.listeners=PLAINTEXT://host:9092\nlog.dirs=/data\nnum.partitions=4\nlog.retention.hours=5\nnum.io.threads=8\n")
	if err != nil {
		t.Fatal(err)
	}
	if n.config.NodeID != 3 || n.config.Listen != "0.0.0.0:9092" || n.config.Advertise != "host:9092" || n.config.DataDir != "/data" {
		t.Errorf("%+v", n.config)
	}
	if n.settings["num.partitions"] != "4" || n.settings["log.retention.hours"] != "5" || strings.Join(n.ignored, " ") != "process.roles num.io.threads" {
		t.Errorf("settings %v, without meaning %v", n.settings, n.ignored)
	}
	if n, err := load("broker.id=4\nnode.id=4\n"); err != nil || n.config.NodeID != 4 {
		t.Errorf("one id by both names: %v", err)
	}
	for text, want := range map[string]string{
		"\nnum.partitoins=4":              "line 2: unknown setting num.partitoins: did you mean num.partitions?",
		"num.partitions=0":                "line 1: Invalid value 0",
		"log.cleanup.policy=shred":        "String must be one of: compact, delete",
		"node.id=x":                       "no node id",
		"node.id=1\nbroker.id=2":          "line 2: node.id=1 and broker.id=2 differ",
		"broker.id=3\n\nnode.id=2":        "line 3: node.id=2 and broker.id=3 differ",
		"log.dirs=/a,/b":                  "several log directories",
		"listeners=SASL_SSL://:9092":      "not supported",
		"listeners=A://:9092,B://:9093":   "2 listeners",
		"sasl.enabled.mechanisms=PLAIN":   "unknown setting",
		"ssl.keystore.location=/k":        "unknown setting",
		"log.retention.ms=-5":             "at least -1",
		"auto.create.topics.enable=maybe": "true or false",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
