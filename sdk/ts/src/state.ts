import { Cursors } from './cursors.js'
import { Outbox } from './outbox.js'
import { Timeline } from './timeline.js'

/** State is what a client knows beyond the life of a connection. */
export interface State {
  userId: string
  /** The server's clock less this machine's. */
  offsetMs: number
  /** Connections are numbered from 1. */
  connection: number
  readonly outbox: Outbox
  readonly timelines: Map<string, Timeline>
  readonly cursors: Cursors
  /** Counts refused fills: what was decided to be shown before one is not shown after it. */
  epoch: number
  wantSync: boolean
  /** Id of the sync under way; 0: none. */
  syncFrame: number
  /** Refused syncs in a row, and the time (ms) before which there is no other. */
  syncRefusals: number
  syncAfter: number
  /** goaway: no new work, reconnect then (ms). */
  leavingAt: number | undefined
}

export function newState(outbox: number): State {
  return {
    userId: '', offsetMs: 0, connection: 0, outbox: new Outbox(outbox), timelines: new Map(), cursors: new Cursors(),
    epoch: 0, wantSync: false, syncFrame: 0, syncRefusals: 0, syncAfter: 0, leavingAt: undefined,
  }
}

/** timelineOf is a conversation's timeline, a new one when there is none. */
export function timelineOf(state: State, id: string): Timeline {
  let t = state.timelines.get(id)
  if (!t) state.timelines.set(id, (t = new Timeline()))
  return t
}

/** forget drops what is known of a conversation that may not be seen any more. */
export function forget(state: State, id: string): void {
  state.timelines.delete(id)
  state.cursors.forget(id)
}
