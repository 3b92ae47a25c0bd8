package broker

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// shownConfig is a setting in force, and where it comes from.
type shownConfig struct {
	row      settingRow
	name     string
	value    string
	source   kmsg.ConfigSource
	synonyms []configSynonym // the strongest first
}

type configSynonym struct {
	name, value string
	source      kmsg.ConfigSource
}

// topicConfigs are the settings of a topic with the given ones of its own.
func (b *Broker) topicConfigs(own map[string]string) []shownConfig {
	var shown []shownConfig
	for _, row := range settingTable {
		if !row.onTopics() {
			continue
		}
		var syn []configSynonym
		if v, ok := own[row.key()]; ok {
			syn = append(syn, configSynonym{row.key(), v, kmsg.ConfigSourceDynamicTopicConfig})
		}
		shown = append(shown, show(row, row.key(), append(syn, b.brokerSynonyms(row)...)))
	}
	return shown
}

// brokerConfigsShown are the settings of this broker.
func (b *Broker) brokerConfigsShown() []shownConfig {
	var shown []shownConfig
	for _, row := range settingTable {
		shown = append(shown, show(row, row.brokerKey(), b.brokerSynonyms(row)))
	}
	return shown
}

// defaultsShown are the settings that were changed for all brokers.
func (b *Broker) defaultsShown() []shownConfig {
	var shown []shownConfig
	_, defaults, _ := b.settings.layers()
	for _, row := range settingTable {
		if v, ok := defaults[row.brokerKey()]; ok {
			shown = append(shown, show(row, row.brokerKey(), []configSynonym{{row.brokerKey(), v, kmsg.ConfigSourceDynamicDefaultBrokerConfig}}))
		}
	}
	return shown
}

func show(row settingRow, name string, synonyms []configSynonym) shownConfig {
	first := synonyms[0]
	return shownConfig{row, name, first.value, first.source, synonyms}
}

// brokerSynonyms is where a setting of this broker may come from, down to the default.
func (b *Broker) brokerSynonyms(row settingRow) []configSynonym {
	own, defaults, static := b.settings.layers()
	var syn []configSynonym
	for _, layer := range []struct {
		configs map[string]string
		source  kmsg.ConfigSource
	}{
		{own, kmsg.ConfigSourceDynamicBrokerConfig},
		{defaults, kmsg.ConfigSourceDynamicDefaultBrokerConfig},
		{static, kmsg.ConfigSourceStaticBrokerConfig},
	} {
		if v, ok := layer.configs[row.brokerKey()]; ok {
			syn = append(syn, configSynonym{row.brokerKey(), v, layer.source})
		}
	}
	return append(syn, configSynonym{row.brokerKey(), row.defaultText(), kmsg.ConfigSourceDefaultConfig})
}

// describeConfigs tells the settings in force of topics and brokers, with their
// sources; types and documentation from version 3 on.
func (b *Broker) describeConfigs(_ context.Context, _ *conn, req *kmsg.DescribeConfigsRequest, resp *kmsg.DescribeConfigsResponse) error {
	for _, rr := range req.Resources {
		r := kmsg.NewDescribeConfigsResponseResource()
		r.ResourceType, r.ResourceName = rr.ResourceType, rr.ResourceName
		shown, err := b.resourceConfigs(&rr)
		r.ErrorCode, r.ErrorMessage = errorCode(err), errorMessage(err)
		for _, s := range shown {
			if rr.ConfigNames == nil || slices.Contains(rr.ConfigNames, s.name) {
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
		return b.topicConfigs(t.Configs), nil
	case kmsg.ConfigResourceTypeBroker:
		if rr.ResourceName == "" {
			return b.defaultsShown(), nil
		}
		if err := b.checkBrokerName(rr.ResourceName); err != nil {
			return nil, err
		}
		return b.brokerConfigsShown(), nil
	}
	return nil, explain(kerr.InvalidRequest, "Unsupported resource type: %d", rr.ResourceType)
}

// checkBrokerName holds the name of a broker resource against this broker's id.
func (b *Broker) checkBrokerName(name string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return explain(kerr.InvalidRequest, "Broker id must be an integer, but it is: %s", name)
	}
	if int32(id) != b.cfg.NodeID {
		return explain(kerr.InvalidRequest, "Unexpected broker id, expected %d or empty string, but received %s", b.cfg.NodeID, name)
	}
	return nil
}

func (s *shownConfig) describe(req *kmsg.DescribeConfigsRequest, kind kmsg.ConfigResourceType) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.Source, c.ConfigType = s.name, &s.value, s.source, s.row.configType()
	c.ReadOnly = kind == kmsg.ConfigResourceTypeBroker && s.row.readOnly()
	c.IsDefault = s.source == kmsg.ConfigSourceDefaultConfig
	if req.IncludeDocumentation {
		c.Documentation = new(s.row.help())
	}
	if req.IncludeSynonyms {
		for _, syn := range s.synonyms {
			cs := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			cs.Name, cs.Value, cs.Source = syn.name, new(syn.value), syn.source
			c.ConfigSynonyms = append(c.ConfigSynonyms, cs)
		}
	}
	return c
}

