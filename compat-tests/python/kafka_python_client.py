"""kafka-python: pure Python."""

import re
import sys

import kafka
import kafka.errors
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetSpec, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from program import Refused, collect, decode, headers_of, record, run

TIMEOUT_MS = 50_000


def refuse(error):
    """Raises what `error` stands for: the broker's errors carry their code, the library's own do not."""
    if getattr(error, "errno", 0) > 0:
        raise Refused(error.errno, str(error)) from error
    raise error


def translated(method):
    def call(*arguments, **fields):
        try:
            return method(*arguments, **fields)
        except kafka.errors.KafkaError as error:
            refuse(error)

    return call


class Client:
    def __init__(self, bootstrap):
        self.base = {"bootstrap_servers": bootstrap}
        self.admin = KafkaAdminClient(**self.base)

    def version(self):
        return kafka.__version__

    @translated
    def list_topics(self):
        return self.admin.list_topics()

    @translated
    def describe_topic(self, topic):
        (description,) = self.admin.describe_topics([topic])
        if description["error_code"]:
            raise Refused(description["error_code"], str(description))
        partitions = sorted(description["partitions"], key=lambda p: p["partition_index"])
        return [{"leader": p["leader_id"], "replicas": p["replica_nodes"], "isr": p["isr_nodes"]} for p in partitions]

    @translated
    def create_topic(self, topic, partitions, configs):
        self.admin.create_topics(
            {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}
        )

    @translated
    def create_partitions(self, topic, total):
        self.admin.create_partitions({topic: total})

    @translated
    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    @translated
    def produce(self, topic, records, codec, acks, idempotent):
        producer = KafkaProducer(
            **self.base,
            compression_type=None if codec == "none" else codec,
            acks="all" if acks == -1 else acks,
            enable_idempotence=idempotent,
            max_request_size=100_000_000,
            delivery_timeout_ms=TIMEOUT_MS,
            # The records of a request share batches.
            linger_ms=20,
        )
        try:
            futures = [
                producer.send(
                    topic,
                    partition=each["partition"],
                    key=decode(each["key"]),
                    value=decode(each["value"]),
                    headers=headers_of(each),
                    timestamp_ms=each["timestamp"],
                )
                for each in records
            ]
            return [future.get(TIMEOUT_MS / 1000).offset for future in futures]
        finally:
            producer.close(timeout=5)

    @translated
    def consume(self, topic, partitions, count):
        consumer = KafkaConsumer(
            **self.base, group_id=None, auto_offset_reset="none", max_partition_fetch_bytes=10_000_000
        )
        try:
            assignment = [TopicPartition(topic, p) for p in range(partitions)]
            consumer.assign(assignment)
            consumer.seek_to_beginning(*assignment)

            def poll():
                return [
                    record(r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
                    for batch in consumer.poll(timeout_ms=100).values()
                    for r in batch
                ]

            return collect(count, poll)
        finally:
            consumer.close()

    @translated
    def offsets(self, topic, partitions, at):
        spec = {
            "earliest": OffsetSpec.EARLIEST,
            "latest": OffsetSpec.LATEST,
            "max-timestamp": OffsetSpec.MAX_TIMESTAMP,
        }
        spec = spec[at] if isinstance(at, str) else at["time"]
        found = self.admin.list_partition_offsets({TopicPartition(topic, p): spec for p in range(partitions)})
        return [found[TopicPartition(topic, p)].offset for p in range(partitions)]

    @translated
    def describe_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        configs = self.admin.describe_configs([resource], config_filter="all")["topic"][topic]
        return {name: config["value"] for name, config in configs.items()}

    @translated
    def alter_configs(self, topic, changes):
        configs = {change["name"]: (change["op"].upper(), change.get("value")) for change in changes}
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs)
        outcome = self.admin.alter_configs([resource], raise_on_unknown=False)["topic"][topic]
        if outcome != "OK":
            # The library has made a text of the error by now: "[Error 40] InvalidConfigurationError: …".
            raise Refused(int(re.search(r"Error (\d+)", outcome)[1]), outcome)

    @translated
    def delete_records(self, topic, partition, before):
        where = TopicPartition(topic, partition)
        return self.admin.delete_records({where: before})[where]["low_watermark"]

    @translated
    def describe_cluster(self):
        cluster = self.admin.describe_cluster()
        return {
            "cluster_id": cluster["cluster_id"],
            "brokers": [{"id": b["broker_id"], "host": b["host"], "port": b["port"]} for b in cluster["brokers"]],
        }


if __name__ == "__main__":
    run(Client(sys.argv[1]))
