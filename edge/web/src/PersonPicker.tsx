import type { Person } from '@parley-chat/client'
import { useEffect, useState } from 'preact/hooks'
import { reason } from './format.ts'
import { learn, me } from './people.ts'
import { api } from './server.ts'
import { t } from './strings.ts'
import { PersonAvatar, Icon } from './ui.tsx'

const pauseMs = 180
const mostName = 32

interface Props {
  label: string
  /** Who can not be picked: members already. */
  without?: ReadonlySet<string>
  picked?: ReadonlySet<string>
  onPick: (person: Person) => void
}

/** PersonPicker finds people by the beginning of their username. */
export function PersonPicker({ label, without, picked, onPick }: Props) {
  const [query, setQuery] = useState('')
  const [found, setFound] = useState<readonly Person[] | undefined>(undefined)
  const [problem, setProblem] = useState('')
  const wanted = query.trim().replace(/^@/, '').slice(0, mostName)

  useEffect(() => {
    setProblem('')
    if (wanted === '') return setFound(undefined)
    let over = false
    const timer = setTimeout(async () => {
      try {
        const people = await api.searchUsers(wanted)
        if (over) return
        learn(people)
        setFound(people)
      } catch (error) {
        if (!over) setProblem(reason(error))
      }
    }, pauseMs)
    return () => {
      over = true
      clearTimeout(timer)
    }
  }, [wanted])

  const shown = found?.filter((person) => !without?.has(person.id))
  return (
    <div class="picker">
      <label class="field">
        <span>{label}</span>
        <input type="search" value={query} autocomplete="off" autocapitalize="none" spellcheck={false} onInput={(event) => setQuery(event.currentTarget.value)} autofocus />
      </label>
      <p class="picker-note" role="status">
        {problem || (wanted === '' ? t.findHint : shown?.length === 0 ? t.nobody : '')}
      </p>
      <ul class="people">
        {shown?.map((person) => {
          const self = person.id === me.value?.id
          return (
            <li key={person.id}>
              <button type="button" class="person" disabled={self} aria-pressed={picked ? picked.has(person.id) : undefined} onClick={() => onPick(person)}>
                <PersonAvatar id={person.id} />
                <span class="person-names">
                  <span dir="auto">{person.display_name}</span>
                  <small>
                    @{person.username}
                    {self ? ` · ${t.yourself}` : ''}
                  </small>
                </span>
                {picked?.has(person.id) ? <Icon name="check" /> : null}
              </button>
            </li>
          )
        })}
      </ul>
    </div>
  )
}
