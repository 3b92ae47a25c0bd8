//go:build parity

package parity

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	ofTopic  = kmsg.ConfigResourceTypeTopic
	ofBroker = kmsg.ConfigResourceTypeBroker
)

// describe asks for configs of one resource; nil names are all.
func describe(kind kmsg.ConfigResourceType, name string, configs []string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, configs
	req.Resources, req.IncludeSynonyms = append(req.Resources, r), true
	return req
}

// kinds are resource types other than those of topics and brokers.
var kinds = []kmsg.ConfigResourceType{0, 1, 3, 8, 16, 32, 99, -1}

var describeConfigsScenes = []scene{
	{name: "a topic", play: func(s *script) {
		a := s.topic("a", 1, "retention.ms", "1000", "max.message.bytes", "2000")
		s.ask(describe(ofTopic, a, nil))
		req := describe(ofTopic, a, nil)
		req.IncludeSynonyms, req.IncludeDocumentation = false, true
		s.ask(req)
	}},
	{name: "named configs", play: func(s *script) {
		a := s.topic("a", 1, "retention.ms", "1000")
		s.ask(describe(ofTopic, a, []string{"retention.ms", "segment.bytes"}))
		s.ask(describe(ofTopic, a, []string{"no.such.config"}))
		s.ask(describe(ofTopic, a, []string{"no.such.config", "retention.ms", "retention.ms", ""}))
		s.ask(describe(ofTopic, a, []string{}))
	}},
	{name: "unknown topics", play: func(s *script) {
		s.ask(describe(ofTopic, s.name("none"), nil))
		for _, name := range badNames {
			s.ask(describe(ofTopic, name, nil))
		}
	}},
	{name: "a broker", play: func(s *script) {
		s.ask(describe(ofBroker, "1", nil))
		s.ask(describe(ofBroker, "1", []string{"log.retention.ms", "num.partitions", "no.such.config"}))
	}},
	{name: "the default of brokers", play: func(s *script) {
		s.ask(describe(ofBroker, "", nil))
		s.ask(describe(ofBroker, "", []string{"log.retention.ms"}))
	}},
	{name: "other brokers", play: func(s *script) {
		for _, name := range []string{"2", "-1", "one", "1.0", " 1", "01", "2147483648"} {
			s.ask(describe(ofBroker, name, []string{"num.partitions"}))
		}
	}},
	{name: "other kinds", play: func(s *script) {
		for _, kind := range kinds {
			s.ask(describe(kind, "1", nil))
			s.ask(describe(kind, "some", nil))
			s.ask(describe(kind, "", nil))
		}
	}},
	{name: "several", play: func(s *script) {
		a := s.topic("a", 1)
		req := describe(ofTopic, a, []string{"retention.ms"})
		req.Resources = append(req.Resources, req.Resources[0], describe(ofTopic, s.name("none"), nil).Resources[0],
			describe(ofBroker, "1", []string{"num.partitions"}).Resources[0], describe(99, "1", nil).Resources[0])
		s.ask(req)
	}},
	{name: "nothing asked", play: func(s *script) {
		req := describe(ofTopic, "", nil)
		req.Resources = nil
		s.ask(req)
	}},
}

// alter replaces the configs of one resource: name, value, …
func alter(kind kmsg.ConfigResourceType, name string, configs ...string) *kmsg.AlterConfigsRequest {
	req := kmsg.NewPtrAlterConfigsRequest()
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for c := range slices.Chunk(configs, 2) {
		entry := kmsg.NewAlterConfigsRequestResourceConfig()
		entry.Name, entry.Value = c[0], &c[1]
		r.Configs = append(r.Configs, entry)
	}
	req.Resources = append(req.Resources, r)
	return req
}

// altered asks for a change of a topic, after validating only, and looks at the result
// when it shows. Brokers take a moment.
func (s *script) altered(topic string, req kmsg.Request, validate *bool) {
	*validate = true
	s.ask(req)
	*validate = false
	s.ask(req)
	if topic != "" {
		s.shown(ofTopic, topic)
	}
}

// shown waits until all changes have reached the broker, by way of one more change of a
// config that no scene uses, and looks at what was set on purpose.
func (s *script) shown(kind kmsg.ConfigResourceType, name string) {
	mark := map[kmsg.ConfigResourceType]string{ofTopic: "index.interval.bytes", ofBroker: "log.index.interval.bytes"}[kind]
	s.markers++
	value := []string{"1111", "2222"}[s.markers%2]
	s.quiet(change(kind, name, op{mark, 0, &value}))
	s.until("a config shows", func() bool {
		r := s.quiet(describe(kind, name, []string{mark})).(*kmsg.DescribeConfigsResponse).Resources[0]
		return len(r.Configs) == 1 && r.Configs[0].Value != nil && *r.Configs[0].Value == value
	})
	s.look(describe(kind, name, []string{"retention.ms", "max.message.bytes", "cleanup.policy", "log.retention.ms", "message.max.bytes", "num.partitions"}))
}

