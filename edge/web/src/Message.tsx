import type { ChatRecord } from '@parley-chat/client'
import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { fullTime, oneLine, timeOf } from './format.ts'
import { calledOf, me, nameOf } from './people.ts'
import { discard, retry, type Outgoing } from './sends.ts'
import { setDraft, drafts } from './drafts.ts'
import { t } from './strings.ts'
import type { Thread } from './thread.ts'
import { Icon, IconButton, PersonAvatar, Words, type IconName } from './ui.tsx'
import { hueOf } from './format.ts'
import { editing, menu, openDialog } from './view.ts'

const longText = 1_200 // characters shown before somebody asks for the rest
const longLines = 24

export type MarkKind = 'pending' | 'sent' | 'delivered' | 'read' | 'failed'

interface MessageProps {
  rowKey: string
  record: ChatRecord
  first: boolean
  last: boolean
  mine: boolean
  group: boolean
  focusable: boolean
  mark: MarkKind
  /** An edit or a delete of it that is on its way. */
  change: Outgoing | undefined
  open: Thread
}

export function Message(props: MessageProps) {
  const { rowKey, record, first, last, mine, group, focusable, change, open } = props
  const time = new Date(record.sent_at)
  const name = calledOf(record.sender_id)
  const pending = change?.message
  const text = pending?.kind === 'edit' ? pending.text : record.text ?? ''
  const going = pending?.kind === 'delete'
  const classes = ['message', mine ? 'mine' : 'theirs', first ? 'first' : '', last ? 'last' : '', going ? 'going' : '']
  return (
    <article
      class={classes.join(' ')}
      data-key={rowKey}
      data-seq={record.seq}
      tabIndex={focusable ? 0 : -1}
      aria-label={t.messageBy(name, fullTime(time))}
      onContextMenu={(event) => {
        if (record.deleted || String(getSelection()) !== '') return
        event.preventDefault()
        menu.value = { record, anchor: event.currentTarget.querySelector('.bubble') ?? event.currentTarget }
      }}
    >
      {group && !mine ? <span class="side">{last ? <PersonAvatar id={record.sender_id} size="small" /> : null}</span> : null}
      <div class="bubble">
        {group && !mine && first ? (
          <p class={`sender text-${hueOf(record.sender_id)}`} dir="auto">
            {name}
          </p>
        ) : null}
        {record.deleted ? (
          <p class="text gone">{t.deleted}</p>
        ) : (
          <>
            {record.reply_to === undefined ? null : <Quote seq={record.reply_to} open={open} />}
            <Text text={text} />
          </>
        )}
        <Meta time={time} edited={(record.edited_seq !== undefined || pending?.kind === 'edit') && !record.deleted}>
          {mine ? <Mark kind={pending ? 'pending' : props.mark} /> : null}
        </Meta>
      </div>
      {record.deleted ? null : (
        <span class="tools">
          <IconButton icon="reply" label={t.reply} tabIndex={-1} onClick={() => startReply(record)} />
          <IconButton icon="more" label={t.actions} tabIndex={-1} aria-haspopup="menu" onClick={(event) => (menu.value = { record, anchor: event.currentTarget })} />
        </span>
      )}
    </article>
  )
}

/** Unsent is a message that is on its way, or was refused. */
export function Unsent({ rowKey, out, first, last, open }: { rowKey: string; out: Outgoing; first: boolean; last: boolean; open: Thread }) {
  const { message, failed } = out
  if (message.kind !== 'message') return null
  const time = new Date(out.at)
  return (
    <article class={`message mine ${first ? 'first' : ''} ${last ? 'last' : ''} ${failed === undefined ? '' : 'failed'}`} data-key={rowKey} tabIndex={-1} aria-label={t.messageBy(t.you, fullTime(time))}>
      <div class="bubble">
        {message.replyTo === undefined ? null : <Quote seq={message.replyTo} open={open} />}
        <Text text={message.text} />
        <Meta time={time} edited={false}>
          <Mark kind={failed === undefined ? 'pending' : 'failed'} />
        </Meta>
      </div>
      {failed === undefined ? null : (
        <p class="refusal">
          <span>{t.failed(failed)}</span>
          <button type="button" class="link" onClick={() => retry(out)}>
            {t.failedHint}
          </button>
          <button type="button" class="link" onClick={() => discard(message.clientId)}>
            {t.discard}
          </button>
        </p>
      )}
    </article>
  )
}

