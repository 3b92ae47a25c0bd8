package meta

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

const (
	prefix        = "/chronik/"
	clusterKey    = prefix + "cluster"
	controllerKey = prefix + "controller"
	producersKey  = prefix + "producers"
	brokersPrefix = prefix + "brokers/"
	livePrefix    = prefix + "live/"
	topicsPrefix  = prefix + "topics/"
	configsPrefix = prefix + "configs/"
)

// MaxPartitions is how many partitions a topic has at most: a key that a person
// typed must not make a node allocate without bound.
const MaxPartitions = 10_000

// maxTopicName is how many bytes a topic name has at most, as in Kafka.
const maxTopicName = 249

// ConfigKind says whose settings they are.
type ConfigKind string

// The kinds of settings.
const (
	TopicConfigs  ConfigKind = "topics"
	BrokerConfigs ConfigKind = "brokers"
	GroupConfigs  ConfigKind = "groups"
)

// key is a key of the keyspace, taken apart. Comparable.
type key struct {
	kind    keyKind
	name    string     // of the topic or of what has settings
	number  int32      // broker id or partition
	configs ConfigKind // with configsKind
}

type keyKind uint8

const (
	unknownKind keyKind = iota // another's, or of a later build: nobody reads it here
	clusterKind
	controllerKind
	brokerKind
	liveKind
	topicKind
	partitionKind
	configsKind
)

func brokerKey(id int32) string    { return brokersPrefix + strconv.Itoa(int(id)) }
func liveKey(id int32) string      { return livePrefix + strconv.Itoa(int(id)) }
func topicKey(name string) string  { return topicsPrefix + name }
func partitionsOf(t string) string { return topicsPrefix + t + "/" }

func partitionKey(topic string, n int) string { return partitionsOf(topic) + strconv.Itoa(n) }

// partitionRange is where a topic's partitions lie: a bare prefix would take in
// topics whose names go on, since '-' and '.' sort before '/'.
func partitionRange(topic string) (from, to string) {
	return partitionsOf(topic), topicsPrefix + topic + "0"
}

// configsKey escapes the name: group ids may hold a slash.
func configsKey(kind ConfigKind, name string) string {
	return configsPrefix + string(kind) + "/" + url.PathEscape(name)
}

func (k key) String() string {
	switch k.kind {
	case clusterKind:
		return clusterKey
	case controllerKind:
		return controllerKey
	case brokerKind:
		return brokerKey(k.number)
	case liveKind:
		return liveKey(k.number)
	case topicKind:
		return topicKey(k.name)
	case partitionKind:
		return partitionKey(k.name, int(k.number))
	case configsKind:
		return configsKey(k.configs, k.name)
	}
	return ""
}

// parseKey takes a key apart. One that is not exactly as a node would write it is
// an error: two keys must not mean the same thing.
func parseKey(text string) (k key, err error) {
	family, rest, hasRest := strings.Cut(strings.TrimPrefix(text, prefix), "/")
	switch {
	case family == "cluster" && !hasRest:
		k = key{kind: clusterKind}
	case family == "controller" && !hasRest:
		k = key{kind: controllerKind}
	case family == "brokers" && hasRest:
		k, err = numbered(brokerKind, "", rest)
	case family == "live" && hasRest:
		k, err = numbered(liveKind, "", rest)
	case family == "topics" && hasRest:
		k, err = parseTopicKey(rest)
	case family == "configs" && hasRest:
		k, err = parseConfigsKey(rest)
	default:
		return key{}, nil
	}
	if err == nil && k.kind != unknownKind && k.String() != text {
		err = errors.New("not the usual way to write this key")
	}
	return k, err
}

func parseTopicKey(rest string) (key, error) {
	name, number, isPartition := strings.Cut(rest, "/")
	if err := checkTopicName(name); err != nil {
		return key{}, err
	}
	if !isPartition {
		return key{kind: topicKind, name: name}, nil
	}
	k, err := numbered(partitionKind, name, number)
	if err == nil && k.number >= MaxPartitions {
		err = fmt.Errorf("partition %d: a topic has at most %d", k.number, MaxPartitions)
	}
	return k, err
}

func parseConfigsKey(rest string) (key, error) {
	kind, escaped, _ := strings.Cut(rest, "/")
	name, err := url.PathUnescape(escaped)
	k := key{kind: configsKind, name: name, configs: ConfigKind(kind)}
	switch {
	case err != nil:
		return k, err
	case name == "":
		return k, errors.New("settings of nothing")
	case k.configs == TopicConfigs:
		return k, checkTopicName(name)
	case k.configs != BrokerConfigs && k.configs != GroupConfigs:
		return key{}, nil
	}
	return k, nil
}

func numbered(kind keyKind, name, number string) (key, error) {
	n, err := strconv.ParseInt(number, 10, 32)
	if err == nil && n < 0 {
		err = fmt.Errorf("%d is negative", n)
	}
	return key{kind: kind, name: name, number: int32(n)}, err
}

// checkTopicName holds a name to Kafka's rule: 1 to 249 of a-z A-Z 0-9 . _ -,
// and neither "." nor "..".
func checkTopicName(name string) error {
	bad := name == "" || name == "." || name == ".." || len(name) > maxTopicName
	for i := 0; i < len(name) && !bad; i++ {
		c := name[i]
		bad = (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
	}
	if bad {
		return fmt.Errorf("no topic name: %.300q", name)
	}
	return nil
}
