// Generated from docs/asyncapi.yaml by generate/generate.mjs; not to be edited.

/** Data of a frame that says everything by its type. */
export interface Empty {}

export interface Auth {
  token: string
}

export interface AuthOK {
  heartbeat_ms: number
  server_time: string
  session_id: string
  user_id: string
}

export interface Conversation {
  archived?: boolean
  created_at: string
  delivered: Cursor
  head: Head
  history?: string
  id: string
  joined_seq: number
  last_message?: ChatRecord
  member_count: number
  muted_until?: string
  name?: string
  peer_id?: string
  pinned?: boolean
  read: Cursor
  role: string
  type: string
  unread: number
}

export interface Cursor {
  n: number
  seq: number
}

export interface CursorDown {
  conversation_id: string
  n: number
  seq: number
  user_id: string
}

export interface CursorUp {
  conversation_id: string
  id?: string
  seq?: number
}

export interface ErrorData {
  code: string
  message: string
  retry_after_ms?: number
  retryable: boolean
}

export interface Gap {
  after: number
  before: number
}

export interface GoAway {
  reconnect_after_ms: number
}

export interface Head {
  id: string
  n: number
  seq: number
}

export interface MemberEntry {
  role: string
  user_id: string
}

export interface MessageDelete {
  client_id: string
  conversation_id: string
  seq: number
}

export interface MessageEdit {
  client_id: string
  conversation_id: string
  seq: number
  text: string
}

export interface MessageSend {
  client_id: string
  conversation_id: string
  reply_to?: number
  text: string
  type: string
}

export interface Peer {
  delivered: Cursor
  read: Cursor
  user_id: string
}

export interface PresenceSet {
  status: string
}

export interface PresenceState {
  conversation_ids: string[]
  people: PresenceUpdate[]
}

export interface PresenceSubscribe {
  conversation_ids: string[]
}

export interface PresenceUpdate {
  last_seen?: string
  status: string
  user_id: string
}

export interface ChatRecord {
  about?: string
  action?: string
  archived?: boolean
  client_id?: string
  conversation_id: string
  deleted?: boolean
  edited_seq?: number
  history?: string
  id: string
  kind: string
  members?: MemberEntry[]
  muted_until?: string
  n: number
  name?: string
  pinned?: boolean
  reply_to?: number
  role?: string
  sender_id: string
  /** The time in the id. */
  sent_at: string
  seq: number
  target_seq?: number
  text?: string
  type?: string
  user_ids?: string[]
  v?: number
}

export interface Sent {
  client_id: string
  conversation_id: string
  id: string
  n: number
  sent_at: string
  seq: number
}

export interface Sync {
  conversations: { [key: string]: number }
  limit?: number
}

export interface SyncGone {
  conversation_id: string
}

export interface SyncRecords {
  conversation: Conversation
  conversation_id: string
  gap?: Gap
  head: Head
  joined_seq: number
  peer?: Peer
  read: Cursor
  records: ChatRecord[]
  unread: number
}

export interface TypingDown {
  conversation_id: string
  user_id: string
}

export interface TypingUp {
  conversation_id: string
}

/** What a client sends. */
export type ClientFrame =
  /** Opens the connection; later: a newer token of the same session. */
  | { type: 'auth'; id?: number; data: Auth }
  /** Sends a message. */
  | { type: 'message:send'; id?: number; data: MessageSend }
  /** Replaces the text of a message of one's own. */
  | { type: 'message:edit'; id?: number; data: MessageEdit }
  /** Deletes a message for everyone. */
  | { type: 'message:delete'; id?: number; data: MessageDelete }
  /** Moves one's own cursor (up); somebody's moved (down). */
  | { type: 'message:delivered'; id?: number; data: CursorUp }
  /** Moves one's own cursor (up); somebody's moved (down). */
  | { type: 'message:read'; id?: number; data: CursorUp }
  /** One writes (up); somebody else does (down). Never stored, may be lost. */
  | { type: 'typing:start'; id?: number; data: TypingUp }
  /** One has stopped to write (up); somebody else has (down). */
  | { type: 'typing:stop'; id?: number; data: TypingUp }
  /** Names the conversations whose people are looked at; replaces the former ones. */
  | { type: 'presence:subscribe'; id?: number; data: PresenceSubscribe }
  /** The person is at this device, or away from it (up); somebody's status changed (down). */
  | { type: 'presence:update'; id?: number; data: PresenceSet | PresenceUpdate }
  /** Says what the client has and asks for the rest. */
  | { type: 'sync'; id?: number; data: Sync }
  /** Asks for pong. */
  | { type: 'ping'; id?: number; data: Empty }
  /** Answers ping. */
  | { type: 'pong'; id?: number; data: Empty }

/** What a client receives. */
export type ServerFrame =
  /** Answers auth. */
  | { type: 'auth:ok'; id?: number; data: AuthOK }
  /** Answers a frame that failed. */
  | { type: 'error'; id?: number; data: ErrorData }
  /** Answers message:send once it is durable. */
  | { type: 'message:sent'; id?: number; data: Sent }
  /** Answers message:edit and message:delete. */
  | { type: 'record:sent'; id?: number; data: Sent }
  /** A message, live. */
  | { type: 'message:received'; id?: number; data: ChatRecord }
  /** A record of any other kind, live. */
  | { type: 'record:received'; id?: number; data: ChatRecord }
  /** Moves one's own cursor (up); somebody's moved (down). */
  | { type: 'message:delivered'; id?: number; data: CursorDown }
  /** Moves one's own cursor (up); somebody's moved (down). */
  | { type: 'message:read'; id?: number; data: CursorDown }
  /** One writes (up); somebody else does (down). Never stored, may be lost. */
  | { type: 'typing:start'; id?: number; data: TypingDown }
  /** One has stopped to write (up); somebody else has (down). */
  | { type: 'typing:stop'; id?: number; data: TypingDown }
  /** Answers presence:subscribe. */
  | { type: 'presence:state'; id?: number; data: PresenceState }
  /** The person is at this device, or away from it (up); somebody's status changed (down). */
  | { type: 'presence:update'; id?: number; data: PresenceSet | PresenceUpdate }
  /** One conversation's part of the answer to sync. */
  | { type: 'sync:records'; id?: number; data: SyncRecords }
  /** A conversation named in sync that may not be seen. */
  | { type: 'sync:gone'; id?: number; data: SyncGone }
  /** The answer to sync is complete. */
  | { type: 'caught_up'; id?: number; data: Empty }
  /** This node stops; reconnect after that time. */
  | { type: 'goaway'; id?: number; data: GoAway }
  /** This connection missed too much: sync again. */
  | { type: 'resync'; id?: number; data: Empty }
  /** Answers ping. */
  | { type: 'pong'; id?: number; data: Empty }
