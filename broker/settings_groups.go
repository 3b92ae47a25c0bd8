package broker

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/broker/group"
)

// The settings of consumer groups and of the topic of their offsets.
var (
	groupInitialDelayMs = &setting[int64]{
		broker: "group.initial.rebalance.delay.ms", def: 0, typ: typeInt, parse: integer(0, math.MaxInt32),
		doc: "How long the first rebalance of an empty group waits for more members, in ms.",
	}
	groupMaxSessionMs = &setting[int64]{
		broker: "group.max.session.timeout.ms", def: 30 * 60 * 1000, typ: typeInt, parse: integer(1, math.MaxInt32),
		doc: "The longest session timeout that a member of a group may ask for, in ms.",
	}
	groupMaxSize = &setting[int64]{
		broker: "group.max.size", def: math.MaxInt32, typ: typeInt, parse: integer(1, math.MaxInt32),
		doc: "The most members of a group.",
	}
	groupMinSessionMs = &setting[int64]{
		broker: "group.min.session.timeout.ms", def: 6000, typ: typeInt, parse: integer(1, math.MaxInt32),
		doc: "The shortest session timeout that a member of a group may ask for, in ms.",
	}
	offsetMetadataMaxBytes = &setting[int64]{
		broker: "offset.metadata.max.bytes", def: 4096, typ: typeInt, parse: integer(0, math.MaxInt32),
		doc: "The longest text that may come with a committed offset.",
	}
	offsetsRetentionCheckMs = &setting[int64]{
		broker: "offsets.retention.check.interval.ms", def: 10 * 60 * 1000, typ: typeLong, parse: long(1, longest),
		doc: "How often it is looked for committed offsets that expired, in ms.",
	}
	offsetsRetentionMinutes = &setting[int64]{
		broker: "offsets.retention.minutes", def: 7 * 24 * 60, typ: typeInt, parse: integer(1, math.MaxInt32),
		doc: "How long committed offsets are kept after their group lost its last member, or of a consumer without a group after the commit, in minutes.",
	}
	offsetsPartitions = &setting[int64]{
		broker: "offsets.topic.num.partitions", def: 50, typ: typeInt, fixed: true, parse: integer(1, 10_000),
		doc: "The partitions of __consumer_offsets, when it is created.",
	}
	offsetsReplicationFactor = &setting[int64]{
		broker: "offsets.topic.replication.factor", def: 3, typ: kmsg.ConfigTypeShort, fixed: true, parse: integer(1, math.MaxInt16),
		doc: "The replicas of __consumer_offsets, which is created once so many brokers are registered; by default never more than the cluster has brokers.",
	}
	offsetsSegmentBytes = &setting[int64]{
		broker: "offsets.topic.segment.bytes", def: 64 << 20, typ: typeInt, fixed: true, parse: integer(1<<20, 1<<30),
		doc: "The segment.bytes of __consumer_offsets, when it is created.",
	}
)

// groupSettings are the settings that groups are held against, with the version of
// the settings that they were read from.
type groupSettings struct {
	version int64
	config  group.Config
}

// groupConfig are the settings that groups are held against.
func (b *Broker) groupConfig() *group.Config {
	version := b.settings.version()
	if now := b.groups.settings.Load(); now != nil && now.version == version {
		return &now.config
	}
	brokers := b.brokerConfigs()
	ms := func(s *setting[int64]) time.Duration { return lasting(s.of(brokers), time.Millisecond) }
	now := &groupSettings{version: version, config: group.Config{
		MinSession: ms(groupMinSessionMs), MaxSession: ms(groupMaxSessionMs), InitialDelay: ms(groupInitialDelayMs),
		MaxSize: int(groupMaxSize.of(brokers)), MaxMetadata: int(offsetMetadataMaxBytes.of(brokers)),
		Retention:      lasting(offsetsRetentionMinutes.of(brokers), time.Minute),
		RetentionCheck: ms(offsetsRetentionCheckMs),
	}}
	b.groups.settings.Store(now)
	return &now.config
}
