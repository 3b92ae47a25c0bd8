package broker

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
)

// The settings of topics, with the broker-wide names of their defaults.
var (
	cleanupPolicy = &setting[string]{
		name: "cleanup.policy", broker: "log.cleanup.policy", def: "delete", typ: kmsg.ConfigTypeList,
		parse: oneOf(" (compaction is not supported yet: compact is refused)", "delete"),
		doc:   "What becomes of old segments: delete drops them by retention.ms and retention.bytes.",
	}
	compressionType = &setting[string]{
		name: "compression.type", broker: "compression.type", def: "producer", typ: kmsg.ConfigTypeString,
		parse: oneOf(" (brokers do not recompress: records are kept as the producer sent them)", "producer"),
		doc:   "The codec of stored records: always the producer's.",
	}
	flushMessages = &setting[int64]{
		name: "flush.messages", broker: "log.flush.interval.messages", def: 1, typ: kmsg.ConfigTypeLong, parse: atLeast(1),
		doc: "1: an acknowledged record is on disk. Any other value: acknowledgements follow the write into the page cache, and the log is flushed after so many records.",
	}
	flushMs = &setting[int64]{
		name: "flush.ms", broker: "log.flush.interval.ms", def: math.MaxInt64, typ: kmsg.ConfigTypeLong, parse: atLeast(0),
		doc: "The longest that a record of a log with flush.messages above 1 waits for its flush, in ms.",
	}
	indexIntervalBytes = &setting[int64]{
		name: "index.interval.bytes", broker: "log.index.interval.bytes", def: 16 << 10, typ: kmsg.ConfigTypeInt, parse: between(0, math.MaxInt32),
		doc: "The bytes of log between two entries of its index.",
	}
	maxMessageBytes = &setting[int64]{
		name: "max.message.bytes", broker: "message.max.bytes", def: 1048588, typ: kmsg.ConfigTypeInt, parse: between(0, math.MaxInt32),
		doc: "The largest record batch that is taken.",
	}
	timestampAfterMaxMs = &setting[int64]{
		name: "message.timestamp.after.max.ms", broker: "log.message.timestamp.after.max.ms", def: 3600_000, typ: kmsg.ConfigTypeLong, parse: atLeast(0),
		doc: "How far a record's timestamp may be ahead of the broker's clock, in ms.",
	}
	timestampBeforeMaxMs = &setting[int64]{
		name: "message.timestamp.before.max.ms", broker: "log.message.timestamp.before.max.ms", def: math.MaxInt64, typ: kmsg.ConfigTypeLong, parse: atLeast(0),
		doc: "How far a record's timestamp may be behind the broker's clock, in ms.",
	}
	timestampType = &setting[string]{
		name: "message.timestamp.type", broker: "log.message.timestamp.type", def: "CreateTime", typ: kmsg.ConfigTypeString,
		parse: oneOf("", "CreateTime", "LogAppendTime"),
		doc:   "Whose timestamp a record has: its producer's, or the broker's at the append.",
	}
	minInsyncReplicas = &setting[int64]{
		name: "min.insync.replicas", broker: "min.insync.replicas", def: 1, typ: kmsg.ConfigTypeInt, parse: between(1, math.MaxInt32),
		doc: "The in-sync replicas that a record with acks=all must reach; never more than there are replicas.",
	}
	retentionBytes = &setting[int64]{
		name: "retention.bytes", broker: "log.retention.bytes", def: -1, typ: kmsg.ConfigTypeLong, parse: atLeast(-1),
		doc: "The bytes of a partition that are kept at least; older segments are dropped. -1 keeps all.",
	}
	retentionMs = &setting[int64]{
		name: "retention.ms", broker: "log.retention.ms", def: 7 * 24 * 3600 * 1000, typ: kmsg.ConfigTypeLong, parse: atLeast(-1),
		doc: "How long records are kept, in ms; -1 keeps them for ever.",
	}
	segmentBytes = &setting[int64]{
		name: "segment.bytes", broker: "log.segment.bytes", def: 64 << 20, typ: kmsg.ConfigTypeInt, parse: between(1<<20, 1<<30),
		doc: "The largest size of a segment file; retention drops whole segments.",
	}
	segmentMs = &setting[int64]{
		name: "segment.ms", broker: "log.roll.ms", def: 7 * 24 * 3600 * 1000, typ: kmsg.ConfigTypeLong, parse: atLeast(1),
		doc: "The age at which a segment is closed and a new one begun, in ms.",
	}
	uncleanLeaderElection = &setting[bool]{
		name: "unclean.leader.election.enable", broker: "unclean.leader.election.enable", def: false, typ: kmsg.ConfigTypeBoolean, parse: boolean,
		doc: "Whether a replica that is not in sync may lead when no other is left.",
	}
)

