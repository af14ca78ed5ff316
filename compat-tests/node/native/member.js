// A group member of librdkafka in Node: LIBRARY OPTIONS. The protocol is described in tests/clients/group_member.rs: options as
// one JSON argument, events as JSON lines out, and the end of the input means to leave.
'use strict'

const { ask, connect } = require('./ask')
const [library, argument] = process.argv.slice(2)
const { CODES, KafkaConsumer } = require(library)
const { ERR__ASSIGN_PARTITIONS } = CODES.ERRORS

const options = JSON.parse(argument)
const classic = {
  'session.timeout.ms': options.session_ms,
  'heartbeat.interval.ms': options.heartbeat_ms,
  'partition.assignment.strategy': options.assignor
}
const consumer = new KafkaConsumer({
  'bootstrap.servers': options.bootstrap,
  'group.id': options.group,
  'group.protocol': options.protocol,
  'max.poll.interval.ms': options.max_poll_ms,
  'reconnect.backoff.max.ms': 100,
  'enable.auto.commit': false,
  ...(options.protocol === 'classic' ? classic : { 'group.remote.assignor': options.assignor }),
  'rebalance_cb': (change, partitions) => {
    rebalances.push([change, partitions])
    if (leaving) rebalance()
  }
}, { 'auto.offset.reset': 'earliest' })
consumer.setDefaultConsumeTimeout(100)

const tell = event => console.log(JSON.stringify({ at: Date.now(), ...event }))
const owned = new Set()
let leaving = false

// What the callback told and nobody has answered. What a call has read comes to us after a callback that came meanwhile: it is
// committed before its partition is given up, so that nobody reads it again.
const rebalances = []

function rebalance () {
  for (const [change, partitions] of rebalances.splice(0)) {
    const isGain = change.code === ERR__ASSIGN_PARTITIONS
    for (const { partition } of partitions) isGain ? owned.add(partition) : owned.delete(partition)
    tell({ owns: [...owned] })
    if (consumer.rebalanceProtocol() === 'COOPERATIVE') {
      isGain ? consumer.incrementalAssign(partitions) : consumer.incrementalUnassign(partitions)
    } else {
      isGain ? consumer.assign(partitions) : consumer.unassign()
    }
  }
}

async function readSome () {
  const messages = await ask(consumer, 'consume', 100)
  if (messages.length === 0) return
  tell({ records: messages.map(({ partition, offset }) => [partition, offset]) })
  const ends = [...new Map(messages.map(({ partition, offset }) => [partition, offset + 1]))]
  consumer.commitSync(ends.map(([partition, offset]) => ({ topic: options.topic, partition, offset })))
  tell({ committed: ends })
}

async function main () {
  let told = false
  process.stdin.resume()
  process.stdin.once('end', () => { told = true })
  await connect(consumer)
  consumer.subscribe([options.topic])
  while (!told) {
    await readSome().catch(error => tell({ failed: String(error) }))
    rebalance()
  }
  leaving = true
  await ask(consumer, 'disconnect')
  tell({ owns: [] })
  process.exit(0)
}

main()
