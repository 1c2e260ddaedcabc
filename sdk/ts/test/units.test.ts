import assert from 'node:assert/strict'
import { waitAfter } from '../src/backoff.js'
import type { ChatRecord } from '../src/index.js'
import { mostHeldRecords, Timeline } from '../src/timeline.js'
import { scenario } from './scenario.js'

function record(seq: number, fields: Partial<ChatRecord> = {}): ChatRecord {
  const fixed = { conversation_id: 'g', n: seq, id: String(seq), kind: 'message', sender_id: 'u', sent_at: '2026-01-01T00:00:00.000Z' }
  return { ...fixed, seq, ...fields }
}

// Live records in any order, with repeats and losses, and a sync in between.
scenario('a timeline shows each seq once in order', () => {
  for (let round = 0; round < 300; round++) {
    const head = 1 + Math.floor(Math.random() * 30)
    const all = Array.from({ length: head }, (_, i) => record(i + 1, i === 0 ? { kind: 'create' } : {}))
    const arriving = [...all, ...all].filter(() => Math.random() < 0.7).sort(() => Math.random() - 0.5)
    const t = new Timeline()
    const shown: number[] = []
    const note = (incoming: { record: ChatRecord }[]) => shown.push(...incoming.map((i) => i.record.seq))
    for (const [i, r] of arriving.entries()) {
      note(t.live({ record: r, source: 'live' }, 'u', i))
      if (Math.random() < 0.1) note(t.synced(all.filter((r) => r.seq > t.shown)))
    }
    note(t.synced(all.filter((r) => r.seq > t.shown)))
    assert.deepEqual(shown, all.map((r) => r.seq))
    assert.equal(t.since, undefined)
  }
})

scenario('a timeline holds no more than its bound', () => {
  const t = Timeline.from(0)
  for (let seq = 2; seq < 2 * mostHeldRecords; seq++) assert.deepEqual(t.live({ record: record(seq), source: 'live' }, 'u', 1), [])
  assert.equal(t.since, -Infinity) // a sync is overdue
  const shown = t.live({ record: record(1), source: 'live' }, 'u', 1)
  assert.equal(shown.length, 1 + mostHeldRecords)
})

scenario('backoff is bounded and honours the hint', () => {
  const backoff = { baseMs: 100, capMs: 5_000 }
  for (let i = 0; i < 1_000; i++) {
    assert.ok(waitAfter(backoff, 0) <= 100)
    assert.ok(waitAfter(backoff, 3) <= 800)
    assert.ok(waitAfter(backoff, 5_000) <= 5_000)
    const hinted = waitAfter(backoff, 10, 700)
    assert.ok(hinted >= 700 && hinted <= 700 + 5_000 / 4)
  }
})
