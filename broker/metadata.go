package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// metadata answers who the brokers are and who leads what. A topic that is asked
// for by name and is not there is created when client and broker allow it, and
// the same answer has its leader. Versions 0–3 always allow it; ids are asked for
// from 12 on (KIP-516). Not done: authorized operations.
func (b *Broker) metadata(ctx context.Context, c *conn, req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) error {
	b.describeNodes(c, resp)
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		for t := range b.snap().Topics() {
			resp.Topics = append(resp.Topics, b.describeTopic(t, req.Version))
		}
		return nil
	}
	create := req.AllowAutoTopicCreation || req.Version < 4
	for _, rt := range req.Topics {
		resp.Topics = append(resp.Topics, b.findTopic(ctx, req.Version, &rt, create))
	}
	return nil
}

// describeNodes fills in the brokers, the cluster's id and the controller.
func (b *Broker) describeNodes(c *conn, resp *kmsg.MetadataResponse) {
	snap := b.snap()
	for _, node := range b.nodes(c) {
		rb := kmsg.NewMetadataResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack = node.id, node.host, node.port, node.rack
		resp.Brokers = append(resp.Brokers, rb)
	}
	resp.ClusterID = new(snap.Cluster().ID)
	resp.ControllerID = b.controllerID()
}

// node is a broker as clients are told of it.
type node struct {
	id   int32
	host string
	port int32
	rack *string
}

// nodes are the active brokers. This one is at the address that the client
// dialled when it has no other.
func (b *Broker) nodes(c *conn) []node {
	var nodes []node
	for _, br := range b.snap().Brokers() {
		n := node{id: br.ID, host: br.Host, port: br.Port}
		if br.ID == b.cfg.NodeID {
			n.host, n.port = b.advertised(c)
		}
		if br.Rack != "" {
			n.rack = new(br.Rack)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// controllerID is a live broker that takes admin requests: every one does.
func (b *Broker) controllerID() int32 {
	snap := b.snap()
	if id, ok := snap.Controller(); ok && snap.IsActive(id) {
		return id
	}
	return b.cfg.NodeID
}

// findTopic answers for one topic that a client names.
func (b *Broker) findTopic(ctx context.Context, version int16, rt *kmsg.MetadataRequestTopic, create bool) kmsg.MetadataResponseTopic {
	snap := b.snap()
	if rt.Topic == nil || version >= 10 && rt.TopicID != [16]byte{} {
		if t := snap.TopicByID(rt.TopicID); t != nil {
			return b.describeTopic(t, version)
		}
		missing := kmsg.NewMetadataResponseTopic()
		missing.TopicID, missing.ErrorCode = rt.TopicID, kerr.UnknownTopicID.Code
		return missing
	}
	if t := snap.Topic(*rt.Topic); t != nil {
		return b.describeTopic(t, version)
	}
	t, err := b.autoCreate(ctx, *rt.Topic, create)
	if err != nil {
		missing := kmsg.NewMetadataResponseTopic()
		missing.Topic, missing.ErrorCode = rt.Topic, errorCode(err)
		missing.IsInternal = internalTopic(*rt.Topic)
		return missing
	}
	return b.describeTopic(t, version)
}

// describeTopic tells of a topic as the snapshot has it. A partition whose leader
// is not alive is listed with LEADER_NOT_AVAILABLE.
func (b *Broker) describeTopic(t *meta.Topic, version int16) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal = &t.Name, t.ID, internalTopic(t.Name)
	snap := b.snap()
	rt.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for n, p := range t.Partitions {
		rp := &rt.Partitions[n]
		*rp = kmsg.NewMetadataResponseTopicPartition()
		rp.Partition, rp.Leader, rp.LeaderEpoch = int32(n), p.Leader, p.LeaderEpoch
		rp.Replicas, rp.ISR = p.Replicas, p.ISR
		if !led(snap, p) {
			rp.Leader, rp.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		}
		for _, id := range p.Replicas {
			if _, live := snap.Live(id); !live {
				rp.OfflineReplicas = append(rp.OfflineReplicas, id)
			}
		}
	}
	return rt
}

// autoCreate creates a topic that a client asked for, if that is allowed. Who
// loses a race finds the winner's topic.
func (b *Broker) autoCreate(ctx context.Context, name string, allowed bool) (*meta.Topic, error) {
	if err := checkTopicName(name); err != nil {
		return nil, err
	}
	if !allowed || !autoCreateTopics.of(b.brokerConfigs()) {
		return nil, kerr.UnknownTopicOrPartition
	}
	if internalTopic(name) {
		return nil, kerr.InvalidTopicException
	}
	replicas, err := b.place(int(numPartitions.of(b.brokerConfigs())), int(defaultReplicationFactor.of(b.brokerConfigs())))
	if err != nil {
		return nil, err
	}
	err = b.createTopic(ctx, meta.NewTopic{Name: name, ID: meta.NewID(), Replicas: replicas})
	if err != nil && !errors.Is(err, meta.ErrExists) {
		b.log.Warn("topic not created", "topic", name, "err", err)
		return nil, kerr.LeaderNotAvailable
	}
	if t := b.snap().Topic(name); t != nil {
		return t, nil
	}
	return nil, kerr.LeaderNotAvailable // deleted meanwhile
}

// createTopic writes a new topic and waits until this broker serves its
// partitions, so that a client that is told of it can use it.
func (b *Broker) createTopic(ctx context.Context, t meta.NewTopic) error {
	rev, err := b.meta.CreateTopic(ctx, t)
	if err != nil && !errors.Is(err, meta.ErrExists) {
		return fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	if werr := b.waitApplied(ctx, rev); werr != nil {
		return werr
	}
	if err == nil {
		b.log.Info("topic created", "topic", t.Name, "partitions", len(t.Replicas))
	}
	return err
}

// place chooses the replicas of new partitions, the first leads: brokers in turn,
// beginning with the one that has least.
func (b *Broker) place(partitions, factor int) ([][]int32, error) {
	snap := b.snap()
	brokers := snap.Brokers()
	if factor > len(brokers) {
		return nil, explain(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached because only %d broker(s) are registered.", factor, factor, len(brokers))
	}
	load := map[int32]int{}
	for t := range snap.Topics() {
		for _, p := range t.Partitions {
			load[p.Leader]++
		}
	}
	slices.SortStableFunc(brokers, func(x, y *meta.Broker) int { return load[x.ID] - load[y.ID] })
	replicas := make([][]int32, partitions)
	for i := range replicas {
		for j := range factor {
			replicas[i] = append(replicas[i], brokers[(i+j)%len(brokers)].ID)
		}
	}
	return replicas, nil
}

// internalTopic reports whether a topic belongs to the brokers.
func internalTopic(name string) bool {
	return name == "__consumer_offsets" || name == "__transaction_state"
}

// checkTopicName holds a name against Kafka's rule.
func checkTopicName(name string) error {
	bad := ""
	switch {
	case name == "":
		bad = "it is empty"
	case name == "." || name == "..":
		bad = "'.' and '..' are not allowed"
	case len(name) > 249:
		bad = "it is longer than 249 characters"
	default:
		for _, r := range name {
			letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
			if !letter && r != '.' && r != '_' && r != '-' {
				bad = fmt.Sprintf("it contains %q; allowed are ASCII alphanumerics, '.', '_' and '-'", r)
				break
			}
		}
	}
	if bad == "" {
		return nil
	}
	return explain(kerr.InvalidTopicException, "Topic name is invalid: %s", bad)
}
