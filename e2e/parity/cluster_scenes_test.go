//go:build parity

package parity

import "github.com/twmb/franz-go/pkg/kmsg"

func logDirs(topic string, partitions ...int32) *kmsg.DescribeLogDirsRequest {
	req := kmsg.NewPtrDescribeLogDirsRequest()
	t := kmsg.NewDescribeLogDirsRequestTopic()
	t.Topic, t.Partitions = topic, partitions
	req.Topics = append(req.Topics, t)
	return req
}

var describeLogDirsScenes = []scene{
	{name: "all", play: func(s *script) {
		s.fill(s.topic("a", 2), batch(some(5)...))
		s.askMine(kmsg.NewPtrDescribeLogDirsRequest())
	}},
	{name: "named", play: func(s *script) {
		a := s.fill(s.topic("a", 2), batch(some(5)...))
		s.ask(logDirs(a, 0))
		s.ask(logDirs(a, 0, 1))
		s.ask(logDirs(a, 0, 0))
		s.ask(logDirs(a, 0, 7))
		s.ask(logDirs(a, -1))
		s.ask(logDirs(a))
	}},
	{name: "unknown", play: func(s *script) {
		a := s.topic("a", 1)
		s.ask(logDirs(s.name("none"), 0))
		s.ask(logDirs("", 0))
		req := logDirs(s.name("none"), 0)
		req.Topics = append(req.Topics, logDirs(a, 0).Topics...)
		s.ask(req)
	}},
	{name: "nothing asked", play: func(s *script) {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Topics = []kmsg.DescribeLogDirsRequestTopic{}
		s.ask(req)
	}},
}

func describeCluster(endpoints int8, operations, fenced bool) *kmsg.DescribeClusterRequest {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.EndpointType, req.IncludeClusterAuthorizedOperations, req.IncludeFencedBrokers = endpoints, operations, fenced
	return req
}

var describeClusterScenes = []scene{
	{name: "good", play: func(s *script) {
		s.ask(describeCluster(1, false, false))
		s.ask(describeCluster(1, true, false))
	}},
	{name: "fenced brokers", from: 2, play: func(s *script) { s.ask(describeCluster(1, false, true)) }},
	{name: "kinds of endpoints", from: 1, play: func(s *script) {
		for _, kind := range []int8{0, 2, 3, -1} {
			s.ask(describeCluster(kind, false, false))
		}
	}},
}

func describePartitions(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, topics ...string) *kmsg.DescribeTopicPartitionsRequest {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit, req.Cursor = limit, cursor
	for _, name := range topics {
		t := kmsg.NewDescribeTopicPartitionsRequestTopic()
		t.Topic = name
		req.Topics = append(req.Topics, t)
	}
	return req
}

func cursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
	c := kmsg.NewDescribeTopicPartitionsRequestCursor()
	c.Topic, c.Partition = topic, partition
	return &c
}

var describeTopicPartitionsScenes = []scene{
	{name: "topics", play: func(s *script) {
		a, b := s.topic("a", 1), s.topic("b", 3)
		s.ask(describePartitions(2000, nil, a))
		s.ask(describePartitions(2000, nil, b, a))
		s.ask(describePartitions(2000, nil, a, a))
		s.ask(describePartitions(2000, nil, s.name("none"), a))
	}},
	{name: "all topics", play: func(s *script) {
		a := s.topic("a", 3)
		s.askMine(describePartitions(2, cursor(a, 1)))
		s.askMine(describePartitions(1, cursor(a, 0)))
	}},
	{name: "bad names", play: func(s *script) {
		for _, name := range badNames {
			s.ask(describePartitions(2000, nil, name))
		}
	}},
	{name: "limits", play: func(s *script) {
		a, b := s.topic("a", 3), s.topic("b", 3)
		for _, limit := range []int32{0, -1, 1, 2, 3, 4, 5, 6, 7, 2147483647} {
			s.ask(describePartitions(limit, nil, a, b))
		}
		s.ask(describePartitions(3, nil, a, s.name("none"), b))
	}},
	{name: "cursors", play: func(s *script) {
		a, b := s.topic("a", 3), s.topic("b", 3)
		for _, c := range []*kmsg.DescribeTopicPartitionsRequestCursor{
			cursor(a, 0), cursor(a, 2), cursor(b, 1), cursor(a, 3), cursor(b, 7), cursor(a, -1), cursor(s.name("aa"), 0), cursor(s.name("none"), 0),
			cursor("", 0), cursor(s.name(""), 2),
		} {
			s.ask(describePartitions(2, c, a, b))
		}
		s.ask(describePartitions(2, cursor(a, 1), b))
	}},
}

var listPartitionReassignmentsScenes = []scene{
	{name: "all", play: func(s *script) {
		s.topic("a", 1)
		s.ask(kmsg.NewPtrListPartitionReassignmentsRequest())
	}},
	{name: "named", play: func(s *script) {
		a := s.topic("a", 1)
		for _, name := range []string{a, s.name("none"), ""} {
			req := kmsg.NewPtrListPartitionReassignmentsRequest()
			t := kmsg.NewListPartitionReassignmentsRequestTopic()
			t.Topic, t.Partitions = name, []int32{0, 1, 7, -1, 0}
			req.Topics = append(req.Topics, t)
			s.ask(req)
		}
		req := kmsg.NewPtrListPartitionReassignmentsRequest()
		req.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{}
		s.ask(req)
	}},
}