var alterConfigsScenes = []scene{
	{name: "a topic", play: func(s *script) {
		a := s.topic("a", 1, "retention.ms", "1000")
		req := alter(ofTopic, a, "max.message.bytes", "2000")
		s.altered(a, req, &req.ValidateOnly)
		req = alter(ofTopic, a)
		s.altered(a, req, &req.ValidateOnly)
	}},
	{name: "bad configs", play: func(s *script) {
		a := s.topic("a", 1, "retention.ms", "1000")
		for _, c := range [][]string{
			{"no.such.config", "1"},
			{"", "1"},
			{"retention.ms", "soon"},
			{"retention.ms", "-2"},
			{"max.message.bytes", "-1"},
			{"retention.ms", "5", "retention.ms", "6"},
			{"retention.ms", "5", "no.such.config", "6"},
			{"log.retention.ms", "5"},
		} {
			req := alter(ofTopic, a, c...)
			s.altered(a, req, &req.ValidateOnly)
		}
		req := alter(ofTopic, a, "retention.ms", "")
		req.Resources[0].Configs[0].Value = nil
		s.altered(a, req, &req.ValidateOnly)
	}},
	{name: "unknown topics", play: func(s *script) {
		for _, name := range append([]string{s.name("none")}, badNames...) {
			req := alter(ofTopic, name, "retention.ms", "1000")
			s.altered("", req, &req.ValidateOnly)
			req = alter(ofTopic, name, "no.such.config", "1000")
			s.altered("", req, &req.ValidateOnly)
		}
	}},
	{name: "a broker", play: func(s *script) {
		req := alter(ofBroker, "1", "log.retention.ms", "86400000", "message.max.bytes", "1000000")
		s.altered("", req, &req.ValidateOnly)
		s.shown(ofBroker, "1")
		req = alter(ofBroker, "1")
		s.altered("", req, &req.ValidateOnly)
		s.until("the change is undone", func() bool { return s.undone("1") })
	}},
	{name: "a broker, refused", play: func(s *script) {
		for _, name := range []string{"1", "", "2", "-1", "one"} {
			for _, c := range [][]string{
				{"num.partitions", "5"}, {"node.id", "5"}, {"no.such.config", "5"}, {"log.retention.ms", "soon"}, {"message.max.bytes", "-1"}, {"broker.id", "1"},
			} {
				req := alter(ofBroker, name, c...)
				req.ValidateOnly = true
				s.ask(req)
			}
		}
	}},
	{name: "other kinds", play: func(s *script) {
		for _, kind := range kinds {
			for _, name := range []string{"1", "some", ""} {
				req := alter(kind, name, "no.such.config", "1")
				req.ValidateOnly = true
				s.ask(req)
			}
		}
	}},
	{name: "several", play: func(s *script) {
		// Kafka never answers when both are about the same topic.
		a := s.topic("a", 1)
		req := alter(ofTopic, a, "retention.ms", "3000")
		req.Resources = append(req.Resources, alter(ofTopic, s.name("none"), "retention.ms", "2000").Resources...)
		s.altered(a, req, &req.ValidateOnly)
	}},
	{name: "nothing asked", play: func(s *script) {
		req := alter(ofTopic, "")
		req.Resources = nil
		s.ask(req)
	}},
}

// undone says whether a broker has no dynamic retention.
func (s *script) undone(broker string) bool {
	r := s.quiet(describe(ofBroker, broker, []string{"log.retention.ms"})).(*kmsg.DescribeConfigsResponse).Resources[0]
	return len(r.Configs) == 0 || r.Configs[0].Source == kmsg.ConfigSourceDefaultConfig || r.Configs[0].Source == kmsg.ConfigSourceStaticBrokerConfig
}

// op is one change of a config: 0 set, 1 delete, 2 append, 3 subtract.
type op struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

func change(kind kmsg.ConfigResourceType, name string, ops ...op) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, o := range ops {
		entry := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		entry.Name, entry.Op, entry.Value = o.name, o.op, o.value
		r.Configs = append(r.Configs, entry)
	}
	req.Resources = append(req.Resources, r)
	return req
}

