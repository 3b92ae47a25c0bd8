package broker

import (
	"math"
	"strings"
)

// The settings that only brokers have.
var (
	autoCreateTopics = &setting[bool]{
		broker: "auto.create.topics.enable", def: true, typ: typeBoolean, fixed: true, parse: boolean,
		doc: "Whether a topic that a client asks for is created when the client allows it.",
	}
	connectionsMaxIdleMs = &setting[int64]{
		broker: "connections.max.idle.ms", def: 10 * 60 * 1000, typ: typeLong, fixed: true, parse: long(1, longest),
		doc: "A connection on which nothing came for so long is closed, in ms.",
	}
	defaultReplicationFactor = &setting[int64]{
		broker: "default.replication.factor", def: mostDefaultReplicas, typ: typeInt, fixed: true, parse: integer(1, math.MaxInt16),
		doc: "The replicas of a topic that is created without saying how many; by default 3, or as many as there are brokers, up or down.",
	}
	autoLeaderRebalance = &setting[bool]{
		broker: "auto.leader.rebalance.enable", def: true, typ: typeBoolean, fixed: true, parse: boolean,
		doc: "Whether partitions are given back to their preferred leader, the first replica, once that is in sync.",
	}
	deleteTopicEnable = &setting[bool]{
		broker: "delete.topic.enable", def: true, typ: typeBoolean, fixed: true, parse: boolean,
		doc: "Whether topics may be deleted.",
	}
	diskMinFreeBytes = &setting[int64]{
		broker: "disk.min.free.bytes", def: 0, typ: typeLong, fixed: true, parse: long(0, longest),
		doc: "Producers are refused while less is free; 0 means 5 % of the disk, between 256 MiB and 2 GiB.",
	}
	fetchMaxBytes = &setting[int64]{
		broker: "fetch.max.bytes", def: 8 << 20, typ: typeInt, fixed: true, parse: integer(1024, 1<<30),
		doc: "The most bytes of records in one answer to a fetch, unless the first batch is larger.",
	}
	retentionCheckMs = &setting[int64]{
		broker: "log.retention.check.interval.ms", def: 5 * 60 * 1000, typ: typeLong, fixed: true, parse: long(1, longest),
		doc: "How often it is looked for segments to drop, in ms.",
	}
	maxConnections = &setting[int64]{
		broker: "max.connections", def: math.MaxInt32, typ: typeInt, parse: integer(0, math.MaxInt32),
		doc: "The client connections of this broker; more are refused.",
	}
	maxConnectionsPerIP = &setting[int64]{
		broker: "max.connections.per.ip", def: math.MaxInt32, typ: typeInt, parse: integer(0, math.MaxInt32),
		doc: "The connections from one address; more are refused.",
	}
	fetchSessionSlots = &setting[int64]{
		broker: "max.incremental.fetch.session.cache.slots", def: 1000, typ: typeInt, fixed: true, parse: integer(0, math.MaxInt32),
		doc: "The fetch sessions that this broker keeps.",
	}
	numPartitions = &setting[int64]{
		broker: "num.partitions", def: 1, typ: typeInt, fixed: true, parse: integer(1, 10_000),
		doc: "The partitions of a topic that is created without saying how many.",
	}
	producerIDExpirationMs = &setting[int64]{
		broker: "producer.id.expiration.ms", def: 24 * 3600 * 1000, typ: typeInt, parse: integer(1, math.MaxInt32),
		doc: "An idempotent producer that sent nothing for so long is forgotten, in ms.",
	}
	replicaLagMs = &setting[int64]{
		broker: "replica.lag.time.max.ms", def: 10_000, typ: typeLong, fixed: true, parse: long(1000, longest),
		doc: "A follower that has not had all records of its leader for so long is no longer in sync, in ms.",
	}
	requestDecodeMaxBytes = &setting[int64]{
		broker: "request.decode.max.bytes", def: 8 << 20, typ: typeInt, fixed: true, parse: integer(64<<10, 100<<20),
		doc: "The largest request other than Produce and Fetch; decoding one may take 96 times as much memory.",
	}
	socketRequestMaxBytes = &setting[int64]{
		broker: "socket.request.max.bytes", def: 100 << 20, typ: typeInt, fixed: true, parse: integer(1024, math.MaxInt32),
		doc: "The largest request.",
	}
)

