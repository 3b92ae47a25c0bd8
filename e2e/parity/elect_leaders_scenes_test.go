//go:build parity

package parity

import "github.com/twmb/franz-go/pkg/kmsg"

func elect(kind int8, topics ...kmsg.ElectLeadersRequestTopic) *kmsg.ElectLeadersRequest {
	req := kmsg.NewPtrElectLeadersRequest()
	req.ElectionType, req.TimeoutMillis = kind, 5000
	req.Topics = append([]kmsg.ElectLeadersRequestTopic{}, topics...)
	return req
}

func electing(topic string, partitions ...int32) kmsg.ElectLeadersRequestTopic {
	t := kmsg.NewElectLeadersRequestTopic()
	t.Topic, t.Partitions = topic, partitions
	return t
}

var electLeadersScenes = []scene{
	{name: "not needed", play: func(s *script) {
		a, b := s.topic("a", 1), s.topic("b", 3)
		for _, kind := range []int8{0, 1} {
			s.ask(elect(kind, electing(a, 0)))
			s.ask(elect(kind, electing(b, 2, 0, 1), electing(a, 0)))
		}
	}},
	{name: "all", play: func(s *script) {
		s.topic("a", 1)
		for _, kind := range []int8{0, 1} {
			req := elect(kind)
			req.Topics = nil
			s.askMine(req)
		}
	}},
	{name: "unknown", play: func(s *script) {
		a := s.topic("a", 2)
		for _, kind := range []int8{0, 1} {
			s.ask(elect(kind, electing(s.name("none"), 0, 1), electing(a, 7, -1, 1)))
			s.ask(elect(kind, electing("", 0)))
			s.ask(elect(kind, electing("a/b", 0)))
		}
	}},
	{name: "nothing asked", play: func(s *script) {
		a := s.topic("a", 2)
		for _, kind := range []int8{0, 1, 5} {
			s.ask(elect(kind))
			s.ask(elect(kind, electing(a)))
			s.ask(elect(kind, electing(s.name("none"))))
		}
	}},
	{name: "named twice", play: func(s *script) {
		a := s.topic("a", 2)
		s.ask(elect(0, electing(a, 0, 0)))
		s.ask(elect(0, electing(a, 0), electing(a, 0)))
		s.ask(elect(0, electing(a, 0), electing(a, 1)))
		s.ask(elect(0, electing(a, 0), electing(s.name("none"), 0), electing(a, 1)))
	}},
	{name: "types of election", from: 1, play: func(s *script) {
		a := s.topic("a", 1)
		for _, kind := range []int8{2, -1, 127} {
			s.ask(elect(kind, electing(a, 0, 5), electing(s.name("none"), 0)))
			req := elect(kind)
			req.Topics = nil
			s.askMine(req)
		}
	}},
	{name: "no time", play: func(s *script) {
		a := s.topic("a", 1)
		for _, ms := range []int32{0, -1} {
			req := elect(0, electing(a, 0))
			req.TimeoutMillis = ms
			s.ask(req)
		}
	}},
}
