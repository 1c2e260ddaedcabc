import { Api, memoryLogin, type Client, type LoginStore } from '@parley-chat/client'
import { signal } from '@preact/signals'

/**
 * The access token lives in this tab's memory; the refresh token in a cookie that all tabs share and no script
 * reads. One tab at a time uses it: where the browser has no locks, the server's leeway covers for them.
 */
function loginStore(): LoginStore {
  const alone = memoryLogin()
  const locks: LockManager | undefined = navigator.locks // not in an insecure context
  return { ...alone, exclusively: (work) => (locks ? locks.request('parley-refresh', work) : work()) }
}

export const api = new Api({ url: location.origin, store: loginStore(), cookie: true })

/** The live connection of whoever is logged in. */
export const client = signal<Client | undefined>(undefined)

/** What the connection does, in the words that people need. */
export type Line = 'connecting' | 'catching_up' | 'live' | 'waiting'
export const line = signal<Line>('connecting')

/** Whether the browser believes that there is a network. */
export const network = signal(navigator.onLine)
addEventListener('online', () => (network.value = true))
addEventListener('offline', () => (network.value = false))
