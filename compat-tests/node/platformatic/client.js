// The client program for @platformatic/kafka: requests as JSON lines in, answers as JSON lines out.
// The vocabulary is described in src/client.rs. It consumes only as member of a group: each request to consume is a group of
// its own.
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')
const { Admin, ConfigResourceTypes, Consumer, IncrementalAlterConfigOperationTypes, Producer } = require('@platformatic/kafka')

const base = { clientId: 'compat', bootstrapBrokers: [process.argv[2]], retries: 10, retryDelay: 100, autocreateTopics: false }
const admin = new Admin(base)

const decode = text => (text === null ? undefined : Buffer.from(text, 'base64'))
const encode = bytes => (bytes === null || bytes === undefined ? null : bytes.toString('base64'))

const requests = {
  'version': async () => {
    // The package does not export its description.
    const description = path.join(path.dirname(require.resolve('@platformatic/kafka')), '../package.json')
    return JSON.parse(fs.readFileSync(description)).version
  },

  'list-topics': () => admin.listTopics(),

  'describe-topic': async ({ topic }) => {
    const metadata = await admin.metadata({ topics: [topic], forceUpdate: true })
    return metadata.topics.get(topic).partitions.map(({ leader, replicas, isr }) => ({ leader, replicas, isr: isr ?? replicas }))
  },

  'create-topic': async ({ topic, partitions, configs }) => {
    const entries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs: entries })
    return null
  },

  'create-partitions': async ({ topic, total }) => {
    await admin.createPartitions({ topics: [{ name: topic, count: total, assignments: null }] })
    return null
  },

  'delete-topic': async ({ topic }) => {
    await admin.deleteTopics({ topics: [topic] })
    return null
  },

  'produce': async ({ topic, records, codec, acks, idempotent }) => {
    const producer = new Producer(base)
    try {
      const messages = records.map(record => ({
        topic,
        partition: record.partition,
        key: decode(record.key),
        value: decode(record.value),
        // Buffers are no equal keys: a header may be there twice.
        headers: new Map(record.headers.map(([name, value]) => [Buffer.from(name), decode(value)])),
        timestamp: record.timestamp === null ? undefined : BigInt(record.timestamp)
      }))
      const sent = await producer.send({ messages, acks, compression: codec, idempotent })
      if (acks === 0) return records.map(() => null)
      // Where the records of each partition begin.
      const next = new Map(sent.offsets.map(({ partition, offset }) => [partition, Number(offset)]))
      return records.map(({ partition }) => {
        const offset = next.get(partition)
        next.set(partition, offset + 1)
        return offset
      })
    } finally {
      await producer.close(true)
    }
  },

  'consume': async ({ topic, count }) => {
    const consumer = new Consumer({ ...base, groupId: `reader-${process.pid}-${Date.now()}` })
    try {
      const stream = await consumer.consume({
        topics: [topic], mode: 'earliest', autocommit: false, maxWaitTime: 50, maxBytes: 20_000_000
      })
      const records = []
      for await (const { partition, offset, timestamp, key, value, headers } of stream) {
        const pairs = [...headers].map(([name, value]) => [name.toString(), encode(value)])
        records.push({
          partition, offset: Number(offset), timestamp: Number(timestamp), key: encode(key), value: encode(value), headers: pairs
        })
        if (records.length === count) break
      }
      return records
    } finally {
      await consumer.close(true)
    }
  },

  'offsets': async ({ topic, at }) => {
    const timestamp = { earliest: -2n, latest: -1n, 'max-timestamp': -3n }[at] ?? BigInt(at.time)
    const consumer = new Consumer({ ...base, groupId: 'none' })
    try {
      const offsets = await consumer.listOffsets({ topics: [topic], timestamp })
      return offsets.get(topic).map(Number)
    } finally {
      await consumer.close(true)
    }
  },

  'describe-configs': async ({ topic }) => {
    const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }]
    const [{ configs }] = await admin.describeConfigs({ resources })
    return Object.fromEntries(configs.map(({ name, value }) => [name, value]))
  },

  'alter-configs': async ({ topic, changes }) => {
    const configs = changes.map(({ op, name, value }) => ({
      name, configOperation: IncrementalAlterConfigOperationTypes[op.toUpperCase()], value
    }))
    const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configs }]
    await admin.incrementalAlterConfigs({ resources })
    return null
  },

  'delete-records': async ({ topic, partition, before }) => {
    const topics = [{ name: topic, partitions: [{ partition, offset: BigInt(before) }] }]
    const [{ partitions }] = await admin.deleteRecords({ topics })
    return Number(partitions[0].lowWatermark)
  },

  'describe-cluster': async () => {
    const { id, brokers } = await admin.metadata({ topics: [], forceUpdate: true })
    return { cluster_id: id, brokers: [...brokers].map(([id, { host, port }]) => ({ id, host, port })) }
  }
}

// The error that the broker reported, below those that the library puts around it.
function failure (error) {
  for (let cause = error; cause; cause = cause.errors?.[0] ?? cause.cause) {
    if (typeof cause.apiCode === 'number' && cause.apiCode > 0) return { code: cause.apiCode, message: String(error) }
  }
  return { code: null, message: error.stack }
}

async function main () {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    const answer = await requests[request.do](request).then(ok => ({ ok }), error => ({ error: failure(error) }))
    console.log(JSON.stringify(answer))
  }
  await admin.close()
}

main()
