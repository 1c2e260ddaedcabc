import { Client, openBrowserStore, type BrowserStore, type ParleyEvent, type Person, type Positions, type Unsent, memoryUnsent } from '@parley-chat/client'
import { effect, signal } from '@preact/signals'
import { forget, openCache, type Cache } from './cache.ts'
import { followDrafts, forgetDrafts, restoreDrafts } from './drafts.ts'
import { oneLine, reason } from './format.ts'
import { everyone, forgetPeople, learn, lookUp, me, nameOf } from './people.ts'
import { applySignal, forgetPresence, here, setTyping, subscribe } from './presence.ts'
import { go, pathOf, route } from './route.ts'
import { confirm, discardedElsewhere, forgetOutgoing, outgoing, refused, restoreOutgoing, sendingElsewhere, settle } from './sends.ts'
import { api, client, line, network } from './server.ts'
import { t } from './strings.ts'
import { hear, share } from './tabs.ts'
import { applyReceipt, applySynced, applyToTalk, dropTalk, forgetTalks, listed, loadTalks, refreshTalk, restoreTalks, talks, titleOf, unreadTotal, type Talk } from './talks.ts'
import { Thread } from './thread.ts'
import { dismissFor, say, silence, tell } from './toasts.ts'
import { closeDialog } from './view.ts'

const meKey = 'parley-me'
const saveMs = 1_500

/** Phase is who is before the page: nobody yet, nobody, or me. */
export const phase = signal<'starting' | 'out' | 'in'>('starting')
/** The conversation that is on screen. */
export const thread = signal<Thread | undefined>(undefined)
/** Why the list could not be loaded. */
export const listFailure = signal<unknown>(undefined)

interface Running {
  cache: Cache
  store: BrowserStore | undefined
  end: AbortController
  saving: ReturnType<typeof setTimeout> | undefined
  positions: Positions
}
let running: Running | undefined

/** start takes up where this browser was. Only one who logged in here before has a session to ask for. */
export function start(): void {
  hear((word) => {
    if (word.type === 'logged_out') void leave()
    else if (word.type === 'logged_in') resume()
    else if (word.type === 'sending') sendingElsewhere(word.message)
    else if (word.type === 'failed') refused(word.message, word.why)
    else if (word.type === 'discarded') discardedElsewhere(word.clientId)
  })
  followDrafts()
  effect(showTitle)
  effect(followRoute)
  document.addEventListener('visibilitychange', () => {
    here(!document.hidden)
    if (document.hidden) save()
    else client.peek()?.retry()
  })
  addEventListener('pagehide', save)
  resume()
}

function resume(): void {
  if (phase.peek() === 'in') return
  const kept = localStorage.getItem(meKey)
  if (kept) void enter(JSON.parse(kept) as Person)
  else phase.value = 'out'
}

export async function login(name: string, password: string): Promise<void> {
  entered((await api.login(name, password)).user)
}

export async function register(username: string, email: string, password: string): Promise<void> {
  entered((await api.register(username, email, password)).user)
}

function entered(user: Person): void {
  localStorage.setItem(meKey, JSON.stringify(user))
  void enter(user)
  share({ type: 'logged_in' })
}

/** enter shows what was last seen, and connects. */
async function enter(user: Person): Promise<void> {
  me.value = user
  learn([user])
  const [cache, store] = await Promise.all([openCache(user.id), openBrowserStore(`parley-${user.id}`).catch(() => undefined)])
  const end = new AbortController()
  running = { cache, store, end, saving: undefined, positions: positionsIn() }
  const [keptTalks, keptPeople] = await Promise.all([cache.get<Talk[]>('talks'), cache.get<Person[]>('people')])
  if (keptPeople) learn(keptPeople.filter((p) => p.id !== user.id))
  if (keptTalks) restoreTalks(keptTalks)
  restoreDrafts()
  const unsent: Unsent = store?.unsent ?? memoryUnsent()
  await restoreOutgoing(unsent).catch(() => undefined)
  client.value = new Client({
    api, unsent, positions: running.positions, skipGaps: true, autoDelivered: true, onEvent: hearEvent, outbox: 500, log: () => undefined,
  })
  phase.value = 'in'
  void run(end.signal)
}

/** run lives as long as the login does. Without a list there is nothing to resume from: it is tried again. */
async function run(signal: AbortSignal): Promise<void> {
  const link = client.peek()
  try {
    listFailure.value = undefined
    if (!listed.peek()) await loadTalks()
    const stopped = await link?.run(signal)
    if (!stopped || signal.aborted) return
    await leave()
    tell(t.loggedOutElsewhere)
  } catch (error) {
    if (signal.aborted) return
    if (isOut(error)) return void leave()
    listFailure.value = error
    setTimeout(() => !signal.aborted && link === client.peek() && void run(signal), 3_000)
  }
}

function isOut(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'unauthorized'
}

/** positionsIn is where a sync goes on from: the heads of the list, whose records are shown or can be paged. */
function positionsIn(): Positions {
  return {
    all: async () => new Map([...talks.peek()].map(([id, talk]) => [id, talk.head.seq])),
    put: async () => undefined,
    delete: async () => undefined,
  }
}

