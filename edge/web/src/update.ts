import { signal } from '@preact/signals'

/** updated tells that a newer version of the page waits. */
export const updated = signal<ServiceWorker | undefined>(undefined)

/** serveOffline registers the service worker; the page works without one. */
export async function serveOffline(): Promise<void> {
  const workers: ServiceWorkerContainer | undefined = navigator.serviceWorker // not in an insecure context
  if (!workers) return
  const first = workers.controller === null
  workers.addEventListener('controllerchange', () => {
    if (!first || updated.peek()) location.reload()
  })
  const registration = await workers.register('/sw.js', { type: 'module', updateViaCache: 'none' }).catch(() => undefined)
  if (!registration) return
  const look = () => {
    if (registration.waiting && workers.controller) updated.value = registration.waiting
  }
  look()
  registration.addEventListener('updatefound', () => registration.installing?.addEventListener('statechange', look))
  setInterval(() => void registration.update().catch(() => undefined), 3_600_000)
}
