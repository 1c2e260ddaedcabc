import type { ChatRecord } from './frames.js'
import type { Source } from './events.js'

/** How many records may wait for a missing one, per conversation. */
export const mostHeldRecords = 1024

/** Incoming is a record and the way it came. */
export interface Incoming {
  record: ChatRecord
  source: Source
}

/**
 * Timeline decides, for one conversation, what is shown and in which order. It does nothing else: the time is
 * passed in, what is to be shown is returned.
 */
export class Timeline {
  /** Whether shown means something. */
  known = false
  /** Everything up to it is shown, or on its way to onEvent. */
  shown = 0
  /** Since when (ms) something is held, or a sync is due for another reason; undefined: neither. */
  since: number | undefined
  /** Syncs that did not tell of it although something is held. */
  tries = 0

  private held = new Map<number, Incoming>()
  private connection = 0
  /** Highest seq that came live or was covered by a sync on the present connection. */
  private covered = 0

  static from(shown: number): Timeline {
    const t = new Timeline()
    t.known = true
    t.shown = shown
    return t
  }

  /**
   * live takes a pushed record, or the record of an own message. me tells a membership of one's own: its record
   * is where a conversation begins that was not known before.
   */
  live(incoming: Incoming, me: string, now: number): Incoming[] {
    const { seq } = incoming.record
    if (!this.known && begins(incoming.record, me)) {
      this.known = true
      this.shown = seq - 1
    }
    if (this.known && seq <= this.shown) return []
    if (this.known && seq === this.shown + 1) {
      this.shown = seq
      return [incoming, ...this.release()]
    }
    if (this.held.size === 0) this.since = now
    if (this.held.size < mostHeldRecords) this.held.set(seq, incoming)
    else this.since = -Infinity // overdue: the sync brings what has no room here
    return []
  }

  /**
   * synced takes the ascending records of a sync. What it leaves out (a return to a conversation that shows
   * newcomers nothing older) may not be seen.
   */
  synced(records: ChatRecord[]): Incoming[] {
    const show: Incoming[] = []
    for (const record of records) {
      if (this.known && record.seq <= this.shown) continue
      this.known = true
      this.shown = record.seq
      show.push({ record, source: 'sync' })
    }
    this.known = true
    return [...show, ...this.release()]
  }

  /** skip moves over a gap that is shown by other means. */
  skip(before: number): void {
    this.known = true
    this.shown = Math.max(this.shown, before - 1)
  }

  /** takeBack ends at a record again: what was decided behind it is not shown. A sync is due after the usual wait. */
  takeBack(shown: number, now: number): void {
    this.shown = shown
    this.held.clear()
    this.since = now
  }

  /** release takes what was held and has its turn. */
  private release(): Incoming[] {
    const show: Incoming[] = []
    for (let next = this.held.get(this.shown + 1); next; next = this.held.get(this.shown + 1)) {
      this.shown++
      show.push(next)
    }
    for (const seq of this.held.keys()) if (seq <= this.shown) this.held.delete(seq)
    if (this.held.size === 0) this.since = undefined
    return show
  }

  /** first is the lowest seq that is held; 0: none. */
  first(): number {
    return this.held.size === 0 ? 0 : Math.min(...this.held.keys())
  }

  /** repeated notes a pushed record and reports whether this connection had it already. */
  repeated(connection: number, seq: number): boolean {
    this.renew(connection)
    if (seq <= this.covered) return true
    this.covered = seq
    return false
  }

  /** cover notes that a sync on this connection answered up to seq. */
  cover(connection: number, seq: number): void {
    this.renew(connection)
    this.covered = Math.max(this.covered, seq)
  }

  private renew(connection: number): void {
    if (this.connection === connection) return
    this.connection = connection
    this.covered = 0
  }
}

/** begins reports whether a record is the first one that me may see in any case. */
export function begins(r: ChatRecord, me: string): boolean {
  return r.kind === 'create' || (r.kind === 'member' && r.action === 'added' && (r.user_ids ?? []).includes(me))
}

/** ends reports whether a record ends the membership of me. */
export function ends(r: ChatRecord, me: string): boolean {
  return r.kind === 'member' && (r.action === 'removed' || r.action === 'left') && (r.user_ids ?? []).includes(me)
}
