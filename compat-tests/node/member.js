// A group member of kafkajs. The protocol is described in tests/clients/group_member.rs: options as one JSON argument,
// events as JSON lines out, and the end of the input means to leave.
'use strict'

const { Kafka, logLevel } = require('kafkajs')

const options = JSON.parse(process.argv[2])
const kafka = new Kafka({
  brokers: [options.bootstrap],
  logLevel: logLevel.ERROR,
  retry: { retries: 50, initialRetryTime: 50, maxRetryTime: 200 }
})
const consumer = kafka.consumer({
  groupId: options.group,
  sessionTimeout: options.session_ms,
  heartbeatInterval: options.heartbeat_ms,
  maxWaitTimeInMs: 100
})

const tell = event => console.log(JSON.stringify({ at: Date.now(), ...event }))
const { GROUP_JOIN, REBALANCING, CRASH } = consumer.events
consumer.on(GROUP_JOIN, ({ payload }) => tell({ owns: payload.memberAssignment[options.topic] ?? [] }))
for (const lost of [REBALANCING, CRASH]) consumer.on(lost, () => tell({ owns: [] }))

async function eachBatch ({ batch, resolveOffset, heartbeat }) {
  const { topic, partition, messages } = batch
  tell({ records: messages.map(({ offset }) => [partition, Number(offset)]) })
  const end = Number(messages.at(-1).offset) + 1
  try {
    await consumer.commitOffsets([{ topic, partition, offset: String(end) }])
  } catch (error) {
    tell({ failed: String(error) })
    throw error
  }
  tell({ committed: [[partition, end]] })
  resolveOffset(messages.at(-1).offset)
  await heartbeat()
}

async function join () {
  await consumer.connect()
  await consumer.subscribe({ topics: [options.topic], fromBeginning: true })
  await consumer.run({ autoCommit: false, eachBatch })
}

// kafkajs gives up for good when it finds no coordinator, as while a broker restarts; an application then begins anew.
consumer.on(CRASH, ({ payload }) => {
  if (!payload.restart) join()
})

async function main () {
  process.stdin.resume()
  const leave = new Promise(resolve => process.stdin.once('end', resolve))
  await join()
  await leave
  await consumer.stop()
  tell({ owns: [] })
  await consumer.disconnect()
  // After a restart of the broker kafkajs leaves something open that would keep the process.
  process.exit(0)
}

main()
