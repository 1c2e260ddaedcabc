import type { ChatRecord, PageAnswer, PageQuery } from '@parley-chat/client'
import { batch, signal } from '@preact/signals'
import type { Cache } from './cache.ts'
import { api } from './server.ts'

const windowSize = 300 // items kept, and so elements shown
const pageSize = 60
const slack = 100 // live messages beyond the window before it is cut
const keptOffline = 60

/** Place is where the view goes next. */
export type Place = 'bottom' | 'divider' | { seq: number; flash: boolean }

/** Where asks a thread to open: at the newest message, behind what was read, at a message, at a time. */
export type Where = { newest: true } | { unread: number } | { seq: number } | { time: string }

/**
 * Thread is the part of one conversation that is on screen: a window of items that moves with the view. What
 * happens live is taken in at its end, or not at all while the window stands elsewhere.
 */
export class Thread {
  readonly items = signal<readonly ChatRecord[]>([])
  readonly moreBefore = signal(false)
  readonly moreAfter = signal(false)
  readonly busy = signal<'' | 'open' | 'before' | 'after'>('')
  /** Whether anything was loaded, be it from the cache. */
  readonly ready = signal(false)
  readonly failure = signal<unknown>(undefined)
  /** Messages above this seq were new when the thread was opened; 0: none. */
  readonly divider = signal(0)
  readonly place = signal<Place | undefined>(undefined)
  /** Messages that are quoted and stand outside of the window. */
  readonly quotes = signal<ReadonlyMap<number, ChatRecord>>(new Map())

  /** Set by the view: whether its end is in sight, and the first item that is. */
  atBottom = true
  topSeq = 0

  private from = 0
  private to = 0
  private turn = 0
  private held: ChatRecord[] = [] // came while a page was under way
  private last: Where = { newest: true }
  private asked = new Set<number>()

  constructor(readonly id: string, private readonly cache: Cache | undefined) {}

  /** open shows another part of the conversation. */
  async open(where: Where): Promise<void> {
    const turn = ++this.turn
    this.last = where
    this.held = []
    this.failure.value = undefined
    this.busy.value = 'open'
    if ('newest' in where) await this.recall(turn)
    try {
      const page = await api.page(this.id, queryOf(where))
      if (turn !== this.turn) return
      this.busy.value = ''
      this.replace(page, where)
    } catch (error) {
      if (turn !== this.turn) return
      batch(() => {
        this.busy.value = ''
        this.failure.value = error
      })
      this.release()
    }
  }

  /** again opens what could not be opened. */
  again(): void {
    if (this.failure.peek() !== undefined && this.busy.peek() === '') void this.open(this.last)
  }

  /** recall shows what was last seen of the end, until the server answers. */
  private async recall(turn: number): Promise<void> {
    if (this.ready.peek() || !this.cache) return
    const kept = await this.cache.get<ChatRecord[]>(`thread:${this.id}`)
    if (!kept || kept.length === 0 || turn !== this.turn) return
    this.from = kept[0]?.seq ?? 0
    this.to = kept.at(-1)?.seq ?? 0
    batch(() => {
      this.items.value = kept
      this.moreBefore.value = true
      this.ready.value = true
      this.place.value = 'bottom'
    })
  }

  private replace(page: PageAnswer, where: Where): void {
    this.from = page.from_seq
    this.to = page.more_after ? page.to_seq : page.head.seq
    batch(() => {
      this.items.value = page.messages
      this.moreBefore.value = page.more_before
      this.moreAfter.value = page.more_after
      this.divider.value = 'unread' in where ? where.unread : 0
      this.ready.value = true
      this.place.value = placeOf(where, page.messages)
    })
    this.release()
  }

  /** before loads what is older. */
  async before(): Promise<void> {
    const page = await this.page('before', { before: this.from })
    if (!page) return
    const items = [...page.messages, ...this.items.peek()]
    const kept = items.slice(0, windowSize)
    this.from = page.from_seq || this.from
    batch(() => {
      this.items.value = kept
      this.moreBefore.value = page.more_before
      if (kept.length < items.length) this.cutAfter(kept)
    })
    this.release()
  }

  /** after loads what is newer. */
  async after(): Promise<void> {
    const page = await this.page('after', { after: this.to })
    if (!page) return
    const items = [...this.items.peek(), ...page.messages.filter((m) => m.seq > this.to)]
    const kept = items.slice(-windowSize)
    this.to = page.more_after ? Math.max(this.to, page.to_seq) : Math.max(this.to, page.head.seq)
    batch(() => {
      this.items.value = kept
      this.moreAfter.value = page.more_after
      if (kept.length < items.length) this.cutBefore(kept)
    })
    this.release()
  }

