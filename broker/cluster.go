package broker

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
	"chronik/meta"
)

// Kinds of endpoints that DescribeCluster is asked for.
const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

// describeCluster tells the cluster's id, brokers and controller; from version 2
// on also brokers that are fenced. Not done: controller endpoints (every broker
// takes admin requests).
func (b *Broker) describeCluster(_ context.Context, c *conn, req *kmsg.DescribeClusterRequest, resp *kmsg.DescribeClusterResponse) error {
	resp.EndpointType = brokerEndpoints
	if req.Version >= 1 && req.EndpointType != brokerEndpoints {
		err := explain(kerr.UnsupportedEndpointType, "Unsupported endpoint type %d", req.EndpointType)
		if req.EndpointType == controllerEndpoints {
			err = explain(kerr.MismatchedEndpointType, "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER")
		}
		resp.ErrorCode, resp.ErrorMessage = errorCode(err), errorMessage(err)
		return nil
	}
	snap := b.snap()
	brokers := snap.Brokers()
	if req.IncludeFencedBrokers {
		brokers = snap.AllBrokers()
	}
	resp.ClusterID, resp.ControllerID = snap.Cluster().ID, b.controllerID()
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	for _, node := range b.nodes(c, brokers) {
		rb := kmsg.NewDescribeClusterResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack = node.id, node.host, node.port, node.rack
		rb.IsFenced = node.id != b.cfg.NodeID && !snap.IsActive(node.id)
		resp.Brokers = append(resp.Brokers, rb)
	}
	return nil
}

// describeLogDirs tells the size of the logs of this broker; from version 4 on
// the space of their disk too.
func (b *Broker) describeLogDirs(_ context.Context, _ *conn, req *kmsg.DescribeLogDirsRequest, resp *kmsg.DescribeLogDirsResponse) error {
	d := kmsg.NewDescribeLogDirsResponseDir()
	dir, err := filepath.Abs(b.cfg.DataDir)
	if err != nil {
		return err
	}
	d.Dir = dir
	d.UsableBytes, d.TotalBytes = b.store.Free()
	wanted := wantedPartitions(req)
	for t := range b.snap().Topics() {
		dt := kmsg.NewDescribeLogDirsResponseDirTopic()
		dt.Topic = t.Name
		for n := range t.Partitions {
			l := b.store.Log(logstore.ID{Topic: t.ID, Partition: int32(n)})
			if l == nil || !wanted(t.Name, int32(n)) {
				continue
			}
			dp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			dp.Partition, dp.Size = int32(n), l.Size()
			dt.Partitions = append(dt.Partitions, dp)
		}
		if len(dt.Partitions) > 0 {
			d.Topics = append(d.Topics, dt)
		}
	}
	resp.Dirs = append(resp.Dirs, d)
	return nil
}

// wantedPartitions says which partitions a request asks for.
func wantedPartitions(req *kmsg.DescribeLogDirsRequest) func(topic string, n int32) bool {
	if req.Topics == nil {
		return func(string, int32) bool { return true }
	}
	wanted := map[fetchKey]bool{}
	for _, rt := range req.Topics {
		for _, n := range rt.Partitions {
			wanted[fetchKey{name: rt.Topic, num: n}] = true
		}
	}
	return func(topic string, n int32) bool { return wanted[fetchKey{name: topic, num: n}] }
}

// maxDescribedPartitions bounds one page of DescribeTopicPartitions, whatever is asked for.
const maxDescribedPartitions = 2000

// describeTopicPartitions tells of topics page by page (KIP-966). Like Metadata's, an
// answer that would name a leader that died a moment ago waits until there is another.
func (b *Broker) describeTopicPartitions(ctx context.Context, c *conn, req *kmsg.DescribeTopicPartitionsRequest, resp *kmsg.DescribeTopicPartitionsResponse, done func()) error {
	asked := func(snap *meta.Snapshot, each func(*meta.Topic)) {
		for _, name := range describedTopics(snap, req) {
			if t := snap.Topic(name); t != nil {
				each(t)
			}
		}
	}
	return c.onceLed(ctx, asked, func() error {
		b.describePages(req, resp)
		done()
		return nil
	})
}

