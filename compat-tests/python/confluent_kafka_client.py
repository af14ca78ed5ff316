"""confluent-kafka: librdkafka for Python."""

import sys

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from program import Refused, collect, decode, headers_of, record, run

TIMEOUT = 50


def check(error):
    """Raises `error`, a KafkaError, if it is one. Negative codes are librdkafka's own."""
    if error is not None:
        if error.code() >= 0:
            raise Refused(error.code(), error.str())
        raise KafkaException(error)


def result(future):
    try:
        return future.result(TIMEOUT)
    except KafkaException as error:
        check(error.args[0])


def only(futures):
    """The result for the one thing that was asked about."""
    (future,) = futures.values()
    return result(future)


class Client:
    def __init__(self, bootstrap):
        self.base = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(self.base)

    def version(self):
        return f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"

    def list_topics(self):
        return list(self.admin.list_topics(timeout=TIMEOUT).topics)

    def describe_topic(self, topic):
        description = only(self.admin.describe_topics(confluent_kafka.TopicCollection([topic])))
        ids = lambda nodes: [node.id for node in nodes]
        return [
            {"leader": p.leader.id, "replicas": ids(p.replicas), "isr": ids(p.isr)} for p in description.partitions
        ]

    def create_topic(self, topic, partitions, configs):
        only(self.admin.create_topics([NewTopic(topic, partitions, 1, config=configs)]))

    def create_partitions(self, topic, total):
        only(self.admin.create_partitions([NewPartitions(topic, total)]))

    def delete_topic(self, topic):
        only(self.admin.delete_topics([topic]))

    def produce(self, topic, records, codec, acks, idempotent):
        producer = Producer(
            self.base
            | {
                "compression.codec": codec,
                "acks": acks,
                "enable.idempotence": idempotent,
                "message.max.bytes": 100_000_000,
                "message.timeout.ms": TIMEOUT * 1000,
            }
        )
        outcomes = [None] * len(records)

        def delivered(index):
            def report(error, message):
                outcomes[index] = (error, message.offset())

            return report

        for index, each in enumerate(records):
            producer.produce(
                topic,
                partition=each["partition"],
                key=decode(each["key"]),
                value=decode(each["value"]),
                headers=headers_of(each),
                timestamp=each["timestamp"] or 0,
                on_delivery=delivered(index),
            )
        producer.flush(TIMEOUT)
        for error, _ in outcomes:
            check(error)
        return [offset for _, offset in outcomes]

    def consume(self, topic, partitions, count):
        # A group id is obligatory; without subscribe() and commit() no group is joined.
        consumer = Consumer(
            self.base | {"group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error"}
        )
        consumer.assign([TopicPartition(topic, p, confluent_kafka.OFFSET_BEGINNING) for p in range(partitions)])

        def poll():
            messages = consumer.consume(1000, timeout=0.1)
            for message in messages:
                check(message.error())
            return [
                record(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers() or [])
                for m in messages
            ]

        try:
            return collect(count, poll)
        finally:
            consumer.close()

    def offsets(self, topic, partitions, at):
        spec = {
            "earliest": OffsetSpec.earliest,
            "latest": OffsetSpec.latest,
            "max-timestamp": OffsetSpec.max_timestamp,
        }
        spec = spec[at]() if isinstance(at, str) else OffsetSpec.for_timestamp(at["time"])
        futures = self.admin.list_offsets({TopicPartition(topic, p): spec for p in range(partitions)})
        found = {each.partition: result(future).offset for each, future in futures.items()}
        return [found[p] for p in range(partitions)]

    def describe_configs(self, topic):
        entries = only(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        return {name: entry.value for name, entry in entries.items()}

    def alter_configs(self, topic, changes):
        entries = [
            ConfigEntry(
                change["name"], change.get("value"), incremental_operation=AlterConfigOpType[change["op"].upper()]
            )
            for change in changes
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        only(self.admin.incremental_alter_configs([resource]))

    def delete_records(self, topic, partition, before):
        return only(self.admin.delete_records([TopicPartition(topic, partition, before)])).low_watermark

    def describe_cluster(self):
        cluster = result(self.admin.describe_cluster())
        return {
            "cluster_id": cluster.cluster_id,
            "brokers": [{"id": n.id, "host": n.host, "port": n.port} for n in cluster.nodes],
        }


if __name__ == "__main__":
    run(Client(sys.argv[1]))
