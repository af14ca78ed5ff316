// The client program for librdkafka in Node: LIBRARY BOOTSTRAP, where the library is node-rdkafka or its successor,
// @confluentinc/kafka-javascript, which has the same functions and some more. Requests as JSON lines in, answers as JSON lines
// out; the vocabulary is described in src/client.rs.
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')
const [library, bootstrap] = process.argv.slice(2)
const rdkafka = require(library)
const { ask, connect, PATIENCE } = require('./ask')

const base = { 'bootstrap.servers': bootstrap }
const admin = rdkafka.AdminClient.create(base)
const metadata = connect(new rdkafka.Producer(base))

const decode = text => (text === null ? null : Buffer.from(text, 'base64'))
const encode = bytes => (bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('base64'))

// node-rdkafka writes every header as text.
const headersOf = record => record.headers.map(([name, value]) => ({ [name]: decode(value).toString() }))

function recordOf ({ partition, offset, timestamp, key, value, headers }) {
  const pairs = (headers ?? []).map(header => Object.entries(header)[0]).map(([name, value]) => [name, encode(value)])
  return { partition, offset, timestamp, key: encode(key), value: encode(value), headers: pairs }
}

async function withConsumer (use) {
  const consumer = await connect(new rdkafka.KafkaConsumer({
    ...base, 'group.id': 'none', 'enable.auto.commit': false, 'fetch.wait.max.ms': 100
  }, { 'auto.offset.reset': 'error' }))
  try {
    return await use(consumer)
  } finally {
    await ask(consumer, 'disconnect')
  }
}

const requests = {
  'version': async () => {
    // Neither package exports its description.
    let folder = path.dirname(require.resolve(library))
    while (!fs.existsSync(path.join(folder, 'package.json'))) folder = path.dirname(folder)
    return `${require(path.join(folder, 'package.json')).version} (librdkafka ${rdkafka.librdkafkaVersion})`
  },

  'list-topics': async () => {
    const { topics } = await ask(await metadata, 'getMetadata', { timeout: PATIENCE })
    return topics.map(({ name }) => name)
  },

  'describe-topic': async ({ topic }) => {
    const { topics } = await ask(await metadata, 'getMetadata', { topic, timeout: PATIENCE })
    // kafka-javascript tells of all topics.
    const { partitions } = topics.find(({ name }) => name === topic)
    return partitions.sort((a, b) => a.id - b.id).map(({ leader, replicas, isrs }) => ({ leader, replicas, isr: isrs }))
  },

  'create-topic': async ({ topic, partitions, configs }) => {
    const settings = { topic, num_partitions: partitions, replication_factor: 1, config: configs }
    await ask(admin, 'createTopic', settings, PATIENCE)
    return null
  },

  'create-partitions': async ({ topic, total }) => {
    await ask(admin, 'createPartitions', topic, total, PATIENCE)
    return null
  },

  'delete-topic': async ({ topic }) => {
    await ask(admin, 'deleteTopic', topic, PATIENCE)
    return null
  },

  'produce': async ({ topic, records, codec, acks, idempotent }) => {
    const producer = await connect(new rdkafka.Producer({
      ...base,
      'compression.codec': codec,
      'acks': acks,
      'enable.idempotence': idempotent,
      'message.max.bytes': 100_000_000,
      'message.timeout.ms': PATIENCE,
      'dr_cb': true
    }))
    producer.setPollInterval(10)
    try {
      const offsets = new Array(records.length)
      let missing = records.length
      const delivered = new Promise((resolve, reject) => {
        producer.on('delivery-report', (error, report) => {
          if (error) reject(error)
          offsets[report?.opaque] = report?.offset
          if (--missing === 0) resolve()
        })
      })
      records.forEach((record, index) => producer.produce(
        topic, record.partition, decode(record.value), decode(record.key), record.timestamp, index, headersOf(record)
      ))
      await delivered
      return offsets
    } finally {
      await ask(producer, 'disconnect')
    }
  },

  'consume': ({ topic, partitions, count }) => withConsumer(async consumer => {
    consumer.setDefaultConsumeTimeout(100)
    consumer.assign(Array.from({ length: partitions }, (_, partition) => ({ topic, partition, offset: BEGINNING })))
    const deadline = Date.now() + PATIENCE
    const records = []
    while (records.length < count) {
      if (Date.now() > deadline) throw new Error(`${records.length} of ${count} records came`)
      records.push(...await ask(consumer, 'consume', count - records.length))
    }
    return records.map(recordOf)
  }),

  'offsets': ({ topic, partitions, at }) => withConsumer(async consumer => {
    const offsets = []
    for (let partition = 0; partition < partitions; partition++) {
      if (typeof at === 'object') {
        const [found] = await ask(consumer, 'offsetsForTimes', [{ topic, partition, offset: at.time }], PATIENCE)
        offsets.push(found.offset)
      } else if (at === 'max-timestamp') {
        const asked = [{ topic, partition, offset: rdkafka.OffsetSpec.MAX_TIMESTAMP }]
        const [found] = await ask(admin, 'listOffsets', asked, { timeout: PATIENCE })
        offsets.push(found.offset)
      } else {
        const ends = await ask(consumer, 'queryWatermarkOffsets', topic, partition, PATIENCE)
        offsets.push({ earliest: ends.lowOffset, latest: ends.highOffset }[at])
      }
    }
    return offsets
  }),

  'delete-records': async ({ topic, partition, before }) => {
    const [deleted] = await ask(admin, 'deleteRecords', [{ topic, partition, offset: before }], { timeout: PATIENCE })
    if (deleted.error) throw deleted.error
    return deleted.lowWatermark
  }
}

// Where a partition begins, to librdkafka.
const BEGINNING = -2

// Negative codes are librdkafka's own.
function failure (error) {
  return { code: error.code >= 0 ? error.code : null, message: error.stack ?? error.message }
}

async function main () {
  await metadata
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    const answer = await requests[request.do](request).then(ok => ({ ok }), error => ({ error: failure(error) }))
    console.log(JSON.stringify(answer))
  }
  process.exit(0)
}

main()
