// Builds dist, names the build in the service worker, and fails when the first load grows too large.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const most = 60 * 1024 // compressed bytes of the first load
const root = fileURLToPath(new URL('.', import.meta.url))
const dist = `${root}dist/`

await build({ root, configFile: `${root}vite.config.js`, logLevel: 'warn' })

// A service worker with other bytes is a new version: its name follows from everything that it keeps.
const hash = createHash('sha256')
for (const name of readdirSync(dist).sort()) {
  if (name !== 'sw.js') hash.update(name).update(readFileSync(dist + name))
}
const worker = readFileSync(`${dist}sw.js`, 'utf8')
if (!worker.includes('__BUILD__')) throw new Error('the service worker has no place for the name of the build')
writeFileSync(`${dist}sw.js`, worker.replaceAll('__BUILD__', hash.digest('hex').slice(0, 16)))

const first = ['index.html', 'app.js', 'app.css', 'manifest.webmanifest', 'icon.svg']
const sizes = first.map((name) => [name, gzipSync(readFileSync(dist + name)).length])
const total = sizes.reduce((sum, [, size]) => sum + size, 0)
console.log(sizes.map(([name, size]) => `${name} ${size}`).join(', '), `= ${total} bytes compressed, at most ${most}`)
if (total > most) {
  console.error('the first load is too large')
  process.exit(1)
}
