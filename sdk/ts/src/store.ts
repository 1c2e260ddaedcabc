import type { Message } from './outbox.js'

/**
 * Positions keeps how far a device is, per conversation: the highest seq up to which it has shown everything.
 * One Client uses it, one call at a time.
 */
export interface Positions {
  all(): Promise<Map<string, number>>
  /** put moves a position; it never goes back. */
  put(conversationId: string, seq: number): Promise<void>
  /** delete forgets a conversation that may not be seen any more. */
  delete(conversationId: string): Promise<void>
}

/**
 * Unsent keeps the messages that are not answered, so that they survive the program. One that comes back although
 * it was answered does no harm: it is sent again with its client id, and still is the same message.
 */
export interface Unsent {
  /** all lists the messages in the order of put. */
  all(): Promise<Message[]>
  put(message: Message): Promise<void>
  delete(clientId: string): Promise<void>
}

/**
 * memoryPositions forgets everything with the program: after a restart the newest 100 messages of each
 * conversation, and everything below them unless gaps are skipped, are shown again.
 */
export function memoryPositions(): Positions {
  const positions = new Map<string, number>()
  return {
    all: async () => new Map(positions),
    put: async (id, seq) => void positions.set(id, Math.max(positions.get(id) ?? 0, seq)),
    delete: async (id) => void positions.delete(id),
  }
}

/** memoryUnsent keeps messages for the next Client of the same program. */
export function memoryUnsent(): Unsent {
  const messages = new Map<string, Message>()
  return {
    all: async () => [...messages.values()],
    put: async (message) => void messages.set(message.clientId, message),
    delete: async (clientId) => void messages.delete(clientId),
  }
}
