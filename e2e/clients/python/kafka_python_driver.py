"""kafka-python: no api_version is ever given, the client asks the broker."""

import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

import recipe


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
        count, steps = int(count), 50
        with self.producer(enable_idempotence=True) as producer:
            sent = []
            for i in range(count):
                key, value = recipe.plain(i)
                sent.append(producer.send(topic, key=key, value=value, partition=0))
                if i % (count // steps) == 0:
                    time.sleep(float(seconds) / steps)
            for one in sent:
                one.get(60)
