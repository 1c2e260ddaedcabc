import type { ClientFrame, Cursor } from './frames.js'

/** OwnCursor is how far the user is; dirty parts are not on the server yet as far as is known. */
interface OwnCursor {
  read: number
  delivered: number
  readDirty: boolean
  deliveredDirty: boolean
}

/** Cursors holds the user's own cursors on their way to the server, and how far everybody was known to be. */
export class Cursors {
  private own = new Map<string, OwnCursor>()
  private known = new Map<string, Map<string, number>>()

  /** advance moves the user's own cursors; they never go back. */
  advance(id: string, to: { read?: number; delivered?: number }): void {
    const c = this.own.get(id) ?? { read: 0, delivered: 0, readDirty: false, deliveredDirty: false }
    this.own.set(id, c)
    if (to.read !== undefined && to.read > c.read) [c.read, c.readDirty] = [to.read, true]
    if (to.delivered !== undefined && to.delivered > c.delivered) [c.delivered, c.deliveredDirty] = [to.delivered, true]
  }

  /** frames tell the server what it may not know. What is read counts as delivered. */
  frames(): ClientFrame[] {
    const frames: ClientFrame[] = []
    for (const [conversation_id, c] of this.own) {
      if (c.deliveredDirty && c.delivered > c.read) {
        frames.push({ type: 'message:delivered', data: { conversation_id, seq: c.delivered } })
      }
      if (c.readDirty) frames.push({ type: 'message:read', data: { conversation_id, seq: c.read } })
      c.readDirty = c.deliveredDirty = false
    }
    return frames
  }

  /** doubt makes everything dirty: cursors have no answer, so what was sent may not have arrived. */
  doubt(): void {
    for (const c of this.own.values()) {
      c.readDirty = c.read > 0
      c.deliveredDirty = c.delivered > 0
    }
  }

  /** further notes how far somebody is, and reports whether it is further than what was known. */
  further(id: string, user: string, kind: 'delivered' | 'read', cursor: Cursor): boolean {
    const known = this.known.get(id) ?? new Map<string, number>()
    this.known.set(id, known)
    const key = `${kind} ${user}`
    if (cursor.seq <= (known.get(key) ?? 0)) return false
    known.set(key, cursor.seq)
    return true
  }

  forget(id: string): void {
    this.own.delete(id)
    this.known.delete(id)
  }
}
