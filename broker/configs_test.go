package broker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	opSet = iota
	opDelete
	opAppend
	opSubtract
)

func TestAlterationApplies(t *testing.T) {
	topic, broker := kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	for _, c := range []struct {
		name   string
		kind   kmsg.ConfigResourceType
		target string
		op     kmsg.IncrementalAlterConfigOp
		config string
		value  string
		want   string // of the setting, "-" when it is gone
		err    *kerr.Error
		text   string
	}{
		{"set", topic, "t", opSet, "retention.ms", "5", "5", nil, ""},
		{"set again", topic, "t", opSet, "max.message.bytes", "5", "5", nil, ""},
		{"delete", topic, "t", opDelete, "max.message.bytes", "ignored", "-", nil, ""},
		{"delete what is not set", topic, "t", opDelete, "retention.ms", "", "-", nil, ""},
		{"delete what nobody knows", topic, "t", opDelete, "by.hand", "", "-", nil, ""},
		{"append", topic, "t", opAppend, "cleanup.policy", "delete", "delete", nil, ""},
		{"append what is refused", topic, "t", opAppend, "cleanup.policy", "shred", "", kerr.InvalidConfig, "Invalid value delete,shred for configuration cleanup.policy"},
		{"subtract", topic, "t", opSubtract, "cleanup.policy", "delete", "", nil, ""},
		{"subtract what is not there", topic, "t", opSubtract, "cleanup.policy", "compact", "delete", nil, ""},
		{"append to a number", topic, "t", opAppend, "retention.ms", "5", "", kerr.InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST."},
		{"append to the unknown", topic, "t", opAppend, "no.such", "5", "", kerr.InvalidConfig, "Unknown topic config name: no.such"},
		{"unknown", topic, "t", opSet, "no.such", "5", "", kerr.InvalidConfig, "Unknown topic config name: no.such"},
		{"wrong", topic, "t", opSet, "retention.ms", "x", "", kerr.InvalidConfig, "Invalid value x for configuration retention.ms: Not a number of type LONG"},
		{"no operation", topic, "t", 9, "retention.ms", "5", "", kerr.InvalidRequest, "Unknown operation 9 for retention.ms"},
		{"a broker", broker, "1", opSet, "log.retention.ms", "5", "5", nil, ""},
		{"a broker, wrong", broker, "1", opSet, "log.retention.ms", "x", "", kerr.InvalidConfig, "Invalid value x for configuration log.retention.ms"},
		{"a broker, read-only", broker, "1", opSet, "num.partitions", "5", "", kerr.InvalidRequest, "Cannot update these configs dynamically: Set(num.partitions)"},
		{"all brokers, read-only", broker, "", opSet, "log.retention.hours", "5", "", kerr.InvalidRequest, "Cannot update these configs dynamically: Set(log.retention.hours)"},
		{"a node's own, read-only", broker, "1", opSet, "node.id", "5", "", kerr.InvalidRequest, "Cannot update these configs dynamically: Set(node.id)"},
		{"delete what is read-only", broker, "1", opDelete, "num.partitions", "", "-", nil, ""},
		{"one broker apart", broker, "1", opSet, "min.insync.replicas", "2", "", kerr.InvalidConfig, "Broker-level min.insync.replicas cannot be altered"},
		{"all brokers alike", broker, "", opSet, "min.insync.replicas", "2", "2", nil, ""},
		{"a topic's name", broker, "1", opSet, "retention.ms", "2", "", kerr.InvalidConfig, "did you mean log.retention.ms?"},
		{"without meaning", broker, "1", opSet, "num.io.threads", "2", "", kerr.InvalidConfig, "num.io.threads has no meaning here"},
	} {
		a := alteration{kind: c.kind, name: c.target, changes: []configChange{{c.config, c.op, &c.value}}}
		old := map[string]string{"max.message.bytes": "1", "by.hand": "x"}
		next, err := a.apply(old)
		if len(old) != 2 || old["max.message.bytes"] != "1" {
			t.Errorf("%s: changed what is in force", c.name)
		}
		if c.err != nil {
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v, want %v: %s", c.name, err, c.err, c.text)
			}
			continue
		}
		got, ok := next[c.config]
		if !ok {
			got = "-"
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestAlterationReplaces(t *testing.T) {
	five := "5"
	a := alteration{kind: kmsg.ConfigResourceTypeTopic, name: "t", replace: true, changes: []configChange{{"retention.ms", opSet, &five}}}
	next, err := a.apply(map[string]string{"max.message.bytes": "1", "by.hand": "x"})
	if want := map[string]string{"retention.ms": "5"}; err != nil || !maps.Equal(next, want) {
		t.Errorf("%v, %v", next, err)
	}
}

// altering is an incremental change of one setting; no value deletes it.
func altering(kind kmsg.ConfigResourceType, resource, name string, value *string) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, resource
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	if c.Name, c.Value = name, value; value == nil {
		c.Op = opDelete
	}
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	return req
}

// direct sends a request to the broker, past what the client knows of requests.
func direct[P kmsg.Response](t *testing.T, cl *kgo.Client, req kmsg.Request) P {
	t.Helper()
	resp, err := cl.Broker(1).Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(P)
}

func TestAlterConfigsRefuses(t *testing.T) {
	_, cl := asked(t)
	mustCreate(t, cl, "tuned", 1)
	topic, broker := kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	five, bad := "5", "soon"
	for _, c := range []struct {
		name string
		req  *kmsg.IncrementalAlterConfigsRequest
		want *kerr.Error
		text string
	}{
		{"no topic", altering(topic, "none", "retention.ms", &five), kerr.UnknownTopicOrPartition, "The topic 'none' does not exist."},
		{"no topic, bad value", altering(topic, "none", "retention.ms", &bad), kerr.InvalidConfig, "Invalid value soon"},
		{"bad name", altering(topic, "a b", "retention.ms", &five), kerr.InvalidTopicException, "Topic name is invalid"},
		{"all topics", altering(topic, "", "retention.ms", &five), kerr.InvalidRequest, "Default topic resources are not allowed."},
		{"another broker", altering(broker, "9", "log.retention.ms", &five), kerr.InvalidRequest, "Unexpected broker id, expected 1"},
		{"no broker", altering(broker, "one", "log.retention.ms", &five), kerr.InvalidRequest, "Node id must be an integer, but it is: one"},
		{"another kind", altering(8, "1", "log", &five), kerr.InvalidRequest, "Unsupported resource type: 8"},
	} {
		for _, validate := range []bool{true, false} {
			c.req.ValidateOnly = validate
			r := direct[*kmsg.IncrementalAlterConfigsResponse](t, cl, c.req).Resources[0]
			code(t, c.name, r.ErrorCode, c.want)
			if r.ErrorMessage == nil || !strings.Contains(*r.ErrorMessage, c.text) {
				t.Errorf("%s: %v, want %q", c.name, r.ErrorMessage, c.text)
			}
		}
	}
	null := altering(topic, "tuned", "retention.ms", nil)
	null.Resources[0].Configs[0].Op = opSet
	code(t, "null", direct[*kmsg.IncrementalAlterConfigsResponse](t, cl, null).Resources[0].ErrorCode, kerr.InvalidRequest)
	twice := altering(topic, "tuned", "retention.ms", &five)
	twice.Resources[0].Configs = append(twice.Resources[0].Configs, twice.Resources[0].Configs[0])
	code(t, "a setting twice", direct[*kmsg.IncrementalAlterConfigsResponse](t, cl, twice).Resources[0].ErrorCode, kerr.InvalidRequest)
	twice = altering(topic, "tuned", "retention.ms", &five)
	twice.Resources = append(twice.Resources, twice.Resources[0])
	resp := direct[*kmsg.IncrementalAlterConfigsResponse](t, cl, twice)
	if len(resp.Resources) != 2 {
		t.Errorf("%+v", resp)
	}
	for _, r := range resp.Resources {
		code(t, "a topic twice", r.ErrorCode, kerr.InvalidRequest)
	}
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	b, cl := asked(t)
	mustCreate(t, cl, "tuned", 1)
	before := b.snap().Revision()
	five := "5"
	alter := altering(kmsg.ConfigResourceTypeTopic, "tuned", "retention.ms", &five)
	alter.ValidateOnly = true
	old := kmsg.NewPtrAlterConfigsRequest()
	old.ValidateOnly = true
	old.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "tuned"}}
	code(t, "replace", direct[*kmsg.AlterConfigsResponse](t, cl, old).Resources[0].ErrorCode, nil)
	more := kmsg.NewPtrCreatePartitionsRequest()
	more.ValidateOnly = true
	more.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "tuned", Count: 3}}
	code(t, "partitions", direct[*kmsg.CreatePartitionsResponse](t, cl, more).Topics[0].ErrorCode, nil)
	create := creating("new", 3, nil)
	create.ValidateOnly = true
	code(t, "topic", direct[*kmsg.CreateTopicsResponse](t, cl, create).Topics[0].ErrorCode, nil)
	code(t, "alter", direct[*kmsg.IncrementalAlterConfigsResponse](t, cl, alter).Resources[0].ErrorCode, nil)
	if got := b.snap(); got.Topic("new") != nil || len(got.Topic("tuned").Partitions) != 1 || len(got.Topic("tuned").Configs) != 0 {
		t.Errorf("something changed between revision %d and %d", before, got.Revision())
	}
}

