package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// metadata answers who the brokers are and who leads what. A topic that is asked
// for by name and is not there is created when client and broker allow it, and
// the same answer has its leader. Versions 0–3 always allow it; authorized
// operations are told from 8 on (KIP-430), ids are asked for from 12 on (KIP-516).
//
// An answer that would name a leader that died a moment ago waits until there is
// another.
func (b *Broker) metadata(ctx context.Context, c *conn, req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse, done func()) error {
	topics := func(snap *meta.Snapshot, each func(*meta.Topic)) { askedTopics(snap, req, each) }
	return c.onceLed(ctx, topics, func() error {
		err := b.describe(ctx, c, req, resp)
		if err == nil {
			done()
		}
		return err
	})
}

// describe fills in the answer to a Metadata request.
func (b *Broker) describe(ctx context.Context, c *conn, req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) error {
	b.describeNodes(c, resp)
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		resp.Topics = b.describeAll()
	} else {
		create := req.AllowAutoTopicCreation || req.Version < 4
		byID := slices.ContainsFunc(req.Topics, asksByID)
		for rt := range distinct(req.Topics, metadataKey) {
			if err := ctx.Err(); err != nil { // the connection is gone
				return err
			}
			if byID && req.Version < 12 {
				resp.Topics = append(resp.Topics, missingTopic(rt, kerr.InvalidRequest))
				continue
			}
			resp.Topics = append(resp.Topics, b.findTopic(ctx, rt, create))
		}
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	if req.IncludeTopicAuthorizedOperations {
		resp.Topics = slices.Clone(resp.Topics)
		for i := range resp.Topics {
			resp.Topics[i].AuthorizedOperations = topicOperations
		}
	}
	return nil
}

// askedTopics are the topics of a request that are there.
func askedTopics(snap *meta.Snapshot, req *kmsg.MetadataRequest, each func(*meta.Topic)) {
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		for t := range snap.Topics() {
			each(t)
		}
		return
	}
	for _, rt := range req.Topics {
		t := snap.TopicByID(rt.TopicID)
		if rt.Topic != nil {
			t = snap.Topic(*rt.Topic)
		}
		if t != nil {
			each(t)
		}
	}
}

// What whoever reaches this broker may do, as bits of Kafka's ACL operations:
// everything.
const (
	topicOperations   = 0b1101_1111_1000   // read, write, create, delete, alter, describe, describe and alter configs
	clusterOperations = 0b1_1111_1010_0000 // create, alter, describe, cluster action, describe and alter configs, idempotent write
)

// metadataKey is a topic that a client asks for.
func metadataKey(rt *kmsg.MetadataRequestTopic) string {
	if rt.Topic != nil {
		return *rt.Topic + " " + string(rt.TopicID[:])
	}
	return " " + string(rt.TopicID[:])
}

// describeNodes fills in the brokers, the cluster's id and the controller.
func (b *Broker) describeNodes(c *conn, resp *kmsg.MetadataResponse) {
	for _, node := range b.nodes(c, b.peers.listed(b.snap(), time.Now())) {
		rb := kmsg.NewMetadataResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack = node.id, node.host, node.port, node.rack
		resp.Brokers = append(resp.Brokers, rb)
	}
	resp.ClusterID = new(b.snap().Cluster().ID)
	resp.ControllerID = b.controllerID()
}

// node is a broker as clients are told of it.
type node struct {
	id   int32
	host string
	port int32
	rack *string
}

