// The client program for kafkajs: requests as JSON lines in, answers as JSON lines out.
// The vocabulary is described in src/client.rs. kafkajs consumes only as member of a group: each request to consume is a
// group of its own.
'use strict'

const readline = require('node:readline')
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs')

const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR, retry: { retries: 8, initialRetryTime: 50 } })
const admin = kafka.admin()

const decode = text => (text === null ? null : Buffer.from(text, 'base64'))

// kafkajs wants headers as an object; a list is a repeated header.
function headersOf (record) {
  const headers = {}
  for (const [name, value] of record.headers) (headers[name] ??= []).push(decode(value))
  return headers
}

const encode = bytes => (bytes === null || bytes === undefined ? null : bytes.toString('base64'))

function recordOf (partition, { offset, timestamp, key, value, headers }) {
  const pairs = Object.entries(headers ?? {}).flatMap(([name, values]) => [values].flat().map(value => [name, encode(value)]))
  return { partition, offset: Number(offset), timestamp: Number(timestamp), key: encode(key), value: encode(value), headers: pairs }
}

function byPartition (entries, value) {
  return [...entries].sort((a, b) => a.partition - b.partition).map(value)
}

const requests = {
  'version': async () => require('kafkajs/package.json').version,

  'list-topics': () => admin.listTopics(),

  'describe-topic': async ({ topic }) => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    const partitions = topics[0].partitions.map(p => ({ ...p, partition: p.partitionId }))
    return byPartition(partitions, ({ leader, replicas, isr }) => ({ leader, replicas, isr }))
  },

  'create-topic': async ({ topic, partitions, configs }) => {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const topics = [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }]
    // A topic that exists is no exception to kafkajs.
    if (!await admin.createTopics({ topics })) throw Object.assign(new Error('the topic exists'), { code: 36 })
    return null
  },

  'create-partitions': async ({ topic, total }) => {
    await admin.createPartitions({ topicPartitions: [{ topic, count: total }] })
    return null
  },

  'delete-topic': async ({ topic }) => {
    await admin.deleteTopics({ topics: [topic] })
    return null
  },

  'produce': async ({ topic, records, codec, acks, idempotent }) => {
    const producer = kafka.producer({ idempotent, allowAutoTopicCreation: false })
    await producer.connect()
    try {
      const offsets = records.map(() => null)
      const messages = records.map(record => ({
        partition: record.partition,
        key: decode(record.key),
        value: decode(record.value),
        headers: headersOf(record),
        timestamp: record.timestamp === null ? undefined : String(record.timestamp)
      }))
      const compression = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP }[codec]
      const results = await producer.send({ topic, messages, acks, compression })
      for (const { partition, baseOffset } of acks === 0 ? [] : results) {
        let offset = Number(baseOffset)
        records.forEach((record, index) => {
          if (record.partition === partition) offsets[index] = offset++
        })
      }
      return offsets
    } finally {
      await producer.disconnect()
    }
  },

  'consume': async ({ topic, count }) => {
    const groupId = `reader-${process.pid}-${Date.now()}`
    const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 50, maxBytesPerPartition: 20_000_000 })
    await consumer.connect()
    try {
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      const records = []
      await new Promise((resolve, reject) => {
        consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
        consumer.run({
          autoCommit: false,
          eachMessage: async ({ partition, message }) => {
            if (records.length < count) records.push(recordOf(partition, message))
            if (records.length === count) resolve()
          }
        }).catch(reject)
        setTimeout(() => reject(new Error(`${records.length} of ${count} records came`)), 50_000).unref()
      })
      return records
    } finally {
      await consumer.disconnect()
    }
  },

  'offsets': async ({ topic, at }) => {
    if (typeof at === 'object') {
      // kafkajs answers "none" with the end of the log: only a time that some record has is asked for here.
      return byPartition(await admin.fetchTopicOffsetsByTimestamp(topic, at.time), o => Number(o.offset))
    }
    const field = { earliest: 'low', latest: 'high' }[at]
    return byPartition(await admin.fetchTopicOffsets(topic), o => Number(o[field]))
  },

  'describe-configs': async ({ topic }) => {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }]
    })
    return Object.fromEntries(resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue]))
  },

  'delete-records': async ({ topic, partition, before }) => {
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
    const offsets = await admin.fetchTopicOffsets(topic)
    return Number(offsets.find(o => o.partition === partition).low)
  },

  'describe-cluster': async () => {
    const { brokers, clusterId } = await admin.describeCluster()
    return { cluster_id: clusterId, brokers: brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port })) }
  }
}

// The error that the broker reported, below the wrappers that kafkajs puts around it.
function failure (error) {
  for (let cause = error; cause; cause = cause.cause ?? cause.errors?.[0]) {
    if (typeof cause.code === 'number' && cause.code >= 0) return { code: cause.code, message: String(error) }
  }
  return { code: null, message: error.stack }
}

async function main () {
  await admin.connect()
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    const answer = await requests[request.do](request).then(ok => ({ ok }), error => ({ error: failure(error) }))
    console.log(JSON.stringify(answer))
  }
  await admin.disconnect()
}

main()
