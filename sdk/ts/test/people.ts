import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestContext } from 'node:test'
import { Api, Client, newClientId, type Backend, type ClientConfig, type ParleyEvent, type StoppedError } from '../src/index.js'
import { newFaults, type Faults } from './faults.js'

let people = 0

/** person registers somebody new. */
export async function person(url: string): Promise<Api> {
  const api = new Api({ url })
  const name = `u${process.pid}.${++people}`
  await api.register(name, `${name}@example.org`, 'correct horse')
  return api
}

export function idOf(api: Api): string {
  const id = api.account()?.user.id
  assert.ok(id)
  return id
}

/** Talk is a group of me, whose client is tested, and you, who owns it. Its record 1 is its creation. */
export interface Talk {
  id: string
  me: Api
  you: Api
  /** says sends messages of you, in order. */
  says(...texts: string[]): Promise<void>
  /** many lets you send so many messages, in any order. */
  many(count: number): Promise<void>
  /** texts is what the server holds, oldest first. */
  texts(): Promise<string[]>
}

export async function startTalk(url: string): Promise<Talk> {
  const [me, you] = await Promise.all([person(url), person(url)])
  const { id } = await you.createGroup('talk', [idOf(me)])
  const say = (text: string) => you.send(id, newClientId(Date.now()), text)
  return {
    id, me, you,
    says: async (...texts) => {
      for (const text of texts) await say(text)
    },
    many: async (count) => {
      for (let left = count; left > 0; left -= 25) {
        await Promise.all(Array.from({ length: Math.min(left, 25) }, (_, i) => say(`message ${left - i}`)))
      }
    },
    texts: () => allTexts(you, id),
  }
}

async function allTexts(api: Api, id: string): Promise<string[]> {
  const texts: string[] = []
  for (let after = 0; ; ) {
    const page = await api.page(id, { after, limit: 100 })
    for (const m of page.messages) if (m.kind === 'message') texts.push(m.text ?? '')
    if (!page.more_after) return texts
    after = page.to_seq
  }
}

/** Device is a client that runs, and what it has told. */
export interface Device {
  client: Client
  faults: Faults
  events: ParleyEvent[]
  /** until waits for a condition of the events; it is looked at after each. */
  until(what: string, ready: () => boolean): Promise<void>
  /** count is how many events of a type came. */
  count(type: ParleyEvent['type']): number
  /** seqs are those of the records shown, in the order in which they were. */
  seqs(): number[]
  /** shows waits until everything up to seq is shown, and wants each seq once and in order. */
  shows(seq: number): Promise<void>
  stop(): Promise<StoppedError | undefined>
}

/** device runs a client, and ends it with the test. */
export function device(t: TestContext, api: Backend, config: Partial<ClientConfig> = {}): Device {
  const faults = newFaults()
  const events: ParleyEvent[] = []
  const abort = new AbortController()
  let look = () => undefined as void
  const client = new Client({
    api, WebSocket: faults.WebSocket, reconnect: { baseMs: 5, capMs: 100 }, retry: { baseMs: 5, capMs: 50 }, log: () => undefined,
    ...config,
    onEvent: async (event) => {
      events.push(event)
      try {
        await config.onEvent?.(event)
      } finally {
        look()
      }
    },
  })
  const running = client.run(abort.signal)
  const stop = () => {
    abort.abort()
    return running
  }
  t.after(stop)
  const seqs = () => events.flatMap((e) => (e.type === 'message' || e.type === 'record' ? [e.record.seq] : []))
  const until = (what: string, ready: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what} did not happen; the end: ${JSON.stringify(events.slice(-5))}`)), 20_000)
      look = () => {
        if (!ready()) return
        clearTimeout(timer)
        look = () => undefined
        resolve()
      }
      look()
    })
  return {
    client, faults, events, until, stop, seqs,
    count: (type) => events.filter((e) => e.type === type).length,
    shows: async (seq) => {
      await until(`record ${seq}`, () => seqs().includes(seq))
      assert.deepEqual(seqs(), Array.from({ length: seq }, (_, i) => i + 1))
    },
  }
}

/** connected runs a client and waits until it has caught up. */
export async function connected(t: TestContext, api: Backend, config: Partial<ClientConfig> = {}): Promise<Device> {
  const d = device(t, api, config)
  await caughtUp(d, 1)
  return d
}

/** caughtUp waits for so many syncs. */
export function caughtUp(d: Device, times: number): Promise<void> {
  return d.until(`sync ${times}`, () => d.count('caught_up') >= times)
}

/** stopped waits for the end that the server wanted. */
export function stopped(d: Device): Promise<void> {
  return d.until('the stop', () => d.events.some((e) => e.type === 'state' && e.phase === 'stopped'))
}

/** eventually waits for a condition that no event tells. */
export async function eventually(what: string, ready: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await ready()); await sleep(5)) {
    assert.ok(Date.now() < deadline, `${what} did not happen`)
  }
}
