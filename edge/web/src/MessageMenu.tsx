import { askDelete, startEdit, startReply } from './Message.tsx'
import { me } from './people.ts'
import { t } from './strings.ts'
import type { Talk } from './talks.ts'
import type { Thread } from './thread.ts'
import { tell } from './toasts.ts'
import { Menu, type MenuItem } from './ui.tsx'
import { menu, openDialog } from './view.ts'

/** MessageMenu holds what one may do with a message. */
export function MessageMenu({ talk }: { open: Thread; talk: Talk }) {
  const at = menu.value
  if (!at) return null
  const { record, anchor } = at
  const mine = record.sender_id === me.value?.id
  const rules = talk.type === 'group' && talk.role !== 'member'
  const items: MenuItem[] = []
  if (!record.deleted) {
    items.push({ icon: 'reply', label: t.reply, act: () => startReply(record) })
    items.push({ icon: 'copy', label: t.copy, act: () => void copy(record.text ?? '') })
    if (mine) items.push({ icon: 'edit', label: t.edit, act: () => startEdit(record) })
  }
  items.push({ icon: 'info', label: t.info, act: () => openDialog({ kind: 'message', record }) })
  if (!record.deleted && (mine || rules)) items.push({ icon: 'trash', label: t.remove, danger: true, act: () => askDelete(record) })
  return <Menu label={t.actions} anchor={anchor} items={items} onClose={() => (menu.value = undefined)} />
}

async function copy(text: string): Promise<void> {
  const clipboard: Clipboard | undefined = navigator.clipboard // not in an insecure context
  await clipboard?.writeText(text).then(() => tell(t.copied), () => undefined)
}
