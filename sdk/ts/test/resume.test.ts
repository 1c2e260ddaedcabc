import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import 'fake-indexeddb/auto'
import { memoryPositions, openBrowserStore, ParleyError, type Api, type Backend, type ClientFrame, type ServerFrame } from '../src/index.js'
import { caughtUp, connected, device, eventually, idOf, startTalk } from './people.js'
import { scenario } from './scenario.js'
import { startServer, type Server } from './server.js'

let server: Server
before(async () => void (server = await startServer()))
after(() => server.close())

/** paging is an Api whose pages of history pass through a test: page counts them from 1. */
function paging(api: Api, before: (page: number) => void | Promise<void>): Backend {
  let pages = 0
  return {
    url: api.url,
    token: () => api.token(),
    renew: (old) => api.renew(old),
    page: async (id, query) => {
      await before(++pages)
      return api.page(id, query)
    },
  }
}

const isMessage = (f: ServerFrame, text: string) => f.type === 'message:received' && f.data.text === text

scenario('reconnect resumes without gap or repeat', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me)
  let asked: number | undefined
  d.faults.outgoing = (frame) => {
    if (frame.type === 'sync') asked = frame.data.conversations[talk.id]
    return [frame]
  }
  for (let i = 0; i < 10; i++) {
    await talk.says('live')
    await d.shows(2 + 2 * i)
    d.faults.present().abort()
    await talk.says('while away')
    await caughtUp(d, i + 2)
  }
  await d.shows(21)
  assert.ok(asked !== undefined && asked >= 19, `the last sync asked from seq ${asked}`)
})

scenario('a lost live record is fetched', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me, { holdMs: 10 })
  d.faults.incoming = (frame) => (isMessage(frame, 'lost') ? [] : [frame])
  await talk.says('one', 'lost', 'three')
  await d.shows(4)
  assert.equal(d.count('missed'), 1)
})

scenario('a repeated record is shown once', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me)
  d.faults.incoming = (frame) => (isMessage(frame, 'once') ? [frame, frame] : [frame])
  await talk.says('once', 'next')
  await d.shows(3)
  assert.equal(d.count('repeated'), 1)
})

scenario('a refused sync is asked for again', async (t) => {
  const talk = await startTalk(server.url)
  await talk.says('missed')
  const d = device(t, talk.me)
  let syncs = 0
  d.faults.outgoing = (frame, socket) => {
    if (frame.type !== 'sync' || ++syncs > 3) return [frame]
    const data = { code: 'unavailable', message: 'later', retryable: true }
    queueMicrotask(() => socket.push({ id: frame.id ?? 0, type: 'error', data }))
    return []
  }
  await caughtUp(d, 1)
  await d.shows(2)
  assert.equal(syncs, 4)
  assert.equal(d.faults.sockets.length, 1)
})

scenario('resync is followed', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me, { holdMs: 60_000 })
  d.faults.incoming = (frame, socket) => {
    if (!isMessage(frame, 'lost')) return [frame]
    queueMicrotask(() => socket.push({ type: 'resync', data: {} }))
    return []
  }
  await talk.says('lost')
  await d.shows(2)
})

scenario('what lies below a gap comes from history', async (t) => {
  const talk = await startTalk(server.url)
  await talk.many(350)
  const positions = memoryPositions()
  const api = paging(talk.me, (page) => {
    if (page === 2) throw new ParleyError('unavailable', 'later', true)
  })
  const d = await connected(t, api, { positions })
  await d.shows(351)
  assert.equal(d.count('filled'), 1)
  assert.equal((await positions.all()).get(talk.id), 351)
})

// One was removed while the gap was filled, and has returned: nothing may be shown behind the hole, and the next
// sync tells the rest.
scenario('what lies behind a refused gap is shown after the next sync', async (t) => {
  const talk = await startTalk(server.url)
  await talk.many(350)
  const api = paging(talk.me, async (page) => {
    if (page !== 2) return
    await talk.says('while one was away')
    throw new ParleyError('forbidden', 'not a member', false)
  })
  const d = await connected(t, api, { holdMs: 50 })
  await d.shows(352)
  assert.equal(d.count('filled'), 1)
})

scenario('nothing is shown behind a refused gap once gone', async (t) => {
  const talk = await startTalk(server.url)
  await talk.many(350)
  const positions = memoryPositions()
  const api = paging(talk.me, async () => {
    await talk.you.removeMember(talk.id, idOf(talk.me))
    await eventually('the refusal', () => talk.me.page(talk.id).then(() => false, () => true))
  })
  const d = await connected(t, api, { positions, holdMs: 50 })
  await d.until('the removal', () => d.count('gone') > 0)
  assert.deepEqual(d.seqs(), [])
  assert.equal((await positions.all()).size, 0)
})

