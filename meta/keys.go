package meta

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	prefix        = "/chronik/"
	clusterKey    = prefix + "cluster"
	controllerKey = prefix + "controller"
	producersKey  = prefix + "producers"
	topicsPrefix  = prefix + "topics/"
)

// Schema is the version of the keyspace that this build reads and writes.
const Schema = 1

func brokerKey(id int32) string { return fmt.Sprintf("%sbrokers/%d", prefix, id) }
func liveKey(id int32) string   { return fmt.Sprintf("%slive/%d", prefix, id) }
func topicKey(name string) string {
	return topicsPrefix + name
}

func partitionKey(topic string, n int) string {
	return topicsPrefix + topic + "/" + strconv.Itoa(n)
}

// partitionRange is where a topic's partitions lie: a bare prefix would take in
// topics whose names go on, since '-' and '.' sort before '/'.
func partitionRange(topic string) (from, to string) {
	return topicsPrefix + topic + "/", topicsPrefix + topic + "0"
}

func configsKey(kind ConfigKind, name string) string {
	return prefix + "configs/" + string(kind) + "/" + url.PathEscape(name)
}

// splitTopic takes the part of a key behind topics/ apart; n is -1 for the topic's own key.
func splitTopic(rest string) (name string, n int, err error) {
	name, num, isPartition := strings.Cut(rest, "/")
	if !isPartition {
		return name, -1, nil
	}
	n, err = strconv.Atoi(num)
	if err == nil && (n < 0 || n >= MaxPartitions || strconv.Itoa(n) != num) {
		err = fmt.Errorf("no partition number: %q", num)
	}
	return name, n, err
}

// topicValue is the value of topics/<name>.
type topicValue struct {
	ID                string    `json:"id"`
	Partitions        int       `json:"partitions"`
	ReplicationFactor int       `json:"replicationFactor"`
	Created           time.Time `json:"created"`
}

// controllerValue is the value of controller.
type controllerValue struct {
	Broker      int32 `json:"broker"`
	BrokerEpoch int64 `json:"brokerEpoch"`
}

// EncodeID is the text form of an id, as Kafka prints it.
func EncodeID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// DecodeID reads the text form of an id.
func DecodeID(text string) (id [16]byte, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("no id: %q", text)
	}
	return [16]byte(raw), nil
}
