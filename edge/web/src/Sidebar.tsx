import { useEffect, useState } from 'preact/hooks'
import { drafts } from './drafts.ts'
import { fullTime, oneLine, reason, shortTime } from './format.ts'
import { me, nameOf } from './people.ts'
import { typing, watch } from './presence.ts'
import { go, pathOf, route } from './route.ts'
import { outgoing } from './sends.ts'
import { client, network } from './server.ts'
import { listFailure, trouble } from './session.ts'
import { t } from './strings.ts'
import { listed, ordered, titleOf, type Talk } from './talks.ts'
import { Avatar, Empty, Failure, Icon, IconButton, PersonAvatar, Skeleton } from './ui.tsx'
import { updated } from './update.ts'

interface Props {
  onNew: () => void
  onSettings: () => void
}

/** Sidebar is the list of conversations, and what is said about the connection. */
export function Sidebar({ onNew, onSettings }: Props) {
  const [filter, setFilter] = useState('')
  const all = ordered.value
  const wanted = filter.trim().toLocaleLowerCase()
  const found = wanted === '' ? all : all.filter((talk) => titleOf(talk).toLocaleLowerCase().includes(wanted))
  useEffect(() => watch(all.map((talk) => talk.id)), [all])
  const user = me.value

  return (
    <section class="sidebar" aria-label={t.conversations}>
      <header class="side-head">
        <button type="button" class="me" onClick={onSettings} aria-label={t.settings} title={t.settings}>
          {user ? <PersonAvatar id={user.id} /> : null}
        </button>
        <h2>{t.app}</h2>
        <IconButton icon="plus" label={t.newChat} class="filled" onClick={onNew} />
      </header>
      <div class="filter">
        <Icon name="search" />
        <input type="search" placeholder={t.filter} aria-label={t.filter} value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
      </div>
      <Line />
      <nav class="talks" aria-label={t.conversationList}>
        {listFailure.value !== undefined && !listed.value ? (
          <Failure text={reason(listFailure.value)} onRetry={() => location.reload()} />
        ) : !listed.value ? (
          <Skeleton rows={7} />
        ) : all.length === 0 ? (
          <Empty icon="group" title={t.noConversations} text={t.noConversationsHint}>
            <button type="button" class="button primary" onClick={onNew}>
              {t.newChat}
            </button>
          </Empty>
        ) : found.length === 0 ? (
          <p class="none">{t.noMatch}</p>
        ) : (
          <ul>
            {found.map((talk) => (
              <TalkRow key={talk.id} talk={talk} open={route.value.talk === talk.id} />
            ))}
          </ul>
        )}
      </nav>
    </section>
  )
}

/** Line tells calmly what the connection does; a short break is not worth a word. */
export function Line({ where = '' }: { where?: string }) {
  const what = trouble()
  const [patient, setPatient] = useState(true)
  const calm = what === undefined
  useEffect(() => {
    setPatient(true)
    if (calm) return
    const timer = setTimeout(() => setPatient(false), network.peek() ? 1_500 : 300)
    return () => clearTimeout(timer)
  }, [calm, network.value])
  const text = what === 'offline' ? t.offline : what === 'waiting' ? t.waiting : t.catchingUp
  return (
    <div class={`line ${where}`} role="status">
      {!calm && !patient ? (
        <p class={`line-text ${what}`}>
          <i class="pulse" />
          <span>{text}</span>
          {what === 'waiting' ? (
            <button type="button" class="link" onClick={() => client.peek()?.retry()}>
              {t.retryNow}
            </button>
          ) : null}
        </p>
      ) : null}
      {updated.value ? (
        <p class="line-text update">
          <span>{t.newVersion}</span>
          <button type="button" class="link" onClick={() => updated.value?.postMessage('take over')}>
            {t.reload}
          </button>
        </p>
      ) : null}
    </div>
  )
}

function TalkRow({ talk, open }: { talk: Talk; open: boolean }) {
  const title = titleOf(talk)
  const last = talk.last_message
  const time = new Date(last?.sent_at ?? talk.created_at)
  return (
    <li>
      <a
        href={pathOf(talk.id)}
        class={`talk ${talk.unread > 0 ? 'fresh' : ''}`}
        aria-current={open ? 'page' : undefined}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return
          event.preventDefault()
          go(pathOf(talk.id))
        }}
      >
        <Avatar id={talk.type === 'direct' ? talk.peer_id ?? talk.id : talk.id} name={title} group={talk.type === 'group'} here={talk.type === 'direct'} />
        <span class="talk-title" dir="auto">
          {title}
        </span>
        <time class="talk-time" dateTime={time.toISOString()} title={fullTime(time)}>
          {shortTime(time)}
        </time>
        <span class="talk-foot">
          <Preview talk={talk} open={open} />
          {talk.unread > 0 ? (
            <span class="badge">
              <span aria-hidden="true">{talk.unread > 999 ? '999+' : talk.unread}</span>
              <span class="hidden">{t.unread(talk.unread)}</span>
            </span>
          ) : null}
        </span>
      </a>
    </li>
  )
}

function Preview({ talk, open }: { talk: Talk; open: boolean }) {
  const writers = [...(typing.value.get(talk.id)?.keys() ?? [])]
  const draft = drafts.value.get(talk.id)?.text
  const waiting = outgoing.value.findLast((o) => o.message.conversationId === talk.id && o.message.kind === 'message')?.message
  const last = talk.last_message
  if (writers[0] !== undefined) {
    return <span class="talk-last writing">{talk.type === 'group' ? t.typing(writers.map(nameOf)) : t.typingShort}</span>
  }
  if (draft && !open) {
    return (
      <span class="talk-last">
        <b>{t.draft}</b> <bdi>{oneLine(draft)}</bdi>
      </span>
    )
  }
  if (waiting?.kind === 'message') return <span class="talk-last" dir="auto">{t.youSaid(oneLine(waiting.text))}</span>
  if (!last) return <span class="talk-last quiet">{talk.type === 'group' ? t.members(talk.member_count) : t.createdDirect}</span>
  if (last.deleted) return <span class="talk-last quiet">{t.deleted}</span>
  const text = oneLine(last.text ?? '')
  if (last.sender_id === me.value?.id) return <span class="talk-last" dir="auto">{t.youSaid(text)}</span>
  return <span class="talk-last" dir="auto">{talk.type === 'group' ? t.saidBy(nameOf(last.sender_id), text) : text}</span>
}
