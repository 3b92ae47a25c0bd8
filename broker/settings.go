package broker

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// setting is one declaration of a setting. Everything walks the tables of them:
// CreateTopics, DescribeConfigs, AlterConfigs, the config file, the docs, typed
// reads.
type setting[T any] struct {
	name    string // as topics call it; "" for one that only brokers have
	broker  string // as brokers call it, for a topic's the default of all topics; "" for one that only topics have
	def     T
	typ     kmsg.ConfigType
	fixed   bool // read at the start: not changed while the broker runs
	uniform bool // the same on all brokers: not changed for one of them
	parse   func(string) (T, error)
	doc     string
}

// settingRow is a setting without its type.
type settingRow interface {
	topicKey() string               // its name on topics, "" when they do not have it
	brokerKey() string              // its name on brokers, "" when they do not have it
	readOnly() bool                 // not to be changed while the broker runs
	everywhere() bool               // not to be changed for one broker alone
	check(name, value string) error // what is wrong with a value; name is what the caller calls the setting
	defaultText() string            // its value where nobody set it
	configType() kmsg.ConfigType    // for clients
	help() string                   // for people
}

func (s *setting[T]) topicKey() string            { return s.name }
func (s *setting[T]) brokerKey() string           { return s.broker }
func (s *setting[T]) readOnly() bool              { return s.fixed }
func (s *setting[T]) everywhere() bool            { return s.uniform }
func (s *setting[T]) configType() kmsg.ConfigType { return s.typ }
func (s *setting[T]) help() string                { return s.doc }

// defaultText writes large fractions as Kafka does: 1.79E308.
func (s *setting[T]) defaultText() string { return strings.Replace(fmt.Sprint(s.def), "e+", "E", 1) }

func (s *setting[T]) check(name, value string) error {
	if _, err := s.parse(value); err != nil {
		return invalid("Invalid value %s for configuration %s: %s", value, name, err)
	}
	return nil
}

// of reads the setting as brokers have it. Values were checked when they were
// set; one that a person wrote into the metadata by hand counts as not there.
func (s *setting[T]) of(brokers map[string]string) T {
	if text, ok := brokers[s.broker]; ok {
		if v, err := s.parse(text); err == nil {
			return v
		}
	}
	return s.def
}

// ofTopic reads the setting as a topic has it: its own, else its brokers'.
func (s *setting[T]) ofTopic(topic, brokers map[string]string) T {
	if text, ok := topic[s.name]; ok {
		if v, err := s.parse(text); err == nil {
			return v
		}
	}
	return s.of(brokers)
}

// invalidError is what is wrong with a setting, in Kafka's words where it has some.
type invalidError string

func (e invalidError) Error() string { return string(e) }

func invalid(format string, args ...any) error { return invalidError(fmt.Sprintf(format, args...)) }

// long parses a 64-bit number with bounds, both inclusive.
func long(low, high int64) func(string) (int64, error) { return number("LONG", 64, low, high) }

// integer parses a 32-bit number with bounds, both inclusive.
func integer(low, high int64) func(string) (int64, error) { return number("INT", 32, low, high) }

func number(kind string, bits int, low, high int64) func(string) (int64, error) {
	return func(text string) (int64, error) {
		v, err := strconv.ParseInt(strings.TrimSpace(text), 10, bits)
		switch {
		case err != nil:
			return 0, invalid("Not a number of type %s", kind)
		case v < low:
			return 0, invalid("Value must be at least %d", low)
		case v > high:
			return 0, invalid("Value must be no more than %d", high)
		}
		return v, nil
	}
}

// longest is the largest number that a setting can have; most stand for "never".
const longest = math.MaxInt64

// lasting is a setting as a time: what is more than a time can be is the longest one.
func lasting(n int64, unit time.Duration) time.Duration {
	return time.Duration(min(n, longest/int64(unit))) * unit
}

func boolean(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, invalid("Expected value to be either true or false")
}

// oneOf parses one of a few words.
func oneOf(words ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		text = strings.TrimSpace(text)
		if !slices.Contains(words, text) {
			return "", invalid("String must be one of: %s", strings.Join(words, ", "))
		}
		return text, nil
	}
}

// only takes one value, of the several that Kafka knows: what happens here
// anyway. why says so.
func only(value, why string) func(string) (string, error) {
	return func(text string) (string, error) {
		if text = strings.ToLower(strings.TrimSpace(text)); text != value {
			return "", invalid("Only %s is supported: %s", value, why)
		}
		return text, nil
	}
}

// decimal parses a number with bounds, both inclusive.
func decimal(low, high float64) func(string) (float64, error) {
	return func(text string) (float64, error) {
		v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		switch {
		case err != nil || math.IsNaN(v):
			return 0, invalid("Not a number of type DOUBLE")
		case v < low:
			return 0, invalid("Value must be at least %v", low)
		case v > high:
			return 0, invalid("Value must be no more than %v", high)
		}
		return v, nil
	}
}

// cleanup is what becomes of old segments.
type cleanup struct{ drop, compact bool }

func (c cleanup) compactOnly() bool { return c == cleanup{compact: true} }

func (c cleanup) String() string {
	switch c {
	case cleanup{drop: true}:
		return "delete"
	case cleanup{compact: true}:
		return "compact"
	case cleanup{true, true}:
		return "compact,delete"
	}
	return ""
}

// policies parses a list of cleanup policies. An empty one drops nothing.
func policies(text string) (cleanup, error) {
	var c cleanup
	for word := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(word) {
		case "delete":
			c.drop = true
		case "compact":
			c.compact = true
		case "":
		default:
			return c, invalid("String must be one of: compact, delete")
		}
	}
	return c, nil
}

// topicSetting finds a setting by the name that topics have for it.
func topicSetting(name string) settingRow {
	return findSetting(name, settingRow.topicKey)
}

// brokerSetting finds a setting by the name that brokers have for it.
func brokerSetting(name string) settingRow {
	return findSetting(name, settingRow.brokerKey)
}

func findSetting(name string, key func(settingRow) string) settingRow {
	for _, s := range settingTable {
		if name != "" && key(s) == name {
			return s
		}
	}
	return nil
}

// topicSettingFor is topicSetting, or an error that names what would do.
func topicSettingFor(name string) (settingRow, error) {
	if s := topicSetting(name); s != nil {
		return s, nil
	}
	if why, known := refusedTopicSettings[name]; known {
		return nil, invalid("Topic config %s is not supported: %s", name, why)
	}
	return nil, invalid("Unknown topic config name: %s", name)
}

// brokerSettingFor is brokerSetting, or an error that names what would do.
func brokerSettingFor(name string) (settingRow, error) {
	if s := brokerSetting(name); s != nil {
		return s, nil
	}
	if IgnoredSetting(name) {
		return nil, invalid("Broker config %s has no meaning here", name)
	}
	return nil, invalid("Unknown broker config name: %s%s", name, didYouMean(name))
}
