package broker

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
)

const (
	typeBoolean = kmsg.ConfigTypeBoolean
	typeDouble  = kmsg.ConfigTypeDouble
	typeInt     = kmsg.ConfigTypeInt
	typeList    = kmsg.ConfigTypeList
	typeLong    = kmsg.ConfigTypeLong
	typeString  = kmsg.ConfigTypeString
)

const week = 7 * 24 * 3600 * 1000 // in ms

// The settings of topics, with the broker-wide names of their defaults.
var (
	cleanupPolicy = &setting[cleanup]{
		name: "cleanup.policy", broker: "log.cleanup.policy", def: cleanup{drop: true}, typ: typeList, parse: policies,
		doc: "What becomes of old segments: delete drops them by retention.ms and retention.bytes, compact keeps the last record of each key, compact,delete does both, an empty list keeps everything.",
	}
	compressionType = &setting[string]{
		name: "compression.type", broker: "compression.type", def: "producer", typ: typeString,
		parse: only("producer", "records are kept as the producer compressed them"),
		doc:   "The codec of stored records: always the producer's.",
	}
	flushMessages = &setting[int64]{
		name: "flush.messages", broker: "log.flush.interval.messages", def: 1, typ: typeLong, parse: long(1, longest),
		doc: "1: an acknowledged record is on disk. Any other value: acknowledgements follow the write into the page cache, and the log is flushed after so many records.",
	}
	flushMs = &setting[int64]{
		name: "flush.ms", broker: "log.flush.interval.ms", def: longest, typ: typeLong, parse: long(0, longest),
		doc: "The longest that a record of a topic with flush.messages above 1 waits for its flush, in ms.",
	}
	indexIntervalBytes = &setting[int64]{
		name: "index.interval.bytes", broker: "log.index.interval.bytes", def: 16 << 10, typ: typeInt, parse: integer(0, math.MaxInt32),
		doc: "The bytes of log between two entries of its index: fewer find an offset faster, and take more memory.",
	}
	maxMessageBytes = &setting[int64]{
		name: "max.message.bytes", broker: "message.max.bytes", def: 1048588, typ: typeInt, parse: integer(0, math.MaxInt32),
		doc: "The largest record batch that is taken, as it is compressed.",
	}
	timestampAfterMaxMs = &setting[int64]{
		name: "message.timestamp.after.max.ms", broker: "log.message.timestamp.after.max.ms", def: 3600_000, typ: typeLong, parse: long(0, longest),
		doc: "How far a record's timestamp may be ahead of the broker's clock, in ms.",
	}
	timestampBeforeMaxMs = &setting[int64]{
		name: "message.timestamp.before.max.ms", broker: "log.message.timestamp.before.max.ms", def: longest, typ: typeLong, parse: long(0, longest),
		doc: "How far a record's timestamp may be behind the broker's clock, in ms.",
	}
	timestampType = &setting[string]{
		name: "message.timestamp.type", broker: "log.message.timestamp.type", def: "CreateTime", typ: typeString,
		parse: oneOf("CreateTime", "LogAppendTime"),
		doc:   "Whose timestamp a record has: CreateTime is its producer's, LogAppendTime the broker's at the append.",
	}
	minInsyncReplicas = &setting[int64]{
		name: "min.insync.replicas", broker: "min.insync.replicas", def: 1, typ: typeInt, uniform: true, parse: integer(1, math.MaxInt32),
		doc: "The in-sync replicas that a record with acks=all must reach; never more than the partition has. By default 2 of three or more replicas.",
	}
	retentionBytes = &setting[int64]{
		name: "retention.bytes", broker: "log.retention.bytes", def: -1, typ: typeLong, parse: long(-1, longest),
		doc: "The bytes of a partition that are kept at least; older segments are dropped. -1 keeps all.",
	}
	retentionMs = &setting[int64]{
		name: "retention.ms", broker: "log.retention.ms", def: week, typ: typeLong, parse: long(-1, longest),
		doc: "How long records are kept, in ms; -1 keeps them for ever.",
	}
	segmentBytes = &setting[int64]{
		name: "segment.bytes", broker: "log.segment.bytes", def: 64 << 20, typ: typeInt, parse: integer(1<<20, 1<<30),
		doc: "The largest size of a segment file; retention drops whole segments.",
	}
	segmentMs = &setting[int64]{
		name: "segment.ms", broker: "log.roll.ms", def: week, typ: typeLong, parse: long(1, longest),
		doc: "The age at which a segment is closed and a new one begun, in ms.",
	}
	uncleanLeaderElection = &setting[bool]{
		name: "unclean.leader.election.enable", broker: "unclean.leader.election.enable", def: false, typ: typeBoolean, parse: boolean,
		doc: "Whether a replica that is not in sync may lead when no other is left. A topic with one replica has no other.",
	}
)