function Text({ text }: { text: string }) {
  const [whole, setWhole] = useState(false)
  const cut = cutOf(text)
  return (
    <>
      <p class="text" dir="auto">
        <Words text={whole || cut === undefined ? text : `${cut}…`} />
      </p>
      {cut === undefined ? null : (
        <button type="button" class="link show-more" onClick={() => setWhole(!whole)} tabIndex={-1}>
          {whole ? t.showLess : t.showMore}
        </button>
      )}
    </>
  )
}

/** cutOf is the beginning of a text that is too long to be shown whole. */
function cutOf(text: string): string | undefined {
  const lines = text.split('\n', longLines + 1)
  if (text.length <= longText && lines.length <= longLines) return undefined
  const short = lines.slice(0, longLines).join('\n')
  return short.length <= longText ? short : [...short.slice(0, longText)].slice(0, -1).join('')
}

function Meta({ time, edited, children }: { time: Date; edited: boolean; children: ComponentChildren }) {
  return (
    <span class="meta">
      {edited ? <span>{t.edited}</span> : null}
      <time dateTime={time.toISOString()} title={fullTime(time)}>
        {timeOf(time)}
      </time>
      {children}
    </span>
  )
}

const marks: { [kind in MarkKind]: { icon: IconName; label: string } } = {
  pending: { icon: 'clock', label: t.markPending },
  sent: { icon: 'check', label: t.markSent },
  delivered: { icon: 'checks', label: t.markDelivered },
  read: { icon: 'checks', label: t.markRead },
  failed: { icon: 'alert', label: t.markFailed },
}

function Mark({ kind }: { kind: MarkKind }) {
  const { icon, label } = marks[kind]
  return (
    <span class={`mark ${kind}`} title={label}>
      <Icon name={icon} />
      <span class="hidden">{label}</span>
    </span>
  )
}

export function Quote({ seq, open }: { seq: number; open: Thread }) {
  const found = open.find(seq)
  const name = found ? calledOf(found.sender_id) : ''
  return (
    <button type="button" class={`quote ${found ? `text-${hueOf(found.sender_id)}` : ''}`} tabIndex={-1} onClick={() => open.show(seq)} title={found ? t.openQuote(name) : t.quoteGone}>
      {found ? (
        <>
          <b dir="auto">{name}</b>
          <span dir="auto">{found.deleted ? t.deleted : oneLine(found.text ?? '')}</span>
        </>
      ) : (
        <span>{t.quoteGone}</span>
      )}
    </button>
  )
}

/** Note is a record that is no message: who came, who left, what was renamed. */
export function Note({ record, direct }: { record: ChatRecord; direct: boolean }) {
  return (
    <div class="note" data-key={`note ${record.seq}`} data-seq={record.seq}>
      <span dir="auto">{noteText(record, direct)}</span>
    </div>
  )
}

function noteText(record: ChatRecord, direct: boolean): string {
  const who = calledOf(record.sender_id)
  const whom = (record.user_ids ?? []).map((id) => (id === me.value?.id ? t.you.toLocaleLowerCase() : nameOf(id))).join(', ')
  if (record.kind === 'create') return direct ? t.createdDirect : t.created(who)
  if (record.kind === 'settings') {
    if (record.name !== undefined) return t.renamed(who, record.name)
    return record.history === 'joined' ? t.historyJoined(who) : t.historyAll(who)
  }
  switch (record.action) {
    case 'added':
      return t.added(who, whom)
    case 'removed':
      return t.removed(who, whom)
    case 'left':
      return t.left(who)
    case 'role':
      return t.roleChanged(who, whom, t.roleNames[record.role as keyof typeof t.roleNames] ?? record.role ?? '')
    default:
      return ''
  }
}

export function startReply(record: ChatRecord): void {
  editing.value = undefined
  const id = record.conversation_id
  setDraft(id, { text: drafts.peek().get(id)?.text ?? '', replyTo: record.seq })
  focusComposer()
}

export function startEdit(record: ChatRecord): void {
  editing.value = { record, text: record.text ?? '' }
  focusComposer()
}

export function askDelete(record: ChatRecord): void {
  openDialog({ kind: 'delete', record })
}

export function focusComposer(): void {
  requestAnimationFrame(() => document.querySelector<HTMLTextAreaElement>('.composer textarea')?.focus())
}
