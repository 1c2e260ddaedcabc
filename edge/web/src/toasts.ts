import { signal } from '@preact/signals'

/** Toast is a short notice; one with a path leads there. */
export interface Toast {
  id: number
  title?: string
  text: string
  path?: string
  who?: string
}

const most = 3
const lifeMs = 6_000

export const toasts = signal<readonly Toast[]>([])
let count = 0

export function tell(text: string, more: Omit<Toast, 'id' | 'text'> = {}): void {
  const toast = { id: ++count, text, ...more }
  toasts.value = [...toasts.value, toast].slice(-most)
  setTimeout(() => dismiss(toast.id), lifeMs)
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id)
}

/** dismissFor takes away what announced a conversation that is open now. */
export function dismissFor(path: string): void {
  if (toasts.peek().some((toast) => toast.path === path)) toasts.value = toasts.peek().filter((toast) => toast.path !== path)
}

/** spoken is what a screen reader says of what arrives on screen. */
export const spoken = signal('')

export function say(text: string): void {
  spoken.value = text
}

/** silence takes back what was announced of a conversation: it may have been deleted. */
export function silence(path: string): void {
  dismissFor(path)
  spoken.value = ''
}
