import type { PageQuery, Token } from './api.js'
import { waitAfter, type Backoff } from './backoff.js'
import { newClientId } from './client-id.js'
import { Dispatcher } from './dispatch.js'
import { asError, CloseError, hintOf, isUnauthorized, mayRetry, ParleyError, StoppedError } from './errors.js'
import { given } from './given.js'
import type { MissedEvent, ParleyEvent } from './events.js'
import type { AuthOK, ClientFrame } from './frames.js'
import type { Message, Pending } from './outbox.js'
import { Receiver } from './receive.js'
import type { PageAnswer } from './rest-types.js'
import { openSocket, type Socket, type WebSocketConstructor } from './socket.js'
import { newState } from './state.js'
import { memoryPositions, memoryUnsent, type Positions, type Unsent } from './store.js'
import { Timeline } from './timeline.js'

/** Backend gives a Client its tokens and pages of history; an Api is one. */
export interface Backend {
  readonly url: string
  /** token is one that is not about to expire. */
  token(): Promise<Token>
  /** renew gives another token than old, which was refused or grows old; a ParleyError unauthorized when it can not. */
  renew(old: string): Promise<Token>
  page(conversationId: string, query: PageQuery): Promise<PageAnswer>
}

/** ClientConfig configures a Client. */
export interface ClientConfig {
  api: Backend
  /**
   * onEvent hears one event at a time; the next one waits for its promise. When too many wait, the connection ends
   * and the next one begins once they are handled: nothing is lost by that. What it throws is logged.
   */
  onEvent(event: ParleyEvent): void | Promise<void>
  /** Where WebSocket is no global: Node before 22. */
  WebSocket?: WebSocketConstructor
  /** How far this device is; memory when absent. */
  positions?: Positions
  /** What waits to be sent; memory when absent. */
  unsent?: Unsent
  /** Messages that may wait for their answer; 1,000 when absent. */
  outbox?: number
  /** Events that may wait for onEvent; 10,000 when absent. */
  queue?: number
  /** How long a record waits for the one before it; 3,000 when absent. */
  holdMs?: number
  /** Do not fetch what lies below a sync's gap. */
  skipGaps?: boolean
  /** Tell the server that records were delivered once onEvent returned. */
  autoDelivered?: boolean
  /** Between connections; 500 ms to 30 s when absent. */
  reconnect?: Backoff
  /** Of a message; 100 ms to 5 s when absent. */
  retry?: Backoff
  now?: () => number
  /** Hears of failures that no event tells; console.warn when absent. */
  log?: (message: string, cause: unknown) => void
}

/** Settings are a ClientConfig with its defaults. */
export type Settings = Required<ClientConfig>

const tickMs = 250 // how often the writer looks at what no signal tells; cursors are coalesced for so long
const answerTimeoutMs = 15_000 // the server answers within 10 s
const heartbeatMs = 25_000 // when the server names none
const graceMs = 5_000
const settledMs = 1_000 // a connection must have lived so long for the next failure to count as the first
const mostConversations = 1_000 // named in one sync
const mostTimerMs = 2 ** 31 - 1

/** RenewalError ends a connection whose token could not be replaced in place. */
class RenewalError extends Error {}

/** Link is one connection after auth:ok. */
interface Link {
  socket: Socket
  over: boolean
  /** Silence after which the writer pings. */
  quietMs: number
  heardAt: number
  /** When a ping was sent that nothing was heard after; undefined: none. */
  pingedAt: number | undefined
  cursorsAt: number
  /** Runs when a message may be tried again. */
  wait: ReturnType<typeof setTimeout> | undefined
  renewal: ReturnType<typeof setTimeout> | undefined
}

/**
 * Client is one device's live connection. Creating it starts nothing, run does everything; the other methods work
 * before, while and after it runs.
 *
 * A message keeps its client id for life and is sent again until it is answered, in the order of the calls within
 * its conversation. Records are shown by seq, each once; what is missing is fetched before anything later is shown.
 */
export class Client {
  private readonly settings: Settings
  private readonly state
  private readonly dispatcher: Dispatcher
  private readonly receiver: Receiver
  private link: Link | undefined
  private frames = 1 // id of the last frame; 1 is auth
  private waking = false
  private readonly resting = new Set<() => void>()
  private keeping: Promise<void> = Promise.resolve()

  constructor(config: ClientConfig) {
    this.settings = withDefaults(config)
    this.state = newState(this.settings.outbox)
    this.dispatcher = new Dispatcher(this.state, this.settings, (ms) => this.rest(ms))
    this.receiver = new Receiver(this.state, this.settings, this.dispatcher, (m) => this.keep((u) => u.delete(m.clientId)))
  }

