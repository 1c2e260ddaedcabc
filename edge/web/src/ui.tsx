import type { ComponentChildren, ButtonHTMLAttributes } from 'preact'
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'
import { hueOf, initials, pieces } from './format.ts'
import { nameOf } from './people.ts'
import { presence } from './presence.ts'
import { t } from './strings.ts'

const paths = {
  plus: 'M12 5v14M5 12h14',
  back: 'M15 5l-7 7 7 7',
  close: 'M6 6l12 12M18 6L6 18',
  send: 'M5 12l15-7-5 15-3.2-6.2zM11.8 13.8L20 5',
  search: 'M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM16.2 16.2L21 21',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  reply: 'M9 7l-5 5 5 5M4 12h9a7 7 0 0 1 7 7',
  down: 'M12 5v14M6 13l6 6 6-6',
  calendar: 'M4 6h16v14H4zM4 10h16M8 3v4M16 3v4',
  info: 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zM12 11v5M12 8h.01',
  group: 'M9 5a3.2 3.2 0 1 1 0 6.4A3.2 3.2 0 0 1 9 5zM3 19c0-3.2 2.5-5 6-5s6 1.8 6 5M16 5.4a3 3 0 0 1 0 5.6M17.5 14.3c2.2.6 3.5 2.2 3.5 4.7',
  person: 'M12 4.5a3.7 3.7 0 1 1 0 7.4 3.7 3.7 0 0 1 0-7.4zM5 20c0-3.6 2.9-5.6 7-5.6s7 2 7 5.6',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  checks: 'M2.5 12.5L7 17l9-9.5M11.5 15.5L13 17l9-9.5',
  clock: 'M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16zM12 8v4.3l2.8 1.7',
  alert: 'M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17zM12 8v5M12 16h.01',
  edit: 'M5 19l1-4.5L16.5 4 20 7.5 9.5 18z',
  trash: 'M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5',
  copy: 'M9 9h11v11H9zM15 9V4H4v11h5',
  devices: 'M4 5h16v11H4zM9 20h6M12 16v4',
  leave: 'M14 4H5v16h9M10 12h11M17 8l4 4-4 4',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6z',
} as const

export type IconName = keyof typeof paths

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon i-${name}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  )
}

export function Logo() {
  return <img class="logo" src="/icon.svg" alt="" width="56" height="56" />
}

interface AvatarProps {
  id: string
  name: string
  size?: 'small' | 'large'
  group?: boolean
  here?: boolean
}

/** Avatar says nothing that the name beside it does not. */
export function Avatar({ id, name, size, group, here }: AvatarProps) {
  const status = here ? presence.value.get(id)?.status : undefined
  return (
    <span class={`avatar hue-${hueOf(id)} ${size ?? ''} ${group ? 'group' : ''}`} data-initials={initials(name)} aria-hidden="true">
      {status === 'online' || status === 'away' ? <i class={status} /> : null}
    </span>
  )
}

export function PersonAvatar({ id, size, here }: Omit<AvatarProps, 'name' | 'group'>) {
  return <Avatar id={id} name={nameOf(id)} {...(size ? { size } : {})} {...(here ? { here } : {})} />
}

type ButtonProps = Omit<ButtonHTMLAttributes<HTMLButtonElement>, 'icon' | 'label' | 'type' | 'role'> & { icon: IconName; label: string }

/** IconButton is a button that shows an icon and is called by its label. */
export function IconButton({ icon, label, class: className, ...rest }: ButtonProps) {
  return (
    <button type="button" class={`icon-button ${typeof className === 'string' ? className : ''}`} aria-label={label} title={label} {...rest}>
      <Icon name={icon} />
    </button>
  )
}

interface DialogProps {
  title: string
  kind?: 'sheet' | 'small'
  onClose: () => void
  children: ComponentChildren
}

