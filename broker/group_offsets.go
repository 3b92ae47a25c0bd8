package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/broker/group"
	"chronik/meta"
)

// askOffsets is askGroup for requests that Kafka takes with an empty group id too.
func (b *Broker) askOffsets(id string, o op) {
	c, err := b.groups.of(id)
	if err != nil {
		o.refuse(err)
		return
	}
	c.ask(o)
}

// offsetCommit keeps offsets for a group: of a member of its generation, or, with
// generation −1, of a consumer that belongs to none. It answers when they are as
// durable as an acknowledged record. Topic ids from version 10 on.
func (b *Broker) offsetCommit(_ context.Context, _ *conn, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, done func()) error {
	ev := group.Commit{
		MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
		RetentionMs: -1, GroupNotFound: req.Version >= 9,
	}
	if req.Version <= 4 {
		ev.RetentionMs = req.RetentionTimeMillis
	}
	req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.OffsetCommitRequestTopic) bool { return len(t.Partitions) == 0 })
	var results []*int16 // where the code of each offset belongs
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		rt := &req.Topics[i]
		t := &resp.Topics[i]
		*t = kmsg.NewOffsetCommitResponseTopic()
		t.Topic, t.TopicID = rt.Topic, rt.TopicID
		mt, err := b.committedTopic(req.Version, rt)
		t.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(rt.Partitions))
		for j := range rt.Partitions {
			rp, p := &rt.Partitions[j], &t.Partitions[j]
			p.Partition = rp.Partition
			switch {
			case err != nil:
				p.ErrorCode = errorCode(err)
			case rp.Partition < 0 || int(rp.Partition) >= len(mt.Partitions):
				p.ErrorCode = kerr.UnknownTopicOrPartition.Code
			default:
				results = append(results, &p.ErrorCode)
				ev.Offsets = append(ev.Offsets, group.CommittedOffset{
					Topic: mt.Name, TopicID: mt.ID, Partition: rp.Partition, LeaderEpoch: rp.LeaderEpoch, Offset: rp.Offset, Metadata: orEmpty(rp.Metadata),
				})
			}
		}
	}
	if len(ev.Offsets) == 0 {
		done()
		return nil
	}
	answer := func(r group.CommitResponse) {
		for i, code := range results {
			if *code = errorCode(r.Err); r.Err == nil && r.Errs != nil {
				*code = errorCode(r.Errs[i])
			}
		}
		done()
	}
	ev.Token = func(r group.Response) { answer(r.(group.CommitResponse)) }
	b.askOffsets(req.Group, op{group: req.Group, event: ev, refuse: func(err error) { answer(group.CommitResponse{Err: err}) }})
	return nil
}

// committedTopic finds the topic of a commit: by id from version 10 on.
func (b *Broker) committedTopic(version int16, rt *kmsg.OffsetCommitRequestTopic) (*meta.Topic, error) {
	t := b.snap().Topic(rt.Topic)
	unknown := kerr.UnknownTopicOrPartition
	if version >= 10 {
		t, unknown = b.snap().TopicByID(rt.TopicID), kerr.UnknownTopicID
	}
	if t == nil {
		return nil, unknown
	}
	return t, nil
}

// offsetFetch tells committed offsets, −1 where there is none: of one group up to
// version 7, of several from 8 on; without a list of topics, all that the group has.
// Topic ids from version 10 on. Not done: waiting for transactions (require stable).
func (b *Broker) offsetFetch(_ context.Context, _ *conn, req *kmsg.OffsetFetchRequest, resp *kmsg.OffsetFetchResponse, done func()) error {
	if req.Version < 8 {
		one := oldOffsetFetch(req)
		answer := kmsg.NewOffsetFetchResponseGroup()
		b.fetchOffsets(req.Version, &one, &answer, func() {
			oldOffsetsAnswer(req.Version, &answer, resp)
			done()
		})
		return nil
	}
	if len(req.Groups) == 0 {
		done()
		return nil
	}
	resp.Groups = make([]kmsg.OffsetFetchResponseGroup, len(req.Groups))
	part := countdown(len(req.Groups), done)
	for i := range req.Groups {
		resp.Groups[i] = kmsg.NewOffsetFetchResponseGroup()
		b.fetchOffsets(req.Version, &req.Groups[i], &resp.Groups[i], part)
	}
	return nil
}

