import { signal } from '@preact/signals'
import { me } from './people.ts'

/** Draft is what somebody began to write. */
export interface Draft {
  text: string
  replyTo?: number
}

/** Drafts of all conversations; localStorage keeps them, and tells other tabs. */
export const drafts = signal<ReadonlyMap<string, Draft>>(new Map())

const keepMs = 250
const prefix = () => `parley-${me.peek()?.id}-draft-`

/** Conversations whose draft was changed in this tab and is not kept yet: other tabs' words on them are older. */
const unkept = new Set<string>()
let keeping: ReturnType<typeof setTimeout> | undefined

function read(key: string): Draft | undefined {
  try {
    return (JSON.parse(localStorage.getItem(key) ?? 'null') as Draft | null) ?? undefined
  } catch {
    return undefined
  }
}

function put(id: string, draft: Draft | undefined): void {
  const next = new Map(drafts.value)
  if (draft) next.set(id, draft)
  else next.delete(id)
  drafts.value = next
}

export function restoreDrafts(): void {
  const found = Object.keys(localStorage).filter((key) => key.startsWith(prefix()))
  drafts.value = new Map(found.flatMap((key) => {
    const draft = read(key)
    return draft ? [[key.slice(prefix().length), draft] as const] : []
  }))
}

export function setDraft(id: string, draft: Draft | undefined): void {
  const some = draft && (draft.text !== '' || draft.replyTo !== undefined) ? draft : undefined
  put(id, some)
  unkept.add(id)
  keeping ??= setTimeout(keepDrafts, keepMs)
}

/** keepDrafts writes what has changed, and nothing that is kept so already: other tabs hear of each write. */
function keepDrafts(): void {
  clearTimeout(keeping)
  keeping = undefined
  for (const id of unkept) keep(prefix() + id, drafts.peek().get(id))
  unkept.clear()
}

function textOf(draft: Draft | undefined): string | null {
  return draft ? JSON.stringify(draft) : null
}

function keep(key: string, draft: Draft | undefined): void {
  const text = textOf(draft)
  if (text === localStorage.getItem(key)) return
  try {
    if (text === null) localStorage.removeItem(key)
    else localStorage.setItem(key, text)
  } catch {
    // A draft too long for the browser's store lives as long as the page.
  }
}

export function forgetDrafts(): void {
  clearTimeout(keeping)
  keeping = undefined
  unkept.clear()
  drafts.value = new Map()
}

/** followDrafts keeps them when the page goes, and hears of other tabs'. */
export function followDrafts(): void {
  addEventListener('pagehide', keepDrafts)
  addEventListener('storage', (event) => {
    const id = event.key?.startsWith(prefix()) ? event.key.slice(prefix().length) : ''
    // Only a tab that showed the same before follows: what was written here is not another tab's to take away.
    if (id !== '' && !unkept.has(id) && textOf(drafts.peek().get(id)) === event.oldValue) put(id, read(prefix() + id))
  })
}
