package broker

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The tightest limit of the groups from a process's own up to the root counts.
func TestCgroupMemory(t *testing.T) {
	root := t.TempDir()
	for group, limit := range map[string]string{
		"": "max", "system.slice": "4000000", "system.slice/broker.service": "5000000", "other": "7",
	} {
		if err := os.MkdirAll(filepath.Join(root, group), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, group, "memory.max"), []byte(limit+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for own, want := range map[string]int64{
		"0::/system.slice/broker.service\n": 4000000,
		"1:cpu:/other\n0::/system.slice\n":  4000000,
		"0::/\n":                            math.MaxInt64,
		"0::/not/there\n":                   math.MaxInt64,
		"":                                  math.MaxInt64,
		"4:memory:/other\n":                 math.MaxInt64,
	} {
		if got := cgroupMemory(root, own); got != want {
			t.Errorf("%q: %d, want %d", own, got, want)
		}
	}
}

// A request that is larger than request.decode.max.bytes ends its connection, undecoded.
func TestRequestDecodeMaxBytes(t *testing.T) {
	for limit, served := range map[string]bool{"65536": false, "262144": true} {
		b, _ := started(t, t.TempDir(), map[string]string{"request.decode.max.bytes": limit})
		req := kmsg.NewPtrMetadataRequest()
		for range 1000 {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = new(strings.Repeat("x", 100))
			req.Topics = append(req.Topics, topic)
		}
		_, err := req.RequestWith(t.Context(), client(t, b, kgo.RequestRetries(0)))
		if (err == nil) != served {
			t.Errorf("a request of 100 kB with a limit of %s: %v", limit, err)
		}
	}
}