// describePages fills in the answer to a DescribeTopicPartitions request.
func (b *Broker) describePages(req *kmsg.DescribeTopicPartitionsRequest, resp *kmsg.DescribeTopicPartitionsResponse) {
	names := describedTopics(b.snap(), req)
	if req.Cursor != nil && !validCursor(req) {
		for _, rt := range req.Topics {
			t := kmsg.NewDescribeTopicPartitionsResponseTopic()
			t.Topic, t.ErrorCode = &rt.Topic, kerr.InvalidRequest.Code
			resp.Topics = append(resp.Topics, t)
		}
		return
	}
	left := min(max(int(req.ResponsePartitionLimit), 1), maxDescribedPartitions)
	for _, name := range names {
		from := int32(0)
		if req.Cursor != nil && name <= req.Cursor.Topic {
			if from = req.Cursor.Partition; name < req.Cursor.Topic {
				continue
			}
		}
		if left <= 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: from}
			return
		}
		t, next := b.describePage(name, from, left)
		left -= len(t.Partitions)
		resp.Topics = append(resp.Topics, t)
		if next >= 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: next}
			return
		}
	}
}

// validCursor holds a cursor against the topics that the request names.
func validCursor(req *kmsg.DescribeTopicPartitionsRequest) bool {
	return req.Cursor.Partition >= 0 && (len(req.Topics) == 0 ||
		slices.ContainsFunc(req.Topics, func(t kmsg.DescribeTopicPartitionsRequestTopic) bool { return t.Topic == req.Cursor.Topic }))
}

// describedTopics are the names asked for, once each and sorted; all when none is named.
func describedTopics(snap *meta.Snapshot, req *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	for _, rt := range req.Topics {
		names = append(names, rt.Topic)
	}
	if len(names) == 0 {
		for t := range snap.Topics() {
			names = append(names, t.Name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}

// describePage tells of one topic, at most limit partitions from number from on;
// next is where it goes on, -1 when that was all.
func (b *Broker) describePage(name string, from int32, limit int) (rt kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	rt = kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.IsInternal, rt.AuthorizedOperations = &name, internalTopic(name), topicOperations
	t := b.snap().Topic(name)
	if t == nil {
		rt.ErrorCode = kerr.UnknownTopicOrPartition.Code
		if err := checkTopicName(name); err != nil {
			rt.ErrorCode = errorCode(err)
		}
		return rt, -1
	}
	rt.TopicID = t.ID
	for n := int(max(from, 0)); n < len(t.Partitions); n++ {
		if len(rt.Partitions) == limit {
			return rt, int32(n)
		}
		rt.Partitions = append(rt.Partitions, b.describePartition(n, t.Partitions[n]))
	}
	return rt, -1
}

func (b *Broker) describePartition(n int, p *meta.Partition) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	rp.Partition, rp.LeaderID, rp.LeaderEpoch = int32(n), p.Leader, p.LeaderEpoch
	rp.Replicas, rp.ISR, rp.EligibleLeaderReplicas, rp.LastKnownELR = p.Replicas, p.ISR, p.ELR, p.LastKnown
	snap := b.snap()
	if !led(snap, p) || b.peers.isLost(p) {
		rp.LeaderID, rp.ErrorCode = -1, kerr.LeaderNotAvailable.Code
	}
	for _, id := range p.Replicas {
		if _, live := snap.Live(id); !live || slices.Contains(p.Offline, id) {
			rp.OfflineReplicas = append(rp.OfflineReplicas, id)
		}
	}
	return rp
}

// listPartitionReassignments tells that none is under way: partitions do not move yet.
func (b *Broker) listPartitionReassignments(context.Context, *conn, *kmsg.ListPartitionReassignmentsRequest, *kmsg.ListPartitionReassignmentsResponse) error {
	return nil
}