  /** send sends a text message. It returns at once; the answer comes as an event and through the pending message. */
  send(conversationId: string, text: string, replyTo?: number): Pending {
    const reply = replyTo === undefined ? {} : { replyTo }
    return this.submit({ kind: 'message', conversationId, clientId: this.newClientId(), text, ...reply })
  }

  /** edit replaces the text of a message of one's own. */
  edit(conversationId: string, targetSeq: number, text: string): Pending {
    return this.submit({ kind: 'edit', conversationId, clientId: this.newClientId(), targetSeq, text })
  }

  /** delete deletes a message for everyone. */
  delete(conversationId: string, targetSeq: number): Pending {
    return this.submit({ kind: 'delete', conversationId, clientId: this.newClientId(), targetSeq })
  }

  /** submit sends a message that has a client id already. It throws OutboxFullError when too many wait. */
  submit(message: Message): Pending {
    const pending = this.state.outbox.add(message)
    this.keep((unsent) => unsent.put(message))
    this.wake()
    return pending
  }

  /** newClientId makes a client id by the server's clock, as far as it is known. */
  newClientId(): string {
    return newClientId(this.settings.now() + this.state.offsetMs)
  }

  /** unsent lists the messages that are not answered, in order within each conversation. */
  unsent(): Message[] {
    return this.state.outbox.all()
  }

  /** read says that the user has read up to seq. */
  read(conversationId: string, seq: number): void {
    this.state.cursors.advance(conversationId, { read: seq })
  }

  /** delivered says that this device has everything up to seq; autoDelivered does it by itself. */
  delivered(conversationId: string, seq: number): void {
    this.state.cursors.advance(conversationId, { delivered: seq })
  }

  /** signal tells of presence or typing; without a connection it is dropped, a refusal is logged. */
  signal(frame: Extract<ClientFrame, { type: 'presence:subscribe' | 'presence:update' | 'typing:start' | 'typing:stop' }>): void {
    this.link?.socket.send({ ...frame, id: this.nextFrame() })
  }

  /** shown is the seq up to which a conversation has been shown, or is on its way to onEvent. */
  shown(conversationId: string): number {
    return this.state.timelines.get(conversationId)?.shown ?? 0
  }

  /** sync asks for everything missed, without waiting for a reason to. */
  sync(): void {
    this.state.wantSync = true
    this.wake()
  }

  /** retry ends a wait before the next connection: for instance when the network has returned. */
  retry(): void {
    for (const over of this.resting) over()
  }

  /**
   * run connects, and connects again, until the signal aborts (it gives undefined then) or the server wants no
   * further connection (it gives the reason). It rejects when a store can not be read. Run it once.
   */
  async run(signal: AbortSignal = new AbortController().signal): Promise<StoppedError | undefined> {
    await this.load()
    const wakeUp = () => this.retry()
    const online = typeof window === 'object' ? window : undefined
    online?.addEventListener('online', wakeUp)
    signal.addEventListener('abort', wakeUp)
    try {
      return await this.reconnect(signal)
    } finally {
      online?.removeEventListener('online', wakeUp)
      signal.removeEventListener('abort', wakeUp)
      await this.dispatcher.end()
      await this.keeping
    }
  }

  private async reconnect(signal: AbortSignal): Promise<StoppedError | undefined> {
    const { state, dispatcher, settings } = this
    let failures = 0
    let last: Error | undefined
    while (!signal.aborted) {
      const connection = state.connection
      dispatcher.emit({ type: 'state', phase: 'connecting', connection, ...(last ? { error: last } : {}) })
      const began = settings.now()
      const { worked, error } = await this.connect(signal)
      if (signal.aborted) break
      last = error
      if (worked && settings.now() - began > settledMs) failures = 0
      if (isFinal(error)) {
        const stopped = new StoppedError(error)
        dispatcher.emit({ type: 'state', phase: 'stopped', connection: state.connection, error: stopped })
        await dispatcher.idle()
        return stopped
      }
      const waitMs = this.pause(failures++, error)
      dispatcher.emit({ type: 'state', phase: 'waiting', connection: state.connection, error, waitMs })
      await this.rest(waitMs)
      if (this.behind()) await dispatcher.idle()
    }
    return undefined
  }

  private async load(): Promise<void> {
    const [positions, unsent] = await Promise.all([this.settings.positions.all(), this.settings.unsent.all()])
    for (const [id, seq] of positions) this.state.timelines.set(id, Timeline.from(seq))
    this.state.outbox.restore(unsent)
  }

