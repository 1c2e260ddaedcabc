import { CloseError, ParleyError, type Code } from './errors.js'
import type { AuthOK, ClientFrame, ErrorData, ServerFrame } from './frames.js'

const openTimeoutMs = 10_000

/** WebSocketLike is the part of the standard WebSocket that is used; npm's ws has it too. */
export interface WebSocketLike {
  addEventListener(type: 'open', listener: () => void): void
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void
  addEventListener(type: 'close', listener: (event: { code: number; reason: string }) => void): void
  addEventListener(type: 'error', listener: (event: object) => void): void
  send(data: string): void
  close(code?: number, reason?: string): void
  /** Ends without waiting for the other side; browsers do not have it. */
  terminate?(): void
}

export type WebSocketConstructor = new (url: string, protocol: string) => WebSocketLike

/** SocketOptions say where to connect and as whom. The token goes into the first frame, never into the URL. */
export interface SocketOptions {
  url: string
  token: string
  WebSocket: WebSocketConstructor
}

/** SocketEvents are called by a socket: opened at most once, then frame, then ended once and nothing after it. */
export interface SocketEvents {
  opened(hello: AuthOK): void
  frame(frame: ServerFrame): void
  ended(error: Error): void
}

/** Socket is one authenticated connection of the protocol parley.v1, and nothing above it. */
export interface Socket {
  send(frame: ClientFrame): void
  /** end ends the connection at once, whatever the other side says; ended hears the error. */
  end(error: Error): void
}

export function openSocket(options: SocketOptions, events: SocketEvents): Socket {
  const ws = new options.WebSocket(addressOf(options.url), 'parley.v1')
  let phase: 'opening' | 'open' | 'ended' = 'opening'
  let failure = ''
  const timer = setTimeout(() => end(new Error('the handshake took too long'), true), openTimeoutMs)

  function end(error: Error, silent = false): void {
    if (phase === 'ended') return
    phase = 'ended'
    clearTimeout(timer)
    if (silent && ws.terminate) ws.terminate()
    else ws.close(1000)
    events.ended(error)
  }

  function receive(data: unknown): void {
    const frame = decode(data)
    if (phase === 'open') return events.frame(frame)
    if (frame.type === 'error') throw refusalOf(frame.data)
    if (frame.type !== 'auth:ok') throw new Error(`the answer to auth is ${frame.type}`)
    phase = 'open'
    clearTimeout(timer)
    events.opened(frame.data)
  }

  const send = (frame: ClientFrame): void => ws.send(JSON.stringify(frame))
  ws.addEventListener('open', () => {
    if (phase === 'opening') send({ id: 1, type: 'auth', data: { token: options.token } })
  })
  ws.addEventListener('message', ({ data }) => {
    if (phase === 'ended') return
    try {
      receive(data)
    } catch (error) {
      end(error instanceof Error ? error : new Error(String(error)))
    }
  })
  ws.addEventListener('error', (event) => {
    failure = 'message' in event ? String(event.message) : 'connection failed'
  })
  ws.addEventListener('close', ({ code, reason }) => end(new CloseError(code, reason || failure)))
  return { send, end: (error) => end(error, true) }
}

function addressOf(base: string): string {
  return base.replace(/\/+$/, '').replace(/^http/, 'ws') + '/api/v1/ws'
}

/** decode reads a frame. What stands in data is the server's word: the types are generated from its document. */
function decode(data: unknown): ServerFrame {
  if (typeof data !== 'string') throw new Error('the server sent a binary frame')
  const frame: unknown = JSON.parse(data)
  if (typeof frame !== 'object' || frame === null || !('type' in frame)) throw new Error('the server sent no frame')
  return frame as ServerFrame
}

/** refusalOf is the error that an error frame tells. */
export function refusalOf(e: ErrorData): ParleyError {
  return new ParleyError(e.code as Code, e.message, e.retryable, e.retry_after_ms ?? 0)
}
