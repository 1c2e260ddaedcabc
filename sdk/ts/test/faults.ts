import WebSocket from 'ws'
import type { ClientFrame, ServerFrame, WebSocketConstructor, WebSocketLike } from '../src/index.js'

/** FaultySocket is a socket in the hands of a test. */
export interface FaultySocket {
  /** push acts as if the server had sent a frame. */
  push(frame: ServerFrame): void
  /** closeWith acts as if the server had closed. */
  closeWith(code: number): void
  /** abort drops the connection without a word. */
  abort(): void
}

/** Faults stands between a client and its sockets, frame by frame. */
export interface Faults {
  WebSocket: WebSocketConstructor
  /** All sockets so far; the last one is the present one. */
  sockets: FaultySocket[]
  present(): FaultySocket
  /** What reaches the server of a frame that the client sends. */
  outgoing: (frame: ClientFrame, socket: FaultySocket) => ClientFrame[]
  /** What reaches the client of a frame that the server sends. */
  incoming: (frame: ServerFrame, socket: FaultySocket) => ServerFrame[]
}

export function newFaults(): Faults {
  const faults: Faults = {
    sockets: [],
    outgoing: (frame) => [frame],
    incoming: (frame) => [frame],
    present: () => {
      const last = faults.sockets.at(-1)
      if (!last) throw new Error('there is no socket yet')
      return last
    },
    WebSocket: class implements WebSocketLike, FaultySocket {
      private readonly ws: WebSocket
      private message: (event: { data: unknown }) => void = () => undefined
      private closed: (event: { code: number; reason: string }) => void = () => undefined

      constructor(url: string, protocol: string) {
        this.ws = new WebSocket(url, protocol)
        faults.sockets.push(this)
      }

      addEventListener(type: string, listener: (event: never) => void): void {
        if (type === 'message') return this.listen(listener as typeof this.message)
        if (type === 'close') this.closed = listener as typeof this.closed
        this.ws.addEventListener(type as 'open', listener as () => void)
      }

      private listen(listener: typeof this.message): void {
        this.message = listener
        this.ws.addEventListener('message', ({ data }) => {
          for (const frame of faults.incoming(JSON.parse(String(data)) as ServerFrame, this)) this.push(frame)
        })
      }

      send(data: string): void {
        const frames = faults.outgoing(JSON.parse(data) as ClientFrame, this)
        if (this.ws.readyState === WebSocket.OPEN) for (const frame of frames) this.ws.send(JSON.stringify(frame))
      }

      close(code?: number): void {
        this.ws.close(code)
      }

      terminate(): void {
        this.ws.terminate()
      }

      push(frame: ServerFrame): void {
        this.message({ data: JSON.stringify(frame) })
      }

      closeWith(code: number): void {
        this.closed({ code, reason: 'by the test' })
      }

      abort(): void {
        this.ws.terminate()
      }
    },
  }
  return faults
}
