import type { Member } from '@parley-chat/client'
import { useEffect, useState } from 'preact/hooks'
import { dateOf, reason } from './format.ts'
import { Problem } from './NewChat.tsx'
import { me, nameOf, personOf } from './people.ts'
import { PersonPicker } from './PersonPicker.tsx'
import { go, pathOf } from './route.ts'
import { api } from './server.ts'
import { t } from './strings.ts'
import { dropTalk, membership, refreshTalk, talks, titleOf, upsert, type Talk } from './talks.ts'
import { Avatar, Confirm, Dialog, Icon, IconButton, Menu, PersonAvatar, Skeleton, type MenuItem } from './ui.tsx'
import { closeDialog, openDialog } from './view.ts'

type Role = 'owner' | 'admin' | 'member'

/** Details shows who is in a conversation, and lets those who may change it. */
export function Details({ id }: { id: string }) {
  const talk = talks.value.get(id)
  if (!talk) return null
  return (
    <Dialog title={talk.type === 'group' ? t.groupDetails : t.profile} kind="sheet" onClose={closeDialog}>
      {talk.type === 'group' ? <Group talk={talk} /> : <Profile id={talk.peer_id ?? me.value?.id ?? ''} />}
    </Dialog>
  )
}

function Profile({ id }: { id: string }) {
  const person = personOf(id)
  return (
    <div class="profile">
      <PersonAvatar id={id} size="large" here />
      <h3 dir="auto">{person?.display_name ?? '…'}</h3>
      {person ? (
        <>
          <p class="quiet">@{person.username}</p>
          <p class="quiet">{t.joined(dateOf(new Date(person.created_at)))}</p>
        </>
      ) : null}
    </div>
  )
}

function Group({ talk }: { talk: Talk }) {
  const [problem, setProblem] = useState('')
  const [adding, setAdding] = useState(false)
  const rules = talk.role === 'owner' || talk.role === 'admin'
  const { members, more, load } = useMembers(talk.id, setProblem)

  async function attempt(work: () => Promise<unknown>) {
    setProblem('')
    try {
      await work()
      await refreshTalk(talk.id)
    } catch (error) {
      setProblem(reason(error))
    }
  }

  return (
    <>
      <div class="profile">
        <Avatar id={talk.id} name={titleOf(talk)} size="large" group />
        {rules ? <Rename talk={talk} attempt={attempt} /> : <h3 dir="auto">{titleOf(talk)}</h3>}
        <p class="quiet">{t.members(talk.member_count)}</p>
      </div>
      <Problem text={problem} />
      {rules ? (
        <label class="switch">
          <span>{t.newcomers}</span>
          <input
            type="checkbox"
            role="switch"
            checked={talk.history !== 'joined'}
            onChange={(event) => {
              const history = event.currentTarget.checked ? 'all' : 'joined'
              void attempt(async () => upsert(await api.changeConversation(talk.id, { history })))
            }}
          />
        </label>
      ) : null}
      <section aria-labelledby="member-list">
        <div class="section-head">
          <h3 id="member-list">{t.memberList}</h3>
          {rules ? (
            <button type="button" class="link" aria-expanded={adding} onClick={() => setAdding(!adding)}>
              {t.addPeople}
            </button>
          ) : null}
        </div>
        {adding ? (
          <PersonPicker
            label={t.findPerson}
            without={new Set(members?.map((m) => m.user_id))}
            onPick={(person) => {
              setAdding(false)
              void attempt(() => api.addMembers(talk.id, [person.id]))
            }}
          />
        ) : null}
        {members ? (
          <ul class="people">
            {members.map((member) => (
              <MemberRow key={member.user_id} talk={talk} member={member} attempt={attempt} />
            ))}
          </ul>
        ) : (
          <Skeleton rows={3} />
        )}
        {more ? (
          <button type="button" class="link" onClick={load}>
            {t.more}
          </button>
        ) : null}
      </section>
      <button type="button" class="button danger-text" onClick={() => openDialog({ kind: 'leave', talk: talk.id })}>
        <Icon name="leave" />
        {t.leave}
      </button>
    </>
  )
}

