//go:build parity

package parity

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// leaf is one value of an answer.
type leaf struct{ path, value string }

// names gives the values that brokers choose a name by the order in which they are
// first seen, so that the same value must come back at the same places.
type names struct {
	prefix string // of the script's topics; written as $
	known  map[string]string
	count  map[string]int
}

func newNames(prefix string) *names {
	return &names{prefix: prefix, known: map[string]string{}, count: map[string]int{}}
}

func (n *names) of(kind, value string) string {
	key := kind + "=" + value
	if n.known[key] == "" {
		n.count[kind]++
		n.known[key] = fmt.Sprintf("%s#%d", kind, n.count[kind])
	}
	return n.known[key]
}

// call names a value before it is seen in an answer.
func (n *names) call(kind, value, name string) { n.known[kind+"="+value] = name }

// uuid is the part of a member's id that the broker chooses, wherever it stands.
var uuid = regexp.MustCompile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

func (n *names) short(s string) string {
	if n.prefix != "" {
		s = strings.ReplaceAll(s, n.prefix, "$")
	}
	return uuid.ReplaceAllStringFunc(s, func(id string) string { return n.of("member", id) })
}

// tree turns answers into leaves.
type tree struct {
	names    *names
	addr     string         // where the broker was dialled: it must advertise that
	mine     bool           // leave out topics and groups of other scripts
	seen     map[string]int // by path, in the answer being added
	leaves   []leaf
	messages []leaf // error messages: compared apart
}

// skipped are fields that may differ or are not of the answer.
var skipped = []string{"Version", "UnknownTags", "ThrottleMillis"}

// keys are the fields that tell the elements of a list apart, in the order tried.
var keys = []string{"Topic", "TopicID", "ResourceName", "Name", "ApiKey", "NodeID", "Partition", "PartitionIndex", "Group", "Key", "MemberID"}

func (t *tree) add(path, value string) {
	t.leaves = append(t.leaves, leaf{t.names.short(path), t.names.short(value)})
}

// answer adds a decoded response. raw is its body: what kmsg did not decode shows in
// its length.
func (t *tree) answer(path string, resp kmsg.Response, raw []byte) {
	if again := resp.AppendTo(nil); len(again) != len(raw) {
		t.add(path+"encoding", fmt.Sprintf("%+d bytes", len(raw)-len(again)))
	}
	t.seen = map[string]int{}
	t.fields(path, reflect.ValueOf(resp).Elem())
}

// ownConfigs are values that say where a broker is.
var ownConfigs = []string{"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}

func (t *tree) fields(path string, v reflect.Value) {
	if name := v.FieldByName("Name"); name.IsValid() && slices.Contains(ownConfigs, name.String()) {
		return
	}
	for i := range v.NumField() {
		field := v.Type().Field(i).Name
		if !slices.Contains(skipped, field) {
			t.value(path+field, field, v.Field(i))
		}
	}
	if tags := v.FieldByName("UnknownTags"); tags.IsValid() {
		if unknown := tags.Addr().Interface().(*kmsg.Tags); unknown.Len() > 0 {
			t.add(path+"UnknownTags", strconv.Itoa(unknown.Len()))
		}
	}
}

// value adds a field; a broker's own choices are named first, the rest goes by type.
func (t *tree) value(path, field string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() && field != "ErrorMessage" {
			t.add(path, "null")
			return
		}
		if v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
	}
	if text, ok := t.chosen(field, v); ok {
		if text != "" {
			t.add(path, text)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		t.fields(path+".", v)
	case reflect.Slice:
		t.list(path, field, v)
	case reflect.String:
		t.add(path, strconv.Quote(v.String()))
	case reflect.Pointer: // no error message
		t.messages = append(t.messages, leaf{path, "null"})
	default:
		t.add(path, fmt.Sprint(v.Interface()))
	}
	if (field == "ErrorMessage" || field == "Documentation") && v.Kind() == reflect.String {
		last := len(t.leaves) - 1
		t.messages = append(t.messages, t.leaves[last])
		t.leaves = t.leaves[:last]
	}
}

// chosen is the text of a value that the broker, the machine or the clock chooses.
func (t *tree) chosen(field string, v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case [16]byte:
		if x == [16]byte{} {
			return "no id", true
		}
		return t.names.of("id", string(x[:])), true
	case int16:
		if strings.HasSuffix(field, "ErrorCode") {
			return code(x), true
		}
	case int32:
		if field == "SessionID" && x != 0 {
			return t.names.of("session", strconv.Itoa(int(x))), true
		}
		if field == "Port" {
			return "", true // with the host
		}
	case int64:
		return t.number(field, x)
	case string:
		return t.place(field, x)
	}
	return "", false
}

