import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const binary = fileURLToPath(new URL('../parley', import.meta.url)) // npm test builds it

/** Server is parley as a process, with data of its own; it may die and come back on the same port. */
export interface Server {
  url: string
  port: number
  /** stop asks it to go; clients hear of it by goaway. */
  stop(): Promise<void>
  /** kill ends it as a power failure would. */
  kill(): Promise<void>
  start(): Promise<void>
  /** close ends it for good and removes its data. */
  close(): Promise<void>
}

export async function startServer(...flags: string[]): Promise<Server> {
  const data = mkdtempSync(join(tmpdir(), 'parley-sdk-'))
  const port = await freePort()
  const args = ['serve', '--limits', 'off', '--data', data, '--listen', `127.0.0.1:${port}`, '--admin-listen', '', '--drain-time', '1s', ...flags]
  let running: ChildProcess | undefined

  async function start(): Promise<void> {
    running = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    await ready(running)
  }
  async function end(signal: NodeJS.Signals): Promise<void> {
    const child = running
    running = undefined
    if (!child) return
    const exit = once(child, 'exit')
    child.kill(signal)
    await exit
  }
  async function close(): Promise<void> {
    await end('SIGKILL')
    rmSync(data, { recursive: true, force: true })
  }
  await start()
  return { url: `http://127.0.0.1:${port}`, port, start, stop: () => end('SIGTERM'), kill: () => end('SIGKILL'), close }
}

function ready(child: ChildProcess): Promise<void> {
  let output = ''
  return new Promise((resolve, reject) => {
    const read = (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes('parley is running at')) resolve()
    }
    child.stdout?.on('data', read)
    child.stderr?.on('data', read)
    child.on('exit', (code) => reject(new Error(`the server ended with ${code}: ${output}`)))
  })
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}
