import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Api, CloseError, ParleyError, StoppedError, type Backend } from '../src/index.js'
import { caughtUp, connected, device, eventually, startTalk, stopped } from './people.js'
import { startProxy } from './proxy.js'
import { scenario } from './scenario.js'
import { startServer, type Server } from './server.js'

let server: Server
before(async () => void (server = await startServer()))
after(() => server.close())

/** again logs the same person in on another device. */
async function again(api: Api): Promise<Api> {
  const other = new Api({ url: server.url })
  const login = api.account()
  assert.ok(login)
  await other.login(login.user.username, 'correct horse')
  return other
}

scenario('unauthorized stops', async (t) => {
  const talk = await startTalk(server.url)
  const d = await connected(t, talk.me)
  const session = talk.me.account()?.session.id
  assert.ok(session)
  await (await again(talk.me)).revokeSession(session)
  await stopped(d)
  const reason = await d.stop()
  assert.ok(reason instanceof StoppedError)
  assert.equal(reason.cause instanceof ParleyError && reason.cause.code, 'unauthorized')
})

scenario('close codes decide', async (t) => {
  const stops = new Map([
    [4002, true], [4003, true], [4499, true], [4500, false], [4501, false], [4503, false], [4505, false], [4999, false], [1001, false],
  ])
  for (const [code, final] of stops) {
    const talk = await startTalk(server.url)
    const d = await connected(t, talk.me)
    d.faults.present().closeWith(code)
    if (final) {
      await stopped(d)
      const reason = await d.stop()
      assert.equal(reason?.cause instanceof CloseError && reason.cause.code, code)
    } else {
      await caughtUp(d, 2)
    }
  }
})

scenario('an expired token is renewed once and the connection resumes', async (t) => {
  const talk = await startTalk(server.url)
  const login = talk.me.account()
  assert.ok(login)
  let refreshes = 0
  const api = new Api({
    url: server.url,
    fetch: (url, init) => {
      if (url.endsWith('auth/refresh')) refreshes++
      return fetch(url, init)
    },
  })
  api.adopt({ ...login, access_token: 'expired' })
  const d = await connected(t, api)
  await talk.says('seen')
  await d.shows(2)
  assert.equal(refreshes, 1)
  d.faults.present().closeWith(4001) // expired on the way
  await caughtUp(d, 2)
  await talk.says('seen too')
  await d.shows(3)
  assert.equal(refreshes, 2)
})

scenario('a token that can not be renewed now is no reason to stop', async (t) => {
  const talk = await startTalk(server.url)
  let away = true
  const api: Backend = {
    url: server.url,
    token: () => talk.me.token(),
    renew: async (old) => {
      if (!away) return talk.me.renew(old)
      away = false
      throw new ParleyError('network', 'no answer', true)
    },
    page: (id, query) => talk.me.page(id, query),
  }
  const d = await connected(t, api)
  d.faults.present().closeWith(4001)
  await caughtUp(d, 2)
})

scenario('the token is replaced on the living connection', async (t) => {
  const own = await startServer('--access-life', '4s')
  t.after(own.close)
  const talk = await startTalk(own.url)
  const d = await connected(t, talk.me)
  const first = talk.me.account()?.access_token
  const renewed: string[] = []
  d.faults.outgoing = (frame) => {
    if (frame.type === 'auth') renewed.push(frame.data.token)
    return [frame]
  }
  const end = talk.me.account()?.expires_at ?? 0
  await eventually('the end of the first token', () => Date.now() > end + 1_000)
  await talk.says('still here')
  await d.shows(2)
  assert.equal(d.faults.sockets.length, 1)
  assert.ok(renewed[0] && renewed[0] !== first)
})

scenario('goaway reconnects without losing a send', async (t) => {
  const own = await startServer()
  t.after(own.close)
  const talk = await startTalk(own.url)
  const d = await connected(t, talk.me)
  const texts: string[] = []
  const sent: Promise<unknown>[] = []
  const send = () => {
    texts.push(`during the drain ${texts.length}`)
    sent.push(d.client.send(talk.id, texts.at(-1) ?? '').sent)
  }
  const gone = new Promise<void>((resolve) => {
    d.faults.incoming = (frame) => {
      if (frame.type === 'goaway') {
        send()
        resolve()
      }
      return [frame]
    }
  })
  send()
  const stopping = own.stop()
  await gone
  send()
  await stopping
  send()
  await own.start()
  await Promise.all(sent)
  assert.deepEqual(await talk.texts(), texts)
  await d.shows(1 + texts.length)
})

test('silence is noticed', async (t) => {
  const talk = await startTalk(server.url)
  const proxy = await startProxy(server.port)
  t.after(proxy.close)
  let now = Date.now()
  const d = await connected(t, { ...backend(talk.me), url: proxy.url }, { now: () => now })
  let pings = 0
  d.faults.outgoing = (frame) => {
    if (frame.type === 'ping') pings++
    return [frame]
  }
  proxy.stall(true)
  now += 26_000 // a heartbeat of 25 s: the client pings
  await eventually('a ping', () => pings === 1)
  now += 31_000 // another one and the grace of 5 s: nobody answered
  await d.until('the end', () => d.events.some((e) => e.type === 'state' && e.phase === 'waiting'))
  proxy.cut()
  proxy.stall(false)
  await caughtUp(d, 2)
})

test('a client that is told to end ends, whatever it does', async (t) => {
  const talk = await startTalk(server.url)
  const offline = device(t, { ...backend(talk.me), url: 'http://127.0.0.1:1' }, { reconnect: { baseMs: 60_000, capMs: 60_000 } })
  await offline.until('the wait', () => offline.events.some((e) => e.type === 'state' && e.phase === 'waiting'))
  assert.equal(await offline.stop(), undefined)
  const live = await connected(t, talk.me)
  assert.equal(await live.stop(), undefined)
  const shown = live.events.length
  await talk.says('unheard')
  assert.equal(live.events.length, shown)
})

function backend(api: Api): Backend {
  return { url: api.url, token: () => api.token(), renew: (old) => api.renew(old), page: (id, query) => api.page(id, query) }
}
