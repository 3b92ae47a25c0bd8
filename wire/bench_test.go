package wire

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BenchmarkDecode decodes requests of one partition and of many.
func BenchmarkDecode(b *testing.B) {
	for _, partitions := range []int{1, 100} {
		produce, fetch := kmsg.NewPtrProduceRequest(), kmsg.NewPtrFetchRequest()
		produce.Version, fetch.Version = 12, 12
		rt, ft := kmsg.NewProduceRequestTopic(), kmsg.NewFetchRequestTopic()
		rt.Topic, ft.Topic = "topic", "topic"
		for i := range partitions {
			rp, fp := kmsg.NewProduceRequestTopicPartition(), kmsg.NewFetchRequestTopicPartition()
			rp.Partition, rp.Records, fp.Partition = int32(i), make([]byte, 1024), int32(i)
			rt.Partitions, ft.Partitions = append(rt.Partitions, rp), append(ft.Partitions, fp)
		}
		produce.Topics, fetch.Topics = append(produce.Topics, rt), append(fetch.Topics, ft)
		b.Run(fmt.Sprintf("Produce/%d", partitions), func(b *testing.B) {
			var q ProduceRequest
			decodes(b, produce, q.Decode)
		})
		b.Run(fmt.Sprintf("Fetch/%d", partitions), func(b *testing.B) {
			var q FetchRequest
			decodes(b, fetch, q.Decode)
		})
	}
}

func decodes(b *testing.B, req kmsg.Request, decode func(int16, []byte) error) {
	body := req.AppendTo(nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(req.GetVersion(), body); err != nil {
			b.Fatal(err)
		}
	}
}
