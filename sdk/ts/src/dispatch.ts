import { waitAfter } from './backoff.js'
import type { Settings } from './client.js'
import { asError, hintOf, mayRetry } from './errors.js'
import { recordEvent, type GapEvent, type GoneEvent, type MessageEvent, type ParleyEvent, type RecordEvent } from './events.js'
import type { State } from './state.js'
import type { Timeline } from './timeline.js'

/** What depends on the epoch in which it was decided to show it. */
type Shown = MessageEvent | RecordEvent | GapEvent

type Queued =
  | { event: Exclude<ParleyEvent, Shown> }
  | { event: MessageEvent | RecordEvent; epoch: number }
  | { event: GapEvent; epoch: number; timeline: Timeline }

/** Dispatcher calls onEvent, one event at a time, moves the positions, and fills gaps from history. */
export class Dispatcher {
  private queue: Queued[] = []
  private working: Promise<void> | undefined
  private paging = false
  private ended = false
  /**
   * Conversations with a gap that the server would not fill. What was to be shown behind it is not: it stays unseen
   * until a sync has told again, from the last record shown (events of earlier epochs are not shown), or until the
   * conversation is gone (the timeline had ended already: nothing is shown before the Gone that says so).
   */
  private refused = new Map<string, { epoch: number } | 'gone'>()

  constructor(
    private readonly state: State,
    private readonly settings: Settings,
    /** Waits for a time, less when the client is told to try again or to end. */
    private readonly rest: (ms: number) => Promise<void>,
  ) {}

  emit(event: Exclude<ParleyEvent, Shown>): void {
    this.enqueue({ event })
  }

  show(event: MessageEvent | RecordEvent, epoch: number): void {
    this.enqueue({ event, epoch })
  }

  gap(event: GapEvent, epoch: number, timeline: Timeline): void {
    this.enqueue({ event, epoch, timeline })
  }

  /** size is how many events wait. */
  get size(): number {
    return this.queue.length
  }

  /** idle waits until everything that waits has been handled. */
  async idle(): Promise<void> {
    await this.working
  }

  /** end drops what waits. It waits for onEvent, but not for a page of history: nothing is shown after it. */
  async end(): Promise<void> {
    this.ended = true
    this.queue = []
    if (!this.paging) await this.working
  }

  private enqueue(q: Queued): void {
    if (this.ended) return
    this.queue.push(q)
    this.working ??= this.work()
  }

  private async work(): Promise<void> {
    await Promise.resolve() // onEvent never runs inside of what queued its event
    for (let q = this.queue.shift(); q; q = this.queue.shift()) await this.deliver(q)
    this.working = undefined
  }

  private async deliver(q: Queued): Promise<void> {
    if ('timeline' in q) return this.deliverGap(q.event, q.epoch, q.timeline)
    if ('epoch' in q) return this.deliverRecord(q.event, q.epoch)
    if (q.event.type === 'gone') return this.deliverGone(q.event)
    return this.tell(q.event)
  }

  private async deliverRecord(event: MessageEvent | RecordEvent, epoch: number): Promise<void> {
    const { conversation_id, seq } = event.record
    if (!this.mayShow(epoch, conversation_id)) return
    await this.tell(event)
    await this.moved(conversation_id, seq)
  }

  private async deliverGap(gap: GapEvent, epoch: number, timeline: Timeline): Promise<void> {
    if (!this.mayShow(epoch, gap.conversationId)) return
    await this.tell(gap)
    if (!this.settings.skipGaps && !(await this.fill(gap, timeline))) return
    await this.moved(gap.conversationId, gap.before - 1)
  }

  private async deliverGone(event: GoneEvent): Promise<void> {
    const id = event.conversationId
    if (this.refused.get(id) === 'gone') this.refused.delete(id)
    try {
      await this.settings.positions.delete(id)
    } catch (error) {
      this.settings.log('position not deleted', error)
    }
    await this.tell(event)
  }

  private async tell(event: ParleyEvent): Promise<void> {
    if (this.ended) return
    try {
      await this.settings.onEvent(event)
    } catch (error) {
      this.settings.log('onEvent failed; the event counts as handled', error)
    }
  }

  /** mayShow reports whether what was decided in an epoch is not behind a gap that was refused. */
  private mayShow(epoch: number, id: string): boolean {
    const refused = this.refused.get(id)
    if (!refused) return true
    if (refused === 'gone' || epoch < refused.epoch) return false
    this.refused.delete(id)
    return true
  }

  /** moved moves the position after onEvent returned. When it is not stored, a restart shows the records again. */
  private async moved(id: string, seq: number): Promise<void> {
    if (this.ended) return
    try {
      await this.settings.positions.put(id, seq)
    } catch (error) {
      this.settings.log('position not stored', error)
    }
    if (this.settings.autoDelivered) this.state.cursors.advance(id, { delivered: seq })
  }

  /** fill shows what lies in a gap, page by page, for as long as it takes. It reports whether the gap is closed. */
  private async fill(gap: GapEvent, timeline: Timeline): Promise<boolean> {
    const { conversationId: id, before } = gap
    let at = gap.after
    let failures = 0
    while (at + 1 < before) {
      const page = await this.page(id, at)
      if (this.ended) return false
      if (page instanceof Error) {
        if (!mayRetry(page)) {
          this.settings.log('gap not filled', page)
          this.fillRefused(id, timeline, at)
          return false
        }
        await this.rest(waitAfter(this.settings.reconnect, failures++, hintOf(page)))
        continue
      }
      failures = 0
      for (const record of page.messages) {
        if (record.seq > at && record.seq < before) await this.tell(recordEvent(record, 'history'))
      }
      at = Math.max(at, page.to_seq)
      if (page.messages.length === 0 || !page.more_after) break
      await this.moved(id, Math.min(at, before - 1))
    }
    await this.tell({ ...gap, type: 'filled' })
    return !this.ended
  }

  private async page(id: string, after: number) {
    this.paging = true
    try {
      return await this.settings.api.page(id, { limit: 100, after })
    } catch (error) {
      return asError(error)
    } finally {
      this.paging = false
    }
  }

  /**
   * fillRefused takes a conversation back to the last record shown. One was removed since the sync, perhaps to
   * return: the next sync tells, a hold from now unless something else asks for it.
   */
  private fillRefused(id: string, timeline: Timeline, shown: number): void {
    if (this.state.timelines.get(id) !== timeline) {
      this.refused.set(id, 'gone')
      return
    }
    this.state.epoch++
    this.refused.set(id, { epoch: this.state.epoch })
    timeline.takeBack(shown, this.settings.now())
  }
}
