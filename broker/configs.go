package broker

import (
	"context"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shownConfig is a setting in force, and the values that it has somewhere, the
// one in force first.
type shownConfig struct {
	row         settingRow
	name, value string
	sources     []settingSource
}

// source is where the value in force comes from.
func (s *shownConfig) source() kmsg.ConfigSource { return s.sources[0].source }

// topicConfigs are the settings of a topic with so many replicas and the given ones
// of its own.
func (b *Broker) topicConfigs(own map[string]string, replicas int) []shownConfig {
	var shown []shownConfig
	own = sound(own, topicSetting)
	for _, row := range settingTable {
		name := row.topicKey()
		if name == "" {
			continue
		}
		s := b.brokerConfig(row)
		if s.name = name; row == minInsyncReplicas {
			s.setDefault(defaultMinISR(replicas))
		}
		if value, ok := own[name]; ok {
			s.value = value
			s.sources = slices.Insert(s.sources, 0, settingSource{name, value, kmsg.ConfigSourceDynamicTopicConfig})
		}
		shown = append(shown, s)
	}
	return shown
}

// brokerConfig is a setting as this broker has it.
func (b *Broker) brokerConfig(row settingRow) shownConfig {
	s := shownConfig{row: row, name: row.brokerKey(), value: row.defaultText(), sources: b.settings.sources(row)}
	if value, ok := b.brokerConfigs()[s.name]; ok {
		s.value = value
	}
	return s
}

// setDefault gives a setting that nobody set a default that depends on the cluster.
func (s *shownConfig) setDefault(value int) {
	if last := &s.sources[len(s.sources)-1]; len(s.sources) == 1 {
		s.value, last.value = strconv.Itoa(value), strconv.Itoa(value)
	}
}

// brokerConfigsShown are the settings of this broker.
func (b *Broker) brokerConfigsShown() []shownConfig {
	var shown []shownConfig
	for _, row := range settingTable {
		if row.brokerKey() == "" {
			continue
		}
		s := b.brokerConfig(row)
		switch row {
		case defaultReplicationFactor:
			s.setDefault(b.defaultFactor())
		case minInsyncReplicas:
			s.setDefault(defaultMinISR(b.defaultFactor()))
		}
		shown = append(shown, s)
	}
	return append(shown, b.identityShown()...)
}

// defaultsShown are the settings that were changed for all brokers.
func (b *Broker) defaultsShown() []shownConfig {
	var shown []shownConfig
	for _, row := range settingTable {
		name := row.brokerKey()
		if value, ok := b.settings.now.Load().defaults[name]; ok {
			from := settingSource{name, value, kmsg.ConfigSourceDynamicDefaultBrokerConfig}
			shown = append(shown, shownConfig{row, name, value, []settingSource{from}})
		}
	}
	return shown
}

// describeConfigs tells the settings in force of topics and brokers, with their
// sources; types and documentation from version 3 on. Not done: settings of
// groups, of client metrics, of loggers.
func (b *Broker) describeConfigs(_ context.Context, _ *conn, req *kmsg.DescribeConfigsRequest, resp *kmsg.DescribeConfigsResponse) error {
	for _, rr := range req.Resources {
		r := kmsg.NewDescribeConfigsResponseResource()
		r.ResourceType, r.ResourceName = rr.ResourceType, rr.ResourceName
		shown, err := b.resourceConfigs(&rr)
		r.ErrorCode, r.ErrorMessage = errorCode(err), errorMessage(err)
		for _, s := range shown {
			if len(rr.ConfigNames) == 0 || slices.Contains(rr.ConfigNames, s.name) {
				r.Configs = append(r.Configs, s.describe(req, rr.ResourceType))
			}
		}
		resp.Resources = append(resp.Resources, r)
	}
	return nil
}

// resourceConfigs are the settings of one topic or broker.
func (b *Broker) resourceConfigs(rr *kmsg.DescribeConfigsRequestResource) ([]shownConfig, error) {
	switch rr.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if err := checkTopicName(rr.ResourceName); err != nil {
			return nil, err
		}
		t := b.snap().Topic(rr.ResourceName)
		if t == nil {
			return nil, kerr.UnknownTopicOrPartition
		}
		return b.topicConfigs(t.Configs, len(t.Partitions[0].Replicas)), nil
	case kmsg.ConfigResourceTypeBroker:
		if rr.ResourceName == "" {
			return b.defaultsShown(), nil
		}
		if err := b.checkBrokerName(rr.ResourceName, "Broker"); err != nil {
			return nil, err
		}
		return b.brokerConfigsShown(), nil
	}
	return nil, explain(kerr.InvalidRequest, "Unsupported resource type: %d", rr.ResourceType)
}

// checkBrokerName holds the name of a broker resource against this broker's id:
// a broker speaks for itself alone. what is Kafka's word for it in this request.
func (b *Broker) checkBrokerName(name, what string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return explain(kerr.InvalidRequest, "%s id must be an integer, but it is: %s", what, name)
	}
	if int32(id) != b.cfg.NodeID {
		return explain(kerr.InvalidRequest, "Unexpected broker id, expected %d or empty string, but received %s", b.cfg.NodeID, name)
	}
	return nil
}

func (s *shownConfig) describe(req *kmsg.DescribeConfigsRequest, kind kmsg.ConfigResourceType) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.Source, c.ConfigType = s.name, &s.value, s.source(), s.row.configType()
	c.ReadOnly = kind == kmsg.ConfigResourceTypeBroker && s.row.readOnly()
	if req.IncludeDocumentation {
		c.Documentation = new(s.row.help())
	}
	if req.IncludeSynonyms {
		for _, from := range s.sources {
			if from.source == kmsg.ConfigSourceDefaultConfig && s.row.brokerKey() == "" {
				continue // a setting that only topics have has no name beside its own
			}
			cs := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			cs.Name, cs.Value, cs.Source = from.name, new(from.value), from.source
			c.ConfigSynonyms = append(c.ConfigSynonyms, cs)
		}
	}
	return c
}
