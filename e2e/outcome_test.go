package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/e2e/chaos"
)

// refusals are verdicts on the record itself: no attempt can have written it.
var refusals = []error{
	kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
	kerr.UnsupportedCompressionType, kerr.InvalidRequiredAcks, kerr.UnsupportedForMessageFormat,
}

// refusalsNow prove that this request wrote nothing. An earlier attempt may have.
var refusalsNow = []error{
	kerr.NotEnoughReplicas, kerr.PolicyViolation, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException, kerr.OutOfOrderSequenceNumber,
	kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.UnknownProducerID, kerr.ThrottlingQuotaExceeded,
}

// outcomeOf is what an error proves. once: there was one attempt.
func outcomeOf(err error, once bool) chaos.Outcome {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return chaos.Acknowledged
	case slices.ContainsFunc(refusals, is), once && slices.ContainsFunc(refusalsNow, is):
		return chaos.Failed
	}
	return chaos.Unknown
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		err         error
		many, alone chaos.Outcome
	}{
		{nil, chaos.Acknowledged, chaos.Acknowledged},
		{kerr.MessageTooLarge, chaos.Failed, chaos.Failed},
		{fmt.Errorf("produce: %w", kerr.InvalidRecord), chaos.Failed, chaos.Failed},
		{kerr.NotEnoughReplicas, chaos.Unknown, chaos.Failed},
		{kerr.PolicyViolation, chaos.Unknown, chaos.Failed},
		{kerr.NotEnoughReplicasAfterAppend, chaos.Unknown, chaos.Unknown},
		{kerr.NotLeaderForPartition, chaos.Unknown, chaos.Unknown},
		{kerr.KafkaStorageError, chaos.Unknown, chaos.Unknown},
		{kerr.RequestTimedOut, chaos.Unknown, chaos.Unknown},
		{kerr.UnknownServerError, chaos.Unknown, chaos.Unknown},
		{kgo.ErrRecordTimeout, chaos.Unknown, chaos.Unknown},
		{context.DeadlineExceeded, chaos.Unknown, chaos.Unknown},
		{io.EOF, chaos.Unknown, chaos.Unknown},
	} {
		if got := outcomeOf(c.err, false); got != c.many {
			t.Errorf("%v after many attempts is %v, want %v", c.err, got, c.many)
		}
		if got := outcomeOf(c.err, true); got != c.alone {
			t.Errorf("%v after one attempt is %v, want %v", c.err, got, c.alone)
		}
	}
}

// plainWriter sends one record in one request, waits for the answer, and never repeats
// it: what it knows of an outcome is what the broker said. After an unknown outcome it
// goes on as another producer.
type plainWriter struct {
	w       *workload
	id      uint32
	client  *kgo.Client
	topicID kadm.TopicID
	leaders map[int32]int32
	pid     int64
	epoch   int16
	next    map[int32]int32 // sequence by partition
}

func (p *plainWriter) run(ctx context.Context) {
	began := time.Now()
	for seq := uint32(0); p.w.pace(ctx, began, seq); {
		if err := p.prepare(ctx); err != nil {
			p.w.rec.note("writer %d: %v", p.id, err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		v, n := chaos.Value{Writer: p.id, Seq: seq}, int32(seq%uint32(p.w.partitions))
		i := p.w.rec.begin(v, n)
		offset, err := p.send(n, v)
		p.w.rec.end(i, offset, outcomeOf(err, true), err)
		if err != nil {
			p.leaders, p.next = nil, nil
		}
		seq++
	}
}

// prepare finds the leaders and becomes a producer, where it has to.
func (p *plainWriter) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if p.leaders == nil {
		topics, err := kadm.NewClient(p.client).ListTopics(ctx, p.w.topic)
		if err != nil {
			return err
		}
		leaders := map[int32]int32{}
		for _, d := range topics[p.w.topic].Partitions {
			if d.Err != nil || d.Leader < 0 {
				return fmt.Errorf("partition %d has leader %d: %w", d.Partition, d.Leader, d.Err)
			}
			leaders[d.Partition] = d.Leader
		}
		if len(leaders) != int(p.w.partitions) {
			return fmt.Errorf("%d partitions are known", len(leaders))
		}
		p.leaders, p.topicID = leaders, topics[p.w.topic].ID
	}
	if p.next == nil {
		resp, err := kmsg.NewPtrInitProducerIDRequest().RequestWith(ctx, p.client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return err
		}
		p.pid, p.epoch, p.next = resp.ProducerID, resp.ProducerEpoch, map[int32]int32{}
	}
	return nil
}

// send is one attempt. It is not ended by the end of the workload.
func (p *plainWriter) send(n int32, v chaos.Value) (offset int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	b := newBatch(v.Encode())
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = p.pid, p.epoch, p.next[n]
	p.next[n]++
	req := produceRequest(0, p.w.topic, n, seal(b))
	req.Topics[0].TopicID, req.TimeoutMillis = p.topicID, 2000
	resp, err := p.client.Broker(int(p.leaders[n])).Request(ctx, req)
	if err != nil {
		return 0, err
	}
	got := resp.(*kmsg.ProduceResponse)
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("answer %+v", got)
	}
	part := got.Topics[0].Partitions[0]
	return part.BaseOffset, kerr.ErrorForCode(part.ErrorCode)
}
