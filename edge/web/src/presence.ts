import type { PresenceUpdate, SignalEvent } from '@parley-chat/client'
import { signal } from '@preact/signals'
import { me } from './people.ts'
import { client } from './server.ts'

/** Who is here and who is writing. Where the server tells nothing of it these places of the page stay empty. */
export interface Presence {
  status: string
  lastSeen?: string
}

const most = 100 // conversations looked at
const typingMs = 6_000
const repeatMs = 3_000
const settleMs = 500 // the server takes one subscription a second

export const presence = signal<ReadonlyMap<string, Presence>>(new Map())
/** By conversation, who writes and until when (ms) that is believed. */
export const typing = signal<ReadonlyMap<string, ReadonlyMap<string, number>>>(new Map())

let watched: string[] = []
let waiting: ReturnType<typeof setTimeout> | undefined

/** watch says which conversations are looked at. */
export function watch(ids: readonly string[]): void {
  const next = ids.slice(0, most).sort() // their order changes with every message
  if (next.join() === watched.join()) return
  watched = next
  waiting ??= setTimeout(subscribe, settleMs)
}

/** subscribe tells the server, on every new connection again. */
export function subscribe(): void {
  clearTimeout(waiting)
  waiting = undefined
  if (watched.length > 0) client.peek()?.signal({ type: 'presence:subscribe', data: { conversation_ids: watched } })
  if (document.hidden) here(false)
}

/** here says whether somebody sits before this page. */
export function here(present: boolean): void {
  client.peek()?.signal({ type: 'presence:update', data: { status: present ? 'online' : 'away' } })
}

let told = { id: '', at: 0 }

/** writing says that one writes, or does not any more. */
export function writing(id: string, on: boolean): void {
  const now = Date.now()
  if (on) {
    if (told.id === id && now - told.at < repeatMs) return
    told = { id, at: now }
    client.peek()?.signal({ type: 'typing:start', data: { conversation_id: id } })
  } else if (told.id === id) {
    told = { id: '', at: 0 }
    client.peek()?.signal({ type: 'typing:stop', data: { conversation_id: id } })
  }
}

/** sent notes that a message ended the writing: the server needs no word of it. */
export function sent(): void {
  told = { id: '', at: 0 }
}

/** applySignal takes what the server tells of the moment. */
export function applySignal({ frame }: SignalEvent): void {
  switch (frame.type) {
    case 'presence:state':
      return update(frame.data.people)
    case 'presence:update':
      return 'user_id' in frame.data ? update([frame.data]) : undefined
    case 'typing:start':
    case 'typing:stop':
      if (frame.data.user_id !== me.peek()?.id) setTyping(frame.data.conversation_id, frame.data.user_id, frame.type === 'typing:start')
  }
}

function update(people: readonly PresenceUpdate[]): void {
  const next = new Map(presence.value)
  for (const { user_id, status, last_seen } of people) next.set(user_id, { status, ...(last_seen === undefined ? {} : { lastSeen: last_seen }) })
  presence.value = next
}

/** setTyping notes who writes; nobody is believed for long. */
export function setTyping(id: string, user: string, on: boolean): void {
  const writers = new Map(typing.value.get(id) ?? [])
  if (!on && !writers.has(user)) return
  if (on) writers.set(user, Date.now() + typingMs)
  else writers.delete(user)
  typing.value = new Map(typing.value).set(id, writers)
  if (on) setTimeout(() => expire(id, user), typingMs + 50)
}

function expire(id: string, user: string): void {
  if ((typing.value.get(id)?.get(user) ?? Infinity) <= Date.now()) setTyping(id, user, false)
}

export function forgetPresence(): void {
  presence.value = new Map()
  typing.value = new Map()
  watched = []
}