/** useMembers reads a group's members page by page, and again when they change. */
function useMembers(id: string, setProblem: (text: string) => void) {
  const [members, setMembers] = useState<readonly Member[] | undefined>(undefined)
  const [next, setNext] = useState<string | undefined>(undefined)
  const version = membership.value.get(id) ?? 0
  async function read(cursor: string | undefined) {
    try {
      const page = await api.members(id, cursor)
      setMembers(cursor === undefined ? page.members : [...(members ?? []), ...page.members])
      setNext(page.next)
    } catch (error) {
      setProblem(reason(error))
    }
  }
  useEffect(() => void read(undefined), [id, version])
  return { members, more: next !== undefined, load: () => void read(next) }
}

function Rename({ talk, attempt }: { talk: Talk; attempt: (work: () => Promise<unknown>) => Promise<void> }) {
  const [name, setName] = useState(talk.name ?? '')
  useEffect(() => setName(talk.name ?? ''), [talk.name])
  const changed = name.trim() !== '' && name.trim() !== talk.name
  return (
    <form
      class="inline-form"
      onSubmit={(event) => {
        event.preventDefault()
        if (changed) void attempt(async () => upsert(await api.changeConversation(talk.id, { name: name.trim() })))
      }}
    >
      <input aria-label={t.groupName} dir="auto" maxLength={64} value={name} onInput={(event) => setName(event.currentTarget.value)} />
      <button class="button" disabled={!changed}>
        {t.rename}
      </button>
    </form>
  )
}

interface MemberRowProps {
  talk: Talk
  member: Member
  attempt: (work: () => Promise<unknown>) => Promise<void>
}

function MemberRow({ talk, member, attempt }: MemberRowProps) {
  const [anchor, setAnchor] = useState<Element | undefined>(undefined)
  const id = member.user_id
  const self = id === me.value?.id
  const items: MenuItem[] = []
  if (!self) items.push({ icon: 'send', label: t.message, act: () => void attempt(() => message(id)) })
  if (talk.role === 'owner') {
    for (const [role, label] of Object.entries({ owner: t.makeOwner, admin: t.makeAdmin, member: t.makeMember }) as [Role, string][]) {
      if (role !== member.role) items.push({ icon: 'person', label, act: () => void attempt(() => api.setRole(talk.id, id, role)) })
    }
  }
  const mayRemove = talk.role === 'owner' || (talk.role === 'admin' && member.role === 'member')
  if (!self && mayRemove) items.push({ icon: 'trash', label: t.removeMember, danger: true, act: () => void attempt(() => api.removeMember(talk.id, id)) })
  return (
    <li class="person static">
      <PersonAvatar id={id} here />
      <span class="person-names">
        <span dir="auto">
          {nameOf(id)}
          {self ? ` (${t.you.toLocaleLowerCase()})` : ''}
        </span>
        <small>@{personOf(id)?.username ?? '…'}</small>
      </span>
      {member.role === 'member' ? null : <span class="role">{t.roles[member.role as Role] ?? member.role}</span>}
      {items.length > 0 ? <IconButton icon="more" label={t.memberActions(nameOf(id))} aria-haspopup="menu" onClick={(event) => setAnchor(event.currentTarget)} /> : null}
      {anchor ? <Menu label={t.memberActions(nameOf(id))} anchor={anchor} items={items} onClose={() => setAnchor(undefined)} /> : null}
    </li>
  )
}

async function message(user: string): Promise<void> {
  const talk = upsert(await api.createDirect(user))
  closeDialog()
  go(pathOf(talk.id))
}

export function LeaveDialog({ id, onFailed }: { id: string; onFailed: (text: string) => void }) {
  async function leave() {
    try {
      await api.removeMember(id, me.peek()?.id ?? '')
      dropTalk(id)
      go('/', true)
    } catch (error) {
      onFailed(reason(error))
    }
  }
  return <Confirm title={t.leaveQuestion} text={t.leaveText} action={t.leave} onYes={() => void leave()} onClose={closeDialog} />
}
