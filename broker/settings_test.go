package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestSettingTable(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range settingTable {
		if row.topicKey() == "" && row.brokerKey() == "" {
			t.Fatalf("a setting without a name: %s", row.help())
		}
		for level, name := range map[string]string{"topic ": row.topicKey(), "broker ": row.brokerKey()} {
			if name == "" {
				continue
			}
			if seen[level+name] {
				t.Errorf("%s%s is there twice", level, name)
			}
			seen[level+name] = true
			if err := row.check(name, row.defaultText()); err != nil {
				t.Errorf("the default: %v", err)
			}
			if IgnoredSetting(name) && level == "broker " || level == "topic " && refusedTopicSettings[name] != "" {
				t.Errorf("%s is enforced and not", name)
			}
		}
		if !strings.HasSuffix(row.help(), ".") || row.configType() == 0 {
			t.Errorf("%s%s has no documentation or no type", row.topicKey(), row.brokerKey())
		}
	}
}

func TestTopicSettingValues(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"retention.ms", "604800000", ""},
		{"retention.ms", " 5 ", ""},
		{"retention.ms", "-1", ""},
		{"retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"},
		{"retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"},
		{"retention.ms", "1.5", "Not a number of type LONG"},
		{"retention.ms", "9223372036854775808", "Not a number of type LONG"},
		{"retention.bytes", "-2", "Value must be at least -1"},
		{"segment.bytes", "1048576", ""},
		{"segment.bytes", "1048575", "Value must be at least 1048576"},
		{"segment.bytes", "1073741824", ""},
		{"segment.bytes", "1073741825", "Value must be no more than 1073741824"},
		{"segment.bytes", "2147483648", "Not a number of type INT"},
		{"max.message.bytes", "-1", "Value must be at least 0"},
		{"min.insync.replicas", "0", "Value must be at least 1"},
		{"flush.messages", "0", "Value must be at least 1"},
		{"unclean.leader.election.enable", "TRUE", ""},
		{"unclean.leader.election.enable", "yes", "Expected value to be either true or false"},
		{"message.timestamp.type", "LogAppendTime", ""},
		{"message.timestamp.type", "logappendtime", "String must be one of: CreateTime, LogAppendTime"},
		{"cleanup.policy", "delete", ""},
		{"cleanup.policy", "", ""},
		{"cleanup.policy", " delete , delete ", ""},
		{"cleanup.policy", "compact", ""},
		{"cleanup.policy", "delete,compact", ""},
		{"cleanup.policy", "shred", "String must be one of: compact, delete"},
		{"compression.type", "producer", ""},
		{"compression.type", "zstd", "Only producer is supported"},
		{"preallocate", "False", ""},
		{"preallocate", "true", "Only false is supported"},
		{"file.delete.delay.ms", "60000", "Only 0 is supported"},
		{"delete.retention.ms", "-1", "Invalid value -1 for configuration delete.retention.ms: Value must be at least 0"},
		{"min.cleanable.dirty.ratio", "0.25", ""},
		{"min.cleanable.dirty.ratio", "1.5", "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"},
		{"min.cleanable.dirty.ratio", "NaN", "Invalid value NaN for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE"},
		{"log.retention.ms", "5", "Unknown topic config name: log.retention.ms"},
		{"num.partitions", "5", "Unknown topic config name: num.partitions"},
		{"", "5", "Unknown topic config name: "},
	} {
		err := checkSettings(map[string]string{c.name: c.value}, topicSettingFor)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s=%q: %v, want %q", c.name, c.value, err, c.want)
		}
	}
	err := checkSettings(map[string]string{"retention.ms": "x", "unknown": "1"}, topicSettingFor)
	if err == nil || err.Error() != "Unknown topic config name: unknown" {
		t.Errorf("names come before values: %v", err)
	}
}

