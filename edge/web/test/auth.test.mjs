import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { newWorld, openDirect, say, bubble } from './world.mjs'

let w
before(async () => {
  w = await newWorld()
  await w.somebody('friend')
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

const inside = (page) => page.getByRole('region', { name: 'Conversations' })

test('a wrong password is told, the right one opens the page', async () => {
  const page = await w.visit()
  await w.somebody('carol')
  await page.getByLabel('Username or e-mail').fill('carol')
  await page.getByLabel('Password', { exact: true }).fill('not her password')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByText('Username or password is wrong.').waitFor()
  await page.getByLabel('Password', { exact: true }).fill('correct horse')
  await page.getByRole('button', { name: 'Log in' }).click()
  await inside(page).waitFor()
})

test('a name that is taken is told in words', async () => {
  await w.somebody('taken')
  const page = await w.visit()
  await page.getByRole('button', { name: 'New here?' }).click()
  await page.getByLabel('Username').fill('taken')
  await page.getByLabel('E-mail').fill('other@example.org')
  await page.getByLabel('Password', { exact: true }).fill('correct horse')
  await page.getByRole('button', { name: 'Create account' }).click()
  await page.getByRole('alert').filter({ hasText: /taken/ }).waitFor()
})

test('a login survives reloads, also those that come too fast', async () => {
  const page = await w.person('dora')
  for (let i = 0; i < 4; i++) {
    const gone = page.waitForEvent('framenavigated') // the new page has begun: its refresh may be under way
    await page.evaluate(() => location.reload()).catch(() => undefined)
    await gone
  }
  await page.waitForLoadState('load')
  await inside(page).waitFor()
  await openDirect(page, 'friend')
  await say(page, 'still here')
  await bubble(page, 'still here').locator('.mark', { hasText: 'Sent' }).waitFor()
  const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie)
  assert.ok(!stored.includes('token') && !/eyJ/.test(stored), 'no token where a script could read it')
  const [cookie] = await page.context().cookies(`${w.server.url}/api/v1/auth`)
  assert.ok(cookie.httpOnly && cookie.sameSite === 'Strict')
})

test('sessions are listed, and one that is revoked ends within five seconds', async () => {
  const page = await w.person('erin')
  const other = await w.visit()
  await other.getByLabel('Username or e-mail').fill('erin')
  await other.getByLabel('Password', { exact: true }).fill('correct horse')
  await other.getByRole('button', { name: 'Log in' }).click()
  await inside(other).waitFor()
  await page.getByRole('button', { name: 'Settings' }).click()
  await page.getByText('This browser', { exact: true }).waitFor()
  await page.getByRole('button', { name: /^Log out (?!of)/ }).click()
  await other.getByRole('heading', { name: 'Welcome back' }).waitFor({ timeout: 6_000 })
  await other.getByText('This session has ended').waitFor()
  assert.equal(await page.getByRole('button', { name: /^Log out (?!of)/ }).count(), 0)
})

test('logging out forgets everything, in every tab', async () => {
  const page = await w.person('fred')
  await openDirect(page, 'friend')
  await say(page, 'secret words')
  await bubble(page, 'secret words').locator('.mark', { hasText: 'Sent' }).waitFor()
  const second = await page.context().newPage()
  w.watch(second, 'second tab')
  await second.goto(w.server.url)
  await inside(second).waitFor()
  await page.getByRole('button', { name: 'Settings' }).click()
  await page.getByRole('button', { name: 'Log out of this browser' }).click()
  await page.getByRole('heading', { name: 'Welcome back' }).waitFor()
  await second.getByRole('heading', { name: 'Welcome back' }).waitFor()
  const left = await page.evaluate(async () => [Object.keys(localStorage), (await indexedDB.databases()).map((d) => d.name)])
  assert.deepEqual(left, [[], []])
  await page.reload()
  await page.getByRole('heading', { name: 'Welcome back' }).waitFor()
})

test('one can change the name that others see', async () => {
  const page = await w.person('gina')
  await page.getByRole('button', { name: 'Settings' }).click()
  await page.getByLabel('Display name').fill('Gina الجميلة')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByText('Saved').waitFor()
  const friend = await w.person('hugo')
  await friend.getByRole('button', { name: 'New conversation' }).first().click()
  await friend.getByLabel('Find a person by username').fill('gin')
  await friend.getByRole('button', { name: 'Gina الجميلة' }).waitFor()
})
