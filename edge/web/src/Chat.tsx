import { useState } from 'preact/hooks'
import { ParleyError } from '@parley-chat/client'
import { Composer } from './Composer.tsx'
import { agoTime, reason } from './format.ts'
import { MessageMenu } from './MessageMenu.tsx'
import { Messages } from './Messages.tsx'
import { nameOf } from './people.ts'
import { presence, typing } from './presence.ts'
import { go } from './route.ts'
import { thread } from './session.ts'
import { Line } from './Sidebar.tsx'
import { t } from './strings.ts'
import { talks, titleOf, type Talk } from './talks.ts'
import type { Thread } from './thread.ts'
import { Avatar, Dialog, Empty, Failure, IconButton, Skeleton } from './ui.tsx'
import { closeDialog, openDialog } from './view.ts'

/** Chat is the conversation on screen, or the place where one will be. */
export function Chat() {
  const open = thread.value
  if (!open) {
    return (
      <section class="chat idle" id="chat" tabIndex={-1} aria-label={t.messages}>
        <Empty icon="group" title={t.nothingOpen} text={t.nothingOpenHint} />
      </section>
    )
  }
  const talk = talks.value.get(open.id)
  return (
    <section class="chat" id="chat" tabIndex={-1} key={open.id} aria-label={talk ? titleOf(talk) : t.messages}>
      <Header talk={talk} />
      <Line where="only-narrow" />
      <Body open={open} talk={talk} />
    </section>
  )
}

function Body({ open, talk }: { open: Thread; talk: Talk | undefined }) {
  const failure = open.failure.value
  if (failure instanceof ParleyError && failure.code === 'not_found') {
    return (
      <Empty icon="search" title={t.notFound} text={t.notFoundHint}>
        <button type="button" class="button" onClick={() => go('/')}>
          {t.toList}
        </button>
      </Empty>
    )
  }
  if (failure !== undefined && !open.ready.value) {
    return (
      <>
        <div class="scroll">
          <Failure text={reason(failure)} onRetry={() => open.again()} />
        </div>
        {talk ? <Composer talk={talk} open={open} /> : null}
      </>
    )
  }
  if (!open.ready.value || !talk) {
    return (
      <div class="scroll" aria-busy="true">
        <p class="hidden" role="status">
          {t.loading}
        </p>
        <Skeleton rows={6} />
      </div>
    )
  }
  return (
    <>
      <Messages open={open} talk={talk} />
      <Composer talk={talk} open={open} />
      <MessageMenu open={open} talk={talk} />
    </>
  )
}

function Header({ talk }: { talk: Talk | undefined }) {
  const title = talk ? titleOf(talk) : ''
  return (
    <header class="chat-head">
      <IconButton icon="back" label={t.back} class="only-narrow" onClick={() => go('/')} />
      {talk ? (
        <button type="button" class="chat-who" onClick={() => openDialog({ kind: 'details', talk: talk.id })} title={t.details}>
          <Avatar id={talk.type === 'direct' ? talk.peer_id ?? talk.id : talk.id} name={title} group={talk.type === 'group'} here={talk.type === 'direct'} />
          <span class="chat-names">
            <span class="chat-title" dir="auto">
              {title}
            </span>
            <span class="chat-sub">
              <Subtitle talk={talk} />
            </span>
          </span>
        </button>
      ) : (
        <span class="chat-who" />
      )}
      <IconButton icon="calendar" label={t.jumpToDate} onClick={() => openDialog({ kind: 'date' })} />
      {talk ? <IconButton icon="info" label={t.details} onClick={() => openDialog({ kind: 'details', talk: talk.id })} /> : null}
    </header>
  )
}

function Subtitle({ talk }: { talk: Talk }) {
  const writers = [...(typing.value.get(talk.id)?.keys() ?? [])]
  if (writers.length > 0) return <span class="writing">{talk.type === 'direct' ? t.typingShort : t.typing(writers.map(nameOf))}</span>
  if (talk.type === 'group') return <>{t.members(talk.member_count)}</>
  const status = presence.value.get(talk.peer_id ?? '')
  if (status?.status === 'online') return <>{t.online}</>
  if (status?.status === 'away') return <>{t.away}</>
  if (status?.lastSeen) return <>{t.lastSeen(agoTime(new Date(status.lastSeen)))}</>
  return null
}

/** DateDialog asks for a day and goes to its first message. */
export function DateDialog() {
  const [date, setDate] = useState('')
  const today = new Date().toLocaleDateString('sv') // as date fields write it
  return (
    <Dialog title={t.jumpToDate} kind="small" onClose={closeDialog}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          const day = new Date(`${date}T00:00`)
          if (Number.isNaN(day.getTime())) return
          closeDialog()
          void thread.peek()?.open({ time: day.toISOString() })
        }}
      >
        <label class="field">
          <span>{t.jumpToDate}</span>
          <input type="date" name="date" required max={today} value={date} onInput={(event) => setDate(event.currentTarget.value)} autofocus />
        </label>
        <div class="buttons">
          <button class="button primary" disabled={date === ''}>
            {t.jump}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