func TestStaticSettings(t *testing.T) {
	for _, c := range []struct {
		name  string
		given map[string]string
		want  int64  // retention.ms
		from  string // the name that it was given with
		err   string
	}{
		{"nothing", nil, week, "log.retention.ms", ""},
		{"hours", map[string]string{"log.retention.hours": "24"}, 24 * 3600_000, "log.retention.hours", ""},
		{"minutes before hours", map[string]string{"log.retention.hours": "24", "log.retention.minutes": "5"}, 300_000, "log.retention.minutes", ""},
		{"ms before all", map[string]string{"log.retention.hours": "24", "log.retention.minutes": "5", "log.retention.ms": "7"}, 7, "log.retention.ms", ""},
		{"for ever", map[string]string{"log.retention.hours": "-1"}, -1, "log.retention.hours", ""},
		{"most hours", map[string]string{"log.retention.hours": "2147483647"}, 2147483647 * 3600_000, "log.retention.hours", ""},
		{"no number", map[string]string{"log.retention.hours": "a day", "log.retention.ms": "7"}, 0, "", "Invalid value a day for configuration log.retention.hours"},
		{"too small", map[string]string{"log.roll.hours": "0"}, 0, "", "log.roll.ms=0"},
		{"unknown", map[string]string{"log.retention.days": "1"}, 0, "", "did you mean log.retention.ms?"},
		{"a topic's name", map[string]string{"retention.ms": "1"}, 0, "", "did you mean log.retention.ms?"},
		{"without meaning", map[string]string{"num.io.threads": "1"}, 0, "", "num.io.threads has no meaning here"},
	} {
		s, err := newBrokerSettings(c.given)
		if c.err != "" || err != nil {
			if err == nil || !strings.Contains(err.Error(), c.err) || c.err == "" {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
			continue
		}
		if got := retentionMs.of(s.effective()); got != c.want {
			t.Errorf("%s: %d", c.name, got)
		}
		if from := s.sources(retentionMs)[0]; from.name != c.from {
			t.Errorf("%s: from %+v", c.name, from)
		}
	}
}

func TestDynamicSettings(t *testing.T) {
	s, err := newBrokerSettings(map[string]string{"message.max.bytes": "1000", "max.connections": "5"})
	if err != nil {
		t.Fatal(err)
	}
	read := func() int64 { return maxMessageBytes.ofTopic(nil, s.effective()) }
	if read() != 1000 || maxMessageBytes.ofTopic(map[string]string{"max.message.bytes": "7"}, s.effective()) != 7 {
		t.Error("static")
	}
	s.setDynamic(map[string]string{"message.max.bytes": "2000"}, nil)
	if read() != 2000 || s.version() != 1 {
		t.Error("for all brokers")
	}
	s.setDynamic(map[string]string{"message.max.bytes": "2000"}, map[string]string{"message.max.bytes": "3000"})
	if read() != 3000 || s.version() != 2 {
		t.Error("for this broker")
	}
	s.setDynamic(map[string]string{"message.max.bytes": "2000"}, map[string]string{"message.max.bytes": "3000"})
	if s.version() != 2 {
		t.Error("nothing changed")
	}
	var found []string
	for _, from := range s.sources(maxMessageBytes) {
		found = append(found, from.name+"="+from.value+" "+from.source.String())
	}
	if want := []string{
		"message.max.bytes=3000 DYNAMIC_BROKER_CONFIG", "message.max.bytes=2000 DYNAMIC_DEFAULT_BROKER_CONFIG",
		"message.max.bytes=1000 STATIC_BROKER_CONFIG", "message.max.bytes=1048588 DEFAULT_CONFIG",
	}; !slices.Equal(found, want) {
		t.Errorf("%q", found)
	}
	garbage := map[string]string{"message.max.bytes": "many", "no.such": "1", "max.connections": "6"}
	wrong := s.setDynamic(nil, garbage)
	if slices.Sort(wrong); !slices.Equal(wrong, []string{"message.max.bytes", "no.such"}) {
		t.Errorf("%q", wrong)
	}
	if read() != 1000 || maxConnections.of(s.effective()) != 6 || s.effective()["no.such"] != "" || len(garbage) != 3 {
		t.Error("what is wrong in the metadata must not count, and the rest must")
	}
	s.setDynamic(nil, nil)
	if maxConnections.of(s.effective()) != 5 || !maps.Equal(s.effective(), s.static) {
		t.Error("back to the start")
	}
}

func TestTopicsOwnGarbage(t *testing.T) {
	b := &Broker{settings: settingsOf(t, map[string]string{"log.retention.ms": "5000"})}
	own := map[string]string{"retention.ms": "soon", "max.message.bytes": "10"}
	if got := retentionMs.ofTopic(own, b.brokerConfigs()); got != 5000 {
		t.Errorf("a bad value of a topic: %d", got)
	}
	for _, s := range b.topicConfigs(own, 1) {
		switch s.name {
		case "retention.ms":
			if s.value != "5000" || s.source() != kmsg.ConfigSourceStaticBrokerConfig {
				t.Errorf("%+v", s)
			}
		case "max.message.bytes":
			if s.value != "10" || s.source() != kmsg.ConfigSourceDynamicTopicConfig {
				t.Errorf("%+v", s)
			}
		}
	}
}

func settingsOf(t *testing.T, given map[string]string) *brokerSettings {
	t.Helper()
	s, err := newBrokerSettings(given)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A log takes zero for "default" or "never"; a setting of 0 means neither.
func TestLogOptionsOfZero(t *testing.T) {
	b := &Broker{settings: settingsOf(t, nil)}
	o := b.logOptions(map[string]string{"retention.ms": "0", "retention.bytes": "0", "flush.ms": "0", "index.interval.bytes": "0"})
	if o.RetentionMs != 1 || o.RetentionBytes != 1 || o.FlushMs != 1 || o.IndexIntervalBytes != 1 {
		t.Errorf("%+v", o)
	}
	o = b.logOptions(nil)
	if o.RetentionMs != week || o.RetentionBytes != -1 || o.SegmentBytes != 64<<20 || o.FlushMessages != 1 {
		t.Errorf("defaults: %+v", o)
	}
	o = b.logOptions(map[string]string{"cleanup.policy": "", "retention.ms": "5", "retention.bytes": "5"})
	if o.RetentionMs != -1 || o.RetentionBytes != -1 {
		t.Errorf("no cleanup policy: %+v", o)
	}
}

func TestNearestSetting(t *testing.T) {
	for name, want := range map[string]string{
		"num.partitoins": "num.partitions", "retention.ms": "log.retention.ms", "log.retention.hour": "log.retention.hours",
		"max.connection": "max.connections", "nothing.like.it": "", "file.delete.delay.ms": "",
	} {
		if got := NearestSetting(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What a server.properties of Apache Kafka 4.1 may name: all of it starts here
// but security, which must not be missing unseen.
func TestKafkasBrokerSettings(t *testing.T) {
	taken := strings.FieldsSeq(`
		add.partitions.to.txn.retry.backoff.max.ms alter.log.dirs.replication.quota.window.num auto.create.topics.enable
		auto.leader.rebalance.enable background.threads broker.heartbeat.interval.ms broker.session.timeout.ms
		compression.gzip.level compression.lz4.level compression.type compression.zstd.level connections.max.idle.ms
		controlled.shutdown.enable controller.listener.names controller.quorum.bootstrap.servers controller.quorum.voters
		default.replication.factor delete.records.purgatory.purge.interval.requests delete.topic.enable early.start.listeners
		fetch.max.bytes fetch.purgatory.purge.interval.requests group.consumer.session.timeout.ms group.coordinator.threads
		group.initial.rebalance.delay.ms group.max.size group.share.session.timeout.ms group.streams.max.size
		initial.broker.registration.timeout.ms inter.broker.listener.name kafka.metrics.polling.interval.secs
		leader.imbalance.check.interval.seconds listener.security.protocol.map log.cleaner.enable log.cleaner.threads
		log.cleanup.policy log.dir.failure.timeout.ms log.flush.interval.messages log.flush.interval.ms
		log.flush.offset.checkpoint.interval.ms log.flush.scheduler.interval.ms log.index.interval.bytes
		log.index.size.max.bytes log.local.retention.ms log.message.timestamp.after.max.ms log.message.timestamp.type
		log.preallocate log.retention.bytes log.retention.check.interval.ms log.retention.hours log.retention.minutes
		log.retention.ms log.roll.hours log.roll.jitter.hours log.roll.jitter.ms log.roll.ms log.segment.bytes
		log.segment.delete.delay.ms max.connection.creation.rate max.connections max.connections.per.ip
		max.incremental.fetch.session.cache.slots max.request.partition.size.limit message.max.bytes metadata.log.dir
		metadata.log.segment.ms metric.reporters metrics.num.samples min.insync.replicas num.io.threads num.network.threads
		num.partitions num.recovery.threads.per.data.dir num.replica.alter.log.dirs.threads num.replica.fetchers
		offset.metadata.max.bytes offsets.retention.minutes offsets.topic.replication.factor process.roles
		producer.id.expiration.check.interval.ms producer.id.expiration.ms producer.purgatory.purge.interval.requests
		queued.max.request.bytes queued.max.requests quota.window.num remote.log.storage.system.enable
		replica.fetch.max.bytes replica.lag.time.max.ms replication.quota.window.num request.timeout.ms
		share.coordinator.state.topic.min.isr socket.connection.setup.timeout.ms socket.listen.backlog.size
		socket.receive.buffer.bytes socket.request.max.bytes socket.send.buffer.bytes telemetry.max.bytes
		transaction.max.timeout.ms transaction.state.log.min.isr transaction.state.log.replication.factor
		transactional.id.expiration.ms unclean.leader.election.enable`)
	for name := range taken {
		if KnownSetting(name) == IgnoredSetting(name) {
			t.Errorf("%s: known %v, ignored %v", name, KnownSetting(name), IgnoredSetting(name))
		}
	}
	refused := strings.FieldsSeq(`
		alter.config.policy.class.name authorizer.class.name client.quota.callback.class connections.max.reauth.ms
		create.topic.policy.class.name delegation.token.secret.key max.connections.per.ip.overrides principal.builder.class
		sasl.enabled.mechanisms security.providers ssl.client.auth ssl.keystore.location super.users no.such.setting`)
	for name := range refused {
		if KnownSetting(name) || IgnoredSetting(name) {
			t.Errorf("%s must be refused", name)
		}
	}
}

// The longest times that settings can have are long: Kafka's users write them for "never".
func TestLongestTimes(t *testing.T) {
	never := fmt.Sprint(int64(longest))
	b, _ := started(t, t.TempDir(), map[string]string{
		"connections.max.idle.ms": never, "log.retention.check.interval.ms": never, "log.cleaner.backoff.ms": never,
		"log.flush.interval.ms": never, "log.retention.ms": never, "log.roll.ms": never, "offsets.retention.minutes": "2147483647",
	})
	makeTopics(t, b, "t")
	if c := b.groupConfig(); c.Retention < 200*365*24*time.Hour {
		t.Errorf("offsets are kept for %v", c.Retention)
	}
}