  private async page(way: 'before' | 'after', query: PageQuery): Promise<PageAnswer | undefined> {
    const more = way === 'before' ? this.moreBefore : this.moreAfter
    if (this.busy.peek() !== '' || !more.peek()) return undefined
    const turn = this.turn
    this.busy.value = way
    try {
      const page = await api.page(this.id, { limit: pageSize, ...query })
      if (turn !== this.turn) return undefined
      this.busy.value = ''
      this.failure.value = undefined
      return page
    } catch (error) {
      if (turn !== this.turn) return undefined
      this.busy.value = ''
      this.failure.value = error
      this.release()
      return undefined
    }
  }

  private cutAfter(kept: readonly ChatRecord[]): void {
    this.to = kept.at(-1)?.seq ?? this.to
    this.moreAfter.value = true
  }

  private cutBefore(kept: readonly ChatRecord[]): void {
    this.from = kept[0]?.seq ?? this.from
    this.moreBefore.value = true
  }

  /** apply takes in a record that came by the connection. */
  apply(record: ChatRecord): void {
    if (record.kind === 'edit' || record.kind === 'delete') this.fold(record)
    if (this.busy.peek() !== '') {
      this.held.push(record)
      return
    }
    if (record.seq <= this.to || this.moreAfter.peek() || !this.ready.peek()) return
    if (record.seq !== this.to + 1) {
      this.moreAfter.value = true // the view asks for what is between
      return
    }
    this.to = record.seq
    if (record.kind === 'edit' || record.kind === 'delete') return
    this.append(record)
  }

  private append(record: ChatRecord): void {
    const items = [...this.items.peek(), record]
    batch(() => {
      if (items.length <= windowSize + slack) this.items.value = items
      else if (this.atBottom) this.cutBefore((this.items.value = items.slice(-windowSize)))
      else this.cutAfter((this.items.value = items.slice(0, windowSize)))
    })
  }

  private release(): void {
    const held = this.held
    this.held = []
    batch(() => held.forEach((record) => this.apply(record)))
  }

  private fold(record: ChatRecord): void {
    const by = (m: ChatRecord): ChatRecord => {
      if (m.seq !== record.target_seq || m.deleted) return m
      return record.kind === 'delete' ? { ...m, text: '', deleted: true } : { ...m, text: record.text ?? '', edited_seq: record.seq }
    }
    if (this.items.peek().some((m) => m.seq === record.target_seq)) this.items.value = this.items.peek().map(by)
    const quoted = this.quotes.peek().get(record.target_seq ?? 0)
    if (quoted) this.quotes.value = new Map(this.quotes.peek()).set(quoted.seq, by(quoted))
  }

  /** skipped says that records were left out by a sync: what is shown may be older than the truth. */
  skipped(before: number): void {
    if (this.to >= before - 1) return
    void this.open(this.atBottom || this.topSeq === 0 ? { newest: true } : { seq: this.topSeq })
  }

  /** find is a message that is quoted; one outside of the window is fetched. */
  find(seq: number): ChatRecord | undefined {
    const here = this.items.value.find((m) => m.seq === seq) ?? this.quotes.value.get(seq)
    if (!here && !this.asked.has(seq)) void this.fetch(seq)
    return here
  }

  private async fetch(seq: number): Promise<void> {
    this.asked.add(seq)
    try {
      const { messages } = await api.page(this.id, { around: seq, limit: 1 })
      const found = messages.find((m) => m.seq === seq)
      if (found) this.quotes.value = new Map(this.quotes.peek()).set(seq, found)
    } catch {
      // Without it the quote says that its message is not available.
    }
  }

  /** show goes to a message, wherever it is. */
  show(seq: number): void {
    if (this.items.peek().some((m) => m.seq === seq)) this.place.value = { seq, flash: true }
    else void this.open({ seq })
  }

  /** end goes to the newest message. */
  end(): void {
    if (this.moreAfter.peek() || this.failure.peek() !== undefined) void this.open({ newest: true })
    else this.place.value = 'bottom'
  }

  /** keep stores the end of the conversation for the next time without a network. */
  keep(): void {
    if (this.ready.peek() && !this.moreAfter.peek()) void this.cache?.put(`thread:${this.id}`, this.items.peek().slice(-keptOffline))
  }

  close(): void {
    this.keep()
    this.turn++
  }
}

function queryOf(where: Where): PageQuery {
  const limit = pageSize
  if ('unread' in where) return { limit, around: where.unread + 1 }
  if ('seq' in where) return { limit, around: where.seq }
  if ('time' in where) return { limit, at: where.time }
  return { limit }
}

function placeOf(where: Where, messages: readonly ChatRecord[]): Place {
  if ('unread' in where) return 'divider'
  if ('seq' in where) return { seq: where.seq, flash: true }
  if ('newest' in where) return 'bottom'
  const found = messages.find((m) => m.sent_at >= where.time)
  return found ? { seq: found.seq, flash: true } : 'bottom'
}
