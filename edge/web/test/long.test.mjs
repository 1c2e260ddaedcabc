// A conversation of 100,000 messages, filled by REST, is walked through in every way.
import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import { after, before, test } from 'node:test'
import { bubble, newWorld, openTalk, say } from './world.mjs'

const count = Number(process.env['PARLEY_WEB_MESSAGES'] ?? 100_000)
const atOnce = 64

let w, alice, page, talk
before(async () => {
  w = await newWorld()
  page = await w.person('alice')
  alice = await w.somebody('writer')
  const { users } = await alice.call('GET', 'users/search?query=alice')
  ;({ conversation: talk } = await alice.call('POST', 'conversations', { type: 'direct', user_id: users[0].id }))
  await page.goto('about:blank') // who looks on while it fills takes part in 100,000 deliveries
  await fill()
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

async function fill() {
  const began = Date.now()
  const agent = new Agent({ keepAlive: true, maxSockets: atOnce })
  let next = 0
  const one = () =>
    new Promise((resolve, reject) => {
      const n = ++next
      const body = JSON.stringify({ type: 'text', text: `message number ${n}, ${'with some words '.repeat(n % 7)}to give it a size.` })
      const call = request(`${w.server.url}/api/v1/conversations/${talk.id}/messages`, {
        method: 'POST', agent, headers: { Authorization: `Bearer ${alice.token}`, 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
      }, (answer) => {
        answer.resume()
        answer.on('end', () => (answer.statusCode === 200 ? resolve() : reject(new Error(`status ${answer.statusCode}`))))
      })
      call.on('error', reject)
      call.end(body)
    })
  const worker = async () => {
    while (next < count) await one()
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  agent.destroy()
  console.log(`# ${count} messages in ${((Date.now() - began) / 1000).toFixed(0)} s`)
}

const scroll = (by) => page.locator('.scroll').evaluate((box, by) => box.scrollBy(0, by), by)
const seqs = () => page.locator('.message[data-seq]').evaluateAll((all) => all.map((m) => Number(m.dataset.seq)))

function dense(all) {
  for (let i = 1; i < all.length; i++) assert.equal(all[i], all[i - 1] + 1)
}

/** jumps scrolls in small steps and measures how far what is in sight strays from the steps. */
async function jumps(by, steps) {
  return page.evaluate(async ([by, steps]) => {
    const box = document.querySelector('.scroll')
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
    const inSight = () => {
      const frameTop = box.getBoundingClientRect().top
      const found = [...box.querySelectorAll('.message[data-seq]')].find((m) => m.getBoundingClientRect().bottom > frameTop + box.clientHeight / 2)
      return { seq: found.dataset.seq, top: found.getBoundingClientRect().top }
    }
    let worst = 0
    const frames = []
    for (let i = 0; i < steps; i++) {
      const before = inSight()
      const began = performance.now()
      const room = by < 0 ? box.scrollTop : box.scrollHeight - box.clientHeight - box.scrollTop
      const step = Math.sign(by) * Math.min(Math.abs(by), room)
      box.scrollBy(0, by)
      await frame()
      frames.push(performance.now() - began)
      const again = box.querySelector(`[data-seq="${before.seq}"]`)
      if (!again) { worst = Infinity; continue }
      const moved = again.getBoundingClientRect().top - before.top
      worst = Math.max(worst, Math.abs(moved + step))
    }
    frames.sort((a, b) => a - b)
    return { worst, median: frames[frames.length >> 1], p95: frames[Math.floor(frames.length * 0.95)], seq: Number(inSight().seq) }
  }, [by, steps])
}

test('it opens at once, at the beginning of what is new', async () => {
  await page.goto(w.server.url)
  await page.getByRole('region', { name: 'Conversations' }).getByText('999+').waitFor()
  const began = Date.now()
  await openTalk(page, 'writer')
  await bubble(page, 'message number 1,').waitFor()
  console.log(`# opened in ${Date.now() - began} ms`)
  await page.getByRole('button', { name: /^Jump to the newest message/ }).click()
  await bubble(page, `message number ${count},`).waitFor()
})

test('scrolling up moves nothing that is in sight', async () => {
  const from = (await seqs()).at(-1)
  const { worst, median, p95, seq } = await jumps(-300, 400)
  console.log(`# up: ${from - seq} messages passed, strayed at most ${worst} px, two frames ${median.toFixed(1)} ms (p95 ${p95.toFixed(1)})`)
  assert.ok(worst < 2, `strayed ${worst} px`)
  assert.ok(from - seq > 500, `only ${from - seq} messages passed`)
  const all = await seqs()
  dense(all)
  assert.ok(all.length <= 400, `${all.length} elements`)
})

test('scrolling down again neither', async () => {
  const from = (await seqs())[0]
  const { worst, seq } = await jumps(300, 250)
  console.log(`# down: at ${seq}, strayed at most ${worst} px`)
  assert.ok(worst < 2, `strayed ${worst} px`)
  assert.ok(seq > from)
  dense(await seqs())
})

test('a flick to the end of what is loaded goes on', async () => {
  for (let i = 0; i < 30; i++) {
    await page.locator('.scroll').evaluate((box) => (box.scrollTop = 0))
    await page.waitForFunction(() => document.querySelector('.scroll').scrollTop > 400)
  }
  const all = await seqs()
  dense(all)
  assert.ok(all[0] < count - 1_500, `reached ${all[0]}`)
})

test('while one reads far above, new messages come without a jump', async () => {
  const before = await page.locator('.scroll').evaluate((box) => box.scrollTop)
  for (let i = 0; i < 20; i++) await alice.call('POST', `conversations/${talk.id}/messages`, { type: 'text', text: `new while reading ${i}` })
  await page.locator('.to-newest .badge').waitFor()
  assert.equal(await page.locator('.scroll').evaluate((box) => box.scrollTop), before)
  await say(page, 'back to the end')
  await bubble(page, 'back to the end').waitFor()
  await bubble(page, 'new while reading 19').waitFor()
  dense(await seqs())
})

test('at the end, new messages push up and the view stays at the end', async () => {
  for (let i = 0; i < 30; i++) await alice.call('POST', `conversations/${talk.id}/messages`, { type: 'text', text: `rolling ${i}` })
  await bubble(page, 'rolling 29').waitFor()
  await page.waitForFunction(() => {
    const box = document.querySelector('.scroll')
    return box.scrollHeight - box.scrollTop - box.clientHeight < 4
  })
  await scroll(0)
})
