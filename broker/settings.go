package broker

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// setting is one declaration of a setting. Everything walks the table of them:
// CreateTopics, DescribeConfigs, AlterConfigs, the config file, the docs, typed
// reads.
type setting[T any] struct {
	name   string // of a topic setting, or of one that only brokers have
	broker string // the broker-wide default of a topic setting; "" where there is none
	def    T
	typ    kmsg.ConfigType
	fixed  bool // read at the start: not changed while the broker runs
	parse  func(string) (T, error)
	doc    string
}

// settingRow is a setting without its type.
type settingRow interface {
	key() string        // its name
	brokerKey() string  // its name in the configuration of a broker
	onTopics() bool     // topics may override it
	readOnly() bool     // not to be changed while the broker runs
	check(string) error // what is wrong with a value
	defaultText() string
	configType() kmsg.ConfigType
	help() string
}

func (s *setting[T]) key() string                 { return s.name }
func (s *setting[T]) onTopics() bool              { return s.broker != "" }
func (s *setting[T]) readOnly() bool              { return s.fixed }
func (s *setting[T]) configType() kmsg.ConfigType { return s.typ }
func (s *setting[T]) help() string                { return s.doc }
func (s *setting[T]) defaultText() string         { return fmt.Sprint(s.def) }

func (s *setting[T]) brokerKey() string {
	if s.broker != "" {
		return s.broker
	}
	return s.name
}

func (s *setting[T]) check(value string) error {
	if _, err := s.parse(value); err != nil {
		return fmt.Errorf("invalid value %s for configuration %s: %w", value, s.name, err)
	}
	return nil
}

// of reads the setting as brokers have it.
func (s *setting[T]) of(configs map[string]string) T {
	return s.read(configs[s.brokerKey()])
}

// ofTopic reads the setting as a topic has it: its own, else its brokers'.
func (s *setting[T]) ofTopic(topic, brokers map[string]string) T {
	if v, ok := topic[s.name]; ok {
		return s.read(v)
	}
	return s.of(brokers)
}

// read parses a value that was checked when it was set; one that a person wrote
// into the metadata by hand counts as the default.
func (s *setting[T]) read(text string) T {
	if text == "" {
		return s.def
	}
	v, err := s.parse(text)
	if err != nil {
		return s.def
	}
	return v
}

// between parses a number with bounds.
func between(low, high int64) func(string) (int64, error) {
	return func(text string) (int64, error) {
		v, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		switch {
		case err != nil:
			return 0, errors.New("not a number of type LONG")
		case v < low:
			return 0, fmt.Errorf("value must be at least %d", low)
		case v > high:
			return 0, fmt.Errorf("value must be no more than %d", high)
		}
		return v, nil
	}
}

func atLeast(low int64) func(string) (int64, error) { return between(low, math.MaxInt64) }

func boolean(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("expected value to be either true or false")
}

// oneOf parses a word of a list; refused says why other words that Kafka knows
// are not taken.
func oneOf(refused string, words ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		text = strings.TrimSpace(text)
		if slices.Contains(words, text) {
			return text, nil
		}
		return "", fmt.Errorf("string must be one of: %s%s", strings.Join(words, ", "), refused)
	}
}

// topicSetting finds a setting that topics may override.
func topicSetting(name string) settingRow {
	for _, s := range settingTable {
		if s.onTopics() && s.key() == name {
			return s
		}
	}
	return nil
}

// brokerSetting finds a setting by the name that brokers have for it.
func brokerSetting(name string) settingRow {
	for _, s := range settingTable {
		if s.brokerKey() == name {
			return s
		}
	}
	return nil
}

// brokerSettings are the settings of this broker: what it was started with, and
// over that what was changed since, for all brokers and for this one. State: an
// atomic pointer to an immutable map; mu serializes writers.
type brokerSettings struct {
	static map[string]string

	mu       sync.Mutex
	defaults map[string]string // guarded by mu
	own      map[string]string // guarded by mu
	merged   atomic.Pointer[map[string]string]
	count    atomic.Int64
}

// newBrokerSettings checks and takes the static settings.
func newBrokerSettings(static map[string]string) (*brokerSettings, error) {
	normal, err := normalize(static)
	if err != nil {
		return nil, err
	}
	b := &brokerSettings{static: normal}
	b.merged.Store(&normal)
	return b, nil
}

// normalize brings settings that Kafka has in several units to the one that is
// in the table: the smallest unit wins, as in Kafka.
func normalize(static map[string]string) (map[string]string, error) {
	normal := maps.Clone(static)
	if normal == nil {
		normal = map[string]string{}
	}
	for _, u := range coarser {
		text, ok := normal[u.name]
		delete(normal, u.name)
		if _, finer := normal[u.fine]; !ok || finer {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s=%s: not a number", u.name, text)
		}
		if n > 0 {
			n *= u.factor
		}
		normal[u.fine] = strconv.FormatInt(n, 10)
	}
	for _, name := range slices.Sorted(maps.Keys(normal)) {
		s := brokerSetting(name)
		if s == nil {
			return nil, fmt.Errorf("unknown setting %s%s", name, didYouMean(name))
		}
		if err := s.check(normal[name]); err != nil {
			return nil, err
		}
	}
	return normal, nil
}

func didYouMean(name string) string {
	if near := NearestSetting(name); near != "" {
		return ": did you mean " + near + "?"
	}
	return ""
}

// effective are the settings in force, by their broker names.
func (b *brokerSettings) effective() map[string]string { return *b.merged.Load() }

// version changes with every change of effective.
func (b *brokerSettings) version() int64 { return b.count.Load() }

// setDynamic takes what the metadata says: for all brokers, and for this one.
func (b *brokerSettings) setDynamic(defaults, own map[string]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if maps.Equal(b.defaults, defaults) && maps.Equal(b.own, own) {
		return
	}
	b.defaults, b.own = defaults, own
	merged := maps.Clone(b.static)
	maps.Copy(merged, defaults)
	maps.Copy(merged, own)
	b.merged.Store(&merged)
	b.count.Add(1)
}

// layers are the sources of settings, the strongest first.
func (b *brokerSettings) layers() (own, defaults, static map[string]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.own, b.defaults, b.static
}

// CheckSetting says what is wrong with a broker setting, nil when nothing is.
func CheckSetting(name, value string) error {
	_, err := normalize(map[string]string{name: value})
	return err
}

// KnownSetting reports whether a broker setting is enforced here.
func KnownSetting(name string) bool {
	return brokerSetting(name) != nil || slices.ContainsFunc(coarser[:], func(u coarseUnit) bool { return u.name == name })
}

// IgnoredSetting reports whether Kafka knows a broker setting that has no meaning
// here: a server.properties that has it is taken all the same.
func IgnoredSetting(name string) bool {
	for _, pattern := range ignoredSettings {
		if before, after, wild := strings.Cut(pattern, "*"); wild {
			if strings.HasPrefix(name, before) && strings.HasSuffix(name, after) && len(name) >= len(before)+len(after) {
				return true
			}
		} else if name == pattern {
			return true
		}
	}
	return false
}

// NearestSetting is the known setting whose name is most like name, "" when none is.
func NearestSetting(name string) string {
	best, least := "", len(name)/3+1
	for _, s := range settingTable {
		if d := editDistance(name, s.brokerKey()); d < least {
			best, least = s.brokerKey(), d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete or replace.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
