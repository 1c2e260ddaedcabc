import type { ChatRecord } from '@parley-chat/client'
import { signal } from '@preact/signals'

/** What is open over the page: one dialog at most. */
export type OpenDialog =
  | { kind: 'new' }
  | { kind: 'settings' }
  | { kind: 'details'; talk: string }
  | { kind: 'leave'; talk: string }
  | { kind: 'date' }
  | { kind: 'message'; record: ChatRecord }
  | { kind: 'delete'; record: ChatRecord }

export const dialog = signal<OpenDialog | undefined>(undefined)

export function openDialog(next: OpenDialog): void {
  dialog.value = next
}

export function closeDialog(): void {
  dialog.value = undefined
}

/** The message whose menu is open, and what it belongs to on screen. */
export const menu = signal<{ record: ChatRecord; anchor: Element } | undefined>(undefined)

/** The message that is being edited. */
export const editing = signal<{ record: ChatRecord; text: string } | undefined>(undefined)
