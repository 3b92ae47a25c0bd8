package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The last replica with all records is gone: the partition waits for it, until somebody
// says that it is to be led by one that has fewer.
func TestTopicRecover(t *testing.T) {
	c := StartCluster(t, 3)
	topic := topicName(t, "t")
	adm := newAdmin(t, c.Bootstrap())
	if _, err := adm.CreateTopic(t.Context(), 1, 2, map[string]*string{"min.insync.replicas": new("1")}, topic); err != nil {
		t.Fatal(err)
	}
	var key struct {
		Leader        int
		Replicas, ISR []int
	}
	look := func() {
		if err := c.Get(fmt.Sprintf("topics/%s/0", topic), &key); err != nil {
			t.Fatal(err)
		}
	}
	write := func(n int) {
		t.Helper()
		client := newClient(t, c.Bootstrap())
		for i := range n {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(10)
	look()
	lacks, has := key.Replicas[1], key.Replicas[0]
	if key.Leader == lacks {
		lacks, has = has, lacks
	}
	c.Node(lacks).Kill9()
	write(5)
	c.Node(has).Kill9()
	c.Node(lacks).Start()
	c.Node(lacks).WaitReady()
	b := "--bootstrap-servers=" + c.Node(lacks).Kafka
	eventually(t, 20*time.Second, func() error {
		if look(); key.Leader >= 0 {
			return fmt.Errorf("broker %d leads", key.Leader)
		}
		return nil
	})

	r := chronik(t, "", "topic", "recover", b, topic)
	if r.code != 1 || !strings.Contains(r.out, "LAST-KNOWN") || !strings.Contains(r.err, "1 partitions of "+topic+" have no leader") {
		t.Errorf("without --yes: %d\n%s%s", r.code, r.out, r.err)
	}
	if look(); key.Leader >= 0 {
		t.Errorf("without --yes: broker %d leads", key.Leader)
	}
	out := must(t, "", "topic", "recover", b, "--yes", topic)
	if want := fmt.Sprintf("%s-0 is led by broker %d; what was acknowledged from offset 10 on is lost\n", topic, lacks); !strings.HasSuffix(out, want) {
		t.Errorf("with --yes:\n%s", out)
	}
	if out := must(t, "", "topic", "recover", b, topic); out != "every partition of "+topic+" has a leader\n" {
		t.Errorf("afterwards:\n%s", out)
	}
}
