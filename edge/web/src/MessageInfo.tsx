import type { ChatRecord, ReceiptsAnswer } from '@parley-chat/client'
import { useEffect, useState } from 'preact/hooks'
import { fullTime, reason } from './format.ts'
import { Problem } from './NewChat.tsx'
import { nameOf } from './people.ts'
import { api } from './server.ts'
import { t } from './strings.ts'
import { receipts } from './talks.ts'
import { Dialog, PersonAvatar, Skeleton, Words } from './ui.tsx'
import { closeDialog } from './view.ts'

const gatherMs = 300 // receipts come in swarms

/** MessageInfo tells who has a message, who has read it, and what it said before. */
export function MessageInfo({ record }: { record: ChatRecord }) {
  const [known, setKnown] = useState<ReceiptsAnswer | undefined>(undefined)
  const [versions, setVersions] = useState<readonly ChatRecord[]>([])
  const [problem, setProblem] = useState('')
  const { conversation_id: id, seq } = record

  useEffect(() => {
    if (record.edited_seq !== undefined && !record.deleted) api.versions(id, seq).then((all) => setVersions(all.slice(0, -1)), () => undefined)
  }, [id, seq])
  const version = receipts.value.get(id) ?? 0
  useEffect(() => {
    const timer = setTimeout(() => {
      api.receipts(id, seq).then(setKnown, (error: unknown) => setProblem(reason(error)))
    }, known ? gatherMs : 0)
    return () => clearTimeout(timer)
  }, [id, seq, version])

  const read = new Set(known?.read.map((r) => r.user_id))
  return (
    <Dialog title={t.messageDetails} kind="sheet" onClose={closeDialog}>
      <p class="info-text" dir="auto">
        {record.deleted ? t.deleted : <Words text={record.text ?? ''} />}
      </p>
      <p class="quiet">
        {t.sentAt} {fullTime(new Date(record.sent_at))} · {nameOf(record.sender_id)}
      </p>
      <Problem text={problem} />
      {known ? (
        <>
          <Readers title={t.readBy} ids={[...read]} />
          <Readers title={t.deliveredTo} ids={known.delivered.map((r) => r.user_id).filter((user) => !read.has(user))} />
        </>
      ) : problem === '' ? (
        <Skeleton rows={2} />
      ) : null}
      {versions.length > 0 ? (
        <section>
          <h3>{t.versions}</h3>
          <ol class="versions">
            {versions.map((version) => (
              <li key={version.seq}>
                <small class="quiet">{fullTime(new Date(version.sent_at))}</small>
                <p dir="auto">{version.text}</p>
              </li>
            ))}
          </ol>
        </section>
      ) : null}
    </Dialog>
  )
}

function Readers({ title, ids }: { title: string; ids: readonly string[] }) {
  return (
    <section>
      <h3>{title}</h3>
      {ids.length === 0 ? <p class="quiet">{t.notYet}</p> : null}
      <ul class="people">
        {ids.map((id) => (
          <li class="person static" key={id}>
            <PersonAvatar id={id} size="small" />
            <span class="person-names" dir="auto">
              {nameOf(id)}
            </span>
          </li>
        ))}
      </ul>
    </section>
  )
}
