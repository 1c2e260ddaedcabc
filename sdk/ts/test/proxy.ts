import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** Proxy stands between a client and the server on TCP and breaks what passes. */
export interface Proxy {
  url: string
  /** cut drops every connection. */
  cut(): void
  /** stall lets nothing pass, in either direction, until it is called with false. */
  stall(on: boolean): void
  /** delay holds each piece of data back for so long. */
  delay(ms: number): void
  close(): Promise<void>
}

export async function startProxy(port: number): Promise<Proxy> {
  const sockets = new Set<Socket>()
  let delayMs = 0
  let stalled = false

  function pass(from: Socket, to: Socket): void {
    sockets.add(from)
    if (stalled) from.pause()
    from.on('data', (data) => setTimeout(() => to.writable && to.write(data), delayMs))
    from.on('error', () => undefined)
    from.on('close', () => {
      sockets.delete(from)
      to.destroy()
    })
  }

  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    pass(near, far)
    pass(far, near)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => sockets.forEach((s) => s.destroy())
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    stall: (on) => {
      stalled = on
      for (const s of sockets) on ? s.pause() : s.resume()
    },
    delay: (ms) => void (delayMs = ms),
    close: async () => {
      server.close()
      cut()
      await once(server, 'close')
    },
  }
}
