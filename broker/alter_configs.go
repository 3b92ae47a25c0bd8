package broker

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// alteration is what a request asks of one resource.
type alteration struct {
	kind         kmsg.ConfigResourceType
	name         string
	changes      []configChange
	replace      bool // settings that are not named go back to their defaults
	validateOnly bool
}

// configChange is one change of a setting.
type configChange struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

// resourceKey is a resource of a request.
type resourceKey struct {
	kind kmsg.ConfigResourceType
	name string
}

func (a *alteration) key() resourceKey { return resourceKey{a.kind, a.name} }

// alterConfigs replaces all settings of a resource that can be changed.
func (b *Broker) alterConfigs(ctx context.Context, _ *conn, req *kmsg.AlterConfigsRequest, resp *kmsg.AlterConfigsResponse) error {
	all := make([]alteration, len(req.Resources))
	for i, rr := range req.Resources {
		all[i] = alteration{kind: rr.ResourceType, name: rr.ResourceName, replace: true, validateOnly: req.ValidateOnly}
		for _, c := range rr.Configs {
			all[i].changes = append(all[i].changes, configChange{c.Name, kmsg.IncrementalAlterConfigOpSet, c.Value})
		}
	}
	for i, err := range b.alterEach(ctx, all) {
		r := kmsg.NewAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName = all[i].kind, all[i].name
		r.ErrorCode, r.ErrorMessage = errorCode(err), errorMessage(err)
		resp.Resources = append(resp.Resources, r)
	}
	return nil
}

// incrementalAlterConfigs changes single settings (KIP-339).
func (b *Broker) incrementalAlterConfigs(ctx context.Context, _ *conn, req *kmsg.IncrementalAlterConfigsRequest, resp *kmsg.IncrementalAlterConfigsResponse) error {
	all := make([]alteration, len(req.Resources))
	for i, rr := range req.Resources {
		all[i] = alteration{kind: rr.ResourceType, name: rr.ResourceName, validateOnly: req.ValidateOnly}
		for _, c := range rr.Configs {
			all[i].changes = append(all[i].changes, configChange{c.Name, c.Op, c.Value})
		}
	}
	for i, err := range b.alterEach(ctx, all) {
		r := kmsg.NewIncrementalAlterConfigsResponseResource()
		r.ResourceType, r.ResourceName = all[i].kind, all[i].name
		r.ErrorCode, r.ErrorMessage = errorCode(err), errorMessage(err)
		resp.Resources = append(resp.Resources, r)
	}
	return nil
}

// alterEach does the alterations of a request, each for itself. A resource that
// is named twice is not altered.
func (b *Broker) alterEach(ctx context.Context, all []alteration) []error {
	times := map[resourceKey]int{}
	for _, a := range all {
		times[a.key()]++
	}
	errs := make([]error, len(all))
	for i := range all {
		a := &all[i]
		if times[a.key()] > 1 {
			errs[i] = explain(kerr.InvalidRequest, "Each resource must appear at most once.")
			continue
		}
		errs[i] = b.alter(ctx, a)
	}
	return errs
}

// alter changes the settings of one resource and waits until they are in force here.
func (b *Broker) alter(ctx context.Context, a *alteration) error {
	if err := a.checkForm(); err != nil {
		return err
	}
	kind, name, err := b.alterable(a)
	if err != nil {
		return err
	}
	if _, err := a.apply(b.snap().Configs(kind, name)); err != nil {
		return err // a wrong value is told before a topic that is not there
	}
	if kind == meta.TopicConfigs && b.snap().Topic(name) == nil {
		return explain(kerr.UnknownTopicOrPartition, "The topic '%s' does not exist.", name)
	}
	if a.validateOnly {
		return nil
	}
	rev, err := b.meta.SetConfigs(ctx, kind, name, a.apply)
	if err != nil {
		return err
	}
	b.log.Info("settings changed", "resource", a.kind, "name", a.name, "settings", a.words())
	return b.waitApplied(ctx, rev)
}

// checkForm says what is wrong with the changes whatever their settings are.
func (a *alteration) checkForm() error {
	named := map[string]bool{}
	for _, c := range a.changes {
		if named[c.name] {
			return explain(kerr.InvalidRequest, "Error due to duplicate config keys: %s", c.name)
		}
		named[c.name] = true
	}
	for _, c := range a.changes {
		if c.value == nil && c.op != kmsg.IncrementalAlterConfigOpDelete {
			return explain(kerr.InvalidRequest, "Null value not supported for : %s", c.name)
		}
	}
	return nil
}