// The settings that only brokers have.
var (
	autoCreateTopics = &setting[bool]{
		name: "auto.create.topics.enable", def: true, typ: kmsg.ConfigTypeBoolean, fixed: true, parse: boolean,
		doc: "Whether a topic that a client asks for is created when the client allows it.",
	}
	connectionsMaxIdleMs = &setting[int64]{
		name: "connections.max.idle.ms", def: 10 * 60 * 1000, typ: kmsg.ConfigTypeLong, fixed: true, parse: atLeast(1),
		doc: "A connection on which nothing came for so long is closed.",
	}
	defaultReplicationFactor = &setting[int64]{
		name: "default.replication.factor", def: 1, typ: kmsg.ConfigTypeInt, fixed: true, parse: between(1, math.MaxInt16),
		doc: "The replicas of a topic that is created without saying how many.",
	}
	deleteTopicEnable = &setting[bool]{
		name: "delete.topic.enable", def: true, typ: kmsg.ConfigTypeBoolean, fixed: true, parse: boolean,
		doc: "Whether topics may be deleted.",
	}
	diskMinFreeBytes = &setting[int64]{
		name: "disk.min.free.bytes", def: 0, typ: kmsg.ConfigTypeLong, fixed: true, parse: atLeast(0),
		doc: "Producers are refused while less is free; 0 means 5 % of the disk, between 256 MiB and 2 GiB.",
	}
	fetchMaxBytes = &setting[int64]{
		name: "fetch.max.bytes", def: 8 << 20, typ: kmsg.ConfigTypeInt, fixed: true, parse: between(1024, 1<<30),
		doc: "The most bytes of records in one answer to a fetch, unless the first batch is larger.",
	}
	maxConnections = &setting[int64]{
		name: "max.connections", def: math.MaxInt32, typ: kmsg.ConfigTypeInt, parse: between(0, math.MaxInt32),
		doc: "The client connections of this broker; more are refused.",
	}
	maxConnectionsPerIP = &setting[int64]{
		name: "max.connections.per.ip", def: math.MaxInt32, typ: kmsg.ConfigTypeInt, parse: between(0, math.MaxInt32),
		doc: "The connections from one address; more are refused.",
	}
	fetchSessionSlots = &setting[int64]{
		name: "max.incremental.fetch.session.cache.slots", def: 1000, typ: kmsg.ConfigTypeInt, fixed: true, parse: between(0, math.MaxInt32),
		doc: "The fetch sessions that this broker keeps.",
	}
	numPartitions = &setting[int64]{
		name: "num.partitions", def: 1, typ: kmsg.ConfigTypeInt, fixed: true, parse: between(1, 10_000),
		doc: "The partitions of a topic that is created without saying how many.",
	}
	producerIDExpirationMs = &setting[int64]{
		name: "producer.id.expiration.ms", def: 24 * 3600 * 1000, typ: kmsg.ConfigTypeInt, parse: between(1, math.MaxInt32),
		doc: "An idempotent producer that sent nothing for so long is forgotten.",
	}
	retentionCheckMs = &setting[int64]{
		name: "log.retention.check.interval.ms", def: 5 * 60 * 1000, typ: kmsg.ConfigTypeLong, fixed: true, parse: atLeast(1),
		doc: "How often it is looked for segments to drop, in ms.",
	}
	socketRequestMaxBytes = &setting[int64]{
		name: "socket.request.max.bytes", def: 100 << 20, typ: kmsg.ConfigTypeInt, fixed: true, parse: between(1024, math.MaxInt32),
		doc: "The largest request.",
	}
)