var incrementalAlterConfigsScenes = []scene{
	{name: "a topic", play: func(s *script) {
		a := s.topic("a", 1, "retention.ms", "1000")
		for _, ops := range [][]op{
			{{"max.message.bytes", 0, new("2000")}},
			{{"retention.ms", 1, nil}},
			{{"retention.ms", 1, new("ignored")}},
			{{"retention.ms", 0, new("3000")}, {"max.message.bytes", 1, nil}},
			{{"cleanup.policy", 3, new("compact")}},
			{{"cleanup.policy", 2, new("delete")}},
			{},
		} {
			req := change(ofTopic, a, ops...)
			s.altered(a, req, &req.ValidateOnly)
		}
	}},
	{name: "bad changes of a topic", play: func(s *script) {
		a := s.topic("a", 1, "retention.ms", "1000")
		for _, ops := range [][]op{
			{{"no.such.config", 0, new("1")}},
			{{"no.such.config", 1, nil}},
			{{"", 0, new("1")}},
			{{"retention.ms", 0, new("soon")}},
			{{"retention.ms", 0, new("-2")}},
			{{"retention.ms", 0, nil}},
			{{"retention.ms", 2, new("1")}},
			{{"retention.ms", 3, new("1000")}},
			{{"retention.ms", 9, new("1")}},
			{{"retention.ms", -1, new("1")}},
			{{"retention.ms", 0, new("1")}, {"retention.ms", 0, new("2")}},
			{{"retention.ms", 0, new("1")}, {"retention.ms", 1, nil}},
			{{"retention.ms", 0, new("5")}, {"no.such.config", 0, new("6")}},
			{{"cleanup.policy", 2, nil}},
			{{"cleanup.policy", 2, new("shred")}},
			{{"no.such.config", 2, new("1")}},
			{{"log.retention.ms", 0, new("1")}},
		} {
			req := change(ofTopic, a, ops...)
			s.altered(a, req, &req.ValidateOnly)
		}
	}},
	{name: "unknown topics", play: func(s *script) {
		for _, name := range append([]string{s.name("none")}, badNames...) {
			req := change(ofTopic, name, op{"retention.ms", 0, new("1000")})
			s.altered("", req, &req.ValidateOnly)
			req = change(ofTopic, name, op{"no.such.config", 0, new("1000")})
			s.altered("", req, &req.ValidateOnly)
		}
	}},
	{name: "a broker", play: func(s *script) {
		for _, name := range []string{"1", ""} {
			req := change(ofBroker, name, op{"log.retention.ms", 0, new("86400000")})
			s.altered("", req, &req.ValidateOnly)
			s.shown(ofBroker, name)
			s.look(describe(ofTopic, s.name(""), nil))
			req = change(ofBroker, name, op{"log.retention.ms", 1, nil}, op{"log.index.interval.bytes", 1, nil})
			s.altered("", req, &req.ValidateOnly)
			s.until("the change is undone", func() bool { return s.undone(name) })
		}
	}},
	{name: "a broker, refused", play: func(s *script) {
		for _, name := range []string{"1", "", "2", "-1", "one"} {
			for _, o := range []op{
				{"num.partitions", 0, new("5")},
				{"node.id", 0, new("5")},
				{"node.id", 1, nil},
				{"no.such.config", 0, new("5")},
				{"log.retention.ms", 0, new("soon")},
				{"log.retention.ms", 2, new("5")},
				{"message.max.bytes", 0, new("-1")},
				{"log.retention.ms", 1, nil},
			} {
				req := change(ofBroker, name, o)
				req.ValidateOnly = true
				s.ask(req)
			}
		}
	}},
	{name: "other kinds", play: func(s *script) {
		for _, kind := range kinds {
			for _, name := range []string{"1", "some", ""} {
				req := change(kind, name, op{"no.such.config", 0, new("1")})
				req.ValidateOnly = true
				s.ask(req)
			}
		}
	}},
	{name: "twice in one request", play: func(s *script) {
		a := s.topic("a", 1)
		req := change(ofTopic, a, op{"retention.ms", 0, new("1000")})
		req.Resources = append(req.Resources, change(ofTopic, a, op{"max.message.bytes", 0, new("2000")}).Resources...)
		s.altered(a, req, &req.ValidateOnly)
		req = change(ofTopic, a, op{"retention.ms", 0, new("3000")})
		req.Resources = append(req.Resources, change(ofTopic, s.name("none"), op{"retention.ms", 0, new("2000")}).Resources...)
		s.altered(a, req, &req.ValidateOnly)
	}},
	{name: "nothing asked", play: func(s *script) {
		req := change(ofTopic, "")
		req.Resources = nil
		s.ask(req)
	}},
}
