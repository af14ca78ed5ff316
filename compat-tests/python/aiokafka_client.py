"""aiokafka: asynchronous, pure Python with parts in C."""

import asyncio
import sys

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from program import Refused, decode, headers_of, record, run

TIMEOUT_MS = 50_000


def check(code, message):
    if code:
        raise Refused(code, str(message))


class Client:
    """Every request is a coroutine on one event loop."""

    def __init__(self, bootstrap):
        self.base = {"bootstrap_servers": bootstrap}
        self.loop = asyncio.new_event_loop()
        self.admin = self.loop.run_until_complete(self._connect())

    async def _connect(self):
        # The client wants to be made while the loop runs.
        admin = AIOKafkaAdminClient(**self.base, request_timeout_ms=TIMEOUT_MS)
        await admin.start()
        return admin

    def __getattr__(self, name):
        method = getattr(type(self), "_do_" + name)

        def call(**fields):
            try:
                return self.loop.run_until_complete(asyncio.wait_for(method(self, **fields), TIMEOUT_MS / 1000))
            except KafkaError as error:
                # The broker's errors carry their code, the library's own do not.
                if getattr(error, "errno", 0) > 0:
                    raise Refused(error.errno, str(error)) from error
                raise

        return call

    async def _do_version(self):
        return aiokafka.__version__

    async def _do_list_topics(self):
        return await self.admin.list_topics()

    async def _do_describe_topic(self, topic):
        (described,) = await self.admin.describe_topics([topic])
        check(described["error_code"], described)
        partitions = sorted(described["partitions"], key=lambda p: p["partition"])
        return [{"leader": p["leader"], "replicas": p["replicas"], "isr": p["isr"]} for p in partitions]

    async def _do_create_topic(self, topic, partitions, configs):
        response = await self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        check(response.topic_errors[0][1], response)

    async def _do_create_partitions(self, topic, total):
        response = await self.admin.create_partitions({topic: NewPartitions(total)})
        check(response.topic_errors[0][1], response)

    async def _do_delete_topic(self, topic):
        response = await self.admin.delete_topics([topic])
        check(response.topic_error_codes[0][1], response)

    async def _do_produce(self, topic, records, codec, acks, idempotent):
        producer = AIOKafkaProducer(
            **self.base,
            compression_type=None if codec == "none" else codec,
            acks="all" if acks == -1 else acks,
            enable_idempotence=idempotent,
            max_request_size=100_000_000,
            # The records of a request share batches.
            max_batch_size=50_000_000,
            linger_ms=20,
        )
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic,
                    partition=each["partition"],
                    key=decode(each["key"]),
                    value=decode(each["value"]),
                    headers=headers_of(each),
                    timestamp_ms=each["timestamp"],
                )
                for each in records
            ]
            told = [await future for future in sent]
            return [None if acks == 0 else metadata.offset for metadata in told]
        finally:
            await producer.stop()

    async def _do_consume(self, topic, partitions, count):
        consumer = AIOKafkaConsumer(**self.base, auto_offset_reset="none", max_partition_fetch_bytes=20_000_000)
        await consumer.start()
        try:
            assignment = [TopicPartition(topic, p) for p in range(partitions)]
            consumer.assign(assignment)
            await consumer.seek_to_beginning(*assignment)
            records = []
            while len(records) < count:
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    records.extend(
                        record(r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in batch
                    )
            return records
        finally:
            await consumer.stop()

    async def _do_offsets(self, topic, partitions, at):
        consumer = AIOKafkaConsumer(**self.base)
        await consumer.start()
        try:
            where = [TopicPartition(topic, p) for p in range(partitions)]
            if at == "earliest":
                found = await consumer.beginning_offsets(where)
            elif at == "latest":
                found = await consumer.end_offsets(where)
            else:
                times = await consumer.offsets_for_times({partition: at["time"] for partition in where})
                found = {partition: -1 if it is None else it.offset for partition, it in times.items()}
            return [found[partition] for partition in where]
        finally:
            await consumer.stop()

    async def _do_describe_configs(self, topic):
        (response,) = await self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        (resource,) = response.resources
        check(resource[0], resource[1])
        return {entry[0]: entry[1] for entry in resource[4]}

    async def _do_delete_records(self, topic, partition, before):
        where = TopicPartition(topic, partition)
        return (await self.admin.delete_records({where: RecordsToDelete(before)}))[where]

    async def _do_describe_cluster(self):
        cluster = await self.admin.describe_cluster()
        brokers = [{"id": b["node_id"], "host": b["host"], "port": b["port"]} for b in cluster["brokers"]]
        return {"cluster_id": cluster["cluster_id"], "brokers": brokers}


if __name__ == "__main__":
    run(Client(sys.argv[1]))
