import assert from 'node:assert/strict'
import test from 'node:test'
import WebSocket from 'ws'
import { Api, Client, type ParleyEvent } from '../src/index.js'
import { startServer } from './server.js'

test('smoke', async () => {
  const server = await startServer()
  const a = new Api({ url: server.url }), b = new Api({ url: server.url })
  await a.register('alice', 'a@example.org', 'password-a')
  const bob = await b.register('bob', 'b@example.org', 'password-b')
  const conv = await a.createDirect(bob.user.id)
  const events: ParleyEvent[] = []
  const stop = new AbortController()
  const client = new Client({ api: a, WebSocket, onEvent: (e) => void events.push(e) })
  const run = client.run(stop.signal)
  const sent = await client.send(conv.id, 'hello').sent
  await assert.rejects(client.send(conv.id, '\ud800').sent, { code: 'invalid_text' })
  const at = Date.now()
  for (let i = 0; i < 200; i++) client.send(conv.id, `m ${i}`)
  await client.send(conv.id, 'last').sent
  console.log(sent, Date.now() - at, 'ms for 200')
  stop.abort()
  assert.equal(await run, undefined)
  console.log(JSON.stringify(events.slice(0, 12), null, 1))
  console.log((await a.page(conv.id)).messages.length)
  await server.close()
})
