import { OutboxFullError, type AnsweredEvent, type ChatRecord, type Message, type Unsent } from '@parley-chat/client'
import { signal } from '@preact/signals'
import { reason } from './format.ts'
import { me } from './people.ts'
import { client } from './server.ts'
import { t } from './strings.ts'
import { share } from './tabs.ts'
import { tell } from './toasts.ts'

/** Outgoing is a message of one's own that is not known to be stored. */
export interface Outgoing {
  message: Message
  at: number
  /** Why it was refused for good; it waits for a decision. */
  failed?: string
}

/** A message that another tab sends is sent from here too when it is not through by then: that tab may be gone. */
const patienceMs = 4_000

export const outgoing = signal<readonly Outgoing[]>([])
const through = new Set<string>() // client ids that were seen as records
const mostThrough = 2_000

const failedKey = () => `parley-${me.peek()?.id}-failed`

/** restoreOutgoing shows what an earlier page left unsent, or refused. */
export async function restoreOutgoing(unsent: Unsent): Promise<void> {
  const waiting = (await unsent.all()).map((message) => ({ message, at: Date.now() }))
  outgoing.value = [...readFailed(), ...waiting]
}

function readFailed(): Outgoing[] {
  try {
    return JSON.parse(localStorage.getItem(failedKey()) ?? '[]') as Outgoing[]
  } catch {
    return []
  }
}

function keepFailed(): void {
  const failed = outgoing.value.filter((o) => o.failed !== undefined)
  if (failed.length === 0) localStorage.removeItem(failedKey())
  else localStorage.setItem(failedKey(), JSON.stringify(failed))
}

/** Command is a Message before it has a client id. */
type Command = Message extends infer M ? (M extends Message ? Omit<M, 'clientId'> : never) : never

/** submit sends a command. It reports whether there was room for it. */
export function submit(command: Command): boolean {
  const link = client.peek()
  if (!link) return false
  const message = { ...command, clientId: link.newClientId() } as Message
  try {
    link.submit(message)
  } catch (error) {
    tell(error instanceof OutboxFullError ? t.outboxFull : reason(error))
    return false
  }
  outgoing.value = [...outgoing.value, { message, at: Date.now() }]
  share({ type: 'sending', message })
  return true
}

/** sendingElsewhere shows what another tab sends. */
export function sendingElsewhere(message: Message): void {
  if (outgoing.value.some((o) => o.message.clientId === message.clientId) || through.has(message.clientId)) return
  outgoing.value = [...outgoing.value, { message, at: Date.now() }]
  setTimeout(() => {
    const link = client.peek()
    const waits = outgoing.value.some((o) => o.message.clientId === message.clientId && o.failed === undefined)
    if (link && waits && !link.unsent().some((m) => m.clientId === message.clientId)) link.submit(message)
  }, patienceMs)
}

/** settle takes an answer: what is through shows as a record from now on. */
export function settle(event: AnsweredEvent): void {
  const { message, error } = event
  if (!error) {
    if (message.kind !== 'message') remove(message.clientId)
    return
  }
  share({ type: 'failed', message, why: reason(error) })
  refused(message, reason(error))
}

/** refused marks a message that the server refused for good. */
export function refused(message: Message, why: string): void {
  if (message.kind === 'message') {
    outgoing.value = outgoing.value.map((o) => (o.message.clientId === message.clientId ? { ...o, failed: why } : o))
    keepFailed()
  } else {
    remove(message.clientId)
    tell(why)
  }
}

/** confirm takes a record away from what is outgoing. */
export function confirm(record: ChatRecord): void {
  if (record.client_id === undefined || record.sender_id !== me.peek()?.id) return
  through.add(record.client_id)
  if (through.size > mostThrough) through.delete(through.values().next().value ?? '')
  remove(record.client_id)
}

function remove(clientId: string): void {
  if (outgoing.value.some((o) => o.message.clientId === clientId)) {
    outgoing.value = outgoing.value.filter((o) => o.message.clientId !== clientId)
    keepFailed()
  }
}

export function discard(clientId: string): void {
  remove(clientId)
  share({ type: 'discarded', clientId })
}

export function discardedElsewhere(clientId: string): void {
  remove(clientId)
}

/** retry sends a refused message as a new one: the refusal is the last word on the old. */
export function retry(failed: Outgoing): void {
  const { clientId: _, ...command } = failed.message
  if (submit(command as Command)) discard(failed.message.clientId)
}

export function forgetOutgoing(): void {
  outgoing.value = []
  through.clear()
}
