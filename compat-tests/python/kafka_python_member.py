"""A group member of kafka-python."""

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from member import Member

member = Member()
options = member.options


class Listener(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        member.gained(p.partition for p in assigned)

    def on_partitions_revoked(self, revoked):
        member.gave_up(p.partition for p in revoked)

    def on_partitions_lost(self, lost):
        member.gave_up(p.partition for p in lost)


consumer = KafkaConsumer(
    bootstrap_servers=options.bootstrap,
    group_id=options.group,
    session_timeout_ms=options.session_ms,
    heartbeat_interval_ms=options.heartbeat_ms,
    max_poll_interval_ms=options.max_poll_ms,
    reconnect_backoff_max_ms=100,
    enable_auto_commit=False,
    auto_offset_reset="earliest",
)
consumer.bootstrap()
consumer.subscribe([options.topic], listener=Listener())
# The library never ends a join that began because partitions became known, if a poll returned meanwhile: the member is then
# silent for ever. So it knows them before it joins.
consumer.partitions_for_topic(options.topic)
while not member.leaving:
    try:
        batches = consumer.poll(timeout_ms=100)
    except KafkaError as error:
        # There is no coordinator for a while, as when a broker takes long to start again.
        member.failed(error)
        continue
    if not batches:
        continue
    offsets = member.read([(r.partition, r.offset) for batch in batches.values() for r in batch])
    try:
        consumer.commit({TopicPartition(options.topic, p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()})
        member.committed(offsets)
    except KafkaError as error:
        member.failed(error)
consumer.close()
