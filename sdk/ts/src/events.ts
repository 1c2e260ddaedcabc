import type { ParleyError, StoppedError } from './errors.js'
import type { ChatRecord, Conversation, Cursor, Head, Sent, ServerFrame } from './frames.js'
import type { Message } from './outbox.js'

/**
 * The way a record came: live, pushed as it was committed; sync, missed while away; history, below a sync's gap
 * with edits and deletes folded in; sent, by this client.
 */
export type Source = 'live' | 'sync' | 'history' | 'sent'

/** One message, one's own included. */
export interface MessageEvent {
  type: 'message'
  record: ChatRecord
  source: Source
}

/** A record of another kind: create, edit, delete, member, settings, or one that this version does not know. */
export interface RecordEvent {
  type: 'record'
  record: ChatRecord
  source: Source
}

/** How far somebody is. forward tells whether it is further than what this client knew. */
export interface ReceiptEvent {
  type: 'receipt'
  conversationId: string
  userId: string
  kind: 'delivered' | 'read'
  cursor: Cursor
  forward: boolean
  source: 'live' | 'sync'
}

/** What became of a message given to send, edit, delete or submit: it stands at sent.seq, or is refused for good. */
export type AnsweredEvent =
  | { type: 'answered'; message: Message; sent: Sent; error?: undefined }
  | { type: 'answered'; message: Message; sent?: undefined; error: ParleyError }

/** The state of one conversation after a sync; its records came before. */
export interface SyncedEvent {
  type: 'synced'
  conversation: Conversation
  head: Head
  read: Cursor
  unread: number
  joinedSeq: number
}

/**
 * The records with after < seq < before are not shown now. With skipGaps they never are, and what an application
 * cached below must be dropped; otherwise they follow, and filled after them.
 */
export interface GapEvent {
  type: 'gap'
  conversationId: string
  after: number
  before: number
}

/** Everything with after < seq < before has been shown, as far as history shows it. */
export interface FilledEvent {
  type: 'filled'
  conversationId: string
  after: number
  before: number
}

/** A conversation may not be seen any more. */
export interface GoneEvent {
  type: 'gone'
  conversationId: string
}

/** Everything missed up to the connection's beginning has been shown. */
export interface CaughtUpEvent {
  type: 'caught_up'
  connection: number
}

/** The server lost the thread of this connection; a sync follows by itself. */
export interface ResyncEvent {
  type: 'resync'
  connection: number
}

/** The server delivered a record twice on one connection. It is not shown again. */
export interface RepeatedEvent {
  type: 'repeated'
  conversationId: string
  seq: number
}

/** A record did not come although a later one did; a sync fetches it. */
export interface MissedEvent {
  type: 'missed'
  conversationId: string
  after: number
  before: number
}

/**
 * What the connection is doing; connection numbers those of this client from 1. error says why the last one
 * ended. waitMs: until the next try. stopped: run has ended or is about to.
 */
export type StateEvent =
  | { type: 'state'; phase: 'connecting'; connection: number; error?: Error }
  | { type: 'state'; phase: 'connected'; connection: number }
  | { type: 'state'; phase: 'waiting'; connection: number; error: Error; waitMs: number }
  | { type: 'state'; phase: 'stopped'; connection: number; error: StoppedError }

/** Who is here and who writes, as the server tells it: of the moment, never stored, the first thing to be left out. */
export interface SignalEvent {
  type: 'signal'
  frame: Extract<ServerFrame, { type: 'presence:state' | 'presence:update' | 'typing:start' | 'typing:stop' }>
}

/** ParleyEvent is something that happened; onEvent gets them one at a time, in order. */
export type ParleyEvent =
  | MessageEvent
  | RecordEvent
  | ReceiptEvent
  | AnsweredEvent
  | SyncedEvent
  | GapEvent
  | FilledEvent
  | GoneEvent
  | CaughtUpEvent
  | ResyncEvent
  | RepeatedEvent
  | MissedEvent
  | StateEvent
  | SignalEvent

/** recordEvent is the event that shows a record. */
export function recordEvent(record: ChatRecord, source: Source): MessageEvent | RecordEvent {
  return { type: record.kind === 'message' ? 'message' : 'record', record, source }
}
