package broker

import (
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/wire/batch"
)

// What a request asks for counts from when it came, however long its connection was silent:
// a fetch waits as long as it may, and records get the time at which they came.
func TestRequestAfterSilence(t *testing.T) {
	b, _ := started(t, t.TempDir(), map[string]string{"log.message.timestamp.type": "LogAppendTime"})
	makeTopics(t, b, "t")
	c := wired(t, b)
	defer c.Close()
	const silence, patience = time.Second, 500 * time.Millisecond
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version, fetch.MinBytes, fetch.MaxBytes, fetch.MaxWaitMillis, fetch.SessionEpoch = 11, 1, 1<<20, int32(patience.Milliseconds()), -1
	ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	ft.Topic, fp.PartitionMaxBytes, fp.CurrentLeaderEpoch = "t", 1<<20, -1
	ft.Partitions = append(ft.Partitions, fp)
	fetch.Topics = append(fetch.Topics, ft)
	waiting, _ := framed(fetch)
	time.Sleep(silence) // it is what is tested
	for i := range 3 {
		began := time.Now()
		if _, err := c.exchange(waiting); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < patience {
			t.Errorf("fetch %d waited for %v, want %v", i, took, patience)
		}
	}
	time.Sleep(silence)
	writing, _ := framed(oneRecord(t, "t"))
	before := time.Now().UnixMilli()
	if _, err := c.exchange(writing); err != nil {
		t.Fatal(err)
	}
	p, err := b.partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := p.log.Read(nil, 0, 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if at := batch.Batch(stored).MaxTimestamp(); at < before {
		t.Errorf("the record came %d ms before it was sent", before-at)
	}
}

// A frame that comes in two pieces after a long silence is given its time from its first byte.
func TestFrameAfterSilence(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	f := newFrames(here, 1<<20)
	came := make(chan time.Time, 1)
	go func() {
		time.Sleep(300 * time.Millisecond) // the silence
		came <- time.Now()
		_, _ = there.Write(frameOf(make([]byte, 8000))[:100])
	}()
	if err := f.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at := <-came; f.began.Before(at) || f.last.Before(at) {
		t.Errorf("the frame began %v before it came, the read was %v before", at.Sub(f.began), at.Sub(f.last))
	}
}
