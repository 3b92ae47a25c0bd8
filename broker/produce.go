package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
	"chronik/wire"
	"chronik/wire/batch"
)

// firstProduce is the lowest version that is served. 0–2 are advertised, because
// librdkafka looks for 0 before it compresses, and refused per partition.
const firstProduce = 3

// flushPatience is how long an answer waits for its flush at least: a client's
// timeout speaks of other replicas, and may be 0.
const flushPatience = 30 * time.Second

// stage holds the batches of the produce frames of one read, so that all of a
// partition's are appended by one write. The batches lie in the read buffer: the
// stage is committed before that is filled again.
type stage struct {
	answers []*produceAnswer
	parts   []stagedPartition
}

// stagedPartition is what one partition gets. refs says where the result of each
// item belongs.
type stagedPartition struct {
	p     *partition
	items []logstore.Item
	refs  []stageRef
}

type stageRef struct {
	answer           *produceAnswer
	topic, partition int
	refused          error // of the whole request
}

// produce stages the batches of one frame. It answers per partition; what was
// not asked for with acks 0 gets no answer, and an error closes the connection.
// Not done: transactions; a transactional producer is refused.
func (c *conn) produce(ctx context.Context, h wire.RequestHeader, body []byte) error {
	req := &c.produceReq
	if err := req.Decode(h.Version, body); err != nil {
		return fmt.Errorf("%w: Produce version %d: %w", errRequest, h.Version, err)
	}
	a := newProduceAnswer(c, h)
	refused := refuseProduce(h.Version, req)
	if refused != nil && req.Acks == 0 {
		return fmt.Errorf("%w: Produce version %d with acks 0: %w", errRequest, h.Version, refused)
	}
	a.acks = req.Acks
	a.until = c.in.last.Add(max(flushPatience, time.Duration(req.TimeoutMs)*time.Millisecond))
	for _, rt := range req.Topics {
		if len(rt.Partitions) == 0 {
			continue
		}
		t := c.b.produced(h.Version, &rt)
		tr := a.addTopic(t, &rt)
		for i := range rt.Partitions {
			rp := &rt.Partitions[i]
			pr := tr.AddPartition(rp.Index)
			ref := stageRef{a, len(a.resp.Topics) - 1, i, refused}
			err := c.stagePartition(t, rp, ref)
			if errors.Is(err, kerr.NotLeaderForPartition) {
				if t, err = c.awaitLeading(ctx, t, rp.Index); err != nil {
					return err
				}
				err = c.stagePartition(t, rp, ref)
			}
			fail(pr, err)
		}
	}
	c.staged.answers = append(c.staged.answers, a)
	return nil
}

// refuseProduce is the error that holds for every partition of a request.
func refuseProduce(version int16, req *wire.ProduceRequest) error {
	switch {
	case version < firstProduce:
		return kerr.UnsupportedVersion
	case req.TransactionalID == nil && transactional(req):
		return explain(kerr.TransactionalIDAuthorizationFailed, "transactional records without a transactional id")
	case req.Acks < -1 || req.Acks > 1:
		return kerr.InvalidRequiredAcks
	}
	return nil
}

// transactional reports whether a request has a transactional batch.
func transactional(req *wire.ProduceRequest) bool {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			if len(p.Records) >= batch.HeaderLen && batch.Batch(p.Records).IsTransactional() {
				return true
			}
		}
	}
	return false
}

// produced finds the topic of a produce request: by id from version 13 on.
func (b *Broker) produced(version int16, rt *wire.ProduceTopic) *topic {
	if version >= 13 {
		return b.topics.withID(rt.ID)
	}
	return b.topics.named(rt.Name)
}

// stagePartition checks what a client sent for one partition and stages it.
func (c *conn) stagePartition(t *topic, rp *wire.ProducePartition, ref stageRef) error {
	if ref.refused != nil && ref.refused != kerr.InvalidRequiredAcks {
		return ref.refused
	}
	if t == nil {
		if ref.answer.h.Version >= 13 {
			return kerr.UnknownTopicID
		}
		return kerr.UnknownTopicOrPartition
	}
	p, err := t.leading(rp.Index)
	if err != nil {
		return err
	}
	if internalTopic(t.name) {
		return explain(kerr.InvalidTopicException, "topic %s is written by brokers only", t.name)
	}
	if ref.refused != nil {
		return ref.refused
	}
	if err := c.b.mayAppend(p, ref.answer.acks); err != nil {
		return err
	}
	if why := c.b.diskLow(); why != "" {
		return explain(kerr.PolicyViolation, "%s", why)
	}
	b, err := onlyBatch(rp.Records, ref.answer.h.Version)
	if err != nil {
		return err
	}
	if err := p.rules.Load().check(b, c.in.last); err != nil {
		return &refusedAt{err, p.log.Start()}
	}
	sp := c.staged.partition(p)
	sp.items = append(sp.items, logstore.Item{Batch: b})
	sp.refs = append(sp.refs, ref)
	return nil
}