// configChange is one change of a setting.
type configChange struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

// alterConfigs replaces all settings of a resource that can be changed.
func (b *Broker) alterConfigs(ctx context.Context, _ *conn, req *kmsg.AlterConfigsRequest, resp *kmsg.AlterConfigsResponse) error {
	twice := map[string]int{}
	for _, rr := range req.Resources {
		twice[resourceKey(rr.ResourceType, rr.ResourceName)]++
	}
	for _, rr := range req.Resources {
		var changes []configChange
		for _, c := range rr.Configs {
			changes = append(changes, configChange{c.Name, kmsg.IncrementalAlterConfigOpSet, c.Value})
		}
		r := kmsg.NewAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName = rr.ResourceType, rr.ResourceName
		key := resourceKey(rr.ResourceType, rr.ResourceName)
		a := alteration{kind: rr.ResourceType, name: rr.ResourceName, changes: changes, replace: true, validateOnly: req.ValidateOnly, twice: twice[key] > 1}
		if twice[key] == 0 {
			continue
		}
		delete(twice, key)
		err := b.alter(ctx, &a)
		r.ErrorCode, r.ErrorMessage = errorCode(err), errorMessage(err)
		resp.Resources = append(resp.Resources, r)
	}
	return nil
}

// incrementalAlterConfigs changes single settings (KIP-339).
func (b *Broker) incrementalAlterConfigs(ctx context.Context, _ *conn, req *kmsg.IncrementalAlterConfigsRequest, resp *kmsg.IncrementalAlterConfigsResponse) error {
	twice := map[string]int{}
	for _, rr := range req.Resources {
		twice[resourceKey(rr.ResourceType, rr.ResourceName)]++
	}
	for _, rr := range req.Resources {
		var changes []configChange
		for _, c := range rr.Configs {
			changes = append(changes, configChange{c.Name, c.Op, c.Value})
		}
		key := resourceKey(rr.ResourceType, rr.ResourceName)
		a := alteration{kind: rr.ResourceType, name: rr.ResourceName, changes: changes, validateOnly: req.ValidateOnly, twice: twice[key] > 1}
		if twice[key] == 0 {
			continue
		}
		delete(twice, key)
		r := kmsg.NewIncrementalAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName = rr.ResourceType, rr.ResourceName
		err := b.alter(ctx, &a)
		r.ErrorCode, r.ErrorMessage = errorCode(err), errorMessage(err)
		resp.Resources = append(resp.Resources, r)
	}
	return nil
}

func resourceKey(kind kmsg.ConfigResourceType, name string) string {
	return strconv.Itoa(int(kind)) + " " + name
}

// alteration is what one request asks of one resource.
type alteration struct {
	kind         kmsg.ConfigResourceType
	name         string
	changes      []configChange
	replace      bool // settings that are not named go back to their defaults
	validateOnly bool
	twice        bool // the request names the resource twice
}

