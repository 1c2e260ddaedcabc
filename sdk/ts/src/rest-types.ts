// Generated from docs/openapi.yaml by generate/generate.mjs; not to be edited.

import type { Conversation, Cursor, Head, ChatRecord, Sync } from './frames.js'

export interface Addition {
  /** Who joins; those who are in already stay as they are. */
  user_ids: string[]
}

export interface Committed {
  client_id?: string
  conversation_id: string
  id: string
  n: number
  sent_at: string
  seq: number
}

export interface ConversationAnswer {
  conversation: Conversation
}

export interface ConversationsAnswer {
  conversations: Conversation[]
  /** Cursor of the following page; absent at the end. */
  next?: string
}

export interface Creation {
  /** group: UUIDv7; a repeated create with it is the same group. */
  client_id?: string
  /** group: whether newcomers see what came before. */
  history?: 'all' | 'joined'
  /** group: the members beside oneself. */
  member_ids?: string[]
  /** group: its name. */
  name?: string
  type: 'direct' | 'group' | 'self'
  /** direct: the other person. */
  user_id?: string
}

export interface Credentials {
  /** Name of the session; the user agent when absent. */
  device?: string
  /** Username or e-mail address. */
  login: string
  password: string
}

export interface CursorsAnswer {
  delivered: Cursor
  read: Cursor
  unread: number
}

export interface CursorsBody {
  /** A seq (number) or an id (string). */
  delivered?: number | string
  /** A seq (number) or an id (string). */
  read?: number | string
}

export interface EventsAnswer {
  frames: Frame[]
}

export interface EventsBody {
  /** Conversations to look at, as in presence:subscribe. */
  presence?: string[]
  /** A sync frame's data; absent: everything. */
  sync?: Sync
}

export interface Frame {
  data?: { [key: string]: unknown }
  /** Of the frame that this answers. */
  id?: number
  type: string
}

export interface Session {
  created_at: string
  /** Whether this request was made in it. */
  current: boolean
  expires_at: string
  id: string
  last_used_at: string
  name: string
}

export interface Member {
  joined_seq: number
  role: string
  user_id: string
}

export interface MembersAnswer {
  members: Member[]
  /** Cursor of the following page; absent at the end. */
  next?: string
}

export interface MessageAnswer {
  message: ChatRecord
}

export interface PageAnswer {
  from_seq: number
  head: Head
  /** Ascending; edits and deletes are folded into their messages. */
  messages: ChatRecord[]
  more_after: boolean
  more_before: boolean
  to_seq: number
}

export interface PeopleAnswer {
  users: Person[]
}

export interface Person {
  created_at: string
  display_name: string
  /** One's own only. */
  email?: string
  id: string
  /** Of one person with whom one has a direct conversation, when it is known. */
  presence?: PersonPresence
  /** In users/me: one's conversation with oneself, made or not. */
  self_conversation_id?: string
  username: string
}

export interface PersonAnswer {
  user: Person
}

export interface PersonPresence {
  /** With offline, when it is known. */
  last_seen?: string
  status: 'online' | 'away' | 'offline'
}

export interface Posting {
  /** UUIDv7 made by the device; only with one can a send be repeated safely. */
  client_id?: string
  reply_to?: number
  text: string
  type: 'text'
}

export interface Preference {
  archived?: boolean
  /** UUIDv7 made by the device. */
  client_id?: string
  /** A time, "forever", or null or "" to end it. */
  muted_until?: string | 'forever' | '' | null
  pinned?: boolean
}

export interface Problem {
  /** What went wrong, for programs: the stable code shared with the WebSocket. */
  code: string
  /** What went wrong, for people. */
  detail: string
  /** When to try again, in milliseconds. */
  retry_after_ms?: number
  /** Whether the same request may succeed later. */
  retryable: boolean
  /** The HTTP status. */
  status: number
  /** The status in words. */
  title: string
}

export interface Profile {
  display_name: string
}

export interface Promotion {
  role: 'owner' | 'admin' | 'member'
}

export interface Reader {
  user_id: string
}

export interface ReceiptsAnswer {
  /** Members to whom the message was delivered, by user id. */
  delivered: Reader[]
  /** Members who have read it, by user id. */
  read: Reader[]
}

export interface Refreshing {
  /** Absent when it is in the cookie. */
  refresh_token?: string
}

export interface Registration {
  /** Name of the session; the user agent when absent. */
  device?: string
  email: string
  password: string
  /** a-z, 0-9, _, . and -; folded to lower case. */
  username: string
}

export interface Revision {
  client_id?: string
  text: string
}

export interface SessionsAnswer {
  sessions: Session[]
}

export interface Settings {
  history?: 'all' | 'joined'
  name?: string
}

export interface TicketAnswer {
  /** Seconds. */
  expires_in: number
  /** Opens one WebSocket in place of the access token. */
  ticket: string
}

export interface Tokens {
  access_token: string
  /** Seconds that the access token lives. */
  expires_in: number
  /** Works once; the next answer holds another. Absent when it is in the cookie. */
  refresh_token?: string
  session: Session
  user: Person
}

export interface TypingBody {
  /** One has stopped to write; absent: one writes. */
  stop?: boolean
}

export interface VersionsAnswer {
  /** The message and its edits, oldest first. */
  versions: ChatRecord[]
}