// nodes are brokers as a client on c is told of them. This one is at the address
// that the client dialled when it has no other; it is there even while it is not
// registered, since it does answer.
func (b *Broker) nodes(c *conn, brokers []*meta.Broker) []node {
	nodes := make([]node, 0, len(brokers)+1)
	for _, br := range brokers {
		n := node{id: br.ID, host: br.Host, port: br.Port}
		if br.ID == b.cfg.NodeID {
			n.host, n.port = b.advertised(c)
		}
		if br.Rack != "" {
			n.rack = new(br.Rack)
		}
		nodes = append(nodes, n)
	}
	if !slices.ContainsFunc(nodes, func(n node) bool { return n.id == b.cfg.NodeID }) {
		n := node{id: b.cfg.NodeID}
		n.host, n.port = b.advertised(c)
		if b.cfg.Rack != "" {
			n.rack = new(b.cfg.Rack)
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
func (b *Broker) findTopic(ctx context.Context, rt *kmsg.MetadataRequestTopic, create bool) kmsg.MetadataResponseTopic {
	t, err := b.namedTopic(ctx, rt, create)
	if err == nil {
		return b.describeTopic(b.snap(), t)
	}
	return missingTopic(rt, err)
}

func missingTopic(rt *kmsg.MetadataRequestTopic, err error) kmsg.MetadataResponseTopic {
	missing := kmsg.NewMetadataResponseTopic()
	missing.TopicID, missing.ErrorCode = rt.TopicID, errorCode(err)
	if rt.Topic != nil && !errors.Is(err, kerr.UnknownTopicID) {
		missing.Topic, missing.IsInternal = rt.Topic, internalTopic(*rt.Topic)
	}
	return missing
}

// namedTopic finds the topic that a client names, by id or by name.
func (b *Broker) namedTopic(ctx context.Context, rt *kmsg.MetadataRequestTopic, create bool) (*meta.Topic, error) {
	if asksByID(*rt) {
		if t := b.snap().TopicByID(rt.TopicID); t != nil {
			return t, nil
		}
		return nil, kerr.UnknownTopicID
	}
	if t := b.snap().Topic(*rt.Topic); t != nil {
		return t, nil
	}
	return b.autoCreate(ctx, *rt.Topic, create)
}

func asksByID(rt kmsg.MetadataRequestTopic) bool { return rt.Topic == nil || rt.TopicID != [16]byte{} }

// describeTopic tells of a topic as the snapshot has it. A partition whose leader
// is not alive is listed with LEADER_NOT_AVAILABLE.
func (b *Broker) describeTopic(snap *meta.Snapshot, t *meta.Topic) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal = &t.Name, t.ID, internalTopic(t.Name)
	rt.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for n, p := range t.Partitions {
		rp := &rt.Partitions[n]
		*rp = kmsg.NewMetadataResponseTopicPartition()
		rp.Partition, rp.Leader, rp.LeaderEpoch = int32(n), p.Leader, p.LeaderEpoch
		rp.Replicas, rp.ISR = p.Replicas, p.ISR
		if !led(snap, p) || b.peers.isLost(p) {
			rp.Leader, rp.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		}
		for _, id := range p.Replicas {
			if _, live := snap.Live(id); !live || slices.Contains(p.Offline, id) {
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
	if err := b.checkCollision(name); err != nil {
		return nil, err
	}
	replicas, err := b.place(int(numPartitions.of(b.brokerConfigs())), b.defaultFactor())
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

// internalTopic reports whether a topic belongs to the brokers.
func internalTopic(name string) bool {
	switch name {
	case "__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata":
		return true
	}
	return false
}

// maxTopicName is the longest name of a topic.
const maxTopicName = 249

// checkTopicName holds a name against Kafka's rule.
func checkTopicName(name string) error {
	bad := ""
	switch {
	case name == "":
		bad = "the empty string is not allowed"
	case name == "." || name == "..":
		bad = fmt.Sprintf("'%s' is not allowed", name)
	case len(name) > maxTopicName:
		bad = fmt.Sprintf("the length of '%s' is longer than the max allowed length %d", name, maxTopicName)
	case strings.ContainsFunc(name, notInTopicNames):
		bad = fmt.Sprintf("'%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", name)
	default:
		return nil
	}
	return explain(kerr.InvalidTopicException, "Topic name is invalid: %s", bad)
}

func notInTopicNames(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letter && r != '.' && r != '_' && r != '-'
}