// The settings of topics that have one value here. Tools that write down all
// settings of a topic write these.
var (
	fileDeleteDelayMs = &setting[string]{
		name: "file.delete.delay.ms", def: "0", typ: typeLong,
		parse: only("0", "a segment is deleted at once, and readers that have it open keep it"),
		doc:   "How long a dropped segment stays on disk.",
	}
	preallocate = &setting[string]{
		name: "preallocate", def: "false", typ: typeBoolean,
		parse: only("false", "segments grow as they are written"),
		doc:   "Whether the space of a segment is taken when it is begun.",
	}
	remoteStorage = &setting[string]{
		name: "remote.storage.enable", def: "false", typ: typeBoolean,
		parse: only("false", "there is no tiered storage"),
		doc:   "Whether segments move to tiered storage.",
	}
	segmentJitterMs = &setting[string]{
		name: "segment.jitter.ms", def: "0", typ: typeLong,
		parse: only("0", "segments are closed at exactly segment.ms"),
		doc:   "The largest random part that is taken off segment.ms.",
	}
)

// refusedTopicSettings are settings of Kafka's topics that nothing here would
// follow, and why.
var refusedTopicSettings = map[string]string{
	"compression.gzip.level":       "brokers do not recompress",
	"compression.lz4.level":        "brokers do not recompress",
	"compression.zstd.level":       "brokers do not recompress",
	"local.retention.bytes":        "there is no tiered storage",
	"local.retention.ms":           "there is no tiered storage",
	"remote.log.copy.disable":      "there is no tiered storage",
	"remote.log.delete.on.disable": "there is no tiered storage",
	"segment.index.bytes":          "an index grows with its segment",
}

// settingTable is THE TABLE: settings of topics first, then those that only
// brokers have, each by name.
var settingTable = []settingRow{
	cleanupPolicy, compressionType, deleteRetentionMs, fileDeleteDelayMs, followerThrottledReplicas, flushMessages, flushMs, indexIntervalBytes, leaderThrottledReplicas, maxCompactionLagMs,
	maxMessageBytes, timestampAfterMaxMs, timestampBeforeMaxMs, timestampType, minDirtyRatio, minCompactionLagMs, minInsyncReplicas, preallocate, remoteStorage,
	retentionBytes, retentionMs, segmentBytes, segmentJitterMs, segmentMs, uncleanLeaderElection,

	autoCreateTopics, autoLeaderRebalance, cleanerBackoffMs, cleanerBufferSize, cleanerEnable, cleanerMaxBytes, cleanerThreads, connectionsMaxIdleMs, defaultReplicationFactor, deleteTopicEnable, diskMinFreeBytes,
	fetchMaxBytes, followerThrottledRate, leaderThrottledRate, groupInitialDelayMs, groupMaxSessionMs, groupMaxSize, groupMinSessionMs, retentionCheckMs, maxConnections, maxConnectionsPerIP, fetchSessionSlots, numPartitions,
	offsetMetadataMaxBytes, offsetsRetentionCheckMs, offsetsRetentionMinutes, offsetsPartitions, offsetsReplicationFactor,
	offsetsSegmentBytes, producerIDExpirationMs, replicaLagMs, replicaSelector, requestDecodeMaxBytes, socketRequestMaxBytes,
}

// logOptions are the settings of a topic that its logs enforce. Zero means
// "default" or "never" to a log, so the 0 of a setting becomes 1.
func (b *Broker) logOptions(topic map[string]string) logstore.Options {
	brokers := b.settings.effective()
	o := logstore.Options{
		SegmentBytes:         segmentBytes.ofTopic(topic, brokers),
		SegmentMs:            segmentMs.ofTopic(topic, brokers),
		FlushMessages:        flushMessages.ofTopic(topic, brokers),
		FlushMs:              orOne(flushMs.ofTopic(topic, brokers)),
		RetentionMs:          orOne(retentionMs.ofTopic(topic, brokers)),
		RetentionBytes:       orOne(retentionBytes.ofTopic(topic, brokers)),
		IndexIntervalBytes:   orOne(indexIntervalBytes.ofTopic(topic, brokers)),
		ProducerExpirationMs: producerIDExpirationMs.of(brokers),
	}
	policy := cleanupPolicy.ofTopic(topic, brokers)
	if !policy.drop {
		o.RetentionMs, o.RetentionBytes = -1, -1
	}
	if policy.compact {
		o.Compact = &logstore.Compaction{
			MinDirtyRatio: minDirtyRatio.ofTopic(topic, brokers), MinLagMs: minCompactionLagMs.ofTopic(topic, brokers),
			MaxLagMs: maxCompactionLagMs.ofTopic(topic, brokers), DeleteRetentionMs: deleteRetentionMs.ofTopic(topic, brokers),
		}
	}
	return o
}

func orOne(v int64) int64 {
	if v == 0 {
		return 1
	}
	return v
}

// appendRules are the settings of a topic that appends are held against.
func (b *Broker) appendRules(topic map[string]string) *appendRules {
	brokers := b.settings.effective()
	return &appendRules{
		maxMessageBytes: maxMessageBytes.ofTopic(topic, brokers),
		keyed:           cleanupPolicy.ofTopic(topic, brokers).compact,
		logAppendTime:   timestampType.ofTopic(topic, brokers) == "LogAppendTime",
		beforeMaxMs:     timestampBeforeMaxMs.ofTopic(topic, brokers),
		afterMaxMs:      timestampAfterMaxMs.ofTopic(topic, brokers),
	}
}
