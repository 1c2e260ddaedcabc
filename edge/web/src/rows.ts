import type { ChatRecord } from '@parley-chat/client'
import { dayOf } from './format.ts'
import type { Outgoing } from './sends.ts'

/** Row is one line of a conversation as it is shown. first and last say where a run of one person begins and ends. */
export type Row =
  | { kind: 'day'; key: string; time: Date }
  | { kind: 'divider'; key: string }
  | { kind: 'note'; key: string; record: ChatRecord }
  | { kind: 'message'; key: string; record: ChatRecord; first: boolean; last: boolean }
  | { kind: 'outgoing'; key: string; out: Outgoing; first: boolean; last: boolean }

const told = new Set(['create', 'member', 'settings'])
const runMs = 5 * 60_000

/** rowsOf lays out records and what is on its way: days, runs, and the line above which everything was read. */
export function rowsOf(items: readonly ChatRecord[], waiting: readonly Outgoing[], divider: number, me: string): Row[] {
  const rows: Row[] = []
  let day = -1
  let divided = divider === 0
  let run: { sender: string; at: number; row: { last: boolean } } | undefined
  const begin = (time: Date) => {
    const its = dayOf(time)
    if (its === day) return
    day = its
    run = undefined
    rows.push({ kind: 'day', key: `day ${its}`, time })
  }
  const join = (sender: string, at: number): boolean => {
    const first = !run || run.sender !== sender || at - run.at > runMs
    if (!first && run) run.row.last = false
    return first
  }
  for (const record of items) {
    const time = new Date(record.sent_at)
    begin(time)
    if (!divided && record.seq > divider) {
      divided = true
      if (record.sender_id !== me) {
        run = undefined
        rows.push({ kind: 'divider', key: 'divider' })
      }
    }
    if (record.kind !== 'message') {
      if (!told.has(record.kind)) continue // a kind that this page does not know, or that is no news
      run = undefined
      rows.push({ kind: 'note', key: `note ${record.seq}`, record })
      continue
    }
    const first = join(record.sender_id, time.getTime())
    const key = record.sender_id === me && record.client_id ? record.client_id : `seq ${record.seq}`
    const row = { kind: 'message' as const, key, record, first, last: true }
    run = { sender: record.sender_id, at: time.getTime(), row }
    rows.push(row)
  }
  const known = new Set(items.map((record) => record.client_id))
  for (const out of waiting) {
    if (known.has(out.message.clientId)) continue
    begin(new Date(out.at))
    const first = join(me, out.at)
    const row = { kind: 'outgoing' as const, key: out.message.clientId, out, first, last: true }
    run = { sender: me, at: out.at, row }
    rows.push(row)
  }
  return rows
}
