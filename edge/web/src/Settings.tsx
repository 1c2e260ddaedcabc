import type { Session } from '@parley-chat/client'
import { useEffect, useState } from 'preact/hooks'
import { agoTime, reason } from './format.ts'
import { Problem } from './NewChat.tsx'
import { me } from './people.ts'
import { api } from './server.ts'
import { logout, rename, unsentCount } from './session.ts'
import { t } from './strings.ts'
import { setTheme, theme, type Theme } from './theme.ts'
import { Dialog, Icon, PersonAvatar, Skeleton } from './ui.tsx'
import { closeDialog } from './view.ts'

/** Settings is about oneself: the name, the looks, where one is logged in. */
export function Settings() {
  const user = me.value
  if (!user) return null
  return (
    <Dialog title={t.settings} kind="sheet" onClose={closeDialog}>
      <div class="profile">
        <PersonAvatar id={user.id} size="large" />
        <p class="quiet">@{user.username}</p>
      </div>
      <NameForm />
      <fieldset class="themes">
        <legend>{t.appearance}</legend>
        {(Object.keys(t.themes) as Theme[]).map((name) => (
          <label key={name}>
            <input type="radio" name="theme" checked={theme.value === name} onChange={() => setTheme(name)} />
            <span>{t.themes[name]}</span>
          </label>
        ))}
      </fieldset>
      <Sessions />
      <Logout />
    </Dialog>
  )
}

function NameForm() {
  const [name, setName] = useState(me.value?.display_name ?? '')
  const [note, setNote] = useState('')
  const [problem, setProblem] = useState('')
  const changed = name.trim() !== '' && name.trim() !== me.value?.display_name
  async function save(event: SubmitEvent) {
    event.preventDefault()
    setProblem('')
    try {
      rename(await api.setDisplayName(name.trim()))
      setNote(t.saved)
    } catch (error) {
      setProblem(reason(error))
    }
  }
  return (
    <form onSubmit={save}>
      <label class="field">
        <span>{t.yourName}</span>
        <span class="inline-form">
          <input
            name="display_name"
            dir="auto"
            maxLength={64}
            value={name}
            onInput={(event) => {
              setName(event.currentTarget.value)
              setNote('')
            }}
          />
          <button class="button" disabled={!changed}>
            {t.save}
          </button>
        </span>
      </label>
      <p class="quiet" role="status">
        {note}
      </p>
      <Problem text={problem} />
    </form>
  )
}

function Sessions() {
  const [list, setList] = useState<readonly Session[] | undefined>(undefined)
  const [problem, setProblem] = useState('')
  useEffect(() => {
    api.sessions().then(setList, (error: unknown) => setProblem(reason(error)))
  }, [])
  async function revoke(id: string) {
    setProblem('')
    try {
      await api.revokeSession(id)
      setList((before) => before?.filter((s) => s.id !== id))
    } catch (error) {
      setProblem(reason(error))
    }
  }
  return (
    <section aria-labelledby="sessions">
      <h3 id="sessions">{t.sessions}</h3>
      <Problem text={problem} />
      {list ? (
        <ul class="people">
          {list.map((session) => (
            <li class="person static" key={session.id}>
              <span class="avatar plain">
                <Icon name="devices" />
              </span>
              <span class="person-names">
                <span dir="auto">{deviceOf(session.name)}</span>
                <small>{session.current ? t.thisSession : t.lastUsed(agoTime(new Date(session.last_used_at)))}</small>
              </span>
              {session.current ? null : (
                <button type="button" class="link" aria-label={t.revokeSession(deviceOf(session.name))} onClick={() => void revoke(session.id)}>
                  {t.revoke}
                </button>
              )}
            </li>
          ))}
        </ul>
      ) : problem === '' ? (
        <Skeleton rows={2} />
      ) : null}
    </section>
  )
}

/** deviceOf makes of a browser's long name one that people know; other names stay as they are. */
function deviceOf(name: string): string {
  const browser = /(Firefox|Edg|OPR|Chrome|Safari)\//.exec(name)?.[1]
  const system = /(Android|iPhone|iPad|Windows|Mac OS X|Linux)/.exec(name)?.[1]
  if (browser === undefined) return name
  const names: { [key: string]: string } = { Edg: 'Edge', OPR: 'Opera' }
  const label = names[/(Edg|OPR)\//.exec(name)?.[1] ?? browser] ?? browser
  return system === undefined ? label : `${label} · ${system === 'Mac OS X' ? 'macOS' : system}`
}

function Logout() {
  const [sure, setSure] = useState(false)
  const unsent = unsentCount()
  return (
    <div class="logout">
      {sure ? <p>{t.logoutUnsent(unsent)}</p> : null}
      <button type="button" class="button danger-text" onClick={() => (unsent > 0 && !sure ? setSure(true) : void logout())}>
        <Icon name="leave" />
        {sure ? t.logoutAnyway : t.logout}
      </button>
    </div>
  )
}
