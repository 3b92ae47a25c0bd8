package broker

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerSettings are the settings of this broker, by their broker names: what it
// was started with, and over that what was changed since, for all brokers and
// for this one. State: an atomic pointer to an immutable value; one goroutine
// changes it.
type brokerSettings struct {
	static map[string]string       // brought to the finest units
	given  map[string]settingGiven // those that came in a coarser unit
	now    atomic.Pointer[settingLayers]
	count  atomic.Int64
}

// settingGiven is a setting as the file or the command line has it.
type settingGiven struct{ name, value string }

// settingLayers are the settings in force and where they come from.
type settingLayers struct {
	own, defaults map[string]string // changed for this broker, and for all
	effective     map[string]string // those over the static ones
}

// newBrokerSettings checks and takes the static settings. Those that Kafka has in
// several units come down to the one in the table: the smallest unit wins, as in
// Kafka.
func newBrokerSettings(given map[string]string) (*brokerSettings, error) {
	b := &brokerSettings{static: map[string]string{}, given: map[string]settingGiven{}}
	maps.Copy(b.static, given)
	for _, c := range slices.Backward(coarseSettings[:]) { // a finer one comes later and wins
		value, ok := b.static[c.name]
		if !ok {
			continue
		}
		fine, err := c.check(value)
		if err != nil {
			return nil, err
		}
		delete(b.static, c.name)
		if _, ok := given[c.fine]; !ok {
			b.static[c.fine], b.given[c.fine] = fine, settingGiven{c.name, value}
		}
	}
	if err := checkSettings(b.static, brokerSettingFor); err != nil {
		return nil, err
	}
	b.now.Store(&settingLayers{effective: b.static})
	return b, nil
}

// effective are the settings in force.
func (b *brokerSettings) effective() map[string]string { return b.now.Load().effective }

// version changes with every change of effective.
func (b *brokerSettings) version() int64 { return b.count.Load() }

// setDynamic takes what the metadata says: for all brokers, and for this one.
// What a person wrote there by hand and is wrong does not count; it is returned
// when something changed.
func (b *brokerSettings) setDynamic(defaults, own map[string]string) (wrong []string) {
	next := &settingLayers{own: sound(own, brokerSetting), defaults: sound(defaults, brokerSetting)}
	if old := b.now.Load(); maps.Equal(old.defaults, next.defaults) && maps.Equal(old.own, next.own) {
		return nil
	}
	next.effective = maps.Clone(b.static)
	maps.Copy(next.effective, next.defaults)
	maps.Copy(next.effective, next.own)
	b.now.Store(next)
	b.count.Add(1)
	return append(unsound(defaults, brokerSetting), unsound(own, brokerSetting)...)
}

// unsound are the unknown names and wrong values in configs.
func unsound(configs map[string]string, find func(string) settingRow) []string {
	var wrong []string
	for name, value := range configs {
		if row := find(name); row == nil || row.check(name, value) != nil {
			wrong = append(wrong, name)
		}
	}
	return wrong
}

// sound is configs without what is unsound; configs itself, which is not to be
// changed, when it is all sound.
func sound(configs map[string]string, find func(string) settingRow) map[string]string {
	wrong := unsound(configs, find)
	if len(wrong) == 0 {
		return configs
	}
	configs = maps.Clone(configs)
	for _, name := range wrong {
		delete(configs, name)
	}
	return configs
}

// settingSource is a value that a setting has somewhere.
type settingSource struct {
	name, value string
	source      kmsg.ConfigSource
}

// sources are the values that a setting of this broker has, the one in force first.
func (b *brokerSettings) sources(row settingRow) []settingSource {
	name, now := row.brokerKey(), b.now.Load()
	var found []settingSource
	add := func(configs map[string]string, source kmsg.ConfigSource) {
		if value, ok := configs[name]; ok && name != "" {
			found = append(found, settingSource{name, value, source})
		}
	}
	add(now.own, kmsg.ConfigSourceDynamicBrokerConfig)
	add(now.defaults, kmsg.ConfigSourceDynamicDefaultBrokerConfig)
	if g, ok := b.given[name]; ok {
		found = append(found, settingSource{g.name, g.value, kmsg.ConfigSourceStaticBrokerConfig})
	} else {
		add(b.static, kmsg.ConfigSourceStaticBrokerConfig)
	}
	if name == "" {
		name = row.topicKey()
	}
	return append(found, settingSource{name, row.defaultText(), kmsg.ConfigSourceDefaultConfig})
}
