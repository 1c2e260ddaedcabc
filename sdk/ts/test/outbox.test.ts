import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import 'fake-indexeddb/auto'
import { memoryUnsent, openBrowserStore, OutboxFullError, type ClientFrame, type ServerFrame, type Unsent } from '../src/index.js'
import { caughtUp, connected, device, eventually, startTalk } from './people.js'
import { startProxy } from './proxy.js'
import { scenario } from './scenario.js'
import { startServer, type Server } from './server.js'

let server: Server
before(async () => void (server = await startServer()))
after(() => server.close())

const refuse = (id: number | undefined, code: string, retry_after_ms?: number): ServerFrame => ({
  id: id ?? 0, type: 'error', data: { code, message: 'by the test', retryable: true, ...(retry_after_ms ? { retry_after_ms } : {}) },
})

const isSend = (f: ClientFrame) => f.type === 'message:send'

const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `message ${from + i}`)

scenario('own and foreign messages are shown once in order', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me)
  for (const text of numbered(20)) {
    const sent = await d.client.send(talk.id, text).sent
    assert.ok(sent.seq > 0)
    await talk.says('theirs')
  }
  await d.shows(41)
  assert.equal(await d.stop(), undefined)
})

// Every fault a send can meet: dropped before the commit, after it, answered wrongly. The order and the number of
// messages must not change.
scenario('the outbox keeps order and sends once through faults', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me)
  const dropped = new Set<number>() // frames whose answer is lost with the connection
  const unknown = new Set<number>() // frames whose outcome the server does not tell
  let sends = 0
  d.faults.outgoing = (frame, socket) => {
    if (!isSend(frame) || frame.id === undefined) return [frame]
    switch (++sends % 7) {
      case 2:
        socket.abort()
        return []
      case 4:
        dropped.add(frame.id)
        return [frame]
      case 5:
        unknown.add(frame.id)
        return [frame]
      case 6:
        queueMicrotask(() => socket.push(refuse(frame.id, 'prior_failed')))
        return []
      default:
        return [frame]
    }
  }
  d.faults.incoming = (frame, socket) => {
    if (frame.id !== undefined && dropped.has(frame.id)) {
      socket.abort()
      return []
    }
    return frame.id !== undefined && unknown.has(frame.id) ? [refuse(frame.id, 'unknown_outcome')] : [frame]
  }
  const texts = numbered(40)
  await Promise.all(texts.map((text) => d.client.send(talk.id, text).sent))
  assert.deepEqual(await talk.texts(), texts)
  assert.deepEqual(d.client.unsent(), [])
  await d.shows(41)
})

scenario('retryable refusals are retried no earlier than the hint', async (t) => {
  for (const code of ['unavailable', 'unknown_outcome', 'rate_limited', 'prior_failed']) {
    const talk = await startTalk(server.url)
    const d = await connected(t, talk.me)
    const tries: { at: number; clientId: string }[] = []
    d.faults.outgoing = (frame, socket) => {
      if (frame.type !== 'message:send') return [frame]
      tries.push({ at: Date.now(), clientId: frame.data.client_id })
      if (tries.length > 1) return [frame]
      queueMicrotask(() => socket.push(refuse(frame.id, code, 60)))
      return []
    }
    await d.client.send(talk.id, 'again').sent
    const [first, second] = tries
    assert.ok(first && second && tries.length === 2)
    assert.equal(first.clientId, second.clientId)
    assert.ok(second.at - first.at >= 59, `${code}: tried again after ${second.at - first.at} ms, the server asked for 60`)
  }
})

scenario('a permanent refusal is reported and the next goes on', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me)
  const bad = d.client.edit(talk.id, 1, 'the creation has no text')
  const empty = d.client.send(talk.id, '')
  const surrogate = d.client.send(talk.id, '\ud800 is no text')
  const good = d.client.send(talk.id, 'good')
  await assert.rejects(bad.sent, { name: 'ParleyError', retryable: false })
  await assert.rejects(empty.sent, { code: 'invalid_text' })
  await assert.rejects(surrogate.sent, { code: 'invalid_text' })
  await good.sent
  await d.until('four answers', () => d.count('answered') === 4)
  const codes = d.events.flatMap((e) => (e.type === 'answered' ? [e.error?.code ?? 'sent'] : []))
  assert.deepEqual(codes.slice(1), ['invalid_text', 'invalid_text', 'sent'])
  await d.shows(2)
})