// describing asks for some settings of one resource, all when none is named.
func describing(t *testing.T, cl *kgo.Client, kind kmsg.ConfigResourceType, resource string, names ...string) map[string]kmsg.DescribeConfigsResponseResourceConfig {
	t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: resource, ConfigNames: names}}
	resp := direct[*kmsg.DescribeConfigsResponse](t, cl, req)
	code(t, fmt.Sprintf("describe %s %s", kind, resource), resp.Resources[0].ErrorCode, nil)
	configs := map[string]kmsg.DescribeConfigsResponseResourceConfig{}
	for _, c := range resp.Resources[0].Configs {
		configs[c.Name] = c
	}
	return configs
}

func TestDescribeConfigsTellsTheSource(t *testing.T) {
	b, _ := started(t, t.TempDir(), map[string]string{"log.retention.hours": "24", "num.partitions": "3"})
	cl := client(t, b)
	mustCreate(t, cl, "tuned", 1)
	topic, broker := kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	words := func(c kmsg.DescribeConfigsResponseResourceConfig) string {
		if c.Value == nil {
			return c.Name + " null"
		}
		var text strings.Builder
		text.WriteString(fmt.Sprintf("%s %s", *c.Value, c.Source))
		for _, s := range c.ConfigSynonyms {
			text.WriteString(fmt.Sprintf(" | %s=%s %s", s.Name, *s.Value, s.Source))
		}
		return text.String()
	}
	all := describing(t, cl, topic, "tuned")
	if len(all) != 25 || words(all["segment.bytes"]) != "67108864 DEFAULT_CONFIG | log.segment.bytes=67108864 DEFAULT_CONFIG" {
		t.Errorf("%d settings of a topic: %s", len(all), words(all["segment.bytes"]))
	}
	hours := "86400000 STATIC_BROKER_CONFIG | log.retention.hours=24 STATIC_BROKER_CONFIG | log.retention.ms=604800000 DEFAULT_CONFIG"
	if got := words(all["retention.ms"]); got != hours {
		t.Error(got)
	}
	set := func(kind kmsg.ConfigResourceType, resource, name, value string) {
		t.Helper()
		code(t, name, direct[*kmsg.IncrementalAlterConfigsResponse](t, cl, altering(kind, resource, name, &value)).Resources[0].ErrorCode, nil)
	}
	set(broker, "1", "log.retention.ms", "5000000")
	set(broker, "", "log.retention.ms", "6000000")
	set(topic, "tuned", "retention.ms", "7000000")
	brokers := "log.retention.ms=5000000 DYNAMIC_BROKER_CONFIG | log.retention.ms=6000000 DYNAMIC_DEFAULT_BROKER_CONFIG | " +
		"log.retention.hours=24 STATIC_BROKER_CONFIG | log.retention.ms=604800000 DEFAULT_CONFIG"
	if got := words(describing(t, cl, topic, "tuned", "retention.ms")["retention.ms"]); got != "7000000 DYNAMIC_TOPIC_CONFIG | retention.ms=7000000 DYNAMIC_TOPIC_CONFIG | "+brokers {
		t.Error(got)
	}
	if got := words(describing(t, cl, broker, "1", "log.retention.ms")["log.retention.ms"]); got != "5000000 DYNAMIC_BROKER_CONFIG | "+brokers {
		t.Error(got)
	}
	if p, err := b.partition("tuned", 0); err != nil || p.log.Options().RetentionMs != 7000000 {
		t.Errorf("the log does not know: %v", err)
	}
	if got := describing(t, cl, broker, ""); len(got) != 1 || words(got["log.retention.ms"]) != "6000000 DYNAMIC_DEFAULT_BROKER_CONFIG | log.retention.ms=6000000 DYNAMIC_DEFAULT_BROKER_CONFIG" {
		t.Errorf("all brokers: %+v", got)
	}
	if c := describing(t, cl, broker, "1", "num.partitions")["num.partitions"]; !c.ReadOnly || *c.Value != "3" || c.ConfigType != kmsg.ConfigTypeInt {
		t.Errorf("%+v", c)
	}
	own := describing(t, cl, broker, "1")
	if c := own["listeners"]; !c.ReadOnly || *c.Value != "PLAINTEXT://"+b.Addr() || *own["node.id"].Value != "1" || len(own) != 58 {
		t.Errorf("%d settings of a broker: %v", len(own), slices.Sorted(maps.Keys(own)))
	}
	if got := describing(t, cl, topic, "tuned", "no.such"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