// alterable finds where the settings of a resource are kept.
func (b *Broker) alterable(a *alteration) (meta.ConfigKind, string, error) {
	switch a.kind {
	case kmsg.ConfigResourceTypeTopic:
		if a.name == "" {
			return "", "", explain(kerr.InvalidRequest, "Default topic resources are not allowed.")
		}
		return meta.TopicConfigs, a.name, checkTopicName(a.name)
	case kmsg.ConfigResourceTypeBroker:
		if a.name == "" {
			return meta.BrokerConfigs, allBrokers, nil
		}
		return meta.BrokerConfigs, a.name, b.checkBrokerName(a.name, "Node")
	}
	return "", "", explain(kerr.InvalidRequest, "Unsupported resource type: %d", a.kind)
}

// allBrokers is the key of settings that hold for every broker.
const allBrokers = "default"

// apply returns the settings after the change, or what is wrong with it. old is
// not changed.
func (a *alteration) apply(old map[string]string) (map[string]string, error) {
	if err := a.checkReadOnly(); err != nil {
		return nil, err
	}
	next := map[string]string{}
	if !a.replace {
		maps.Copy(next, old)
	}
	set := map[string]string{}
	for _, c := range a.changes {
		if c.op == kmsg.IncrementalAlterConfigOpDelete { // of what nobody knows, too
			delete(next, c.name)
			continue
		}
		value, err := c.result(a, next)
		if err != nil {
			return nil, err
		}
		set[c.name] = value
	}
	if err := checkSettings(set, a.find()); err != nil {
		return nil, explain(kerr.InvalidConfig, "%s", err)
	}
	maps.Copy(next, set)
	return next, nil
}

// find is how a setting of the resource is found by its name.
func (a *alteration) find() func(string) (settingRow, error) {
	if a.kind == kmsg.ConfigResourceTypeTopic {
		return topicSettingFor
	}
	return brokerSettingFor
}

// checkReadOnly refuses settings of brokers that do not change while they run,
// or not for one of them alone. They may be deleted: they are not there.
func (a *alteration) checkReadOnly() error {
	if a.kind != kmsg.ConfigResourceTypeBroker {
		return nil
	}
	var fixed []string
	for _, c := range a.changes {
		if c.op == kmsg.IncrementalAlterConfigOpDelete {
			continue
		}
		row := brokerSetting(c.name)
		if _, coarse := coarseSettingNamed(c.name); coarse || identityNamed(c.name) || row != nil && row.readOnly() {
			fixed = append(fixed, c.name)
		}
		if a.name != "" && row != nil && row.everywhere() {
			return explain(kerr.InvalidConfig, "Broker-level %s cannot be altered: set it for all brokers, or on topics.", c.name)
		}
	}
	if len(fixed) > 0 {
		slices.Sort(fixed)
		return explain(kerr.InvalidRequest, "Cannot update these configs dynamically: Set(%s)", strings.Join(fixed, ", "))
	}
	return nil
}

// result is the value of a setting after a change that sets it.
func (c *configChange) result(a *alteration, old map[string]string) (string, error) {
	switch c.op {
	case kmsg.IncrementalAlterConfigOpSet:
		return *c.value, nil
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
	default:
		return "", explain(kerr.InvalidRequest, "Unknown operation %d for %s", c.op, c.name)
	}
	row, err := a.find()(c.name)
	if err != nil {
		return "", explain(kerr.InvalidConfig, "%s", err)
	}
	if row.configType() != kmsg.ConfigTypeList {
		return "", explain(kerr.InvalidConfig, "Can't %s to key %s because its type is not LIST.", strings.ToUpper(c.op.String()), c.name)
	}
	had, ok := old[c.name]
	if !ok {
		had = row.defaultText()
	}
	words := splitList(had)
	for _, w := range splitList(*c.value) {
		words = slices.DeleteFunc(words, func(have string) bool { return have == w })
		if c.op == kmsg.IncrementalAlterConfigOpAppend {
			words = append(words, w)
		}
	}
	return strings.Join(words, ","), nil
}

// splitList takes a list apart; an empty text is an empty list.
func splitList(text string) []string {
	var words []string
	for w := range strings.SplitSeq(text, ",") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return words
}

// words is what is changed, for the log.
func (a *alteration) words() []string {
	var words []string
	for _, c := range a.changes {
		if c.value == nil || c.op == kmsg.IncrementalAlterConfigOpDelete {
			words = append(words, c.name+" deleted")
		} else {
			words = append(words, c.name+"="+*c.value)
		}
	}
	return words
}
