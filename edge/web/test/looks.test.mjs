// Every page, on a phone and on a desk, light and dark: axe finds nothing to complain of. With PARLEY_SHOTS a picture
// of each is left in that folder.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { after, before, test } from 'node:test'
import { bubble, desk, mark, newWorld, openTalk, phone, say, small } from './world.mjs'

const shots = process.env['PARLEY_SHOTS']
if (shots) mkdirSync(shots, { recursive: true })
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

let w
const people = {}
before(async () => {
  w = await newWorld()
  for (const name of ['mara', 'jonas', 'amira', 'thalia', 'lev.petrov']) people[name] = await w.somebody(name)
  const named = { mara: 'Mara Lindqvist', jonas: 'Jonas Weber', amira: 'أميرة حداد', thalia: 'Θάλεια Παππά', 'lev.petrov': 'Lev Petrov' }
  for (const [name, display_name] of Object.entries(named)) await people[name].call('PATCH', 'users/me', { display_name })
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

async function check(page, name) {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png` })
  // The page's own policy forbids injected scripts, as it should: axe comes by the debugger.
  await page.evaluate(axe)
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
  const told = violations.map((v) => `${v.id}: ${v.help}\n${v.nodes.map((n) => `    ${n.target} ${n.failureSummary}`).join('\n')}`)
  assert.deepEqual(told, [], name)
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is not wider than the screen`)
}

const post = (who, talk, text, more = {}) => people[who].call('POST', `conversations/${talk}/messages`, { type: 'text', text, ...more })

/** furnish gives somebody conversations worth looking at. */
async function furnish(id) {
  const direct = async (who) => (await people[who].call('POST', 'conversations', { type: 'direct', user_id: id })).conversation.id
  const lev = await direct('lev.petrov')
  await post('lev.petrov', lev, 'The contract is signed. Thank you for waiting!')
  const thalia = await direct('thalia')
  await post('thalia', thalia, 'Η συνάντηση είναι αύριο στις δέκα.')
  const amira = await direct('amira')
  await post('amira', amira, 'مرحبا! هل وصلت الصور؟')
  await post('amira', amira, 'I sent them again, just in case: https://example.org/albums/7')
  const group = (await people['mara'].call('POST', 'conversations', {
    type: 'group', name: 'Harbour festival', member_ids: [id, people['jonas'].id, people['thalia'].id, people['amira'].id],
  })).conversation.id
  await people['mara'].call('PATCH', `conversations/${group}/members/${id}`, { role: 'admin' })
  await post('mara', group, 'Good morning everyone! The stage arrives at nine, the sound people at ten.')
  await post('jonas', group, 'I can be there from half past eight.')
  await post('jonas', group, 'Do we need the van again?')
  const asked = (await post('mara', group, 'Yes please. And somebody should pick up the banners; the shop on Quay Street is open until noon.')).message
  await post('thalia', group, 'Θα πάρω εγώ τα πανό.', { reply_to: asked.seq })
  await post('amira', group, 'سأحضر معي الأسلاك والمصابيح.')
  const wrong = (await post('jonas', group, 'wrong window, sorry')).message
  await people['jonas'].call('DELETE', `conversations/${group}/messages/${wrong.seq}`)
  return { group, asked }
}

for (const [where, options] of Object.entries({ desk, phone, small })) {
  for (const scheme of where === 'small' ? ['light'] : ['light', 'dark']) {
    test(`${where}, ${scheme}`, async () => {
      const at = (name) => `${where}-${scheme}-${name}`
      const visitor = await w.visit({ ...options, colorScheme: scheme, reducedMotion: 'reduce' })
      await check(visitor, at('login'))
      await visitor.getByRole('button', { name: 'New here?' }).click()
      await check(visitor, at('register'))
      await visitor.context().close()

      const page = await w.person(`${where}.${scheme}`, { ...options, colorScheme: scheme, reducedMotion: 'reduce' })
      await check(page, at('empty'))
      const { users } = await people['mara'].call('GET', `users/search?query=${where}.${scheme}`)
      const { group, asked } = await furnish(users[0].id)
      await page.getByRole('region', { name: 'Conversations' }).getByRole('link', { name: 'Harbour festival' }).waitFor()
      for (let i = 0; i < 3; i++) await page.getByRole('button', { name: 'Dismiss' }).first().click({ timeout: 1_000 }).catch(() => undefined)
      await check(page, at('list'))
      await openTalk(page, 'Lev Petrov')
      await say(page, 'Wonderful news, congratulations! I will call you tomorrow.')
      await bubble(page, 'Wonderful news').locator('.mark', { hasText: /Sent|Delivered/ }).waitFor()
      await people['lev.petrov'].call('PUT', `conversations/${page.url().split('/').at(-1)}/cursor`, { read: 3 })
      await mark(page, 'Wonderful news', 'Read').waitFor()
      await check(page, at('direct'))
      if (where !== 'desk') await page.getByRole('button', { name: 'Back to conversations' }).click()
      await openTalk(page, 'Harbour festival')
      await bubble(page, 'Do we need the van').waitFor()
      await check(page, at('unread'))
      await say(page, 'I will bring coffee for everybody ☕️')
      await bubble(page, 'Quay Street').first().hover()
      await bubble(page, 'Quay Street').getByRole('button', { name: 'Actions for this message' }).last().click()
      await check(page, at('menu'))
      await page.getByRole('menuitem', { name: 'Reply' }).click()
      await page.getByRole('textbox', { name: 'Write a message' }).fill('On my way, two minutes')
      await check(page, at('reply'))
      await page.locator('.composer .send').click()
      await people['mara'].call('PATCH', `conversations/${group}/messages/${asked.seq}`, { text: 'Yes please. And somebody should pick up the banners; the shop on Quay Street is open until one.' })
      await bubble(page, 'until one').getByText('edited').waitFor()
      await check(page, at('group'))
      await page.locator('.chat').getByRole('button', { name: 'Details', exact: true }).last().click()
      await page.getByRole('dialog').locator('.person.static').nth(4).waitFor()
      await check(page, at('details'))
      await page.getByRole('button', { name: 'Close' }).click()
      await bubble(page, 'until one').first().hover()
      await bubble(page, 'until one').getByRole('button', { name: 'Actions for this message' }).last().click()
      await page.getByRole('menuitem', { name: 'Details' }).click()
      await page.getByText('Earlier versions').waitFor()
      await check(page, at('message'))
      await page.getByRole('button', { name: 'Close' }).click()
      await page.getByRole('button', { name: 'Jump to a date' }).click()
      await check(page, at('date'))
      await page.getByRole('button', { name: 'Close' }).click()
      if (where !== 'desk') await page.getByRole('button', { name: 'Back to conversations' }).click()
      await page.getByRole('button', { name: 'New conversation' }).click()
      await page.getByLabel('Find a person by username').fill('m')
      await page.getByRole('dialog').getByText('@mara').waitFor()
      await check(page, at('find'))
      await page.getByRole('button', { name: 'New group' }).click()
      await page.getByLabel('Group name').fill('Rowing on Sundays')
      for (const name of ['jonas', 'mara']) {
        await page.getByLabel('Find a person by username').fill(name)
        await page.getByRole('dialog').locator('.people').getByRole('button', { name: `@${name}` }).click()
      }
      await check(page, at('new-group'))
      await page.getByRole('button', { name: 'Close' }).click()
      await page.getByRole('button', { name: 'Settings' }).click()
      await page.getByText('This browser', { exact: true }).waitFor()
      await check(page, at('settings'))
      await page.getByRole('button', { name: 'Close' }).click()
      if (where !== 'desk') await openTalk(page, 'أميرة حداد')
      await page.context().setOffline(true)
      await page.getByRole('textbox', { name: 'Write a message' }).fill('This waits until the train leaves the tunnel')
      await page.locator('.composer .send').click()
      await page.locator('.mark.pending').waitFor()
      await page.getByText('You are offline.').filter({ visible: true }).first().waitFor()
      await check(page, at('offline'))
      await page.context().close()
    })
  }
}