// alter changes the settings of one resource, and waits until they are in force here.
func (b *Broker) alter(ctx context.Context, a *alteration) error {
	if a.twice {
		return explain(kerr.InvalidRequest, "Each resource must appear at most once.")
	}
	named := map[string]bool{}
	for _, c := range a.changes {
		if named[c.name] {
			return explain(kerr.InvalidRequest, "Error due to duplicate config keys : %s", c.name)
		}
		named[c.name] = true
		if c.value == nil && c.op != kmsg.IncrementalAlterConfigOpDelete {
			return explain(kerr.InvalidRequest, "Null value not supported for : %s", c.name)
		}
	}
	kind, name, err := b.alterable(a)
	if err != nil {
		return err
	}
	if a.validateOnly {
		_, err := a.apply(b.snap().Configs(kind, name))
		return err
	}
	rev, err := b.meta.SetConfigs(ctx, kind, name, a.apply)
	if err != nil {
		return err
	}
	b.log.Info("settings changed", "resource", a.kind, "name", a.name)
	return b.waitApplied(ctx, rev)
}

// alterable finds where the settings of a resource are kept.
func (b *Broker) alterable(a *alteration) (meta.ConfigKind, string, error) {
	switch a.kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := checkTopicName(a.name); err != nil {
			return "", "", err
		}
		if b.snap().Topic(a.name) == nil {
			return "", "", explain(kerr.UnknownTopicOrPartition, "The topic '%s' does not exist.", a.name)
		}
		return meta.TopicConfigs, a.name, nil
	case kmsg.ConfigResourceTypeBroker:
		if a.name == "" {
			return meta.BrokerConfigs, allBrokers, nil
		}
		return meta.BrokerConfigs, a.name, b.checkBrokerName(a.name)
	}
	return "", "", explain(kerr.InvalidRequest, "Unsupported resource type: %d", a.kind)
}

// allBrokers is the key of settings that hold for every broker.
const allBrokers = "default"

// apply returns the settings after the change, or what is wrong with it.
func (a *alteration) apply(old map[string]string) (map[string]string, error) {
	next := map[string]string{}
	if !a.replace {
		next = maps.Clone(old)
		if next == nil {
			next = map[string]string{}
		}
	}
	for _, c := range a.changes {
		row, err := a.setting(c.name)
		if err != nil {
			return nil, err
		}
		value, keep, err := c.result(row, next)
		if err != nil {
			return nil, err
		}
		if !keep {
			delete(next, c.name)
			continue
		}
		if err := row.check(value); err != nil {
			return nil, explain(kerr.InvalidConfig, "%s", err.Error())
		}
		next[c.name] = value
	}
	return next, nil
}

// setting finds a setting that the resource has and that may be changed.
func (a *alteration) setting(name string) (settingRow, error) {
	if a.kind == kmsg.ConfigResourceTypeTopic {
		if row := topicSetting(name); row != nil {
			return row, nil
		}
		return nil, explain(kerr.InvalidConfig, "Unknown topic config name: %s", name)
	}
	row := brokerSetting(name)
	if row == nil {
		return nil, explain(kerr.InvalidConfig, "Unknown broker config name: %s", name)
	}
	if row.readOnly() {
		return nil, explain(kerr.InvalidRequest, "Cannot update these configs dynamically: Set(%s)", name)
	}
	return row, nil
}

// result is the value of a setting after one change; keep is false when it goes
// back to its default.
func (c *configChange) result(row settingRow, old map[string]string) (value string, keep bool, err error) {
	switch c.op {
	case kmsg.IncrementalAlterConfigOpSet:
		return *c.value, true, nil
	case kmsg.IncrementalAlterConfigOpDelete:
		return "", false, nil
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
		if row.configType() != kmsg.ConfigTypeList {
			return "", false, explain(kerr.InvalidConfig, "Can't %s to key %s because its type is not LIST.", strings.ToUpper(c.op.String()), c.name)
		}
	default:
		return "", false, explain(kerr.InvalidRequest, "Unknown operation %d for %s", c.op, c.name)
	}
	had, ok := old[c.name]
	if !ok {
		had = row.defaultText()
	}
	words := strings.Split(had, ",")
	for w := range strings.SplitSeq(*c.value, ",") {
		words = slices.DeleteFunc(words, func(have string) bool { return have == w })
		if c.op == kmsg.IncrementalAlterConfigOpAppend {
			words = append(words, w)
		}
	}
	return strings.Join(words, ","), true, nil
}
