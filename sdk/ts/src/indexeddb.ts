import type { Message } from './outbox.js'
import type { Positions, Unsent } from './store.js'

/**
 * BrowserStore keeps positions and unsent messages in IndexedDB. Positions are written behind, all that moved in
 * one transaction: what a closing tab does not write any more is shown again.
 */
export interface BrowserStore {
  positions: Positions
  unsent: Unsent
  close(): void
}

/** openBrowserStore opens a database; its name should tell the user apart: `parley-${user.id}`. */
export async function openBrowserStore(name: string, factory: IDBFactory = indexedDB): Promise<BrowserStore> {
  const opening = factory.open(name, 1)
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore('positions')
    // The key rises with every put: it keeps the order.
    opening.result.createObjectStore('unsent', { autoIncrement: true }).createIndex('client', 'clientId', { unique: true })
  }
  const db = await done(opening)
  db.onversionchange = () => db.close()
  return { positions: positionsIn(db), unsent: unsentIn(db), close: () => db.close() }
}

function positionsIn(db: IDBDatabase): Positions {
  const waiting = new Map<string, number>()
  let writing: Promise<void> | undefined

  async function write(): Promise<void> {
    while (waiting.size > 0) {
      const moved = [...waiting]
      waiting.clear()
      await change(db, 'positions', async (store) => {
        for (const [id, seq] of moved) {
          const before: number | undefined = await done(store.get(id))
          if (before === undefined || before < seq) store.put(seq, id)
        }
      })
    }
  }

  function flush(): Promise<void> {
    writing ??= write().finally(() => (writing = undefined))
    return writing
  }

  return {
    async all() {
      await flush()
      const store = db.transaction('positions').objectStore('positions')
      const [keys, values] = await Promise.all([done(store.getAllKeys()), done<number[]>(store.getAll())])
      return new Map(keys.map((key, i) => [String(key), values[i] ?? 0]))
    },
    async put(id, seq) {
      waiting.set(id, seq)
      flush().catch(() => undefined) // a position that is not written is shown again
    },
    async delete(id) {
      waiting.delete(id)
      await writing?.catch(() => undefined)
      await change(db, 'positions', async (store) => void store.delete(id))
    },
  }
}

function unsentIn(db: IDBDatabase): Unsent {
  return {
    all: () => done<Message[]>(db.transaction('unsent').objectStore('unsent').getAll()),
    put: (message) =>
      change(db, 'unsent', async (store) => {
        const key = await done(store.index('client').getKey(message.clientId))
        if (key === undefined) store.add(message)
      }),
    delete: (clientId) =>
      change(db, 'unsent', async (store) => {
        const key = await done(store.index('client').getKey(clientId))
        if (key !== undefined) store.delete(key)
      }),
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/** change does work in one transaction and ends when it is on disk. Work waits for its own requests alone. */
function change(db: IDBDatabase, name: string, work: (store: IDBObjectStore) => Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(name, 'readwrite')
    transaction.oncomplete = () => resolve()
    transaction.onabort = transaction.onerror = () => reject(transaction.error)
    work(transaction.objectStore(name)).catch(reject)
  })
}