/** Dialog is modal: the browser keeps the focus inside and gives it back. */
export function Dialog({ title, kind, onClose, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const dialog = element.current
    const before = document.activeElement
    dialog?.showModal()
    return () => {
      dialog?.close()
      if (before instanceof HTMLElement && before.isConnected) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={element}
      class={`dialog ${kind ?? ''}`}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault()
        onClose()
      }}
      onClick={(event) => event.target === element.current && onClose()}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 dir="auto">{title}</h2>
          <IconButton icon="close" label={t.close} onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  )
}

interface ConfirmProps {
  title: string
  text: string
  action: string
  onYes: () => void
  onClose: () => void
}

export function Confirm({ title, text, action, onYes, onClose }: ConfirmProps) {
  return (
    <Dialog title={title} kind="small" onClose={onClose}>
      <p>{text}</p>
      <div class="buttons">
        <button type="button" class="button" onClick={onClose}>
          {t.cancel}
        </button>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            onClose()
            onYes()
          }}
        >
          {action}
        </button>
      </div>
    </Dialog>
  )
}

export interface MenuItem {
  icon: IconName
  label: string
  danger?: boolean
  act: () => void
}

interface MenuProps {
  label: string
  anchor: Element
  items: readonly MenuItem[]
  onClose: () => void
}

/** Menu opens beside what it belongs to, is walked by arrows and left by Escape. */
export function Menu({ label, anchor, items, onClose }: MenuProps) {
  const element = useRef<HTMLDivElement>(null)
  useLayoutEffect(() => {
    const menu = element.current
    if (!menu) return
    menu.showPopover()
    const at = anchor.getBoundingClientRect()
    const { width, height } = menu.getBoundingClientRect()
    const below = at.bottom + height + 8 < innerHeight
    menu.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - height - 4)}px`
    menu.style.left = `${Math.min(Math.max(8, at.right - width), innerWidth - width - 8)}px`
    menu.querySelector('button')?.focus()
  }, [anchor])
  const step = (by: number) => {
    const all = [...(element.current?.querySelectorAll('button') ?? [])]
    const at = all.indexOf(document.activeElement as HTMLButtonElement)
    all[(at + by + all.length) % all.length]?.focus()
  }
  const leave = () => {
    onClose()
    if (anchor instanceof HTMLElement) anchor.focus()
  }
  return (
    <div
      ref={element}
      class="menu"
      popover="auto"
      role="menu"
      aria-label={label}
      onToggle={(event) => event.newState === 'closed' && onClose()}
      onKeyDown={(event) => {
        if (event.key === 'ArrowDown') step(1)
        else if (event.key === 'ArrowUp') step(-1)
        else if (event.key === 'Escape' || event.key === 'Tab') leave()
        else return
        event.preventDefault()
        event.stopPropagation()
      }}
    >
      {items.map((item) => (
        <button
          type="button"
          role="menuitem"
          class={item.danger ? 'danger' : ''}
          key={item.label}
          onClick={() => {
            leave()
            item.act()
          }}
        >
          <Icon name={item.icon} />
          {item.label}
        </button>
      ))}
    </div>
  )
}

/** Words shows a text as text; web addresses in it can be opened. */
export function Words({ text }: { text: string }) {
  return (
    <>
      {pieces(text).map((piece, i) =>
        piece.link === undefined ? (
          piece.text
        ) : (
          <a key={i} href={piece.link} target="_blank" rel="noopener noreferrer">
            {piece.text}
          </a>
        ),
      )}
    </>
  )
}

export function Empty({ icon, title, text, children }: { icon: IconName; title: string; text: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} />
      </span>
      <h2>{title}</h2>
      <p>{text}</p>
      {children}
    </div>
  )
}

export function Failure({ text, onRetry }: { text: string; onRetry: () => void }) {
  return (
    <div class="failure" role="alert">
      <p>{text}</p>
      <button type="button" class="button" onClick={onRetry}>
        {t.retry}
      </button>
    </div>
  )
}

export function Skeleton({ rows }: { rows: number }) {
  return (
    <div class="skeleton" aria-hidden="true">
      {Array.from({ length: rows }, (_, i) => (
        <div class={`bone b${i % 4}`} key={i}>
          <i />
          <span />
        </div>
      ))}
    </div>
  )
}