// partition finds or adds the stage of p. A request names few partitions, and
// requests that follow each other name the same ones.
func (s *stage) partition(p *partition) *stagedPartition {
	for i := range s.parts {
		if s.parts[i].p == p {
			return &s.parts[i]
		}
	}
	if len(s.parts) < cap(s.parts) { // reuse the slices of an earlier stage
		s.parts = s.parts[:len(s.parts)+1]
	} else {
		s.parts = append(s.parts, stagedPartition{})
	}
	sp := &s.parts[len(s.parts)-1]
	sp.p, sp.items, sp.refs = p, sp.items[:0], sp.refs[:0]
	return sp
}

// commit appends what is staged, one write per partition, and submits the answers.
func (c *conn) commit(ctx context.Context) error {
	if len(c.staged.answers) == 0 {
		return nil
	}
	for i := range c.staged.parts {
		c.staged.parts[i].append(c.b.metrics)
	}
	c.staged.parts = c.staged.parts[:0]
	answers := c.staged.answers
	defer func() { c.staged.answers = answers[:0] }()
	for _, a := range answers {
		if a.acks == 0 {
			if err := a.failure(); err != nil {
				return fmt.Errorf("%w: Produce with acks 0: %w", errRequest, err)
			}
			continue
		}
		a.await()
		if err := c.submit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// append writes the items of one partition and notes each one's result and what
// it has to wait for.
func (sp *stagedPartition) append(m *metrics) {
	whole := sp.p.usable()
	if whole == nil {
		whole = sp.p.log.Append(sp.p.epoch, sp.items)
	}
	start := sp.p.log.Start()
	for i := range sp.items {
		item, ref := &sp.items[i], sp.refs[i]
		pr := &ref.answer.resp.Topics[ref.topic].Partitions[ref.partition]
		err := item.Err
		if whole != nil {
			err = whole
		}
		if err != nil && !errors.Is(err, logstore.ErrDuplicate) {
			fail(pr, &refusedAt{err, start})
			continue
		}
		if err == nil {
			m.bytesIn.Add(float64(len(item.Batch)))
			m.recordsIn.Add(float64(item.Batch.NumRecords()))
		}
		pr.BaseOffset, pr.LogStartOffset = item.BaseOffset, start
		if planted("offset-twice") && pr.BaseOffset%100 == 99 {
			pr.BaseOffset--
		}
		if item.Batch.LogAppendTime() {
			pr.LogAppendTime = item.Batch.MaxTimestamp()
		}
		end := item.BaseOffset + int64(item.Batch.LastOffsetDelta()) + 1
		ref.answer.waits = append(ref.answer.waits, produceWait{
			Waiter: logstore.Waiter{At: end}, p: sp.p, topic: ref.topic, partition: ref.partition,
		})
	}
}

// fail notes the error of one partition.
func fail(pr *wire.ProducePartitionResponse, err error) {
	if err == nil {
		return
	}
	pr.ErrorCode, pr.BaseOffset, pr.LogAppendTime, pr.LogStartOffset = errorCode(err), -1, -1, -1
	if r, ok := errors.AsType[*refusedAt](err); ok && !slices.Contains(startless, pr.ErrorCode) {
		pr.LogStartOffset = r.logStart
	}
	if r, ok := errors.AsType[*recordErrors](err); ok {
		pr.RecordErrors = append(pr.RecordErrors, r.records...)
	}
	if m := errorMessage(err); m != nil {
		pr.ErrorMessage = *m
	}
}

// refusedAt is an error with the log start of the partition, which most refusals tell.
type refusedAt struct {
	error
	logStart int64
}

func (r *refusedAt) Unwrap() error { return r.error }

// startless are the errors of Kafka that do not come with a log start.
var startless = []int16{
	kerr.CorruptMessage.Code, kerr.UnknownTopicOrPartition.Code, kerr.NotLeaderForPartition.Code,
	kerr.MessageTooLarge.Code, kerr.RecordListTooLarge.Code, kerr.KafkaStorageError.Code, kerr.UnknownTopicID.Code,
}

// addTopic begins the answer for one topic. The name outlives the frame.
func (a *produceAnswer) addTopic(t *topic, rt *wire.ProduceTopic) *wire.ProduceTopicResponse {
	if t != nil {
		return a.resp.AddTopic(t.nameBytes, t.id)
	}
	return a.resp.AddTopic(bytes.Clone(rt.Name), rt.ID)
}
