// What the programs for librdkafka in Node share.
'use strict'

// Calls a method that takes a callback as its last argument.
function ask (object, method, ...args) {
  return new Promise((resolve, reject) => {
    object[method](...args, (error, result) => (error ? reject(error) : resolve(result)))
  })
}

// A client once it is connected. Its errors are for people: what is asked for tells its own.
async function connect (client) {
  client.on('event.error', error => console.error(String(error)))
  await ask(client, 'connect', {})
  return client
}

module.exports = { ask, connect, PATIENCE: 50_000 }
