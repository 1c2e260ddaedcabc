import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import test, { after, before } from 'node:test'
import { Api, browserLogin, memoryLogin, newClientId, ParleyError, type Fetch } from '../src/index.js'
import { codes } from '../src/errors.js'
import { idOf, person, startTalk } from './people.js'
import { scenario } from './scenario.js'
import { startServer, type Server } from './server.js'

let server: Server
before(async () => void (server = await startServer()))
after(() => server.close())

/** counting is an Api of the same login that counts its refreshes. */
function counting(api: Api, change: { access_token?: string; expires_at?: number }) {
  const login = api.account()
  assert.ok(login)
  const counted = { refreshes: 0 }
  const copy = new Api({
    url: server.url,
    store: memoryLogin({ ...login, ...change }),
    fetch: (url, init) => {
      if (url.endsWith('auth/refresh')) counted.refreshes++
      return fetch(url, init)
    },
  })
  return { api: copy, counted }
}

scenario('concurrent calls share one refresh', async () => {
  const { api, counted } = counting(await person(server.url), { access_token: 'expired' })
  const all = await Promise.all(Array.from({ length: 20 }, () => api.me()))
  assert.equal(new Set(all.map((p) => p.id)).size, 1)
  assert.equal(counted.refreshes, 1)
})

test('the tabs of a browser share one refresh', async (t) => {
  const kept = new Map<string, string>()
  const localStorage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  }
  let last: Promise<unknown> = Promise.resolve()
  const locks = { request: (_: string, work: () => Promise<unknown>) => (last = last.then(work, work)) }
  const before = Object.getOwnPropertyDescriptors(globalThis)
  Object.defineProperty(globalThis, 'localStorage', { value: localStorage, configurable: true })
  Object.defineProperty(globalThis, 'navigator', { value: { locks }, configurable: true })
  t.after(() => {
    for (const name of ['localStorage', 'navigator'] as const) {
      if (before[name]) Object.defineProperty(globalThis, name, before[name])
      else Reflect.deleteProperty(globalThis, name)
    }
  })
  let refreshes = 0
  const counted: Fetch = (url, init) => {
    if (url.endsWith('auth/refresh')) refreshes++
    return fetch(url, init)
  }
  const [one, two] = [1, 2].map(() => new Api({ url: server.url, store: browserLogin(), fetch: counted }))
  const login = (await person(server.url)).account()
  assert.ok(one && two && login)
  one.adopt({ ...login, access_token: 'expired' })
  await Promise.all([one.me(), two.me(), one.sessions(), two.sessions()])
  assert.equal(refreshes, 1)
  await one.logout()
  assert.equal(two.account(), undefined)
})

scenario('a token is replaced before it expires', async () => {
  const { api, counted } = counting(await person(server.url), { expires_at: Date.now() + 60_000 })
  const { token, replaceAt } = await api.token()
  assert.ok(replaceAt && replaceAt > Date.now() + 400_000)
  assert.equal((await api.token()).token, token)
  assert.equal(counted.refreshes, 1)
})

scenario('refusals keep their code and hint', async (t) => {
  const api = await person(server.url)
  await assert.rejects(api.conversation('dqqqqqqqqqqqqqqqqqqqqqqqqqq'), { name: 'ParleyError', code: 'not_found', status: 404, retryable: false })
  await assert.rejects(api.login('nobody', 'wrong password'), { code: 'unauthorized', status: 401 })
  const answers = [
    [429, 'application/problem+json', '{"code":"rate_limited","retryable":true,"retry_after_ms":250}', { code: 'rate_limited', retryable: true, retryAfterMs: 250 }],
    [503, 'text/html', '<h1>a proxy</h1>', { code: 'unavailable', retryable: true, retryAfterMs: 7_000 }],
    [502, 'text/plain', '', { code: 'unavailable', retryable: true }],
    [418, 'text/plain', 'short and stout', { code: 'internal', retryable: false }],
    [200, 'text/html', '<h1>log in to the Wi-Fi</h1>', { code: 'network', retryable: true }],
  ] as const
  let answer: (typeof answers)[number]
  const http = createServer((_, response) => {
    response.writeHead(answer[0], { 'Content-Type': answer[1], ...(answer[0] === 503 ? { 'Retry-After': '7' } : {}) })
    response.end(answer[2])
  }).listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.after(() => http.close())
  const other = new Api({ url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` })
  for (answer of answers) await assert.rejects(other.login('a', 'b'), { name: 'ParleyError', ...answer[3] })
  const nowhere = new Api({ url: 'http://127.0.0.1:1' })
  await assert.rejects(nowhere.login('a', 'b'), { code: 'network', retryable: true, status: 0 })
})

test('the codes are those of the protocol', () => {
  const text = readFileSync(new URL('../../../../docs/PROTOCOL.md', import.meta.url), 'utf8')
  const listed = [...text.matchAll(/^\| `([a-z_]+)` \| \d{3} \| (yes|no) \|/gm)].map(([, code, retry]) => [code, retry === 'yes'])
  assert.deepEqual(Object.entries(codes).filter(([code]) => code !== 'network').sort(), listed.sort())
})

test('every call of REST', async () => {
  const { id, me, you } = await startTalk(server.url)
  const third = await person(server.url)
  const name = me.account()?.user.username ?? ''
  assert.equal((await me.setDisplayName('Me')).display_name, 'Me')
  assert.equal((await me.me()).username, name)
  assert.equal((await you.user(idOf(me))).display_name, 'Me')
  assert.equal((await you.users([idOf(me), idOf(you)])).length, 2)
  assert.ok((await you.searchUsers(name)).some((p) => p.id === idOf(me)))
  assert.equal((await me.sessions()).length, 1)

  const direct = await me.createDirect(idOf(you))
  assert.equal((await you.createDirect(idOf(me))).id, direct.id)
  const clientId = newClientId(Date.now())
  const group = await me.createGroup('twice', [idOf(you)], { clientId, history: 'joined' })
  assert.equal((await me.createGroup('twice', [idOf(you)], { clientId, history: 'joined' })).id, group.id)
  assert.equal((await me.conversations({ limit: 1 })).conversations.length, 1)
  assert.equal((await you.changeConversation(id, { name: 'renamed' })).name, 'renamed')
  assert.equal((await me.conversation(id)).name, 'renamed')
  await you.addMembers(id, [idOf(third)])
  await you.setRole(id, idOf(third), 'admin')
  const members = (await me.members(id)).members
  assert.deepEqual(members.map((m) => m.role).sort(), ['admin', 'member', 'owner'])
  await you.removeMember(id, idOf(third))

  const first = await me.send(id, newClientId(Date.now()), 'first')
  const reply = await you.send(id, newClientId(Date.now()), 'reply', first.seq)
  assert.equal(reply.reply_to, first.seq)
  await me.edit(id, first.id, newClientId(Date.now()), 'edited')
  assert.deepEqual((await me.versions(id, first.seq)).map((r) => r.text), ['first', 'edited'])
  await you.delete(id, reply.seq, newClientId(Date.now()))
  const page = await me.page(id, { around: first.seq, limit: 10 })
  assert.deepEqual(page.messages.filter((m) => m.kind === 'message').map((m) => m.text), ['edited', ''])
  assert.equal((await me.setCursor(id, { read: reply.id })).read.seq, reply.seq)
  assert.ok((await me.receipts(id, first.seq)).read.some((r) => r.user_id === idOf(you)))
  await me.logout()
  await assert.rejects(me.me(), (e) => e instanceof ParleyError && e.code === 'unauthorized')
})
