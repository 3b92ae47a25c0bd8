package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// allTold is what Metadata says of all topics: name, leader, authorized operations.
func allTold(t *testing.T, b *Broker, operations bool) string {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = operations
	resp, err := req.RequestWith(t.Context(), client(t, b))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, rt := range resp.Topics {
		line := fmt.Sprintf("%s %d", *rt.Topic, rt.Partitions[0].Leader)
		if rt.AuthorizedOperations != -1<<31 {
			line += " operations"
		}
		told = append(told, line)
	}
	slices.Sort(told)
	return strings.Join(told, ", ")
}

// What is told of all topics is told again only while it is true.
func TestMetadataOfAllFollows(t *testing.T) {
	ns := startNodes(t, 3, nil)
	b := ns.node(1)
	tells := func(want string) {
		t.Helper()
		if got := allTold(t, b, false); got != want {
			t.Errorf("tells of %q, want %q", got, want)
		}
	}
	tells("")
	if err := b.createTopic(t.Context(), meta.NewTopic{Name: "a", ID: meta.NewID(), Replicas: [][]int32{{2, 3}}}); err != nil {
		t.Fatal(err)
	}
	tells("a 2")
	if got := allTold(t, b, true); got != "a 2 operations" {
		t.Errorf("with operations: %q", got)
	}
	tells("a 2")
	life, lose := ns.losing(1, 2)
	lose(time.Now().Add(-holdMost))
	tells("a -1")
	b.peers.note(2, func(o *observed) { o.answered(life.epoch, false, time.Now()) })
	tells("a 2")
	rev, err := b.meta.DeleteTopic(t.Context(), "a", b.snap().Topic("a").ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.waitApplied(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	tells("")
}
