import type { Person } from '@parley-chat/client'
import { signal, type Signal } from '@preact/signals'
import { api } from './server.ts'
import { t } from './strings.ts'

const atOnce = 100 // the server's bound
const gatherMs = 20

const known = new Map<string, Signal<Person | undefined>>()
const asked = new Set<string>() // on this page
const wanted = new Set<string>()
let gathering = false

/** me is who is logged in. */
export const me = signal<Person | undefined>(undefined)

function slot(id: string): Signal<Person | undefined> {
  let found = known.get(id)
  if (!found) known.set(id, (found = signal<Person | undefined>(undefined)))
  return found
}

/** personOf is what is known of somebody; whoever is not known is looked up. */
export function personOf(id: string): Person | undefined {
  if (!asked.has(id)) want(id)
  return slot(id).value
}

export function nameOf(id: string): string {
  return personOf(id)?.display_name ?? '…'
}

/** calledOf is a name in a sentence: oneself is "You". */
export function calledOf(id: string): string {
  return id === me.value?.id ? t.you : nameOf(id)
}

export function learn(people: readonly Person[]): void {
  for (const person of people) slot(person.id).value = person
}

/** everyone lists who is known, for the cache. */
export function everyone(): Person[] {
  return [...known.values()].flatMap((person) => person.peek() ?? [])
}

function want(id: string): void {
  asked.add(id)
  wanted.add(id)
  if (gathering) return
  gathering = true
  setTimeout(() => void lookUp(), gatherMs)
}

/** lookUp asks for all that is wanted; what fails is asked again when the connection is back. */
export async function lookUp(): Promise<void> {
  gathering = false
  const ids = [...wanted]
  wanted.clear()
  for (let i = 0; i < ids.length; i += atOnce) {
    const some = ids.slice(i, i + atOnce)
    try {
      learn(await api.users(some))
    } catch {
      for (const id of some) wanted.add(id)
    }
  }
}

export function forgetPeople(): void {
  known.clear()
  asked.clear()
  wanted.clear()
  me.value = undefined
}
