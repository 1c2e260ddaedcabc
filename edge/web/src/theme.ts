import { signal } from '@preact/signals'

export type Theme = 'system' | 'light' | 'dark'
const key = 'parley-theme'

export const theme = signal<Theme>(read())

function read(): Theme {
  const kept = localStorage.getItem(key)
  return kept === 'light' || kept === 'dark' ? kept : 'system'
}

function show(): void {
  if (theme.value === 'system') delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = theme.value
}

export function setTheme(next: Theme): void {
  theme.value = next
  localStorage.setItem(key, next)
  show()
}

/** followTheme shows the theme, and follows the switch in other tabs. */
export function followTheme(): void {
  show()
  addEventListener('storage', (event) => {
    if (event.key !== key) return
    theme.value = read()
    show()
  })
}
