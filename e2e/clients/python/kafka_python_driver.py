"""kafka-python: no api_version is ever given, the client asks the broker."""

import logging
import time

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    RetriableError,
    UnknownMemberIdError,
)

import recipe
from member import Member

logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)


def passes(err):
    """Polls and commits end with such a one when the node that is asked for metadata has gone."""
    return isinstance(err, RetriableError)


class Listener(ConsumerRebalanceListener):
    def __init__(self, member, consumer):
        self.member, self.consumer = member, consumer

    def on_partitions_assigned(self, assigned):
        self.member.assigned(self.consumer.group_metadata().generation_id, [p.partition for p in assigned])

    def on_partitions_revoked(self, revoked):
        self.member.revoked([p.partition for p in revoked])


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def admin(self):
        return KafkaAdminClient(bootstrap_servers=self.bootstrap)

    def producer(self, **options):
        return KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", **options)

    def list(self):
        for name in self.admin().list_topics():
            print(name)

    def create(self, topic, partitions):
        self.admin().create_topics([NewTopic(topic, int(partitions), 1)])

    def describe(self, topic):
        print(len(self.admin().describe_topics([topic])[0]["partitions"]))

    def alter(self, topic):
        admin = self.admin()
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "123456789"})])
        answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        print(answer["topic"][topic]["retention.ms"]["value"])

    def delete(self, topic):
        self.admin().delete_topics([topic])

    def produce(self, topic, codec, count):
        with self.producer(compression_type=None if codec == "none" else codec, linger_ms=5) as producer:
            sent = [producer.send(topic, key=k, value=v, partition=0) for k, v in map(recipe.plain, range(int(count)))]
            producer.flush()
            for i, one in enumerate(sent):
                if one.get().offset != i:
                    raise SystemExit(f"record {i} got offset {one.get().offset}")

    def records(self, topic, count):
        with KafkaConsumer(bootstrap_servers=self.bootstrap, consumer_timeout_ms=20000) as consumer:
            partition = TopicPartition(topic, 0)
            consumer.assign([partition])
            consumer.seek_to_beginning(partition)
            seen = 0
            for record in consumer:
                yield record
                seen += 1
                if seen == count:
                    return
            raise SystemExit(f"{seen} records of {count} came")

    def consume(self, topic, count):
        for i, r in enumerate(self.records(topic, int(count))):
            recipe.check(i, r.offset, (r.key, r.value), recipe.plain(i))

    def produce_odd(self, topic):
        with self.producer() as producer:
            for key, value in map(recipe.odd, range(recipe.ODD)):
                producer.send(topic, key=key, value=value, headers=recipe.ODD_HEADERS, partition=0).get(20)

    def consume_odd(self, topic):
        for i, r in enumerate(self.records(topic, recipe.ODD)):
            recipe.check(i, r.offset, (r.key, r.value, list(r.headers)), (*recipe.odd(i), recipe.ODD_HEADERS))

    def large(self, topic, size):
        with self.producer(max_request_size=20 << 20) as producer:
            try:
                producer.send(topic, value=b"x" * int(size)).get(20)
                print("written")
            except KafkaError as err:
                print(f"refused: {err!r}")

    def idempotent(self, topic, count, seconds):
        count, steps = int(count), 50 * int(seconds)
        with self.producer(enable_idempotence=True) as producer:
            sent = []
            for i in range(count):
                key, value = recipe.plain(i)
                sent.append(producer.send(topic, key=key, value=value, partition=0))
                if i % (count // steps) == 0:
                    time.sleep(float(seconds) / steps)
            for one in sent:
                one.get(60)

    def join(self, topic, group, member):
        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
            partition_assignment_strategy=[RangePartitionAssignor],
        )
        consumer.subscribe([topic], listener=Listener(member, consumer))
        while not member.done():
            records = member.again(lambda: consumer.poll(200, max_records=member.room()), passes)
            for partition, some in records.items():
                for r in some:
                    member.take(partition.partition, r.offset, r.value)
            if records:
                self.commit(consumer, member, {p: some[-1].offset + 1 for p, some in records.items()})
        consumer.close()

    def commit(self, consumer, member, positions):
        try:
            offsets = {p: OffsetAndMetadata(offset, "", -1) for p, offset in positions.items()}
            member.again(lambda: consumer.commit(offsets), passes)
        except (CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError) as err:
            member.say("refused", type(err).__name__)  # a rebalance overtook the commit
            return
        member.committed({p.partition: offset for p, offset in positions.items()})

    def group_consume(self, topic, group, count):
        self.join(topic, group, Member(count))

    def group_member(self, topic, group):
        self.join(topic, group, Member())

    def groups(self):
        for group in self.admin().list_groups():
            print(group["group_id"])

    def group_state(self, group):
        print(self.admin().describe_groups([group])[group]["group_state"])

    def group_offsets(self, group, topic):
        offsets = self.admin().list_group_offsets(group)[group]
        for partition, at in sorted(offsets.items()):
            if partition.topic == topic:
                print(partition.partition, at.offset)

    def group_rewind(self, group, topic, partitions):
        start = {TopicPartition(topic, p): OffsetAndMetadata(0, "", -1) for p in range(int(partitions))}
        for partition, error in self.admin().alter_group_offsets(group, start).items():
            if error.errno != 0:
                raise SystemExit(f"{partition}: {error}")

    def group_delete(self, group):
        if (answer := self.admin().delete_groups([group])) != {group: "OK"}:
            raise SystemExit(answer)