// settingTable is THE TABLE, by name within topics and brokers.
var settingTable = []settingRow{
	cleanupPolicy, compressionType, flushMessages, flushMs, indexIntervalBytes, maxMessageBytes,
	timestampAfterMaxMs, timestampBeforeMaxMs, timestampType, minInsyncReplicas, retentionBytes, retentionMs,
	segmentBytes, segmentMs, uncleanLeaderElection,

	autoCreateTopics, connectionsMaxIdleMs, defaultReplicationFactor, deleteTopicEnable, diskMinFreeBytes,
	fetchMaxBytes, maxConnections, maxConnectionsPerIP, fetchSessionSlots, numPartitions,
	producerIDExpirationMs, retentionCheckMs, socketRequestMaxBytes,
}

// coarseUnit is a setting that Kafka has in a coarser unit too.
type coarseUnit struct {
	name, fine string
	factor     int64
}

// coarser is ordered from the finer unit to the coarser one: the first that is set wins.
var coarser = [...]coarseUnit{
	{"log.retention.minutes", "log.retention.ms", 60_000},
	{"log.retention.hours", "log.retention.ms", 3600_000},
	{"log.roll.hours", "log.roll.ms", 3600_000},
}

// ignoredSettings are known to Kafka and without meaning here; * stands for anything.
var ignoredSettings = []string{
	"process.roles", "controller.*", "num.*.threads", "num.*.threads.*", "background.threads", "queued.max.*",
	"socket.send.buffer.bytes", "socket.receive.buffer.bytes", "socket.listen.backlog.size", "inter.broker.*",
	"listener.security.protocol.map", "metadata.*", "offsets.*", "transaction.*", "transactional.*",
	"group.*", "share.*", "log.cleaner.*", "log.flush.offset.checkpoint.interval.ms",
	"log.flush.start.offset.checkpoint.interval.ms", "log.flush.scheduler.interval.ms", "log.index.size.max.bytes",
	"log.preallocate", "log.segment.delete.delay.ms", "log.roll.jitter.*", "replica.*", "leader.imbalance.*",
	"auto.leader.rebalance.enable", "zookeeper.*", "broker.id.generation.enable", "metric.reporters",
	"auto.include.jmx.reporter", "metrics.*", "kafka.metrics.*", "request.timeout.ms", "initial.broker.registration.timeout.ms",
	"broker.heartbeat.interval.ms", "broker.session.timeout.ms", "min.incremental.fetch.session.eviction.ms",
	"purgatory.*", "fetch.purgatory.*", "producer.purgatory.*", "delete.records.purgatory.*", "remote.log.*",
	"confluent.*", "unstable.*", "quota.*", "compression.*.level", "telemetry.*",
}

// logOptions are the settings of a topic that its logs enforce.
func (b *Broker) logOptions(topic map[string]string) logstore.Options {
	brokers := b.settings.effective()
	return logstore.Options{
		SegmentBytes:         segmentBytes.ofTopic(topic, brokers),
		SegmentMs:            segmentMs.ofTopic(topic, brokers),
		FlushMessages:        flushMessages.ofTopic(topic, brokers),
		FlushMs:              flushMs.ofTopic(topic, brokers),
		RetentionMs:          retentionMs.ofTopic(topic, brokers),
		RetentionBytes:       retentionBytes.ofTopic(topic, brokers),
		IndexIntervalBytes:   indexIntervalBytes.ofTopic(topic, brokers),
		ProducerExpirationMs: producerIDExpirationMs.of(brokers),
	}
}

// appendRules are the settings of a topic that appends are held against.
func (b *Broker) appendRules(topic map[string]string) *appendRules {
	brokers := b.settings.effective()
	return &appendRules{
		maxMessageBytes: maxMessageBytes.ofTopic(topic, brokers),
		logAppendTime:   timestampType.ofTopic(topic, brokers) == "LogAppendTime",
		beforeMaxMs:     timestampBeforeMaxMs.ofTopic(topic, brokers),
		afterMaxMs:      timestampAfterMaxMs.ofTopic(topic, brokers),
	}
}