  /** keep changes what is kept of the outbox, one change after the other: a message is put before it is deleted. */
  private keep(change: (unsent: Unsent) => Promise<void>): void {
    this.keeping = this.keeping
      .then(() => change(this.settings.unsent))
      .catch((error: unknown) => this.settings.log('outbox not stored', error))
  }

  /** behind reports whether too many events wait for onEvent. */
  private behind(): boolean {
    return this.dispatcher.size > this.settings.queue
  }

  /** pause is how long to wait before the next connection. */
  private pause(failures: number, error: Error): number {
    const leavingAt = this.state.leavingAt
    this.state.leavingAt = undefined
    if (error instanceof RenewalError && failures === 0) return 0
    // The server's hint is jittered already.
    if (leavingAt !== undefined) return Math.max(leavingAt - this.settings.now(), 0)
    return waitAfter(this.settings.reconnect, failures, hintOf(error))
  }

  private rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const over = () => {
        clearTimeout(timer)
        this.resting.delete(over)
        resolve()
      }
      const timer = setTimeout(over, ms)
      this.resting.add(over)
    })
  }

  /** connect lives through one connection. worked tells that it was authenticated. */
  private async connect(signal: AbortSignal): Promise<{ worked: boolean; error: Error }> {
    const { api } = this.settings
    try {
      let token = await api.token()
      let { worked, error } = await this.serve(token, signal)
      if (!worked && isUnauthorized(error)) {
        token = await api.renew(token.token)
        ;({ worked, error } = await this.serve(token, signal))
      }
      if (!worked || !isUnauthorized(error) || signal.aborted) return { worked, error }
      await api.renew(token.token) // expired or revoked meanwhile: the refresh tells which
      return { worked, error: new RenewalError('the token needed a new connection') }
    } catch (thrown) {
      return { worked: false, error: asError(thrown) }
    }
  }

  /** serve opens a connection, and ends with it. */
  private serve(token: Token, signal: AbortSignal): Promise<{ worked: boolean; error: Error }> {
    const { api, WebSocket } = this.settings
    return new Promise((resolve) => {
      let link: Link | undefined
      const socket = openSocket({ url: api.url, token: token.token, WebSocket }, {
        opened: (hello) => {
          link = this.opened(socket, hello)
          this.renewLater(link, token)
        },
        frame: (frame) => {
          if (!link) return
          link.heardAt = this.settings.now()
          link.pingedAt = undefined
          this.receiver.receive(frame)
          if (this.behind()) socket.end(new Error('too many events wait for onEvent'))
          else this.wake()
        },
        ended: (error) => {
          signal.removeEventListener('abort', abort)
          clearInterval(beat)
          if (link) this.closed(link)
          resolve({ worked: link !== undefined, error })
        },
      })
      const beat = setInterval(() => this.write(), tickMs)
      const abort = () => socket.end(new Error('the client ends'))
      signal.addEventListener('abort', abort)
      if (signal.aborted) abort()
    })
  }

  /** opened begins a connection's bookkeeping. */
  private opened(socket: Socket, hello: AuthOK): Link {
    const { state, settings } = this
    state.connection++
    state.userId = hello.user_id
    this.receiver.correctClock(hello)
    state.wantSync = true
    state.syncFrame = state.syncRefusals = state.syncAfter = 0
    state.leavingAt = undefined
    this.link = {
      socket, over: false, quietMs: hello.heartbeat_ms || heartbeatMs, heardAt: settings.now(), pingedAt: undefined, cursorsAt: 0,
      wait: undefined, renewal: undefined,
    }
    this.dispatcher.emit({ type: 'state', phase: 'connected', connection: state.connection })
    this.wake()
    return this.link
  }

  /** closed puts back what the connection left unanswered. */
  private closed(link: Link): void {
    link.over = true
    clearTimeout(link.wait)
    clearTimeout(link.renewal)
    this.link = undefined
    this.state.outbox.ground()
    this.state.cursors.doubt()
  }

  /** renewLater replaces the token in place before it expires. */
  private renewLater(link: Link, token: Token): void {
    if (token.replaceAt === undefined) return
    const waitMs = Math.min(Math.max(token.replaceAt - this.settings.now(), 1_000), mostTimerMs)
    link.renewal = setTimeout(() => void this.renew(link, token.token), waitMs)
  }

  private async renew(link: Link, old: string): Promise<void> {
    try {
      const next = await this.settings.api.renew(old)
      if (link.over) return
      link.socket.send({ id: this.nextFrame(), type: 'auth', data: { token: next.token } })
      this.renewLater(link, next)
    } catch (thrown) {
      const error = asError(thrown)
      if (link.over) return
      if (!mayRetry(error)) return link.socket.end(error)
      this.settings.log('token not replaced', error)
      // The old one still works for a while.
      link.renewal = setTimeout(() => void this.renew(link, old), waitAfter(this.settings.reconnect, 2))
    }
  }

  /** wake makes the writer look, once for everything that happens in one go. */
  private wake(): void {
    if (this.waking) return
    this.waking = true
    queueMicrotask(() => {
      this.waking = false
      this.write()
    })
  }

  /** write sends whatever is due. */
  private write(): void {
    const link = this.link
    if (!link) return
    const now = this.settings.now()
    const late = this.overdue(link, now)
    if (late) return link.socket.end(late)
    for (const missed of this.missing(now)) this.dispatcher.emit(missed)
    for (const frame of this.due(link, now)) link.socket.send(frame)
  }

  /** overdue ends a connection that does not answer, or that the server asked to leave. */
  private overdue(link: Link, now: number): Error | undefined {
    const { leavingAt, outbox } = this.state
    if (leavingAt !== undefined && now >= leavingAt) return new Error('the server goes away')
    if (now - (outbox.oldest() ?? now) > answerTimeoutMs) return new Error('a frame was not answered in time')
    if (now - (link.pingedAt ?? now) > link.quietMs + graceMs) return new Error('nothing was heard for two heartbeats')
    return undefined
  }

  private due(link: Link, now: number): ClientFrame[] {
    const { state } = this
    const frames = this.syncFrame(now)
    if (state.leavingAt === undefined) {
      const sends = state.outbox.take(now, () => this.nextFrame())
      frames.push(...sends.frames)
      clearTimeout(link.wait)
      if (sends.waitMs < tickMs) link.wait = setTimeout(() => this.write(), sends.waitMs)
    }
    if (now - link.cursorsAt >= tickMs) {
      link.cursorsAt = now
      frames.push(...state.cursors.frames())
    }
    if (link.pingedAt === undefined && now - link.heardAt >= link.quietMs) {
      link.pingedAt = now
      frames.push({ id: this.nextFrame(), type: 'ping', data: {} })
    }
    return frames
  }

  private nextFrame(): number {
    return ++this.frames
  }

  /** missing finds records that waited too long for the one before them: a sync fetches it. */
  private missing(now: number): MissedEvent[] {
    const { state } = this
    if (state.syncFrame !== 0 || state.wantSync) return []
    const missed: MissedEvent[] = []
    for (const [conversationId, t] of state.timelines) {
      if (t.since === undefined || now - t.since < this.settings.holdMs) continue
      t.since = now
      state.wantSync = true
      if (t.known) missed.push({ type: 'missed', conversationId, after: t.shown, before: t.first() })
    }
    return missed
  }

  /** syncFrame asks for what lies above the positions, when a sync is wanted and none is under way. */
  private syncFrame(now: number): ClientFrame[] {
    const { state } = this
    if (!state.wantSync || state.syncFrame !== 0 || now < state.syncAfter) return []
    const known = [...state.timelines].filter(([, t]) => t.known).slice(0, mostConversations)
    const conversations = Object.fromEntries(known.map(([id, t]) => [id, t.shown]))
    state.wantSync = false
    state.syncFrame = this.nextFrame()
    return [{ id: state.syncFrame, type: 'sync', data: { conversations } }]
  }
}

/** isFinal reports whether the server wants no further connection by this session. */
function isFinal(error: Error): boolean {
  if (error instanceof CloseError) return !error.reconnect
  return error instanceof ParleyError && (error.code === 'unauthorized' || error.code === 'forbidden')
}

function withDefaults(config: ClientConfig): Settings {
  const WebSocket = config.WebSocket ?? globalThis.WebSocket
  if (!WebSocket) throw new TypeError('there is no global WebSocket here: give one in the configuration')
  return {
    positions: memoryPositions(), unsent: memoryUnsent(), outbox: 1_000, queue: 10_000, holdMs: 3_000, skipGaps: false,
    autoDelivered: false, reconnect: { baseMs: 500, capMs: 30_000 }, retry: { baseMs: 100, capMs: 5_000 },
    now: Date.now, log: (message, cause) => console.warn(`parley: ${message}:`, cause),
    ...given(config), WebSocket,
  }
}
