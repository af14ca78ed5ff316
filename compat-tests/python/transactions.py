"""The transactions of tests/clients/transactions.rs, by confluent-kafka or aiokafka: LIBRARY BOOTSTRAP TOPIC GROUP ID."""

import asyncio
import os
import sys

LIBRARY, BOOTSTRAP, TOPIC, GROUP, ID = sys.argv[1:]
TIMEOUT = 50


def confluent_kafka():
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

    def new_producer():
        producer = Producer({"bootstrap.servers": BOOTSTRAP, "transactional.id": ID})
        producer.init_transactions(TIMEOUT)
        return producer

    def transact(producer, value, offset, commit):
        producer.begin_transaction()
        producer.produce(TOPIC, value=value, partition=0)
        if offset is not None:
            offsets = [TopicPartition(TOPIC, 0, offset)]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), TIMEOUT)
        producer.flush(TIMEOUT)
        if commit:
            producer.commit_transaction(TIMEOUT)
        else:
            producer.abort_transaction(TIMEOUT)

    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": GROUP})
    first = new_producer()
    transact(first, "committed-0", 3, True)
    transact(first, "aborted", 9, False)
    transact(first, "committed-1", None, True)
    first.begin_transaction()
    first.produce(TOPIC, value="lost", partition=0)
    first.flush(TIMEOUT)
    second = new_producer()
    try:
        first.commit_transaction(TIMEOUT)
        raise SystemExit("the first producer was not fenced")
    except KafkaException as failure:
        if failure.args[0].code() != KafkaError._FENCED:
            raise
        print("fenced")
    transact(second, "committed-2", None, True)


async def aiokafka():
    from aiokafka import AIOKafkaProducer, TopicPartition
    from aiokafka.errors import ProducerFenced

    async def new_producer():
        producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=ID)
        await producer.start()
        return producer

    async def transact(producer, value, offset, commit):
        await producer.begin_transaction()
        await producer.send_and_wait(TOPIC, value.encode(), partition=0)
        if offset is not None:
            await producer.send_offsets_to_transaction({TopicPartition(TOPIC, 0): offset}, GROUP)
        if commit:
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()

    first = await new_producer()
    await transact(first, "committed-0", 3, True)
    await transact(first, "aborted", 9, False)
    await transact(first, "committed-1", None, True)
    await first.begin_transaction()
    await first.send_and_wait(TOPIC, b"lost", partition=0)
    second = await new_producer()
    try:
        await first.commit_transaction()
        raise SystemExit("the first producer was not fenced")
    except ProducerFenced:
        print("fenced")
    await transact(second, "committed-2", None, True)
    await second.stop()


if LIBRARY == "confluent-kafka":
    confluent_kafka()
else:
    asyncio.run(aiokafka())
print("done", flush=True)
# The producer that was fenced cannot be closed in good order.
os._exit(0)
