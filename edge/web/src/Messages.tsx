import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import { dayName, reason } from './format.ts'
import { Message, Note, Unsent } from './Message.tsx'
import { me } from './people.ts'
import { rowsOf } from './rows.ts'
import { outgoing } from './sends.ts'
import { client } from './server.ts'
import { t } from './strings.ts'
import { readUpTo, type Talk } from './talks.ts'
import type { Place, Thread } from './thread.ts'
import { Empty, Failure, Icon } from './ui.tsx'
import { menu } from './view.ts'

const nearPx = 800 // of an end: more is loaded
const bottomPx = 48
const farPx = 400

/** Anchor is what must not move on screen while rows come and go above it. */
interface Anchor {
  bottom: boolean
  key: string
  top: number
}

/** Messages is the scrolling part of a conversation. */
export function Messages({ open, talk }: { open: Thread; talk: Talk }) {
  const box = useRef<HTMLDivElement>(null)
  const list = useRef<HTMLDivElement>(null)
  const [far, setFar] = useState(false)
  const [active, setActive] = useState(0)
  const items = open.items.value
  const user = me.value?.id ?? ''
  const waiting = outgoing.value
  const mine = useMemo(() => waiting.filter((o) => o.message.conversationId === talk.id), [waiting, talk.id])
  const words = useMemo(() => mine.filter((o) => o.message.kind === 'message'), [mine])
  const moreAfter = open.moreAfter.value
  const rows = useMemo(
    () => rowsOf(items, moreAfter ? [] : words, open.divider.value, user),
    [items, words, moreAfter, open.divider.value, user],
  )
  const place = open.place.value
  const anchor = measure(box.current, list.current)
  const lastSeq = items.at(-1)?.seq ?? 0
  const focusable = items.some((m) => m.seq === active && m.kind === 'message') ? active : items.findLast((m) => m.kind === 'message')?.seq

  useLayoutEffect(() => {
    if (!box.current || !list.current) return
    if (place !== undefined) {
      open.place.value = undefined
      moveTo(box.current, list.current, place)
    } else if (anchor?.bottom && !moreAfter) {
      box.current.scrollTop = box.current.scrollHeight
    } else if (anchor) {
      const still = list.current.querySelector<HTMLElement>(`[data-key="${CSS.escape(anchor.key)}"]`)
      if (still) box.current.scrollTop += still.offsetTop - anchor.top
    }
    look()
  }, [rows, place, moreAfter])

  function look(): void {
    if (!box.current || !list.current) return
    const { scrollTop, clientHeight, scrollHeight } = box.current
    const below = scrollHeight - scrollTop - clientHeight
    open.atBottom = below < bottomPx && !open.moreAfter.peek()
    open.topSeq = seqAt(list.current, scrollTop, 1)
    setFar(below > farPx || open.moreAfter.peek())
    if (scrollTop < nearPx) void open.before()
    if (below < nearPx) void open.after()
    noteRead(open, talk, seqAt(list.current, scrollTop + clientHeight, -1))
  }

  useEffect(() => {
    const element = box.current
    if (!element) return
    let waits = false
    const soon = () => {
      if (waits) return
      waits = true
      requestAnimationFrame(() => {
        waits = false
        look()
      })
    }
    const resized = new ResizeObserver(() => {
      if (open.atBottom) element.scrollTop = element.scrollHeight
      soon()
    })
    resized.observe(element)
    element.addEventListener('scroll', soon, { passive: true })
    addEventListener('focus', soon)
    document.addEventListener('visibilitychange', soon)
    return () => {
      resized.disconnect()
      element.removeEventListener('scroll', soon)
      removeEventListener('focus', soon)
      document.removeEventListener('visibilitychange', soon)
    }
  }, [open, talk.id])

  function walk(event: KeyboardEvent): void {
    const here = (event.target as Element).closest<HTMLElement>('[data-seq]')
    if (!here || event.target !== here) return
    const step = event.key === 'ArrowUp' ? -1 : event.key === 'ArrowDown' ? 1 : 0
    if (step !== 0) {
      const all = [...(list.current?.querySelectorAll<HTMLElement>('.message[data-seq]') ?? [])]
      const next = all[all.indexOf(here) + step]
      next?.focus()
      next?.scrollIntoView({ block: 'nearest' })
    } else if (event.key === 'Enter' || event.key === ' ' || event.key === 'ContextMenu') {
      const record = items.find((m) => m.seq === Number(here.dataset['seq']))
      if (record) menu.value = { record, anchor: here }
    } else return
    event.preventDefault()
  }

  const failure = open.failure.value
  return (
    <div class="scroll-frame">
      <div class="scroll" ref={box}>
        <div
          class="thread"
          ref={list}
          role="log"
          aria-live="off"
          aria-label={t.messages}
          onKeyDown={walk}
          onFocusIn={(event) => {
            const seq = Number((event.target as Element).closest<HTMLElement>('.message[data-seq]')?.dataset['seq'])
            if (seq) setActive(seq)
          }}
        >
          {open.moreBefore.value ? (
            <div class="edge" aria-hidden="true">
              <i class="spinner" />
            </div>
          ) : items.length === 0 && words.length === 0 ? (
            <Empty icon="send" title={t.emptyThread} text={t.emptyThreadHint} />
          ) : items[0]?.kind === 'create' ? null : (
            <p class="edge">{t.beginning}</p>
          )}
          {failure !== undefined ? <Failure text={reason(failure)} onRetry={() => open.again()} /> : null}
          {rows.map((row) => {
            switch (row.kind) {
              case 'day':
                return (
                  <div class="day" key={row.key} data-key={row.key}>
                    <span>{dayName(row.time)}</span>
                  </div>
                )
              case 'divider':
                return (
                  <div class="divider" key={row.key} data-key={row.key}>
                    <span>{t.newMessages}</span>
                  </div>
                )
              case 'note':
                return <Note key={row.key} record={row.record} direct={talk.type === 'direct'} />
              case 'message':
                return (
                  <Message
                    key={row.key}
                    rowKey={row.key}
                    record={row.record}
                    first={row.first}
                    last={row.last}
                    mine={row.record.sender_id === user}
                    group={talk.type === 'group'}
                    focusable={row.record.seq === focusable}
                    mark={talk.type !== 'direct' ? 'sent' : talk.peerRead >= row.record.seq ? 'read' : talk.peerDelivered >= row.record.seq ? 'delivered' : 'sent'}
                    change={mine.find((o) => o.message.kind !== 'message' && o.message.targetSeq === row.record.seq)}
                    open={open}
                  />
                )
              case 'outgoing':
                return <Unsent key={row.key} rowKey={row.key} out={row.out} first={row.first} last={row.last} open={open} />
            }
          })}
          {moreAfter ? (
            <div class="edge" aria-hidden="true">
              <i class="spinner" />
            </div>
          ) : null}
        </div>
      </div>
      {far ? (
        <button type="button" class="to-newest" onClick={() => open.end()} aria-label={talk.unread > 0 ? `${t.newest}, ${t.unread(talk.unread)}` : t.newest} title={t.newest}>
          <Icon name="down" />
          {talk.unread > 0 ? <span class="badge">{talk.unread > 999 ? '999+' : talk.unread}</span> : null}
        </button>
      ) : null}
      <span class="hidden" data-last={lastSeq} />
    </div>
  )
}