scenario('one message is under way per conversation', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me)
  const under: string[] = []
  d.faults.outgoing = (frame) => {
    if (frame.type === 'message:send') under.push(frame.data.text)
    return isSend(frame) ? [] : [frame]
  }
  d.client.send(talk.id, 'first')
  d.client.send(talk.id, 'second')
  d.client.sync() // a round trip of the same writer: the second would have been written before it
  await caughtUp(d, 2)
  assert.deepEqual(under, ['first'])
})

scenario('the outbox is bounded', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me, { outbox: 3 })
  d.faults.outgoing = (frame) => (isSend(frame) ? [] : [frame])
  for (const text of numbered(3)) d.client.send(talk.id, text)
  assert.throws(() => d.client.send(talk.id, 'one too many'), OutboxFullError)
  assert.equal(d.client.unsent().length, 3)
})

async function survive(t: Parameters<typeof device>[0], unsent: Unsent): Promise<void> {
  const talk = await startTalk(server.url)
  const first = await connected(t, talk.me, { unsent })
  const answerless = new Set<number>()
  first.faults.outgoing = (frame) => {
    if (isSend(frame)) answerless.add(frame.id ?? 0)
    return [frame]
  }
  first.faults.incoming = (frame) => (frame.id !== undefined && answerless.has(frame.id) ? [] : [frame])
  for (const text of numbered(5)) first.client.send(talk.id, text)
  await eventually('the first message, its answer lost', async () => (await talk.texts()).length === 1)
  await first.stop()
  const second = device(t, talk.me, { unsent })
  const last = second.client.send(talk.id, 'message 5') // before the store is read: it still comes last
  await last.sent
  assert.deepEqual(await talk.texts(), numbered(6))
  await second.shows(7)
  await second.stop()
  assert.deepEqual(await unsent.all(), [])
}

scenario('unsent messages go out from a new client', (t) => survive(t, memoryUnsent()))

test('unsent messages survive in IndexedDB', async (t) => {
  const store = await openBrowserStore('outbox')
  t.after(() => store.close())
  await survive(t, store.unsent)
})

scenario("client ids carry the server's time", async (t) => {
  const talk = await startTalk(server.url)
  const behind = 48 * 3_600_000
  const d = await connected(t, talk.me, { now: () => Date.now() - behind })
  const ms = Number.parseInt(d.client.newClientId().replaceAll('-', '').slice(0, 12), 16)
  assert.ok(Math.abs(ms - Date.now()) < 60_000, `a client id lies ${Date.now() - ms} ms behind the server`)
  await d.client.send(talk.id, 'by its clock').sent
})

test('sends keep order through kill -9 of the server and a broken network', { timeout: 120_000 }, async (t) => {
  const own = await startServer()
  const proxy = await startProxy(own.port)
  t.after(async () => {
    await proxy.close()
    await own.close()
  })
  const talk = await startTalk(own.url)
  const through = { url: proxy.url, token: () => talk.me.token(), renew: (old: string) => talk.me.renew(old), page: talk.me.page.bind(talk.me) }
  const d = await connected(t, through)
  const sent: Promise<unknown>[] = []
  const faults = [
    () => own.kill().then(own.start),
    () => proxy.cut(),
    () => own.kill().then(own.start),
    async () => {
      proxy.stall(true)
      await sleep(200) // how long nothing passes
      proxy.cut()
      proxy.stall(false)
    },
    () => proxy.delay(20),
    () => own.stop().then(own.start),
  ]
  for (const [i, fault] of faults.entries()) {
    for (const text of numbered(50, 50 * i)) sent.push(d.client.send(talk.id, text).sent)
    await sent[sent.length - 40]
    await fault()
  }
  await Promise.all(sent)
  assert.deepEqual(await talk.texts(), numbered(300))
  await d.shows(301)
})
