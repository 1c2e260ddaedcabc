import { waitAfter } from './backoff.js'
import type { Settings } from './client.js'
import type { Dispatcher } from './dispatch.js'
import { recordEvent } from './events.js'
import type { AuthOK, ChatRecord, Cursor, CursorDown, Gap, Sent, ServerFrame, SyncRecords } from './frames.js'
import { recordOf, type Message, type Outcome } from './outbox.js'
import { refusalOf } from './socket.js'
import { forget, timelineOf, type State } from './state.js'
import { begins, ends, type Incoming, type Timeline } from './timeline.js'

/** Receiver acts on the server's frames: it changes the state and tells the dispatcher what follows. */
export class Receiver {
  constructor(
    private readonly state: State,
    private readonly settings: Settings,
    private readonly dispatcher: Dispatcher,
    /** Hears of every message that is answered for good. */
    private readonly settled: (message: Message) => void,
  ) {}

  /** receive is where types of frames become events; types that it does not know are ignored. */
  receive(frame: ServerFrame): void {
    switch (frame.type) {
      case 'message:received':
      case 'record:received':
        return this.pushed(frame.data)
      case 'message:sent':
      case 'record:sent':
        return this.answered(frame.id, frame.data)
      case 'message:delivered':
        return this.receipt('delivered', frame.data)
      case 'message:read':
        return this.receipt('read', frame.data)
      case 'sync:records':
        return this.synced(frame.data)
      case 'sync:gone':
        forget(this.state, frame.data.conversation_id)
        return this.dispatcher.emit({ type: 'gone', conversationId: frame.data.conversation_id })
      case 'caught_up':
        return this.caughtUp()
      case 'resync':
        this.state.wantSync = true
        return this.dispatcher.emit({ type: 'resync', connection: this.state.connection })
      case 'goaway':
        this.state.leavingAt = this.settings.now() + frame.data.reconnect_after_ms
        return
      case 'error':
        return this.failed(frame)
      case 'auth:ok': // of a replaced token
        return this.correctClock(frame.data)
      case 'pong':
        return
      case 'presence:state':
      case 'presence:update':
      case 'typing:start':
      case 'typing:stop':
        return this.dispatcher.emit({ type: 'signal', frame })
    }
  }

  /** correctClock takes the server's time. */
  correctClock(hello: AuthOK): void {
    const server = Date.parse(hello.server_time)
    if (!Number.isNaN(server)) this.state.offsetMs = server - this.settings.now()
  }

  private pushed(record: ChatRecord): void {
    const { state } = this
    const { conversation_id: conversationId, seq } = record
    const t = timelineOf(state, conversationId)
    const repeated = t.repeated(state.connection, seq)
    const show = t.live({ record, source: 'live' }, state.userId, this.settings.now())
    if (repeated) this.dispatcher.emit({ type: 'repeated', conversationId, seq })
    this.confirm(record)
    this.show(show)
  }

  /** confirm settles an own message whose record arrived before, or instead of, its answer: after a reconnect. */
  private confirm(record: ChatRecord): void {
    if (record.sender_id !== this.state.userId || !record.client_id) return
    const confirmed = this.state.outbox.confirm(record)
    if (confirmed) this.report(confirmed.message, confirmed.outcome)
  }

  private report(message: Message, outcome: Outcome): void {
    this.settled(message)
    this.dispatcher.emit({ type: 'answered', message, ...outcome })
  }

  /** answered settles a message. Its record is shown from here: the sending connection gets no other. */
  private answered(frame: number | undefined, sent: Sent): void {
    const lane = this.state.outbox.land(frame)
    if (!lane) return
    const message = this.state.outbox.settle(lane, { sent })
    const record = recordOf(message, this.state.userId, sent)
    const t = timelineOf(this.state, record.conversation_id)
    this.report(message, { sent })
    this.show(t.live({ record, source: 'sent' }, this.state.userId, this.settings.now()))
  }

  /** failed retries or reports a message that the server refused, and asks again for a sync that it refused. */
  private failed(frame: Extract<ServerFrame, { type: 'error' }>): void {
    const { state, settings } = this
    const error = refusalOf(frame.data)
    const lane = state.outbox.land(frame.id)
    if (lane && error.retryable) {
      return state.outbox.retry(lane, settings.now() + waitAfter(settings.retry, lane.attempts, error.retryAfterMs))
    }
    if (lane) return this.report(state.outbox.settle(lane, { error }), { error })
    settings.log('a frame was refused', error)
    if (frame.id !== undefined && frame.id === state.syncFrame) {
      state.syncFrame = 0
      state.wantSync = true
      state.syncAfter = settings.now() + waitAfter(settings.reconnect, state.syncRefusals++, error.retryAfterMs)
    }
  }

  /** synced takes one conversation's part of a sync. */
  private synced(s: SyncRecords): void {
    const { state, dispatcher } = this
    const t = timelineOf(state, s.conversation_id)
    const gap = unshown(s.gap, t)
    if (gap) {
      t.skip(gap.before)
      dispatcher.gap({ type: 'gap', conversationId: s.conversation_id, ...gap }, state.epoch, t)
    }
    this.show(t.synced(s.records))
    t.cover(state.connection, s.head.seq)
    for (const record of s.records) this.confirm(record)
    const { conversation, head, read, unread, joined_seq: joinedSeq } = s
    dispatcher.emit({ type: 'synced', conversation, head, read, unread, joinedSeq })
    if (!s.peer) return
    this.further('delivered', s.conversation_id, s.peer.user_id, s.peer.delivered, 'sync')
    this.further('read', s.conversation_id, s.peer.user_id, s.peer.read, 'sync')
  }

  private receipt(kind: 'delivered' | 'read', d: CursorDown): void {
    this.further(kind, d.conversation_id, d.user_id, { seq: d.seq, n: d.n }, 'live')
  }

  private further(kind: 'delivered' | 'read', conversationId: string, userId: string, cursor: Cursor, source: 'live' | 'sync'): void {
    const forward = this.state.cursors.further(conversationId, userId, kind, cursor)
    this.dispatcher.emit({ type: 'receipt', conversationId, userId, kind, cursor, forward, source })
  }

  private caughtUp(): void {
    const { state } = this
    state.syncFrame = state.syncRefusals = 0
    for (const [id, t] of state.timelines) {
      if (t.since === undefined) continue
      t.since = this.settings.now() // what the sync did not bring gets its time again
      if (++t.tries > 3 && !t.known) state.timelines.delete(id) // it may not be seen: the sync does not know of it
    }
    this.dispatcher.emit({ type: 'caught_up', connection: state.connection })
  }

  /**
   * show hands records to onEvent, and notices that oneself was removed: live only, a sync knows of no conversation
   * that one is out of.
   */
  private show(records: Incoming[]): void {
    records.forEach(({ record, source }, i) => {
      this.dispatcher.show(recordEvent(record, source), this.state.epoch)
      if (source === 'live' && ends(record, this.state.userId)) this.left(record.conversation_id, records.slice(i + 1))
    })
  }

  /** left forgets a conversation, unless the records behind the removal bring one back into it. */
  private left(conversationId: string, rest: Incoming[]): void {
    if (!rest.some(({ record }) => begins(record, this.state.userId))) forget(this.state, conversationId)
    this.dispatcher.emit({ type: 'gone', conversationId })
  }
}

/** unshown is the part of a sync's gap that is not shown yet. */
function unshown(gap: Gap | undefined, t: Timeline): Gap | undefined {
  if (!gap) return undefined
  const after = Math.max(gap.after, t.shown)
  return gap.before > after + 1 ? { after, before: gap.before } : undefined
}
