import type { Message } from '@parley-chat/client'

/** Word is what tabs of one browser tell each other; everything else they hear from the server. */
export type Word =
  | { type: 'logged_in' }
  | { type: 'logged_out' }
  | { type: 'sending'; message: Message }
  | { type: 'failed'; message: Message; why: string }
  | { type: 'discarded'; clientId: string }

const channel = new BroadcastChannel('parley')

export function share(word: Word): void {
  channel.postMessage(word)
}

export function hear(listen: (word: Word) => void): void {
  channel.onmessage = (event: MessageEvent<Word>) => listen(event.data)
}
