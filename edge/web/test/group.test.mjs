import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { bubble, newWorld, openTalk, phone, say } from './world.mjs'

let w, alice, bob, carol
before(async () => {
  w = await newWorld()
  ;[alice, bob, carol] = await Promise.all([w.person('alice'), w.person('bob'), w.person('carol', phone)])
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

const details = async (page) => {
  await page.locator('.chat').getByRole('button', { name: 'Details', exact: true }).last().click()
  return page.getByRole('dialog', { name: 'Group details' })
}
const close = (page) => page.getByRole('button', { name: 'Close' }).click()
const act = async (page, name, action) => {
  await page.getByRole('button', { name: `Actions for ${name}` }).click()
  await page.getByRole('menuitem', { name: action }).click()
}
const add = async (page, name) => {
  const dialog = page.getByRole('dialog', { name: 'Group details' })
  await dialog.getByRole('button', { name: 'Add people' }).click()
  await dialog.getByLabel('Find a person by username').fill(name)
  await dialog.getByRole('button', { name: `@${name}` }).click()
  await dialog.locator('.person.static', { hasText: name }).waitFor()
}

test('a group is made of people that one picks', async () => {
  await alice.getByRole('button', { name: 'New conversation' }).first().click()
  await alice.getByRole('button', { name: 'New group' }).click()
  await alice.getByLabel('Group name').fill('Book club')
  for (const name of ['bob', 'carol']) {
    await alice.getByLabel('Find a person by username').fill(name)
    await alice.getByRole('dialog').getByRole('button', { name: `@${name}` }).click()
  }
  await alice.getByRole('button', { name: 'Remove carol' }).click()
  await alice.getByRole('button', { name: 'Create group' }).click()
  await alice.locator('.chat').getByText('2 members').waitFor()
  await openTalk(bob, 'Book club')
  await say(alice, 'Welcome')
  await bubble(bob, 'Welcome').getByText('alice').waitFor()
})

test('who is added sees what came before', async () => {
  await details(alice)
  await add(alice, 'carol')
  await close(alice)
  await alice.getByText('You added carol').waitFor()
  await bob.getByText('alice added carol').waitFor()
  await openTalk(carol, 'Book club')
  await bubble(carol, 'Welcome').waitFor()
  await say(carol, 'Thanks!')
  await bubble(bob, 'Thanks!').waitFor()
})

test('who has a message, and who has read it, is told', async () => {
  await say(alice, 'Who reads this?')
  await bubble(carol, 'Who reads this?').waitFor()
  await bubble(bob, 'Who reads this?').waitFor()
  await bubble(alice, 'Who reads this?').hover()
  await bubble(alice, 'Who reads this?').getByRole('button', { name: 'Actions for this message' }).click()
  await alice.getByRole('menuitem', { name: 'Details' }).click()
  const read = alice.locator('section', { hasText: 'Read by' })
  await read.getByText('bob').waitFor()
  await read.getByText('carol').waitFor() // the list follows as people read
  await close(alice)
})

test('an owner gives roles, an admin uses them', async () => {
  await details(alice)
  await act(alice, 'bob', 'Make admin')
  await alice.getByRole('dialog').locator('.person', { hasText: 'bob' }).getByText('admin').waitFor()
  await close(alice)
  await bob.getByText('alice made you an admin').waitFor()
  const dialog = await details(bob)
  await dialog.getByLabel('Group name').fill('Book club 📚')
  await dialog.getByRole('button', { name: 'Rename' }).click()
  await dialog.getByRole('switch').click()
  await close(bob)
  await carol.getByRole('region', { name: 'Book club 📚' }).waitFor()
  await alice.getByText('bob hides from newcomers what came before').waitFor()
  await say(carol, 'something to moderate')
  await bubble(bob, 'something to moderate').hover()
  await bubble(bob, 'something to moderate').getByRole('button', { name: 'Actions for this message' }).click()
  await bob.getByRole('menuitem', { name: 'Delete' }).click()
  await bob.getByRole('dialog').getByRole('button', { name: 'Delete for everyone' }).click()
  await carol.locator('.text.gone').waitFor()
})

test('who is removed is told, and sees the conversation no more', async () => {
  await details(bob)
  await act(bob, 'carol', 'Remove from group')
  await carol.getByText('You are no longer a member of that conversation.').waitFor()
  await carol.getByText('No conversations yet').waitFor()
  await bob.getByRole('dialog').locator('.person', { hasText: 'carol' }).waitFor({ state: 'detached' })
  await close(bob)
  await say(bob, 'carol can not read this')
  await bubble(alice, 'carol can not read this').waitFor()
  await details(alice)
  await add(alice, 'carol')
  await close(alice)
  await openTalk(carol, 'Book club')
  await say(alice, 'but this')
  await bubble(carol, 'but this').waitFor()
  assert.equal(await bubble(carol, 'carol can not read this').count(), 0)
})

test('the last owner appoints another one before leaving', async () => {
  await details(alice)
  await alice.getByRole('button', { name: 'Leave group' }).click()
  await alice.getByRole('dialog').getByRole('button', { name: 'Leave group' }).click()
  await alice.getByRole('status').getByText(/owner/).waitFor()
  await details(alice)
  await act(alice, 'bob', 'Make owner')
  await alice.getByRole('dialog').locator('.person', { hasText: 'bob' }).getByText('owner').waitFor()
  await alice.getByRole('button', { name: 'Leave group' }).click()
  await alice.getByRole('dialog').getByRole('button', { name: 'Leave group' }).click()
  await alice.getByText('No conversations yet').waitFor()
  await bob.getByText('alice left').waitFor()
})

test('a message that is refused waits for a decision', async () => {
  await openTalk(bob, 'Book club')
  await carol.context().setOffline(true)
  await say(carol, 'written while removed')
  await bubble(carol, 'written while removed').locator('.mark.pending').waitFor()
  await details(bob)
  await act(bob, 'carol', 'Remove from group')
  await bob.getByRole('dialog').locator('.person', { hasText: 'carol' }).waitFor({ state: 'detached' })
  await close(bob)
  await carol.context().setOffline(false)
  await carol.getByText('You are no longer a member of that conversation.').waitFor({ timeout: 40_000 })
  await details(bob)
  await add(bob, 'carol')
  await close(bob)
  await openTalk(carol, 'Book club')
  await carol.getByText(/^Not sent: /).waitFor()
  await carol.getByRole('button', { name: 'Try again' }).click()
  await bubble(bob, 'written while removed').waitFor()
  await carol.getByText(/^Not sent: /).waitFor({ state: 'detached' })
  assert.equal(await bubble(carol, 'written while removed').count(), 1)
})
