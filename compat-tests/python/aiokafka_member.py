"""A group member of aiokafka."""

import asyncio

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from member import Member

member = Member()
options = member.options


class Listener(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        member.gained(p.partition for p in assigned)

    def on_partitions_revoked(self, revoked):
        member.gave_up(p.partition for p in revoked)


async def main():
    consumer = AIOKafkaConsumer(
        bootstrap_servers=options.bootstrap,
        group_id=options.group,
        session_timeout_ms=options.session_ms,
        heartbeat_interval_ms=options.heartbeat_ms,
        max_poll_interval_ms=options.max_poll_ms,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    consumer.subscribe([options.topic], listener=Listener())
    await consumer.start()
    while not member.leaving:
        batches = await consumer.getmany(timeout_ms=100)
        if not batches:
            continue
        offsets = member.read([(r.partition, r.offset) for batch in batches.values() for r in batch])
        try:
            await consumer.commit({TopicPartition(options.topic, p): o for p, o in offsets.items()})
            member.committed(offsets)
        except KafkaError as error:
            member.failed(error)
    await consumer.stop()


asyncio.run(main())
