"""confluent-kafka, which is librdkafka."""

import struct
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

import recipe
from member import Member

OVERTAKEN = (KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID)
PASSING = (
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError._TIMED_OUT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REQUEST_TIMED_OUT,
)


def passes(err):
    return isinstance(err, KafkaException) and err.args[0].code() in PASSING


def generation(consumer):
    """librdkafka tells it in the serialized metadata only: after the 7 bytes CGMDv2:."""
    return struct.unpack_from("i", consumer.consumer_group_metadata(), 7)[0]


class Driver:
    def __init__(self, bootstrap):
        self.config = {"bootstrap.servers": bootstrap}

    def admin(self):
        return AdminClient(self.config)

    def list(self):
        for name in self.admin().list_topics(timeout=10).topics:
            print(name)

    def create(self, topic, partitions):
        admin = self.admin()  # must outlive the future
        admin.create_topics([NewTopic(topic, int(partitions), 1)])[topic].result(20)

    def describe(self, topic):
        print(len(self.admin().list_topics(topic, timeout=10).topics[topic].partitions))

    def alter(self, topic):
        admin = self.admin()
        entry = ConfigEntry("retention.ms", "123456789", incremental_operation=AlterConfigOpType.SET)
        change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin.incremental_alter_configs([change])[change].result(20)
        asked = ConfigResource(ResourceType.TOPIC, topic)
        print(admin.describe_configs([asked])[asked].result(20)["retention.ms"].value)

    def delete(self, topic):
        admin = self.admin()
        admin.delete_topics([topic])[topic].result(20)

    def send(self, records, options, pause=None):
        """Produces and waits; the errors are returned in the order of the records' ends."""
        errors = []
        producer = Producer(self.config | {"acks": "all", "message.timeout.ms": 60000} | options)
        for i, record in enumerate(records):
            while True:
                try:
                    producer.produce(**record, on_delivery=lambda err, _: errors.append(err))
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
            if pause:
                pause(i)
        if left := producer.flush(60):
            raise SystemExit(f"{left} records have no answer after 60 s")
        return [e for e in errors if e]

    def must_send(self, *args, **options):
        if errors := self.send(*args, **options):
            raise SystemExit(f"{len(errors)} records failed, the first: {errors[0]}")

    def plain(self, topic, count):
        for i in range(int(count)):
            key, value = recipe.plain(i)
            yield {"topic": topic, "partition": 0, "key": key, "value": value}

    def produce(self, topic, codec, count):
        self.must_send(self.plain(topic, count), {"compression.type": codec, "linger.ms": 5})

    def records(self, topic, count):
        consumer = Consumer(self.config | {"group.id": "none", "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, 0, 0)])
        seen, deadline = 0, time.monotonic() + 30
        while seen < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{seen} records of {count} came")
            for record in consumer.consume(1000, 0.5):
                if record.error():
                    raise KafkaException(record.error())
                yield record
                seen += 1
        consumer.close()

    def consume(self, topic, count):
        for i, r in enumerate(self.records(topic, int(count))):
            recipe.check(i, r.offset(), (r.key(), r.value()), recipe.plain(i))

    def produce_odd(self, topic):
        odd = ((topic, *recipe.odd(i)) for i in range(recipe.ODD))
        self.must_send(({"topic": t, "partition": 0, "key": k, "value": v, "headers": recipe.ODD_HEADERS} for t, k, v in odd), {})

    def consume_odd(self, topic):
        for i, r in enumerate(self.records(topic, recipe.ODD)):
            recipe.check(i, r.offset(), (r.key(), r.value(), r.headers()), (*recipe.odd(i), recipe.ODD_HEADERS))

    def large(self, topic, size):
        record = {"topic": topic, "partition": 0, "value": b"x" * int(size)}
        errors = self.send([record], {"message.max.bytes": 20 << 20})
        print(f"refused: {errors[0]}" if errors else "written")

    def idempotent(self, topic, count, seconds):
        steps = 50 * int(seconds)

        def pause(i):
            if i % (int(count) // steps) == 0:
                time.sleep(float(seconds) / steps)

        self.must_send(self.plain(topic, count), {"enable.idempotence": True}, pause)

    def join(self, topic, group, member):
        options = {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "partition.assignment.strategy": "range",
        }
        consumer = Consumer(self.config | options)
        consumer.subscribe(
            [topic],
            on_assign=lambda c, ps: member.assigned(generation(c), [p.partition for p in ps]),
            on_revoke=lambda _, ps: member.revoked([p.partition for p in ps]),
            on_lost=lambda _, ps: member.revoked([p.partition for p in ps]),
        )
        while not member.done():
            positions = {}
            for r in consumer.consume(member.room(), 0.2):
                if r.error():
                    member.say("error", r.error())
                    continue
                member.take(r.partition(), r.offset(), r.value())
                positions[r.partition()] = r.offset() + 1
            if positions:
                self.commit(consumer, member, topic, positions)
        consumer.close()

    def commit(self, consumer, member, topic, positions):
        offsets = [TopicPartition(topic, p, at) for p, at in positions.items()]
        try:
            member.again(lambda: consumer.commit(offsets=offsets, asynchronous=False), passes)
        except KafkaException as err:
            if err.args[0].code() not in OVERTAKEN:
                raise
            member.say("refused", err.args[0].name())  # a rebalance overtook the commit
            return
        member.committed(positions)

    def group_consume(self, topic, group, count):
        self.join(topic, group, Member(count))

    def group_member(self, topic, group):
        self.join(topic, group, Member())

    def groups(self):
        admin = self.admin()
        answer = admin.list_consumer_groups().result(20)
        if answer.errors:
            raise SystemExit(answer.errors)
        for group in answer.valid:
            print(group.group_id)

    def group_state(self, group):
        admin = self.admin()
        print(admin.describe_consumer_groups([group])[group].result(20).state.name.title())

    def group_offsets(self, group, topic):
        admin = self.admin()
        answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20)
        for p in sorted(answer.topic_partitions, key=lambda p: p.partition):
            if p.topic == topic:
                print(p.partition, p.offset)

    def group_rewind(self, group, topic, partitions):
        admin = self.admin()
        start = [TopicPartition(topic, p, 0) for p in range(int(partitions))]
        answer = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, start)])[group].result(20)
        if errors := [p.error for p in answer.topic_partitions if p.error]:
            raise SystemExit(errors[0])

    def group_delete(self, group):
        admin = self.admin()
        admin.delete_consumer_groups([group])[group].result(20)
