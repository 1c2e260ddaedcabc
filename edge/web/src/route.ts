import { signal } from '@preact/signals'

/** Route is what the address says: a conversation, or the list. */
export interface Route {
  talk?: string
}

export const route = signal<Route>(parse())

function parse(): Route {
  const talk = /^\/c\/([dgs][a-z2-7]{26})$/.exec(location.pathname)?.[1]
  return talk === undefined ? {} : { talk }
}

export function pathOf(talk: string): string {
  return `/c/${talk}`
}

/** go opens a path as a link does. */
export function go(path: string, replace = false): void {
  if (path === location.pathname) return
  history[replace ? 'replaceState' : 'pushState'](null, '', path)
  route.value = parse()
}

export function followHistory(): void {
  addEventListener('popstate', () => (route.value = parse()))
}
