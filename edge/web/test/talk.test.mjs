import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { bubble, mark, newWorld, openDirect, openTalk, phone, say, textsOf } from './world.mjs'

let w, alice, bob
before(async () => {
  w = await newWorld()
  alice = await w.person('alice')
  bob = await w.person('bob', phone)
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

const menuOf = async (page, text) => {
  await bubble(page, text).hover()
  await bubble(page, text).getByRole('button', { name: 'Actions for this message' }).click()
  return page.getByRole('menu')
}

test('a message is sent, delivered and read', async () => {
  await openDirect(alice, 'bob')
  await say(alice, 'Hello Bob')
  await mark(alice, 'Hello Bob', 'Delivered').waitFor()
  assert.match(await bob.title(), /^\(1\)/)
  await bob.getByRole('region', { name: 'Conversations' }).getByText('1 unread message').waitFor({ state: 'attached' })
  await bob.getByRole('status').getByText('Hello Bob').waitFor() // the notice inside the page
  await openTalk(bob, 'alice')
  await mark(alice, 'Hello Bob', 'Read').waitFor()
  await bob.waitForFunction(() => document.title === 'parley')
  await say(bob, 'Hello Alice')
  await bubble(alice, 'Hello Alice').waitFor()
})

test('a reply shows what it answers and leads there', async () => {
  const menu = await menuOf(alice, 'Hello Alice')
  await menu.getByRole('menuitem', { name: 'Reply' }).click()
  await alice.getByText('Replying to bob').waitFor()
  await say(alice, 'an answer')
  await bubble(bob, 'an answer').locator('.quote', { hasText: 'Hello Alice' }).waitFor()
  await bubble(bob, 'an answer').locator('.quote').click()
  await bob.locator('.message.flash', { hasText: 'Hello Alice' }).waitFor()
})

test('an edit replaces the text everywhere and says so', async () => {
  await (await menuOf(alice, 'an answer')).getByRole('menuitem', { name: 'Edit' }).click()
  const field = alice.getByRole('textbox', { name: 'Write a message' })
  assert.equal(await field.inputValue(), 'an answer')
  await field.fill('a better answer')
  await field.press('Enter')
  await bubble(bob, 'a better answer').getByText('edited').waitFor()
  await bubble(alice, 'a better answer').getByText('edited').waitFor()
  await (await menuOf(alice, 'a better answer')).getByRole('menuitem', { name: 'Details' }).click()
  await alice.getByRole('dialog').getByText('an answer', { exact: true }).waitFor() // the earlier version
  await alice.getByRole('dialog').getByText('Read by').waitFor()
  await alice.getByRole('button', { name: 'Close' }).click()
})

test('a deleted message is gone everywhere, also where it is quoted', async () => {
  await say(alice, 'oops, wrong window')
  await bubble(bob, 'oops').waitFor()
  await (await menuOf(bob, 'oops')).getByRole('menuitem', { name: 'Reply' }).click()
  await say(bob, 'what was that?')
  await bubble(alice, 'what was that?').waitFor()
  await (await menuOf(alice, 'oops, wrong window')).getByRole('menuitem', { name: 'Delete' }).click()
  await alice.getByRole('dialog').getByRole('button', { name: 'Delete for everyone' }).click()
  for (const page of [alice, bob]) {
    await page.locator('.text.gone').waitFor()
    await bubble(page, 'what was that?').locator('.quote', { hasText: 'deleted' }).waitFor()
    assert.ok(!(await page.content()).includes('oops, wrong window'))
  }
})

test('the keyboard does everything', async () => {
  const field = alice.getByRole('textbox', { name: 'Write a message' })
  await field.focus()
  await field.press('ArrowUp') // edits the last message of one's own
  await alice.getByText('Editing your message').waitFor()
  await field.press('Escape')
  await alice.getByText('Editing your message').waitFor({ state: 'detached' })
  await alice.locator('.message[tabindex="0"]').focus()
  await alice.keyboard.press('ArrowUp')
  await alice.keyboard.press('ArrowUp')
  await alice.keyboard.press('Enter')
  await alice.getByRole('menuitem').first().waitFor()
  await alice.keyboard.press('ArrowDown')
  await alice.keyboard.press('Escape')
  await alice.getByRole('menu').waitFor({ state: 'detached' })
  assert.ok(await alice.evaluate(() => document.activeElement?.classList.contains('message')))
  await field.fill('one line')
  await field.press('Shift+Enter')
  await field.pressSequentially('and another')
  await field.press('Enter')
  await bubble(bob, 'one line\nand another').waitFor()
})

test('a draft stays with its conversation, through a reload', async () => {
  await w.somebody('carol')
  const field = alice.getByRole('textbox', { name: 'Write a message' })
  await field.fill('not finished')
  await openDirect(alice, 'carol')
  assert.equal(await field.inputValue(), '')
  await alice.getByRole('region', { name: 'Conversations' }).getByText('Draft:').waitFor()
  await alice.reload()
  await openTalk(alice, 'bob')
  await alice.waitForFunction(() => document.querySelector('textarea')?.value === 'not finished')
  await field.fill('')
})

test('a conversation opens at the first unread message', async () => {
  await alice.getByRole('region', { name: 'Conversations' }).getByRole('link', { name: 'carol' }).click()
  for (let i = 1; i <= 40; i++) await say(bob, `while you were away ${i}`)
  await mark(bob, 'while you were away 40', 'Delivered').waitFor()
  await alice.getByRole('region', { name: 'Conversations' }).getByText('40 unread messages').waitFor({ state: 'attached' })
  await openTalk(alice, 'bob')
  await alice.locator('.divider').waitFor()
  const seen = await alice.locator('.divider').evaluate((line) => {
    const box = line.closest('.scroll').getBoundingClientRect()
    const at = line.getBoundingClientRect()
    return at.top > box.top && at.bottom < box.bottom
  })
  assert.ok(seen, 'the line is in sight')
  const left = await alice.evaluate(() => Number(/\((\d+)\)/.exec(document.title)?.[1] ?? 0))
  assert.ok(left > 0 && left < 40, `${left} are unread: what is below is not read yet`)
  await alice.getByRole('button', { name: 'Jump to the newest message' }).click()
  await alice.waitForFunction(() => document.title === 'parley')
  await mark(bob, 'while you were away 40', 'Read').waitFor()
})

test('a date leads to its first message', async () => {
  await alice.getByRole('button', { name: 'Jump to a date' }).click()
  const today = await alice.evaluate(() => new Date().toLocaleDateString('sv'))
  await alice.getByRole('dialog').getByLabel('Jump to a date').fill(today)
  await alice.getByRole('dialog').getByRole('button', { name: 'Jump' }).click()
  await alice.locator('.note.flash, .message.flash').first().waitFor()
  await alice.locator('.chat').getByText('Conversation started').waitFor()
})

test('an address that leads nowhere says so', async () => {
  const page = await w.visit()
  await page.getByLabel('Username or e-mail').fill('alice')
  await page.getByLabel('Password', { exact: true }).fill('correct horse')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('region', { name: 'Conversations' }).waitFor()
  await page.goto(`${w.server.url}/c/g${'a'.repeat(26)}`)
  await page.getByText('This conversation is not here').waitFor()
  await page.getByRole('button', { name: 'To your conversations' }).click()
  await page.getByText('Pick a conversation').waitFor()
  await page.context().close()
})

test('links open elsewhere and say nothing of where they were', async () => {
  await say(bob, 'see https://example.org/path?q=1. and javascript:alert(1) and <b>bold</b>')
  await openTalk(alice, 'bob')
  await alice.getByRole('button', { name: 'Jump to the newest message' }).click({ timeout: 2_000 }).catch(() => undefined)
  const link = bubble(alice, 'see https').getByRole('link')
  assert.equal(await link.getAttribute('href'), 'https://example.org/path?q=1')
  assert.equal(await link.getAttribute('rel'), 'noopener noreferrer')
  assert.equal(await link.count(), 1)
  assert.ok((await textsOf(alice)).some((text) => text.includes('<b>bold</b>')))
})
