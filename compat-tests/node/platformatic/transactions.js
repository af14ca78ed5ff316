// The transactions of tests/clients/transactions.rs, by @platformatic/kafka: BOOTSTRAP TOPIC GROUP ID.
'use strict'

const { Consumer, Producer } = require('@platformatic/kafka')
const [bootstrap, topic, group, id] = process.argv.slice(2)

const base = { clientId: 'compat', bootstrapBrokers: [bootstrap], retries: 10, retryDelay: 100 }
// Unless it is told that a producer has no id yet, the library says 0, and an id that another one has had is refused it.
const none = { producerId: -1n, producerEpoch: -1 }
const newProducer = () => new Producer({ ...base, ...none, transactionalId: id, idempotent: true })

async function begin (producer, value) {
  const transaction = await producer.beginTransaction()
  await transaction.send({ messages: [{ topic, partition: 0, value: Buffer.from(value) }] })
  return transaction
}

// Offsets are those of messages that a member has read: `offset` is the next one.
async function transact (producer, value, { offset, consumer, commit = true } = {}) {
  const transaction = await begin(producer, value)
  if (consumer) {
    await transaction.addConsumer(consumer)
    const { groupId, generationId, memberId, coordinatorId } = consumer
    const metadata = { consumer: { groupId, generationId, memberId, coordinatorId } }
    await transaction.addOffset({ topic, partition: 0, offset: BigInt(offset - 1), metadata })
  }
  await (commit ? transaction.commit() : transaction.abort())
}

function isFenced (failure) {
  for (let cause = failure; cause; cause = cause.errors?.[0] ?? cause.cause) {
    if (['PRODUCER_FENCED', 'INVALID_PRODUCER_EPOCH'].includes(cause.apiId)) return true
  }
  return false
}

async function main () {
  const consumer = new Consumer({ ...base, groupId: group })
  consumer.topics.trackAll(topic)
  await consumer.joinGroup()
  const first = newProducer()
  await transact(first, 'committed-0', { offset: 3, consumer })
  await transact(first, 'aborted', { offset: 9, consumer, commit: false })
  await transact(first, 'committed-1')
  const lost = await begin(first, 'lost')
  const second = newProducer()
  const next = await begin(second, 'committed-2')
  const failure = await lost.commit().catch(error => error)
  if (!isFenced(failure)) throw failure ?? new Error('the first producer was not fenced')
  console.log('fenced')
  await next.commit()
  console.log('done')
  process.exit(0)
}

main()
