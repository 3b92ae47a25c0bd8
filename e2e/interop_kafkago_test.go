//go:build interop

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kafkaGoGroups are the tests of kafka-go around consumer groups.
const kafkaGoGroups = "Group|Offset|Heartbeat|Coordinator|Generation|Rebalance|Commit"

// kafkaGoSkips are those that need transactions, and those that fail in the library's own
// test code, on Apache Kafka 4 too: with a nil connection, or waiting for twelve records
// of a partition that has eight.
var kafkaGoSkips = []string{
	"Txn", "TestClientFindCoordinator", // transactions
	"TestReaderConsumerGroup/consumer_group_commits_on_close",
	"TestReaderConsumerGroup/verify_offset_committed",
	"TestReaderConsumerGroup/consumer_group_rebalance$",
}

// kafka-go's own tests of consumer groups. They want a broker on localhost:9092.
func TestInteropKafkaGoSuite(t *testing.T) {
	suite := filepath.Join(buildDir, "kafkago.test")
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = filepath.Join(root(t), "e2e/clients")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("go", "test", "-c", "-o", suite, "github.com/segmentio/kafka-go")
	source := run("go", "list", "-f", "{{.Dir}}", "github.com/segmentio/kafka-go")
	startDefault(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite, "-test.v", "-test.timeout=4m", "-test.run="+kafkaGoGroups, "-test.skip="+strings.Join(kafkaGoSkips, "|"))
	cmd.Dir = source // where its tests look for their own files
	cmd.Env = append(os.Environ(), "KAFKA_VERSION=2.8.1", "KAFKA_SKIP_NETTEST=1")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("kafka-go's tests took %v", time.Since(began).Round(time.Second))
	reportSuite(t, out, err, 35)
}
