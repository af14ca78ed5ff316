// The transactions of tests/clients/transactions.rs, by librdkafka in Node: LIBRARY BOOTSTRAP TOPIC GROUP ID.
'use strict'

const { ask, connect, PATIENCE } = require('./ask')
const [library, bootstrap, topic, group, id] = process.argv.slice(2)
const { CODES, KafkaConsumer, Producer } = require(library)

const base = { 'bootstrap.servers': bootstrap }

async function newProducer () {
  const producer = await connect(new Producer({ ...base, 'transactional.id': id }))
  await ask(producer, 'initTransactions', PATIENCE)
  return producer
}

async function write (producer, value) {
  await ask(producer, 'beginTransaction')
  producer.produce(topic, 0, Buffer.from(value))
  await ask(producer, 'flush', PATIENCE)
}

async function transact (producer, value, { offset, consumer, commit = true } = {}) {
  await write(producer, value)
  if (consumer) await ask(producer, 'sendOffsetsToTransaction', [{ topic, partition: 0, offset }], consumer, PATIENCE)
  await ask(producer, commit ? 'commitTransaction' : 'abortTransaction', PATIENCE)
}

async function main () {
  const consumer = await connect(new KafkaConsumer({ ...base, 'group.id': group }, {}))
  const first = await newProducer()
  await transact(first, 'committed-0', { offset: 3, consumer })
  await transact(first, 'aborted', { offset: 9, consumer, commit: false })
  await transact(first, 'committed-1')
  await write(first, 'lost')
  const second = await newProducer()
  const failure = await ask(first, 'commitTransaction', PATIENCE).catch(error => error)
  if (failure?.code !== CODES.ERRORS.ERR__FENCED) throw failure ?? new Error('the first producer was not fenced')
  console.log('fenced')
  await transact(second, 'committed-2')
  console.log('done')
  // The producer that was fenced cannot be closed in good order.
  process.exit(0)
}

main()
