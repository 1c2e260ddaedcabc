import { codes, ParleyError, type Code } from './errors.js'
import type { Problem } from './rest-types.js'

const requestTimeoutMs = 15_000

/** The rules of docs/PROTOCOL.md for answers that are not parley's own, a proxy's above all. */
const codeOfStatus: { [status: number]: Code } = {
  400: 'unknown_type', 401: 'unauthorized', 403: 'forbidden', 404: 'not_found', 408: 'unavailable', 409: 'conflict',
  413: 'too_large', 422: 'invalid', 424: 'prior_failed', 429: 'rate_limited', 502: 'unavailable', 503: 'unavailable',
  504: 'unknown_outcome',
}

/** Request is one call of REST; path stands below /api/v1/. */
export interface Request {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  path: string
  token?: string
  body?: object
  /** The refresh token is in a cookie. */
  cookie?: boolean
}

/** Fetch is the part of the standard function that is used. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

/**
 * call does one request and gives the JSON of the answer, undefined when it has none. It rejects with a ParleyError
 * alone; whether the request took effect is unknown when the code is network.
 */
export async function call(fetch: Fetch, base: string, request: Request): Promise<unknown> {
  const { method, path, token, body, cookie } = request
  const headers: { [name: string]: string } = {}
  if (token !== undefined) headers['Authorization'] = `Bearer ${token}`
  if (cookie) headers['Parley-Session'] = 'cookie'
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  const signal = AbortSignal.timeout(requestTimeoutMs)
  const init: RequestInit = { method, headers, signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }
  let response: Response
  let text: string
  try {
    response = await fetch(`${base}/api/v1/${path}`, init)
    text = await response.text()
  } catch (cause) {
    throw new ParleyError('network', `${method} ${path}: no answer`, true, 0, 0, { cause })
  }
  if (!response.ok) throw refusal(response, text)
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ParleyError('network', `${method} ${path}: the answer is no JSON`, true, 0, response.status, { cause })
  }
}

function refusal(response: Response, text: string): ParleyError {
  const { status, statusText } = response
  const p = problemOf(text)
  const hintMs = p.retry_after_ms ?? 1000 * (Number(response.headers.get('Retry-After')) || 0)
  const code = p.code ?? codeOfStatus[status] ?? 'internal'
  return new ParleyError(code, p.detail || p.title || statusText, p.retryable ?? codes[code] ?? false, hintMs, status)
}

/** A proxy answers what it likes. */
function problemOf(text: string): Partial<Omit<Problem, 'code'> & { code: Code }> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && 'code' in value ? (value as { code: Code }) : {}
  } catch {
    return {}
  }
}