func (t *tree) number(field string, x int64) (string, bool) {
	switch {
	case field == "ProducerID" && x >= 0:
		return t.names.of("producer", strconv.FormatInt(x, 10)), true
	case strings.HasSuffix(field, "Timestamp") || field == "LogAppendTime":
		if ago := time.Since(time.UnixMilli(x)); ago.Abs() < 10*time.Minute {
			return "now", true
		}
	case field == "Size" || field == "TotalBytes" || field == "UsableBytes" || field == "FinalizedFeaturesEpoch":
		if x > 0 {
			return "above 0", true
		}
	}
	return "", false
}

func (t *tree) place(field, x string) (string, bool) {
	switch field {
	case "ClusterID", "Dir":
		if x != "" {
			return "set", true
		}
	case "Host":
		return t.host(x), true
	}
	return "", false
}

func (t *tree) host(x string) string {
	if host, _, ok := strings.Cut(t.addr, ":"); ok && host == x {
		return "the dialled address"
	}
	return x
}

func code(c int16) string {
	switch err := kerr.TypedErrorForCode(c); {
	case c == 0:
		return "0"
	case err == nil:
		return fmt.Sprintf("(%d)", c)
	default:
		return fmt.Sprintf("%s(%d)", err.Message, c)
	}
}

func (t *tree) list(path, field string, v reflect.Value) {
	if raw, ok := v.Interface().([]byte); ok {
		t.bytes(path, field, raw)
		return
	}
	if v.IsNil() || v.Len() == 0 {
		t.add(path, map[bool]string{true: "none", false: "empty"}[v.IsNil()])
		return
	}
	if v.Type().Elem().Kind() != reflect.Struct {
		t.add(path, fmt.Sprintf("%v", v.Interface()))
		return
	}
	t.add(path, "some")
	t.elements(path, v)
}

func (t *tree) bytes(path, field string, raw []byte) {
	switch {
	case raw == nil:
		t.add(path, "null")
	case field == "RecordBatches":
		t.batches(path, raw)
	default:
		t.add(path, strconv.Quote(string(raw)))
	}
}

// elements adds a list of structs ordered by what they are about, since Kafka orders
// most lists by hash. Elements about the same stay in their order.
func (t *tree) elements(path string, v reflect.Value) {
	type element struct {
		key string
		v   reflect.Value
	}
	var all []element
	for i := range v.Len() {
		if e := v.Index(i); t.wanted(e) {
			all = append(all, element{t.key(e, i), e})
		}
	}
	slices.SortStableFunc(all, func(a, b element) int { return strings.Compare(a.key, b.key) })
	for _, e := range all {
		at := t.numbered(fmt.Sprintf("%s[%s]", path, e.key), e.v)
		t.add(at, "present")
		t.fields(at+".", e.v)
	}
}

// numbered tells elements about the same apart; not topics, since their partitions may
// come under one topic or under one each.
func (t *tree) numbered(at string, e reflect.Value) string {
	if e.FieldByName("Partitions").IsValid() {
		return at
	}
	if t.seen[at]++; t.seen[at] > 1 {
		return fmt.Sprintf("%s#%d", at, t.seen[at])
	}
	return at
}

// wanted is false for what other scripts made and for APIs that are not compared.
func (t *tree) wanted(e reflect.Value) bool {
	if api, ok := e.Interface().(kmsg.ApiVersionsResponseApiKey); ok {
		return comparedAPI(api.ApiKey)
	}
	if !t.mine {
		return true
	}
	if group := e.FieldByName("Group"); group.IsValid() {
		return strings.HasPrefix(group.String(), t.names.prefix)
	}
	topic := e.FieldByName("Topic")
	if topic.IsValid() && topic.Kind() == reflect.Pointer {
		topic = topic.Elem()
	}
	return !topic.IsValid() || strings.HasPrefix(topic.String(), t.names.prefix)
}

// key says what an element is about.
func (t *tree) key(e reflect.Value, index int) string {
	for _, name := range keys {
		f := e.FieldByName(name)
		if f.IsValid() && f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		if !f.IsValid() || f.Kind() == reflect.String && f.String() == "" && e.FieldByName("TopicID").IsValid() {
			continue
		}
		if text, ok := t.chosen(name, f); ok {
			return strings.TrimPrefix(text, "id of ")
		}
		return t.names.short(fmt.Sprint(f.Interface()))
	}
	return strconv.Itoa(index)
}

// comparedAPI says whether ApiVersions must agree on a key: its range is that of
// chronik's table for all that scenes exist for.
func comparedAPI(key int16) bool {
	_, ok := apis[kmsg.Key(key)]
	return ok
}
