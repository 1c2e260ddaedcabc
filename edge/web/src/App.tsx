import { Auth } from './Auth.tsx'
import { Chat, DateDialog } from './Chat.tsx'
import { Details, LeaveDialog } from './Details.tsx'
import { MessageInfo } from './MessageInfo.tsx'
import { NewChat } from './NewChat.tsx'
import { go, route } from './route.ts'
import { submit } from './sends.ts'
import { phase } from './session.ts'
import { Settings } from './Settings.tsx'
import { Sidebar } from './Sidebar.tsx'
import { t } from './strings.ts'
import { dismiss, spoken, tell, toasts, type Toast } from './toasts.ts'
import { Confirm, IconButton, PersonAvatar } from './ui.tsx'
import { closeDialog, dialog, openDialog } from './view.ts'

export function App() {
  if (phase.value === 'starting') return <div class="starting" />
  return (
    <>
      {phase.value === 'out' ? <Auth /> : <Inside />}
      <Toasts />
      <p class="hidden" aria-live="polite">
        {spoken.value}
      </p>
    </>
  )
}

function Inside() {
  return (
    <main class={`app ${route.value.talk === undefined ? 'on-list' : 'on-chat'}`}>
      <a class="skip" href="#chat" onClick={(event) => {
        event.preventDefault()
        document.getElementById('chat')?.focus()
      }}>
        {t.skip}
      </a>
      <h1 class="hidden">{t.app}</h1>
      <Sidebar onNew={() => openDialog({ kind: 'new' })} onSettings={() => openDialog({ kind: 'settings' })} />
      <Chat />
      <Dialogs />
    </main>
  )
}

function Dialogs() {
  const open = dialog.value
  switch (open?.kind) {
    case 'new':
      return <NewChat />
    case 'settings':
      return <Settings />
    case 'details':
      return <Details id={open.talk} />
    case 'leave':
      return <LeaveDialog id={open.talk} onFailed={tell} />
    case 'date':
      return <DateDialog />
    case 'message':
      return <MessageInfo record={open.record} />
    case 'delete': {
      const { conversation_id: conversationId, seq: targetSeq } = open.record
      return <Confirm title={t.removeQuestion} text={t.removeText} action={t.remove} onYes={() => submit({ kind: 'delete', conversationId, targetSeq })} onClose={closeDialog} />
    }
    default:
      return null
  }
}

function Toasts() {
  return (
    <div class="toasts" role="status">
      {toasts.value.map((toast) => (
        <div class="toast" key={toast.id}>
          {toast.path === undefined ? <p dir="auto">{toast.text}</p> : <Arrival toast={toast} path={toast.path} />}
          <IconButton icon="close" label={t.dismiss} onClick={() => dismiss(toast.id)} />
        </div>
      ))}
    </div>
  )
}

function Arrival({ toast, path }: { toast: Toast; path: string }) {
  return (
    <button
      type="button"
      class="arrival"
      onClick={() => {
        dismiss(toast.id)
        closeDialog()
        go(path)
      }}
    >
      {toast.who === undefined ? null : <PersonAvatar id={toast.who} />}
      <span class="person-names">
        <b dir="auto">{toast.title}</b>
        <span dir="auto">{toast.text}</span>
      </span>
    </button>
  )
}
