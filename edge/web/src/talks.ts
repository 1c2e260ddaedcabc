import type { ChatRecord, Conversation, Cursor, Head, ReceiptEvent, SyncedEvent } from '@parley-chat/client'
import { computed, signal } from '@preact/signals'
import { me, nameOf } from './people.ts'
import { api } from './server.ts'
import { t } from './strings.ts'

/** Talk is a conversation with what the list and its header show of it. */
export interface Talk extends Conversation {
  /** Direct: how far the other person is. */
  peerRead: number
  peerDelivered: number
}

export const talks = signal<ReadonlyMap<string, Talk>>(new Map())
/** Whether talks is complete, or at least what was complete when this browser was last connected. */
export const listed = signal(false)
/** Counts changes of members, by conversation. */
export const membership = signal<ReadonlyMap<string, number>>(new Map())

/** Counts what is told of others' cursors, by conversation. */
export const receipts = signal<ReadonlyMap<string, number>>(new Map())

const pageSize = 100
const mostTalks = 1_000 // a sync names no more

export const ordered = computed(() => [...talks.value.values()].sort((a, b) => later(b.head.id, a.head.id) || (a.id < b.id ? -1 : 1)))
export const unreadTotal = computed(() => [...talks.value.values()].reduce((sum, talk) => sum + talk.unread, 0))

/** later compares two ids, which are numbers of up to 64 bits in decimal. */
function later(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)
}

export function titleOf(talk: Talk): string {
  if (talk.type === 'direct') return nameOf(talk.peer_id ?? '')
  if (talk.type === 'self') return t.selfTalk
  return talk.name ?? ''
}

function put(talk: Talk): void {
  talks.value = new Map(talks.value).set(talk.id, talk)
}

function change(id: string, by: (talk: Talk) => Partial<Talk>): void {
  const talk = talks.peek().get(id)
  if (talk) put({ ...talk, ...by(talk) })
}

/** upsert takes the server's word on a conversation, unless more is known already. */
export function upsert(conversation: Conversation): Talk {
  const before = talks.peek().get(conversation.id)
  const { peerRead = 0, peerDelivered = 0 } = before ?? {}
  const known = before && before.head.seq > conversation.head.seq ? { head: before.head, unread: before.unread, read: before.read } : {}
  const last = before?.last_message && before.head.seq >= conversation.head.seq ? { last_message: before.last_message } : {}
  const talk: Talk = { ...conversation, ...known, ...last, peerRead, peerDelivered }
  put(talk)
  return talk
}

/** loadTalks reads the whole list. */
export async function loadTalks(): Promise<void> {
  let next: string | undefined
  let count = 0
  do {
    const page = await api.conversations({ limit: pageSize, ...(next === undefined ? {} : { cursor: next }) })
    for (const conversation of page.conversations) upsert(conversation)
    count += page.conversations.length
    next = page.next
  } while (next !== undefined && count < mostTalks)
  listed.value = true
}

const fetching = new Map<string, boolean>() // true: once more

/** refreshTalk asks for a conversation that is new, or of which a record says less than its state. */
export async function refreshTalk(id: string): Promise<Talk | undefined> {
  if (fetching.has(id)) {
    fetching.set(id, true)
    return undefined
  }
  fetching.set(id, false)
  try {
    return upsert(await api.conversation(id))
  } catch {
    return undefined
  } finally {
    const again = fetching.get(id)
    fetching.delete(id)
    if (again) void refreshTalk(id)
  }
}

/** applyToTalk takes a record into the list. */
export function applyToTalk(record: ChatRecord): void {
  const id = record.conversation_id
  const talk = talks.peek().get(id)
  if (!talk) return void refreshTalk(id)
  const mine = record.sender_id === me.peek()?.id
  switch (record.kind) {
    case 'edit':
      changeLast(talk, record, (last) => ({ ...last, text: record.text ?? '', edited_seq: record.seq }))
      break
    case 'delete':
      changeLast(talk, record, (last) => ({ ...last, text: '', deleted: true }))
      break
    case 'member':
      membership.value = new Map(membership.value).set(id, record.seq)
      void refreshTalk(id)
      break
    case 'settings':
      change(id, () => ({ ...(record.name === undefined ? {} : { name: record.name }), ...(record.history === undefined ? {} : { history: record.history }) }))
      break
  }
  if (record.seq <= talk.head.seq) return
  const head: Head = { seq: record.seq, n: record.n, id: record.id }
  const read = mine && record.kind === 'message' ? { seq: record.seq, n: record.n } : talk.read
  change(id, () => ({ head, read, unread: Math.max(0, head.n - read.n), ...(record.kind === 'message' ? { last_message: record } : {}) }))
}

function changeLast(talk: Talk, record: ChatRecord, by: (last: ChatRecord) => ChatRecord): void {
  const last = talk.last_message
  if (last && last.seq === record.target_seq) change(talk.id, () => ({ last_message: by(last) }))
}

export function applySynced(event: SyncedEvent): void {
  const { conversation, head, read, unread } = event
  const talk = talks.peek().get(conversation.id)
  const last = conversation.last_message ?? talk?.last_message
  put({ peerRead: 0, peerDelivered: 0, ...talk, ...conversation, head, read, unread, ...(last ? { last_message: last } : {}) })
}

export function applyReceipt(event: ReceiptEvent): void {
  const { conversationId: id, userId, kind, cursor } = event
  if (userId === me.peek()?.id) {
    if (kind === 'read') readUpTo(id, cursor)
  } else {
    receipts.value = new Map(receipts.value).set(id, (receipts.value.get(id) ?? 0) + 1)
    change(id, (talk) => ({
      peerDelivered: Math.max(talk.peerDelivered, cursor.seq),
      peerRead: kind === 'read' ? Math.max(talk.peerRead, cursor.seq) : talk.peerRead,
    }))
  }
}

/** readUpTo moves one's own read cursor in the list. */
export function readUpTo(id: string, cursor: Cursor): void {
  change(id, (talk) => (cursor.seq > talk.read.seq ? { read: cursor, unread: Math.max(0, talk.head.n - cursor.n) } : {}))
}

export function dropTalk(id: string): void {
  const next = new Map(talks.value)
  next.delete(id)
  talks.value = next
}

export function restoreTalks(kept: readonly Talk[]): void {
  talks.value = new Map(kept.map((talk) => [talk.id, talk]))
  listed.value = true
}

export function forgetTalks(): void {
  talks.value = new Map()
  listed.value = false
}
