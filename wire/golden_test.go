package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/wire/batch"
)

// TestGolden reads what real clients sent and were answered. A line of
// testdata/golden/<client>.txt is: request or response, key, version, the frame
// without its size.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var what, digits string
			var key, version int16
			if _, err := fmt.Sscan(line, &what, &key, &version, &digits); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			t.Run(fmt.Sprintf("%s/%s/%s/v%d", filepath.Base(file), what, kmsg.NameForKey(key), version), func(t *testing.T) {
				frame, err := hex.DecodeString(digits)
				if err != nil {
					t.Fatal(err)
				}
				if what == "request" {
					goldenRequest(t, frame, key, version)
				} else {
					goldenResponse(t, frame, key, version)
				}
			})
		}
	}
}

func goldenRequest(t *testing.T, frame []byte, key, version int16) {
	h, body, err := ParseRequestHeader(frame)
	if err != nil || h.Key != key || h.Version != version {
		t.Fatalf("header %+v: %v", h, err)
	}
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	if err := req.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		goldenProduce(t, req, body)
	case *kmsg.FetchRequest:
		goldenFetch(t, req, body)
	}
}

func goldenProduce(t *testing.T, req *kmsg.ProduceRequest, body []byte) {
	var got ProduceRequest
	if err := got.Decode(req.Version, body); err != nil {
		t.Fatal(err)
	}
	if got.Acks != req.Acks || got.TimeoutMs != req.TimeoutMillis || len(got.Topics) != len(req.Topics) {
		t.Fatalf("acks %d, timeout %d, %d topics, want %+v", got.Acks, got.TimeoutMs, len(got.Topics), req)
	}
	for i, rt := range req.Topics {
		if string(got.Topics[i].Name) != rt.Topic || got.Topics[i].ID != rt.TopicID {
			t.Errorf("topic %q %x, want %q %x", got.Topics[i].Name, got.Topics[i].ID, rt.Topic, rt.TopicID)
		}
		for j, rp := range rt.Partitions {
			p := got.Topics[i].Partitions[j]
			if p.Index != rp.Partition || !bytes.Equal(p.Records, rp.Records) {
				t.Errorf("partition %d with %d bytes, want %d with %d", p.Index, len(p.Records), rp.Partition, len(rp.Records))
			}
			b, rest, err := batch.First(p.Records)
			if err != nil || len(rest) > 0 {
				t.Fatalf("%d bytes behind the batch: %v", len(rest), err)
			}
			if err := b.Check(); err != nil {
				t.Error(err)
			}
			if _, err := b.CheckRecords(nil); err != nil {
				t.Error(err)
			}
		}
	}
}

func goldenFetch(t *testing.T, req *kmsg.FetchRequest, body []byte) {
	var got FetchRequest
	if err := got.Decode(req.Version, body); err != nil {
		t.Fatal(err)
	}
	if got.MaxWaitMs != req.MaxWaitMillis || got.MinBytes != req.MinBytes || got.MaxBytes != req.MaxBytes ||
		got.SessionEpoch != req.SessionEpoch || len(got.Topics) != len(req.Topics) {
		t.Fatalf("%+v, want %+v", got, req)
	}
	for i, rt := range req.Topics {
		for j, rp := range rt.Partitions {
			p := got.Topics[i].Partitions[j]
			if string(got.Topics[i].Name) != rt.Topic || got.Topics[i].ID != rt.TopicID || p.Index != rp.Partition ||
				p.FetchOffset != rp.FetchOffset || p.MaxBytes != rp.PartitionMaxBytes || p.CurrentLeaderEpoch != rp.CurrentLeaderEpoch {
				t.Errorf("partition %+v, want %+v", p, rp)
			}
		}
	}
}

// goldenResponse holds an answer that a client took against another's codec: nothing is
// left over and nothing is missing.
func goldenResponse(t *testing.T, frame []byte, key, version int16) {
	resp := kmsg.ResponseForKey(key)
	resp.SetVersion(version)
	body := frame[4:]
	if resp.IsFlexible() && key != int16(kmsg.ApiVersions) {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, body) {
		t.Errorf("%d bytes, encoded again %d", len(body), len(again))
	}
}