scenario('a skipped gap is told', async (t) => {
  const talk = await startTalk(server.url)
  await talk.many(150)
  const d = await connected(t, talk.me, { skipGaps: true })
  await d.until('the head', () => d.seqs().includes(151))
  assert.equal(d.seqs()[0], 52) // the newest 100
  assert.deepEqual(d.events.find((e) => e.type === 'gap'), { type: 'gap', conversationId: talk.id, after: 0, before: 52 })
})

scenario('a stored position is resumed from', async (t) => {
  const talk = await startTalk(server.url)
  await talk.many(9)
  const positions = memoryPositions()
  await positions.put(talk.id, 7)
  const d = await connected(t, talk.me, { positions })
  await d.until('the head', () => d.seqs().includes(10))
  assert.deepEqual(d.seqs(), [8, 9, 10])
})

test('a position in IndexedDB is resumed from after a reload', async (t) => {
  const talk = await startTalk(server.url)
  await talk.many(9)
  const before = await openBrowserStore('positions')
  const first = await connected(t, talk.me, { positions: before.positions })
  await first.shows(10)
  await first.stop()
  await before.positions.all() // what is written behind is written
  before.close()
  await talk.says('while it was closed')
  const again = await openBrowserStore('positions')
  t.after(() => again.close())
  const second = await connected(t, talk.me, { positions: again.positions })
  await second.until('the head', () => second.seqs().includes(11))
  assert.deepEqual(second.seqs(), [11])
})

scenario('removal forgets and return begins anew', async (t) => {
  const talk = await startTalk(server.url)
  const positions = memoryPositions()
  const d = await connected(t, talk.me, { positions })
  await talk.you.removeMember(talk.id, idOf(talk.me))
  await d.until('the removal', () => d.count('gone') > 0)
  assert.equal((await positions.all()).size, 0)
  await talk.says('unseen')
  await talk.you.addMembers(talk.id, [idOf(talk.me)])
  await talk.says('welcome back')
  await d.until('the return', () => d.seqs().includes(5))
  assert.deepEqual(d.seqs(), [1, 2, 4, 5])
})

scenario('a conversation that is gone is forgotten', async (t) => {
  const talk = await startTalk(server.url)
  const positions = memoryPositions()
  const d = await connected(t, talk.me, { positions, reconnect: { baseMs: 60_000, capMs: 60_000 } })
  d.faults.present().abort()
  await d.until('the wait', () => d.events.some((e) => e.type === 'state' && e.phase === 'waiting'))
  await talk.you.removeMember(talk.id, idOf(talk.me))
  d.client.retry()
  await d.until('the removal', () => d.count('gone') > 0)
  assert.equal((await positions.all()).size, 0)
  assert.equal(d.client.shown(talk.id), 0)
})

scenario('cursors are coalesced and sent again after a reconnect', async (t) => {
  const talk = await startTalk(server.url)
  await talk.many(60)
  const d = await connected(t, talk.me)
  const cursors: ClientFrame[] = []
  d.faults.outgoing = (frame) => {
    if (frame.type === 'message:read') cursors.push(frame)
    return [frame]
  }
  for (let seq = 1; seq <= 50; seq++) d.client.read(talk.id, seq)
  const readTo = (seq: number) => async () => (await talk.me.conversation(talk.id)).read.seq === seq
  await eventually('the cursor', readTo(50))
  assert.ok(cursors.length <= 3, `${cursors.length} frames for one cursor`)
  cursors.length = 0
  d.faults.present().abort()
  await eventually('the cursor again', () => cursors.some((f) => f.type === 'message:read' && f.data.seq === 50))
})

scenario('receipts tell whether they move forward', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me)
  for (const seq of [3, 5, 4]) {
    const data = { conversation_id: talk.id, user_id: idOf(talk.you), seq, n: seq - 1 }
    d.faults.present().push({ type: 'message:read', data })
  }
  await d.until('three receipts', () => d.count('receipt') === 3)
  const forward = d.events.flatMap((e) => (e.type === 'receipt' ? [e.forward] : []))
  assert.deepEqual(forward, [true, true, false])
})

test('a slow application loses nothing', async (t) => {
  const talk = await startTalk(server.url)
  await talk.many(90)
  const d = await connected(t, talk.me, { queue: 20, onEvent: () => new Promise((resolve) => setTimeout(resolve, 1)) })
  await talk.many(60)
  await d.shows(151)
  assert.ok(d.events.some((e) => e.type === 'state' && e.phase === 'waiting'), 'no connection ended for the bound of the queue')
})

test('what onEvent throws stops nothing', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me, {
    onEvent: () => {
      throw new Error('by the test')
    },
  })
  await talk.says('one', 'two')
  await eventually('the messages', () => d.seqs().includes(3))
})