function hearEvent(event: ParleyEvent): void {
  switch (event.type) {
    case 'state':
      if (event.phase === 'waiting') line.value = 'waiting'
      if (event.phase === 'connecting' && line.peek() === 'live') line.value = 'connecting'
      if (event.phase === 'connected') {
        line.value = 'catching_up'
        subscribe()
      }
      return
    case 'message':
    case 'record': {
      const { record } = event
      if (event.source === 'live' && event.type === 'message') notify(record.conversation_id, record.sender_id, record.text ?? '')
      if (event.type === 'message') setTyping(record.conversation_id, record.sender_id, false)
      if (record.kind === 'delete') silence(pathOf(record.conversation_id))
      confirm(record)
      applyToTalk(record)
      if (thread.peek()?.id === record.conversation_id) thread.peek()?.apply(record)
      else if (record.kind === 'edit' || record.kind === 'delete') void running?.cache.delete(`thread:${record.conversation_id}`)
      return saveSoon()
    }
    case 'synced':
      applySynced(event)
      return saveSoon()
    case 'receipt':
      return applyReceipt(event)
    case 'gap':
      void running?.cache.delete(`thread:${event.conversationId}`)
      if (thread.peek()?.id === event.conversationId) thread.peek()?.skipped(event.before)
      return
    case 'gone':
      dropTalk(event.conversationId)
      void running?.cache.delete(`thread:${event.conversationId}`)
      if (route.peek().talk === event.conversationId) {
        go('/', true)
        tell(t.notMember)
      }
      return
    case 'answered':
      return settle(event)
    case 'caught_up':
      line.value = 'live'
      listed.value = true
      thread.peek()?.again()
      void lookUp()
      return saveSoon()
    case 'signal':
      return applySignal(event)
  }
}

/** notify shows inside the page what came elsewhere. */
function notify(id: string, sender: string, text: string): void {
  if (sender === me.peek()?.id) return
  const talk = talks.peek().get(id)
  const name = nameOf(sender)
  if (route.peek().talk === id && !document.hidden) return say(t.saidBy(name, oneLine(text)))
  tell(oneLine(text), { title: talk?.type === 'group' ? `${name} · ${titleOf(talk)}` : name, path: pathOf(id), who: sender })
}

function showTitle(): void {
  const unread = phase.value === 'in' ? unreadTotal.value : 0
  document.title = unread > 0 ? `(${unread}) ${t.app}` : t.app
  if ('setAppBadge' in navigator) void (unread > 0 ? navigator.setAppBadge(unread) : navigator.clearAppBadge()).catch(() => undefined)
}

/** followRoute opens the conversation that the address names. */
function followRoute(): void {
  const id = phase.value === 'in' ? route.value.talk : undefined
  const before = thread.peek()
  if (before?.id === id) return
  before?.close()
  if (id === undefined) {
    thread.value = undefined
    return
  }
  dismissFor(pathOf(id))
  const next = new Thread(id, running?.cache)
  thread.value = next
  void openFirst(next)
}

async function openFirst(next: Thread): Promise<void> {
  const talk = talks.peek().get(next.id) ?? (await refreshTalk(next.id))
  if (thread.peek() !== next) return
  if (talk && talk.unread > 0) await next.open({ unread: talk.read.seq })
  else await next.open({ newest: true })
}

function saveSoon(): void {
  if (running) running.saving ??= setTimeout(save, saveMs)
}

function save(): void {
  if (!running || !listed.peek()) return
  clearTimeout(running.saving)
  running.saving = undefined
  void running.cache.put('talks', [...talks.peek().values()])
  void running.cache.put('people', everyone())
  thread.peek()?.keep()
}

/** unsentCount is what a logout would lose. */
export function unsentCount(): number {
  return outgoing.value.length
}

export async function logout(): Promise<void> {
  try {
    await api.logout()
  } catch (error) {
    if (!isOut(error)) return tell(reason(error))
  }
  share({ type: 'logged_out' })
  await leave()
}

export function rename(user: Person): void {
  me.value = user
  learn([user])
  localStorage.setItem(meKey, JSON.stringify(user))
}

/** leave forgets everything of the login that has ended. */
async function leave(): Promise<void> {
  const user = me.peek()
  running?.end.abort()
  clearTimeout(running?.saving)
  running?.cache.close()
  running?.store?.close()
  running = undefined
  closeDialog()
  client.value = undefined
  api.adopt(undefined)
  localStorage.removeItem(meKey)
  phase.value = 'out'
  thread.value = undefined
  forgetDrafts()
  if (user) forget(user.id)
  forgetTalks()
  forgetPeople()
  forgetOutgoing()
  forgetPresence()
  line.value = 'connecting'
  go('/', true)
}

/** trouble is what the line says about the connection; undefined: nothing that matters. */
export function trouble(): 'offline' | 'waiting' | 'catching_up' | undefined {
  if (!network.value) return 'offline'
  if (line.value === 'waiting' || line.value === 'connecting') return 'waiting'
  return line.value === 'catching_up' ? 'catching_up' : undefined
}
