import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { bubble, mark, newWorld, openDirect, openTalk, say, textsOf } from './world.mjs'

let w, alice, bob
before(async () => {
  w = await newWorld()
  ;[alice, bob] = await Promise.all([w.person('alice'), w.person('bob')])
  await openDirect(alice, 'bob')
  await say(alice, 'before')
  await openTalk(bob, 'alice')
  await bubble(bob, 'before').waitFor()
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

const arrived = (page, text) => bubble(page, text).waitFor({ timeout: 45_000 })

test('both sides write while one of them is offline, and both have everything once', async () => {
  await alice.context().setOffline(true)
  await alice.getByText('You are offline.').first().waitFor()
  for (let i = 1; i <= 5; i++) await say(alice, `from alice ${i}.`)
  for (let i = 1; i <= 5; i++) await say(bob, `from bob ${i}.`)
  await mark(bob, 'from bob 5.', 'Sent').waitFor()
  await mark(alice, 'from alice 5.', 'Waiting').waitFor()
  await alice.context().setOffline(false)
  await arrived(alice, 'from bob 5.')
  await arrived(bob, 'from alice 5.')
  await alice.getByText('You are offline.').first().waitFor({ state: 'detached' })
  await alice.waitForFunction(() => document.querySelectorAll('.mark.pending').length === 0)
  const texts = await textsOf(alice)
  assert.deepEqual(texts, await textsOf(bob))
  assert.equal(new Set(texts).size, 11)
  assert.equal(texts.length, 11)
  assert.deepEqual(texts.filter((t) => t.startsWith('from alice')), [1, 2, 3, 4, 5].map((i) => `from alice ${i}.`))
})

test('the page opens without a network, and what is written then survives it', async () => {
  await alice.waitForFunction(() => navigator.serviceWorker.controller !== null)
  await alice.waitForFunction(async () => (await caches.keys()).length === 1)
  await alice.evaluate(() => window.dispatchEvent(new Event('pagehide'))) // what leaving a page does: keep what is seen
  await alice.context().setOffline(true)
  await alice.reload()
  await bubble(alice, 'from bob 5.').waitFor()
  await alice.getByText('You are offline.').first().waitFor()
  await say(alice, 'written offline')
  await mark(alice, 'written offline', 'Waiting').waitFor()
  await alice.reload()
  await mark(alice, 'written offline', 'Waiting').waitFor()
  await say(alice, 'and after a reload')
  await alice.context().setOffline(false)
  await arrived(bob, 'and after a reload')
  await mark(alice, 'and after a reload', 'Read').waitFor({ timeout: 45_000 })
  const ends = (await textsOf(bob)).slice(-2)
  assert.deepEqual(ends, ['written offline', 'and after a reload'])
  assert.deepEqual((await textsOf(alice)).slice(-2), ends)
})

test('a server that dies in the middle loses and doubles nothing', async () => {
  await say(alice, 'one.')
  await arrived(bob, 'one.')
  await w.server.kill()
  for (let i = 1; i <= 4; i++) {
    await say(alice, `alice into the dark ${i}.`)
    await say(bob, `bob into the dark ${i}.`)
  }
  await alice.getByText('The server does not answer.').first().waitFor()
  await w.server.start()
  await alice.getByRole('button', { name: 'Try now' }).first().click({ timeout: 3_000 }).catch(() => undefined)
  await bob.getByRole('button', { name: 'Try now' }).first().click({ timeout: 3_000 }).catch(() => undefined)
  for (const page of [alice, bob]) {
    await arrived(page, 'alice into the dark 4.')
    await arrived(page, 'bob into the dark 4.')
    await page.waitForFunction(() => document.querySelectorAll('.mark.pending').length === 0, undefined, { timeout: 45_000 })
  }
  const dark = (texts) => texts.filter((t) => t.includes('into the dark'))
  const [hers, his] = [dark(await textsOf(alice)), dark(await textsOf(bob))]
  assert.deepEqual(hers, his)
  assert.equal(hers.length, 8)
  for (const who of ['alice', 'bob']) assert.deepEqual(hers.filter((t) => t.startsWith(who)), [1, 2, 3, 4].map((i) => `${who} into the dark ${i}.`))
})

test('kills in the middle of a stream of messages', async () => {
  let sent = 0
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 10; i++) await say(alice, `stream ${++sent};`)
    await w.server.kill()
    for (let i = 0; i < 5; i++) await say(alice, `stream ${++sent};`)
    await w.server.start()
  }
  await arrived(bob, `stream ${sent};`)
  await alice.waitForFunction(() => document.querySelectorAll('.mark.pending').length === 0, undefined, { timeout: 45_000 })
  const wanted = Array.from({ length: sent }, (_, i) => `stream ${i + 1};`)
  for (const page of [alice, bob]) assert.deepEqual((await textsOf(page)).filter((t) => t.startsWith('stream')), wanted)
})
