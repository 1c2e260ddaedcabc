import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { bubble, mark, newWorld, openDirect, openTalk, say, textsOf } from './world.mjs'

let w, alice, second, bob
before(async () => {
  w = await newWorld('--access-life', '4s')
  ;[alice, bob] = await Promise.all([w.person('alice'), w.person('bob')])
  await openDirect(alice, 'bob')
  second = await alice.context().newPage()
  w.watch(second, 'second tab')
  await second.goto(alice.url())
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

test('what one tab sends and reads, the other shows', async () => {
  await say(alice, 'from the first tab')
  await bubble(second, 'from the first tab').waitFor()
  await say(second, 'from the second tab')
  await bubble(alice, 'from the second tab').waitFor()
  await openTalk(bob, 'alice')
  await mark(alice, 'from the first tab', 'Read').waitFor()
  await mark(second, 'from the first tab', 'Read').waitFor()
  assert.deepEqual(await textsOf(alice), await textsOf(second))
})

test('a draft follows from tab to tab', async () => {
  await alice.getByRole('textbox', { name: 'Write a message' }).fill('half a sentence')
  await second.waitForFunction(() => document.querySelector('textarea')?.value === 'half a sentence')
  await alice.getByRole('textbox', { name: 'Write a message' }).fill('')
})

test('tabs that refresh their tokens side by side stay logged in', async () => {
  for (let i = 0; i < 6; i++) {
    await Promise.all([alice.reload(), second.reload()])
    await say(alice, `first ${i}.`)
    await say(second, `second ${i}.`)
    await Promise.all([bubble(bob, `first ${i}.`).waitFor(), bubble(bob, `second ${i}.`).waitFor()])
  }
  await Promise.all([alice, second].map((page) => page.waitForResponse((answer) => answer.url().endsWith('/auth/refresh') && answer.ok()))) // replaced in place
  await say(alice, 'after the token')
  await bubble(second, 'after the token').waitFor()
  assert.equal((await textsOf(bob)).filter((t) => /^(first|second) \d/.test(t)).length, 12)
})

test('what a closed tab did not get rid of, the other one sends', async () => {
  await alice.context().setOffline(true)
  await say(alice, 'from a tab that closes')
  await mark(second, 'from a tab that closes', 'Waiting').waitFor()
  await alice.close()
  await second.context().setOffline(false)
  await bubble(bob, 'from a tab that closes').waitFor({ timeout: 45_000 })
  await mark(second, 'from a tab that closes', 'Read').waitFor()
  assert.equal((await textsOf(second)).filter((t) => t === 'from a tab that closes').length, 1)
})
