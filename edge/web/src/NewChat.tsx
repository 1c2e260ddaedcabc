import type { Conversation, Person } from '@parley-chat/client'
import { useRef, useState } from 'preact/hooks'
import { reason } from './format.ts'
import { PersonPicker } from './PersonPicker.tsx'
import { go, pathOf } from './route.ts'
import { api, client } from './server.ts'
import { t } from './strings.ts'
import { upsert } from './talks.ts'
import { Dialog, Icon, PersonAvatar } from './ui.tsx'
import { closeDialog } from './view.ts'

/** NewChat opens a conversation with a person, or makes a group. */
export function NewChat() {
  const [group, setGroup] = useState(false)
  const [picked, setPicked] = useState<readonly Person[]>([])
  const [name, setName] = useState('')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const clientId = useRef('') // one group, however often the request has to be repeated

  async function begin(make: () => Promise<Conversation>) {
    if (busy) return
    setBusy(true)
    setProblem('')
    try {
      const talk = upsert(await make())
      closeDialog()
      go(pathOf(talk.id))
    } catch (error) {
      setProblem(reason(error))
      setBusy(false)
    }
  }

  function toggle(person: Person) {
    setPicked(picked.some((p) => p.id === person.id) ? picked.filter((p) => p.id !== person.id) : [...picked, person])
  }

  function create() {
    clientId.current ||= client.peek()?.newClientId() ?? ''
    void begin(() => api.createGroup(name.trim(), picked.map((p) => p.id), { clientId: clientId.current }))
  }

  if (!group) {
    return (
      <Dialog title={t.newDirect} onClose={closeDialog}>
        <button type="button" class="person wide-row" onClick={() => setGroup(true)}>
          <span class="avatar plain">
            <Icon name="group" />
          </span>
          <span class="person-names">{t.newGroup}</span>
        </button>
        <PersonPicker label={t.findPerson} onPick={(person) => void begin(() => api.createDirect(person.id))} />
        <Problem text={problem} />
      </Dialog>
    )
  }
  return (
    <Dialog title={t.newGroup} onClose={closeDialog}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          create()
        }}
      >
        <label class="field">
          <span>{t.groupName}</span>
          <input name="name" required maxLength={64} dir="auto" value={name} onInput={(event) => setName(event.currentTarget.value)} autofocus />
        </label>
        {picked.length > 0 ? (
          <ul class="chips" aria-label={t.groupPeople}>
            {picked.map((person) => (
              <li key={person.id}>
                <button type="button" class="chip" aria-label={t.removePick(person.display_name)} onClick={() => toggle(person)}>
                  <PersonAvatar id={person.id} size="small" />
                  <span dir="auto">{person.display_name}</span>
                  <Icon name="close" />
                </button>
              </li>
            ))}
          </ul>
        ) : null}
        <PersonPicker label={t.findPerson} picked={new Set(picked.map((p) => p.id))} onPick={toggle} />
        <Problem text={problem} />
        <div class="buttons">
          <button class="button primary" disabled={busy || name.trim() === ''}>
            {busy ? t.working : t.createGroup}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

export function Problem({ text }: { text: string }) {
  return (
    <div class="problem" role="alert">
      {text}
    </div>
  )
}
