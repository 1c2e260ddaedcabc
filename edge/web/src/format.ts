import { ParleyError } from '@parley-chat/client'
import { t } from './strings.ts'

const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' })
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' })
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' })
const long = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' })
const longOfYear = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' })
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })

const dayMs = 86_400_000

/** dayOf numbers the days of this device's calendar. */
export function dayOf(time: Date): number {
  return Math.floor((time.getTime() - time.getTimezoneOffset() * 60_000) / dayMs)
}

export function timeOf(time: Date): string {
  return clock.format(time)
}

export function fullTime(time: Date): string {
  return full.format(time)
}

/** dayName is the title of a day in a conversation. */
export function dayName(time: Date, now = new Date()): string {
  const ago = dayOf(now) - dayOf(time)
  if (ago === 0) return t.today
  if (ago === 1) return t.yesterday
  return (time.getFullYear() === now.getFullYear() ? long : longOfYear).format(time)
}

/** shortTime is the time in a list: the clock today, then the day. */
export function shortTime(time: Date, now = new Date()): string {
  const ago = dayOf(now) - dayOf(time)
  if (ago <= 0) return timeOf(time)
  if (ago === 1) return t.yesterday
  if (ago < 7) return weekday.format(time)
  return (time.getFullYear() === now.getFullYear() ? day : dayOfYear).format(time)
}

/** agoTime is a moment in a sentence. */
export function agoTime(time: Date, now = new Date()): string {
  if (now.getTime() - time.getTime() < 60_000) return t.justNow
  const ago = dayOf(now) - dayOf(time)
  return ago <= 0 ? timeOf(time) : `${shortTime(time, now)}, ${timeOf(time)}`
}

export function dateOf(time: Date): string {
  return dayOfYear.format(time)
}

const segments = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** initials are what an avatar shows: of the first and the last word. */
export function initials(name: string): string {
  const words = name.trim().split(/[\s._-]+/u).filter((word) => word !== '')
  const first = (word: string | undefined) => (word === undefined ? '' : [...segments.segment(word)][0]?.segment ?? '')
  const letters = words.length > 1 ? first(words[0]) + first(words.at(-1)) : first(words[0])
  return letters.toLocaleUpperCase() || '?'
}

/** hueOf gives somebody one of twelve colours, always the same. */
export function hueOf(id: string): number {
  let sum = 0
  for (let i = 0; i < id.length; i++) sum = (sum * 31 + id.charCodeAt(i)) >>> 0
  return sum % 12
}

/** Piece is a part of a text: words, or an address that may be opened. */
export interface Piece {
  text: string
  link?: string
}

const address = /\bhttps?:\/\/[^\s<>"'`“”]+/giu

/** pieces finds the web addresses in a text. Nothing else of a text means anything. */
export function pieces(text: string): Piece[] {
  const out: Piece[] = []
  let at = 0
  for (const match of text.matchAll(address)) {
    const found = match[0].replace(/[.,;:!?)\]}]+$/u, '')
    if (!URL.canParse(found)) continue
    if (match.index > at) out.push({ text: text.slice(at, match.index) })
    out.push({ text: found, link: found })
    at = match.index + found.length
  }
  if (at < text.length) out.push({ text: text.slice(at) })
  return out
}

/** oneLine is a text for a list. */
export function oneLine(text: string, most = 160): string {
  return text.slice(0, most * 2).replace(/\s+/gu, ' ').slice(0, most)
}

/** reason says to people what went wrong. */
export function reason(error: unknown): string {
  if (!(error instanceof ParleyError)) return t.errors.other
  switch (error.code) {
    case 'rate_limited':
      return t.errors.rate_limited(Math.max(1, Math.ceil(error.retryAfterMs / 1000)))
    case 'invalid':
    case 'invalid_text':
    case 'conflict':
      return sentence(error.message) || t.errors.conflict
    case 'network':
    case 'unauthorized':
    case 'forbidden':
    case 'not_found':
    case 'unavailable':
    case 'too_large':
      return t.errors[error.code]
    default:
      return t.errors.other
  }
}

function sentence(text: string): string {
  const clean = text.trim()
  return clean === '' ? '' : clean[0]?.toLocaleUpperCase() + clean.slice(1) + (/[.!?]$/u.test(clean) ? '' : '.')
}