// oldOffsetFetch is a request for one group in the form of one for several.
func oldOffsetFetch(req *kmsg.OffsetFetchRequest) kmsg.OffsetFetchRequestGroup {
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group = req.Group
	if req.Topics == nil {
		return one
	}
	one.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	for _, t := range req.Topics {
		one.Topics = append(one.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	return one
}

// oldOffsetsAnswer gives the answer for one group its old form. Version 1 has no
// code of its own: each partition tells it.
func oldOffsetsAnswer(version int16, from *kmsg.OffsetFetchResponseGroup, to *kmsg.OffsetFetchResponse) {
	to.ErrorCode = from.ErrorCode
	for _, t := range from.Topics {
		ot := kmsg.NewOffsetFetchResponseTopic()
		ot.Topic = t.Topic
		for _, p := range t.Partitions {
			op := kmsg.NewOffsetFetchResponseTopicPartition()
			op.Partition, op.Offset, op.LeaderEpoch, op.Metadata, op.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			if version < 2 && from.ErrorCode != 0 {
				op.ErrorCode = from.ErrorCode
			}
			ot.Partitions = append(ot.Partitions, op)
		}
		to.Topics = append(to.Topics, ot)
	}
}

// fetchOffsets fills in the offsets of one group.
func (b *Broker) fetchOffsets(version int16, rg *kmsg.OffsetFetchRequestGroup, g *kmsg.OffsetFetchResponseGroup, done func()) {
	g.Group = rg.Group
	refuse := func(err error) {
		g.ErrorCode = errorCode(err)
		if version < 2 {
			b.answerOffsets(version, rg, g, nil)
		}
		done()
	}
	b.askOffsets(rg.Group, op{refuse: refuse, do: func(c *coordinator) {
		var held *group.Group
		if h := c.groups[rg.Group]; h != nil {
			held = h.group
		}
		if rg.Topics == nil {
			b.allOffsets(version, g, held)
		} else {
			b.answerOffsets(version, rg, g, held)
		}
		done()
	}})
}

// answerOffsets tells the offsets of the partitions that were asked for.
func (b *Broker) answerOffsets(version int16, rg *kmsg.OffsetFetchRequestGroup, g *kmsg.OffsetFetchResponseGroup, held *group.Group) {
	for _, rt := range rg.Topics {
		t := kmsg.NewOffsetFetchResponseGroupTopic()
		t.Topic, t.TopicID = rt.Topic, rt.TopicID
		var unknown error
		mt := b.snap().Topic(rt.Topic)
		name := rt.Topic
		if version >= 10 {
			if mt = b.snap().TopicByID(rt.TopicID); mt != nil {
				name = mt.Name
			} else {
				unknown = kerr.UnknownTopicID
			}
		}
		for _, n := range rt.Partitions {
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = n, -1, -1, new(""), errorCode(unknown)
			if held != nil && unknown == nil {
				if o, ok := held.Offset(group.TopicPartition{Topic: name, Partition: n}); ok && sameTopic(&o, mt) {
					p.Offset, p.LeaderEpoch, p.Metadata = o.Offset, o.LeaderEpoch, &o.Metadata
				}
			}
			t.Partitions = append(t.Partitions, p)
		}
		g.Topics = append(g.Topics, t)
	}
}

// sameTopic says whether an offset is one of this topic, not of an older one of its name.
func sameTopic(o *group.OffsetRecord, t *meta.Topic) bool {
	return t == nil || o.TopicID == t.ID || o.TopicID == [16]byte{}
}

// allOffsets tells every offset of a group. By id, a topic that is gone has none.
func (b *Broker) allOffsets(version int16, g *kmsg.OffsetFetchResponseGroup, held *group.Group) {
	if held == nil {
		return
	}
	index := map[string]int{}
	for o := range held.Offsets() {
		mt := b.snap().Topic(o.Topic)
		if mt == nil && version >= 10 || !sameTopic(&o, mt) {
			continue
		}
		i, ok := index[o.Topic]
		if !ok {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			if t.Topic = o.Topic; version >= 10 {
				t.TopicID = mt.ID
			}
			i = len(g.Topics)
			index[o.Topic] = i
			g.Topics = append(g.Topics, t)
		}
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = o.Partition, o.Offset, o.LeaderEpoch, &o.Metadata
		g.Topics[i].Partitions = append(g.Topics[i].Partitions, p)
	}
}

// offsetDelete forgets offsets of topics that no member of the group reads.
func (b *Broker) offsetDelete(_ context.Context, _ *conn, req *kmsg.OffsetDeleteRequest, resp *kmsg.OffsetDeleteResponse, done func()) error {
	var ev group.DeleteOffsets
	req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.OffsetDeleteRequestTopic) bool { return len(t.Partitions) == 0 })
	var results []*int16
	resp.Topics = make([]kmsg.OffsetDeleteResponseTopic, len(req.Topics))
	for i, rt := range req.Topics {
		t := &resp.Topics[i]
		t.Topic, t.Partitions = rt.Topic, make([]kmsg.OffsetDeleteResponseTopicPartition, len(rt.Partitions))
		mt := b.snap().Topic(rt.Topic)
		for j, rp := range rt.Partitions {
			p := &t.Partitions[j]
			p.Partition = rp.Partition
			if mt == nil || rp.Partition < 0 || int(rp.Partition) >= len(mt.Partitions) {
				p.ErrorCode = kerr.UnknownTopicOrPartition.Code
				continue
			}
			results = append(results, &p.ErrorCode)
			ev.Partitions = append(ev.Partitions, group.TopicPartition{Topic: rt.Topic, Partition: rp.Partition})
		}
	}
	answer := func(r group.DeleteOffsetsResponse) {
		if resp.ErrorCode = errorCode(r.Err); r.Err != nil {
			resp.Topics = nil
		}
		for i, err := range r.Errs {
			*results[i] = errorCode(err)
		}
		done()
	}
	ev.Token = func(r group.Response) { answer(r.(group.DeleteOffsetsResponse)) }
	b.askGroup(req.Group, ev, func(err error) { answer(group.DeleteOffsetsResponse{Err: err}) })
	return nil
}
