"""A group member of confluent-kafka."""

from confluent_kafka import Consumer, KafkaException, TopicPartition

from member import Member

member = Member()
options = member.options
config = {
    "bootstrap.servers": options.bootstrap,
    "group.id": options.group,
    "group.protocol": options.protocol,
    "max.poll.interval.ms": options.max_poll_ms,
    "reconnect.backoff.max.ms": 100,
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
}
if options.protocol == "classic":
    config["session.timeout.ms"] = options.session_ms
    config["heartbeat.interval.ms"] = options.heartbeat_ms
    config["partition.assignment.strategy"] = options.assignor
else:
    config["group.remote.assignor"] = options.assignor
consumer = Consumer(config)


def gained(_, partitions):
    member.gained(p.partition for p in partitions)


def gave_up(_, partitions):
    member.gave_up(p.partition for p in partitions)


consumer.subscribe([options.topic], on_assign=gained, on_revoke=gave_up, on_lost=gave_up)
while not member.leaving:
    records = []
    for message in consumer.consume(100, timeout=0.1):
        if message.error():
            member.failed(message.error())
        else:
            records.append((message.partition(), message.offset()))
    if not records:
        continue
    offsets = member.read(records)
    try:
        asked = [TopicPartition(options.topic, p, o) for p, o in offsets.items()]
        for answered in consumer.commit(offsets=asked, asynchronous=False):
            if answered.error:
                raise KafkaException(answered.error)
        member.committed(offsets)
    except KafkaException as error:
        member.failed(error)
consumer.close()
