import { useEffect, useRef } from 'preact/hooks'
import { drafts, setDraft } from './drafts.ts'
import { oneLine } from './format.ts'
import { startEdit } from './Message.tsx'
import { calledOf, me } from './people.ts'
import { sent, writing } from './presence.ts'
import { submit } from './sends.ts'
import { t } from './strings.ts'
import type { Talk } from './talks.ts'
import type { Thread } from './thread.ts'
import { Icon, IconButton } from './ui.tsx'
import { editing } from './view.ts'

const mostCharacters = 100_000
const touch = matchMedia('(pointer: coarse)')

/** Composer is where messages are written. What is written is a draft until it is sent. */
export function Composer({ talk, open }: { talk: Talk; open: Thread }) {
  const field = useRef<HTMLTextAreaElement>(null)
  const draft = drafts.value.get(talk.id)
  const change = editing.value?.record.conversation_id === talk.id ? editing.value : undefined
  const text = change ? change.text : draft?.text ?? ''
  const over = excess(text)
  const empty = text.trim() === ''

  useEffect(() => {
    if (!touch.matches) field.current?.focus({ preventScroll: true })
    return () => writing(talk.id, false)
  }, [talk.id])
  useEffect(() => grow(field.current), [text])

  function write(next: string): void {
    if (change) editing.value = { ...change, text: next }
    else {
      setDraft(talk.id, { ...draft, text: next })
      writing(talk.id, next.trim() !== '')
    }
  }

  function send(): void {
    if (empty || over > 0) return
    if (change) {
      const { record } = change
      if (text !== record.text && !submit({ kind: 'edit', conversationId: talk.id, targetSeq: record.seq, text })) return
      editing.value = undefined
      return
    }
    const reply = draft?.replyTo === undefined ? {} : { replyTo: draft.replyTo }
    if (!submit({ kind: 'message', conversationId: talk.id, text, ...reply })) return
    setDraft(talk.id, undefined)
    sent()
    open.end()
  }

  function cancel(): void {
    if (change) editing.value = undefined
    else if (draft?.replyTo !== undefined) setDraft(talk.id, { text })
  }

  function onKey(event: KeyboardEvent): void {
    if (event.isComposing) return
    if (event.key === 'Enter' && !event.shiftKey && !touch.matches) send()
    else if (event.key === 'Escape' && (change || draft?.replyTo !== undefined)) cancel()
    else if (event.key === 'ArrowUp' && text === '' && !change) {
      const last = open.items.peek().findLast((m) => m.kind === 'message' && m.sender_id === me.peek()?.id && !m.deleted)
      if (!last) return
      startEdit(last)
    } else return
    event.preventDefault()
  }

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault()
        send()
        field.current?.focus()
      }}
    >
      {change ? (
        <Above icon="edit" title={t.editing} text={oneLine(change.record.text ?? '')} onCancel={cancel} />
      ) : draft?.replyTo !== undefined ? (
        <ReplyAbove seq={draft.replyTo} open={open} onCancel={cancel} />
      ) : null}
      <div class="write">
        <textarea
          ref={field}
          rows={1}
          dir="auto"
          value={text}
          placeholder={t.write}
          aria-label={t.write}
          aria-invalid={over > 0}
          aria-describedby={over > 0 ? 'too-long' : undefined}
          onInput={(event) => write(event.currentTarget.value)}
          onKeyDown={onKey}
        />
        <button class="icon-button filled send" aria-label={change ? t.save : t.send} title={change ? t.save : t.send} disabled={empty || over > 0}>
          <Icon name={change ? 'check' : 'send'} />
        </button>
      </div>
      {over > 0 ? (
        <p class="problem" id="too-long" role="alert">
          {t.tooLong(over)}
        </p>
      ) : null}
    </form>
  )
}

function ReplyAbove({ seq, open, onCancel }: { seq: number; open: Thread; onCancel: () => void }) {
  const found = open.find(seq)
  return <Above icon="reply" title={t.replyingTo(found ? calledOf(found.sender_id) : '…')} text={found?.deleted ? t.deleted : oneLine(found?.text ?? '')} onCancel={onCancel} />
}

function Above({ icon, title, text, onCancel }: { icon: 'edit' | 'reply'; title: string; text: string; onCancel: () => void }) {
  return (
    <div class="above">
      <Icon name={icon} />
      <span class="above-text">
        <b dir="auto">{title}</b>
        <span dir="auto">{text}</span>
      </span>
      <IconButton icon="close" label={t.cancel} onClick={onCancel} />
    </div>
  )
}

/** excess is how many characters are too many; counting them is left out where it can not matter. */
function excess(text: string): number {
  if (text.length <= mostCharacters) return 0
  return Math.max(0, [...text].length - mostCharacters)
}

/** grow gives the field the height of its text; the style sheet bounds it. */
function grow(field: HTMLTextAreaElement | null): void {
  if (!field) return
  field.style.height = 'auto'
  field.style.height = `${field.scrollHeight}px`
}
