// The page without a network: its own files from a cache of this very build, which are replaced all at once when a
// new version takes over. Nothing of the API is kept here.
const worker = self as unknown as ServiceWorkerGlobalScope
const cacheName = 'parley-__BUILD__'
const files = ['/', '/app.js', '/app.css', '/manifest.webmanifest', '/icon.svg', '/icon-192.png']

worker.addEventListener('install', (event) => {
  event.waitUntil(
    caches.open(cacheName).then((cache) => cache.addAll(files.map((path) => new Request(path, { cache: 'reload' })))),
  )
})

worker.addEventListener('activate', (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((name) => name.startsWith('parley-') && name !== cacheName).map((name) => caches.delete(name))))
      .then(() => worker.clients.claim()),
  )
})

// The page says when: what is on screen must not change under somebody's hands.
worker.addEventListener('message', (event) => {
  if (event.data === 'take over') void worker.skipWaiting()
})

worker.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url)
  if (event.request.method !== 'GET' || url.origin !== location.origin || url.pathname.startsWith('/api/')) return
  const path = event.request.mode === 'navigate' ? '/' : url.pathname
  event.respondWith(caches.open(cacheName).then(async (cache) => (await cache.match(path)) ?? fetch(event.request)))
})