/** measure finds the first row in sight, before anything changes. */
function measure(box: HTMLElement | null, list: HTMLElement | null): Anchor | undefined {
  if (!box || !list) return undefined
  const at = rowAt(list, box.scrollTop, 1)
  const bottom = box.scrollHeight - box.scrollTop - box.clientHeight < bottomPx
  return { bottom, key: at?.dataset['key'] ?? '', top: at?.offsetTop ?? 0 }
}

/** rowAt is the first row that ends below a height, or with step -1 the last one that begins above it. */
function rowAt(list: HTMLElement, height: number, step: 1 | -1): HTMLElement | undefined {
  const rows = list.children
  let low = 0
  let high = rows.length
  while (low < high) {
    const middle = (low + high) >> 1
    const row = rows[middle] as HTMLElement
    const before = step === 1 ? row.offsetTop + row.offsetHeight <= height : row.offsetTop + row.offsetHeight <= height + 4
    if (before) low = middle + 1
    else high = middle
  }
  for (let i = step === 1 ? low : low - 1; i >= 0 && i < rows.length; i += step) {
    const row = rows[i] as HTMLElement
    if (row.dataset['key'] !== undefined && !row.classList.contains('day')) return row // the day moves up with what is older
  }
  return undefined
}

/** seqAt is the seq of the row at a height; 0: none has one there. */
function seqAt(list: HTMLElement, height: number, step: 1 | -1): number {
  for (let row: Element | null | undefined = rowAt(list, height, step); row; row = step === 1 ? row.nextElementSibling : row.previousElementSibling) {
    const seq = Number((row as HTMLElement).dataset['seq'])
    if (seq) return seq
  }
  return 0
}

/** noteRead says that everything up to a seq was before somebody's eyes. */
function noteRead(open: Thread, talk: Talk, seq: number): void {
  if (document.hidden || !document.hasFocus() || seq <= talk.read.seq) return
  const record = open.items.peek().find((m) => m.seq === seq)
  if (!record) return
  client.peek()?.read(talk.id, seq)
  readUpTo(talk.id, { seq, n: record.n })
}

function moveTo(box: HTMLElement, list: HTMLElement, place: Place): void {
  if (place === 'bottom') {
    box.scrollTop = box.scrollHeight
    return
  }
  const selector = place === 'divider' ? '.divider' : `[data-seq="${place.seq}"]`
  const row = list.querySelector<HTMLElement>(selector)
  if (!row) {
    box.scrollTop = place === 'divider' ? box.scrollHeight : box.scrollTop
    return
  }
  const share = place === 'divider' ? 0.2 : 0.4
  box.scrollTop = row.offsetTop - share * box.clientHeight
  if (place === 'divider' || !place.flash) return
  row.classList.remove('flash')
  void row.offsetWidth // begins the animation again
  row.classList.add('flash')
}
