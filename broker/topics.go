package broker

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// createTopics creates each topic in one transaction, with its leaders. From
// version 5 on the answer says with which settings.
func (b *Broker) createTopics(ctx context.Context, _ *conn, req *kmsg.CreateTopicsRequest, resp *kmsg.CreateTopicsResponse) error {
	for rt, twice := range distinct(req.Topics, func(t *kmsg.CreateTopicsRequestTopic) string { return t.Topic }) {
		if err := ctx.Err(); err != nil { // the connection is gone
			return err
		}
		t := kmsg.NewCreateTopicsResponseTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = rt.Topic, -1, -1
		t.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // not null, without any too
		made, err := b.createRequested(ctx, req, rt, twice)
		if t.ErrorCode, t.ErrorMessage = errorCode(err), errorMessage(err); err == nil {
			b.describeCreated(&t, made)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return nil
}

// createRequested creates one topic, or only checks whether it could.
func (b *Broker) createRequested(ctx context.Context, req *kmsg.CreateTopicsRequest, rt *kmsg.CreateTopicsRequestTopic, twice bool) (*meta.NewTopic, error) {
	if twice {
		return nil, explain(kerr.InvalidRequest, "Duplicate topic name.")
	}
	if err := b.checkNewName(rt.Topic); err != nil {
		return nil, err
	}
	configs, err := newTopicConfigs(rt)
	if err != nil {
		return nil, err
	}
	replicas, err := b.requestedReplicas(rt)
	if err != nil {
		return nil, err
	}
	t := meta.NewTopic{Name: rt.Topic, ID: meta.NewID(), Replicas: replicas, Configs: configs}
	if req.ValidateOnly {
		return &t, nil
	}
	err = b.createTopic(ctx, t)
	if errors.Is(err, meta.ErrExists) {
		err = topicExists(rt.Topic)
	}
	return &t, err
}

func topicExists(name string) error {
	return explain(kerr.TopicAlreadyExists, "Topic '%s' already exists.", name)
}

// checkNewName holds the name of a new topic against the rules and the topics
// that are there.
func (b *Broker) checkNewName(name string) error {
	if err := checkTopicName(name); err != nil {
		return err
	}
	if internalTopic(name) {
		return explain(kerr.InvalidTopicException, "Topic '%s' is internal: brokers create it.", name)
	}
	if b.snap().Topic(name) != nil {
		return topicExists(name)
	}
	return b.checkCollision(name)
}

// checkCollision refuses a name that differs from another topic's only in '.' and
// '_', as Kafka does: its metrics would be mixed up.
func (b *Broker) checkCollision(name string) error {
	if !strings.ContainsAny(name, "._") {
		return nil
	}
	for t := range b.snap().Topics() {
		if t.Name != name && collide(t.Name, name) {
			return explain(kerr.InvalidTopicException, "Topic '%s' collides with existing topic: %s", name, t.Name)
		}
	}
	return nil
}

func collide(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && (a[i] != '.' && a[i] != '_' || b[i] != '.' && b[i] != '_') {
			return false
		}
	}
	return true
}

// newTopicConfigs checks the settings of a new topic.
func newTopicConfigs(rt *kmsg.CreateTopicsRequestTopic) (map[string]string, error) {
	configs := map[string]string{}
	for _, c := range rt.Configs {
		if c.Value == nil {
			return nil, explain(kerr.InvalidConfig, "Null value not supported for topic configs: %s", c.Name)
		}
		configs[c.Name] = *c.Value
	}
	if err := checkSettings(configs, topicSettingFor); err != nil {
		return nil, explain(kerr.InvalidConfig, "%s", err)
	}
	return configs, nil
}

// requestedReplicas are the replicas that a new topic gets: those that the
// request assigns, or placed ones.
func (b *Broker) requestedReplicas(rt *kmsg.CreateTopicsRequestTopic) ([][]int32, error) {
	if len(rt.ReplicaAssignment) > 0 {
		if rt.ReplicationFactor != -1 {
			return nil, explain(kerr.InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1.")
		}
		if rt.NumPartitions != -1 {
			return nil, explain(kerr.InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.")
		}
		return b.assignedReplicas(rt)
	}
	if rt.ReplicationFactor < -1 || rt.ReplicationFactor == 0 {
		return nil, explain(kerr.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value.")
	}
	if rt.NumPartitions < -1 || rt.NumPartitions == 0 {
		return nil, explain(kerr.InvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	}
	partitions, factor := int(rt.NumPartitions), int(rt.ReplicationFactor)
	if partitions == -1 {
		partitions = int(numPartitions.of(b.brokerConfigs()))
	}
	if factor == -1 {
		factor = b.defaultFactor()
	}
	if partitions > meta.MaxPartitions {
		return nil, explain(kerr.PolicyViolation, "Unable to create %d partitions: a topic has at most %d.", partitions, meta.MaxPartitions)
	}
	return b.place(partitions, factor)
}

// assignedReplicas checks an assignment by hand.
func (b *Broker) assignedReplicas(rt *kmsg.CreateTopicsRequestTopic) ([][]int32, error) {
	replicas := make([][]int32, len(rt.ReplicaAssignment))
	for _, a := range rt.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(replicas) {
			return nil, explain(kerr.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		if replicas[a.Partition] != nil {
			return nil, explain(kerr.InvalidReplicaAssignment, "Found multiple manual partition assignments for partition %d", a.Partition)
		}
		if err := b.checkReplicas(a.Replicas); err != nil {
			return nil, err
		}
		replicas[a.Partition] = a.Replicas
	}
	for _, r := range replicas {
		if len(r) != len(replicas[0]) {
			return nil, explain(kerr.InvalidReplicaAssignment, "The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).", len(r), len(replicas[0]))
		}
	}
	return replicas, nil
}

// checkReplicas holds one partition's replicas against the brokers.
func (b *Broker) checkReplicas(ids []int32) error {
	if len(ids) == 0 {
		return explain(kerr.InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list.")
	}
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			return explain(kerr.InvalidReplicaAssignment, "The manual partition assignment includes the broker %d more than once.", id)
		}
		if b.snap().Broker(id) == nil {
			return explain(kerr.InvalidReplicaAssignment, "The manual partition assignment includes broker %d, but no such broker is registered.", id)
		}
	}
	if !slices.ContainsFunc(ids, b.snap().IsActive) {
		return explain(kerr.InvalidReplicaAssignment, "All brokers specified in the manual partition assignment %d are currently fenced or in controlled shutdown.", ids)
	}
	return nil
}

// describeCreated tells what was created, or would be.
func (b *Broker) describeCreated(t *kmsg.CreateTopicsResponseTopic, made *meta.NewTopic) {
	t.TopicID = made.ID
	t.NumPartitions, t.ReplicationFactor = int32(len(made.Replicas)), int16(len(made.Replicas[0]))
	for _, s := range b.topicConfigs(made.Configs, len(made.Replicas[0])) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.Source = s.name, &s.value, int8(s.source())
		t.Configs = append(t.Configs, c)
	}
}

// deletion is a topic that a request wants to be deleted.
type deletion struct {
	answer kmsg.DeleteTopicsResponseTopic
	topic  *meta.Topic // nil with an error
	err    error
}

// deleteTopics deletes by name, or from version 6 on by id.
func (b *Broker) deleteTopics(ctx context.Context, _ *conn, req *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse) error {
	wanted := req.Topics
	for _, name := range req.TopicNames {
		rt := kmsg.NewDeleteTopicsRequestTopic()
		rt.Topic = new(name)
		wanted = append(wanted, rt)
	}
	for _, d := range b.deletions(wanted) {
		if err := ctx.Err(); err != nil { // the connection is gone
			return err
		}
		if d.err == nil {
			d.err = b.deleteTopic(ctx, d.topic)
		}
		d.answer.ErrorCode, d.answer.ErrorMessage = errorCode(d.err), errorMessage(d.err)
		if errors.Is(d.err, kerr.TopicDeletionDisabled) && req.Version < 3 {
			d.answer.ErrorCode = kerr.InvalidRequest.Code
		}
		resp.Topics = append(resp.Topics, d.answer)
	}
	return nil
}

// deletions finds the topics of a request. One that is named twice, be it once by
// name and once by id, is not deleted.
func (b *Broker) deletions(wanted []kmsg.DeleteTopicsRequestTopic) []deletion {
	var all []deletion
	index := map[*meta.Topic]int{}
	for rt, twice := range distinct(wanted, deletionKey) {
		d := deletion{answer: kmsg.NewDeleteTopicsResponseTopic()}
		d.answer.Topic, d.answer.TopicID = rt.Topic, rt.TopicID
		if d.topic, d.err = b.findDeletion(rt, twice); d.topic != nil {
			if i, again := index[d.topic]; again {
				all[i].err = explain(kerr.InvalidRequest, "The provided topic name maps to an ID that was already supplied.")
				continue
			}
			index[d.topic] = len(all)
			d.answer.Topic, d.answer.TopicID = &d.topic.Name, d.topic.ID
		}
		all = append(all, d)
	}
	return all
}

func deletionKey(rt *kmsg.DeleteTopicsRequestTopic) string {
	if rt.Topic != nil {
		return "name " + *rt.Topic
	}
	return "id " + string(rt.TopicID[:])
}

// findDeletion finds the topic that a request means, or what is wrong with it.
func (b *Broker) findDeletion(rt *kmsg.DeleteTopicsRequestTopic, twice bool) (*meta.Topic, error) {
	named, known := rt.Topic != nil, rt.TopicID != [16]byte{}
	switch {
	case !deleteTopicEnable.of(b.brokerConfigs()):
		return nil, kerr.TopicDeletionDisabled
	case named && known:
		return nil, explain(kerr.InvalidRequest, "You may not specify both topic name and topic id.")
	case !named && !known:
		return nil, explain(kerr.InvalidRequest, "Neither topic name nor id were specified.")
	case twice && named:
		return nil, explain(kerr.InvalidRequest, "Duplicate topic name.")
	case twice:
		return nil, explain(kerr.InvalidRequest, "Duplicate topic id.")
	case named:
		if t := b.snap().Topic(*rt.Topic); t != nil {
			return t, nil
		}
		return nil, kerr.UnknownTopicOrPartition
	}
	if t := b.snap().TopicByID(rt.TopicID); t != nil {
		return t, nil
	}
	return nil, kerr.UnknownTopicID
}

// deleteTopic deletes one topic and waits until this broker has given it up.
func (b *Broker) deleteTopic(ctx context.Context, t *meta.Topic) error {
	rev, err := b.meta.DeleteTopic(ctx, t.Name, t.ID)
	if err != nil {
		return err
	}
	b.log.Info("topic deleted", "topic", t.Name)
	return b.waitApplied(ctx, rev)
}

// createPartitions adds partitions to topics.
func (b *Broker) createPartitions(ctx context.Context, _ *conn, req *kmsg.CreatePartitionsRequest, resp *kmsg.CreatePartitionsResponse) error {
	for rt, twice := range distinct(req.Topics, func(t *kmsg.CreatePartitionsRequestTopic) string { return t.Topic }) {
		if err := ctx.Err(); err != nil { // the connection is gone
			return err
		}
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic = rt.Topic
		err := b.addPartitions(ctx, rt, twice, req.ValidateOnly)
		t.ErrorCode, t.ErrorMessage = errorCode(err), errorMessage(err)
		resp.Topics = append(resp.Topics, t)
	}
	return nil
}

// addPartitions brings one topic to the count that is asked for.
func (b *Broker) addPartitions(ctx context.Context, rt *kmsg.CreatePartitionsRequestTopic, twice, validateOnly bool) error {
	if twice {
		return explain(kerr.InvalidRequest, "Duplicate topic name.")
	}
	t := b.snap().Topic(rt.Topic)
	if t == nil {
		return kerr.UnknownTopicOrPartition
	}
	had, want := len(t.Partitions), int(rt.Count)
	switch {
	case want == had:
		return explain(kerr.InvalidPartitions, "Topic already has %d partition(s).", had)
	case want < had:
		return explain(kerr.InvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", rt.Topic, had, want)
	case want > meta.MaxPartitions:
		return explain(kerr.PolicyViolation, "Unable to have %d partitions: a topic has at most %d.", want, meta.MaxPartitions)
	}
	factor := len(t.Partitions[0].Replicas)
	if factor == 0 {
		return explain(kerr.UnknownServerError, "the metadata of partition 0 of topic %s cannot be read", rt.Topic)
	}
	replicas, err := b.addedReplicas(rt, want-had, factor)
	if err != nil || validateOnly {
		return err
	}
	rev, err := b.meta.AddPartitions(ctx, rt.Topic, had, replicas)
	if err != nil {
		return err
	}
	return b.waitApplied(ctx, rev)
}

// addedReplicas are the replicas of added partitions: assigned by hand, or placed.
func (b *Broker) addedReplicas(rt *kmsg.CreatePartitionsRequestTopic, added, factor int) ([][]int32, error) {
	if rt.Assignment == nil {
		return b.place(added, factor)
	}
	if len(rt.Assignment) != added {
		return nil, explain(kerr.InvalidReplicaAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", added, len(rt.Assignment))
	}
	var replicas [][]int32
	for _, a := range rt.Assignment {
		if err := b.checkReplicas(a.Replicas); err != nil {
			return nil, err
		}
		if len(a.Replicas) != factor {
			return nil, explain(kerr.InvalidReplicaAssignment, "The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).", len(a.Replicas), factor)
		}
		replicas = append(replicas, a.Replicas)
	}
	return replicas, nil
}