// coarseSetting is a setting that Kafka has in a coarser unit too. It is taken
// at the start and turned into the fine one.
type coarseSetting struct {
	name, fine string
	factor     int64
}

// coarseSettings go from the finer unit to the coarser one: the first that is set wins.
var coarseSettings = [...]coarseSetting{
	{"log.retention.minutes", "log.retention.ms", 60_000},
	{"log.retention.hours", "log.retention.ms", 3600_000},
	{"log.roll.hours", "log.roll.ms", 3600_000},
}

func coarseSettingNamed(name string) (coarseSetting, bool) {
	for _, c := range coarseSettings {
		if c.name == name {
			return c, true
		}
	}
	return coarseSetting{}, false
}

// IgnoredSetting reports whether Kafka knows a broker setting that has no meaning
// here: a server.properties that has it is taken all the same.
func IgnoredSetting(name string) bool {
	if brokerSetting(name) != nil {
		return false
	}
	for _, known := range ignoredSettings {
		if family, is := strings.CutSuffix(known, "*"); is && strings.HasPrefix(name, family) || name == known {
			return true
		}
	}
	return false
}

// ignoredSettings are known to Kafka and without meaning here; * at the end
// stands for anything. Security is not among them: who asks for it must not
// start without.
var ignoredSettings = []string{
	// How Kafka is built: roles, threads, queues, buffers, Java's metrics.
	"process.roles", "controller.*", "controlled.shutdown.*", "early.start.listeners", "inter.broker.listener.name",
	"inter.broker.protocol.version", "listener.security.protocol.map", "metadata.*", "zookeeper.*",
	"broker.heartbeat.interval.ms", "broker.id.generation.enable", "broker.session.timeout.ms",
	"initial.broker.registration.timeout.ms", "background.threads", "num.io.threads", "num.network.threads",
	"num.recovery.threads.per.data.dir", "num.replica.alter.log.dirs.threads", "num.replica.fetchers", "queued.max.*",
	"socket.connection.*", "socket.listen.backlog.size", "socket.receive.buffer.bytes", "socket.send.buffer.bytes",
	"delete.records.purgatory.*", "fetch.purgatory.*", "producer.purgatory.*", "auto.include.jmx.reporter",
	"kafka.*", "metric.reporters", "metrics.*", "telemetry.*", "confluent.*", "unstable.*",
	// Replication, groups and transactions have their own ways here.
	"add.partitions.to.txn.*", "group.consumer.*", "group.coordinator.*", "group.share.*", "group.streams.*",
	"leader.imbalance.*", "offsets.commit.*", "offsets.load.buffer.size", "offsets.topic.compression.codec", "replica.*", "reserved.broker.max.id", "share.*", "transaction.*", "transactional.*",
	// Logs: what no topic setting here stands for.
	"compression.gzip.level", "compression.lz4.level", "compression.zstd.level", "log.cleaner.io.buffer.*", "log.dir.failure.timeout.ms",
	"log.flush.offset.checkpoint.interval.ms", "log.flush.scheduler.interval.ms", "log.flush.start.offset.checkpoint.interval.ms",
	"log.index.size.max.bytes", "log.initial.task.delay.ms", "log.local.retention.*", "log.message.downconversion.enable",
	"log.message.format.version", "log.message.timestamp.difference.max.ms", "log.preallocate", "log.roll.jitter.*",
	"log.segment.delete.delay.ms", "producer.id.expiration.check.interval.ms", "remote.*",
	// Limits that are others here.
	"alter.log.dirs.replication.quota.*", "max.connection.creation.rate", "max.request.partition.size.limit",
	"min.incremental.fetch.session.eviction.ms", "quota.*", "replication.quota.*", "request.timeout.ms",
}
