import { OutboxFullError, type ParleyError } from './errors.js'
import type { ChatRecord, ClientFrame, Sent } from './frames.js'

/**
 * Message is a command that makes a record of one's own. Its client id is its name for life: sent again, by
 * whomever and whenever, it is still the same message.
 */
export type Message = {
  conversationId: string
  clientId: string
} & (
  | { kind: 'message'; text: string; replyTo?: number }
  | { kind: 'edit'; targetSeq: number; text: string }
  | { kind: 'delete'; targetSeq: number }
)

/** Pending is a message under way. */
export interface Pending {
  message: Message
  /** Where it stands once the server has it; rejects with a ParleyError when it is refused for good. */
  sent: Promise<Sent>
}

interface Entry {
  message: Message
  resolve(sent: Sent): void
  reject(error: ParleyError): void
}

/** Outcome is what became of a message. */
export type Outcome = { sent: Sent; error?: undefined } | { sent?: undefined; error: ParleyError }

/** Lane is what one conversation has to send, in order. Only its first message is ever under way. */
export interface Lane {
  queue: [Entry, ...Entry[]]
  /** Id of the frame under way; 0: none. */
  frame: number
  /** When (ms) it was written. */
  since: number
  /** Failures of the first message in a row. */
  attempts: number
  /** Not before (ms). */
  after: number
}

/** Outbox holds every message that is not answered, at most as many as it is told. */
export class Outbox {
  private count = 0
  private lanes = new Map<string, Lane>()
  private flying = new Map<number, Lane>()
  /** May be sent as soon as after has come. */
  private ready = new Set<Lane>()

  constructor(private readonly most: number) {}

  add(message: Message): Pending {
    if (this.count >= this.most) throw new OutboxFullError()
    const { entry, pending } = enter(message)
    this.count++
    const lane = this.lanes.get(message.conversationId)
    if (lane) lane.queue.push(entry)
    else this.open(message.conversationId, [entry])
    return pending
  }

  /**
   * restore puts what an earlier run left before everything that was added since. Nothing may be in flight. It
   * may go beyond the bound: these were within the bound of the run that took them.
   */
  restore(messages: Message[]): void {
    const has = new Set(this.all().map((m) => m.clientId))
    for (const message of messages.filter((m) => !has.has(m.clientId)).reverse()) {
      const { entry } = enter(message)
      this.count++
      const lane = this.lanes.get(message.conversationId)
      if (lane) lane.queue.unshift(entry)
      else this.open(message.conversationId, [entry])
    }
  }

  private open(conversationId: string, queue: [Entry]): void {
    const lane: Lane = { queue, frame: 0, since: 0, attempts: 0, after: 0 }
    this.lanes.set(conversationId, lane)
    this.ready.add(lane)
  }

  /** take moves everything that may be sent now into flight. waitMs is the time until there is more. */
  take(now: number, nextId: () => number): { frames: ClientFrame[]; waitMs: number } {
    const frames: ClientFrame[] = []
    let waitMs = Infinity
    for (const lane of this.ready) {
      if (lane.after > now) {
        waitMs = Math.min(waitMs, lane.after - now)
        continue
      }
      this.ready.delete(lane)
      lane.frame = nextId()
      lane.since = now
      this.flying.set(lane.frame, lane)
      frames.push(frameOf(lane.frame, lane.queue[0].message))
    }
    return { frames, waitMs }
  }

  /** land takes the lane whose frame was answered out of flight; undefined when nothing waits for that frame. */
  land(frame: number | undefined): Lane | undefined {
    if (frame === undefined) return undefined
    const lane = this.flying.get(frame)
    this.flying.delete(frame)
    return lane
  }

  /** settle ends the first message of a landed lane and lets the next one go. */
  settle(lane: Lane, outcome: Outcome): Message {
    const [{ message, resolve, reject }, next, ...rest] = lane.queue
    this.count--
    lane.frame = lane.attempts = lane.after = 0
    if (next) {
      lane.queue = [next, ...rest]
      this.ready.add(lane)
    } else {
      this.lanes.delete(message.conversationId)
    }
    if (outcome.sent) resolve(outcome.sent)
    else reject(outcome.error)
    return message
  }

  /** retry puts the first message of a landed lane back, not before a time. */
  retry(lane: Lane, after: number): void {
    lane.frame = 0
    lane.after = after
    lane.attempts++
    this.ready.add(lane)
  }

  /** ground puts back everything in flight: its connection is gone, its outcome unknown. */
  ground(): void {
    for (const lane of this.flying.values()) {
      lane.frame = lane.after = 0
      this.ready.add(lane)
    }
    this.flying.clear()
  }

  /** confirm settles a message whose record came by another way than its answer. */
  confirm(record: ChatRecord): { message: Message; outcome: Outcome } | undefined {
    const lane = this.lanes.get(record.conversation_id)
    if (!lane || lane.queue[0].message.clientId !== record.client_id) return undefined
    if (lane.frame !== 0) return undefined // its answer is on its way on this connection
    this.ready.delete(lane)
    const outcome = { sent: sentOf(record) }
    return { message: this.settle(lane, outcome), outcome }
  }

  /** oldest is when the longest unanswered frame was written; undefined when none is in flight. */
  oldest(): number | undefined {
    let first: number | undefined
    for (const { since } of this.flying.values()) if (first === undefined || since < first) first = since
    return first
  }

  /** all lists what is not answered, in order within each conversation. */
  all(): Message[] {
    return [...this.lanes.values()].flatMap((lane) => lane.queue.map((e) => e.message))
  }
}

function enter(message: Message): { entry: Entry; pending: Pending } {
  let resolve!: Entry['resolve']
  let reject!: Entry['reject']
  const sent = new Promise<Sent>((yes, no) => {
    resolve = yes
    reject = no
  })
  sent.catch(() => undefined) // who does not look at it hears of a refusal by the event
  return { entry: { message, resolve, reject }, pending: { message, sent } }
}

function frameOf(id: number, m: Message): ClientFrame {
  const names = { conversation_id: m.conversationId, client_id: m.clientId }
  switch (m.kind) {
    case 'edit':
      return { id, type: 'message:edit', data: { ...names, seq: m.targetSeq, text: m.text } }
    case 'delete':
      return { id, type: 'message:delete', data: { ...names, seq: m.targetSeq } }
    case 'message': {
      const reply = m.replyTo === undefined ? {} : { reply_to: m.replyTo }
      return { id, type: 'message:send', data: { ...names, type: 'text', text: m.text, ...reply } }
    }
  }
}

/** recordOf is the record that the server made of a message, as its other devices receive it. */
export function recordOf(m: Message, sender: string, s: Sent): ChatRecord {
  const record: ChatRecord = {
    conversation_id: m.conversationId, client_id: m.clientId, sender_id: sender, kind: m.kind,
    seq: s.seq, n: s.n, id: s.id, sent_at: s.sent_at,
  }
  if (m.kind !== 'delete') record.text = m.text
  if (m.kind !== 'message') record.target_seq = m.targetSeq
  if (m.kind === 'message') record.type = 'text'
  if (m.kind === 'message' && m.replyTo !== undefined) record.reply_to = m.replyTo
  return record
}

function sentOf(r: ChatRecord): Sent {
  return {
    conversation_id: r.conversation_id, client_id: r.client_id ?? '', id: r.id, seq: r.seq, n: r.n, sent_at: r.sent_at,
  }
}
