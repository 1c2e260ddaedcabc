/** Cache keeps what was last seen, so that the page shows something without a network. It holds no secrets but texts. */
export interface Cache {
  get<T>(key: string): Promise<T | undefined>
  put(key: string, value: unknown): Promise<void>
  delete(key: string): Promise<void>
  close(): void
}

const nameOf = (user: string) => `parley-seen-${user}`

/** openCache opens a person's cache; where there is no IndexedDB it forgets everything. */
export async function openCache(user: string): Promise<Cache> {
  const db = await open(nameOf(user)).catch(() => undefined)
  if (!db) return { get: async () => undefined, put: async () => undefined, delete: async () => undefined, close: () => undefined }
  db.onversionchange = () => db.close()
  const store = (mode: IDBTransactionMode) => db.transaction('seen', mode).objectStore('seen')
  return {
    get: (key) => settled(() => store('readonly').get(key)),
    put: async (key, value) => void (await settled(() => store('readwrite').put(value, key))),
    delete: async (key) => void (await settled(() => store('readwrite').delete(key))),
    close: () => db.close(),
  }
}

/** forget removes everything that this browser keeps of a person. */
export function forget(user: string): void {
  indexedDB.deleteDatabase(nameOf(user))
  indexedDB.deleteDatabase(`parley-${user}`)
  for (const key of Object.keys(localStorage)) if (key.startsWith(`parley-${user}`)) localStorage.removeItem(key)
}

function open(name: string): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1)
    request.onupgradeneeded = () => request.result.createObjectStore('seen')
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/** settled is a request's result; what fails (a closed database, a full disk) is as if nothing had been kept. */
function settled<T>(begin: () => IDBRequest<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    try {
      const request = begin()
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => resolve(undefined)
    } catch {
      resolve(undefined)
    }
  })
}
