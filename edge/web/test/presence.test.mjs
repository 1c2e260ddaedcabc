import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { bubble, newWorld, openDirect, openTalk, say } from './world.mjs'

let w, alice, bob
before(async () => {
  w = await newWorld()
  ;[alice, bob] = await Promise.all([w.person('alice'), w.person('bob')])
  await openDirect(alice, 'bob')
  await say(alice, 'are you there?')
  await openTalk(bob, 'alice')
  await bubble(bob, 'are you there?').waitFor()
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

const subtitle = (page, text) => page.locator('.chat-sub', { hasText: text })

test('who is here shows as online, who left as last seen', async () => {
  await subtitle(alice, 'online').waitFor()
  await subtitle(bob, 'online').waitFor()
  await alice.locator('.talk .avatar i.online').waitFor()
})

test('who writes is seen writing, in the header and in the list, until the message comes', async () => {
  await bob.getByRole('textbox', { name: 'Write a message' }).pressSequentially('I am')
  await subtitle(alice, 'typing').waitFor()
  await alice.locator('.talk-last.writing').waitFor()
  await bob.locator('.composer .send').click()
  await bubble(alice, 'I am').waitFor()
  await subtitle(alice, 'online').waitFor()
  await bob.getByRole('textbox', { name: 'Write a message' }).pressSequentially('well, let me think', { delay: 250 }) // the server passes one on in 3 s
  await subtitle(alice, 'typing').waitFor()
  await bob.getByRole('textbox', { name: 'Write a message' }).fill('')
  await subtitle(alice, 'online').waitFor({ timeout: 3_000 })
})

test('who left is last seen', async () => {
  await bob.close()
  await subtitle(alice, 'last seen').waitFor({ timeout: 30_000 })
})
