// Every string of the Big List of Naughty Strings is sent, shown as text, and nothing else happens.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { newWorld, openTalk, phone } from './world.mjs'

const strings = JSON.parse(readFileSync(new URL('data/blns.json', import.meta.url), 'utf8')).filter((s) => s !== '')
let w, page, writer, talk
before(async () => {
  w = await newWorld()
  page = await w.person('alice', phone)
  writer = await w.somebody('writer')
  const { users } = await writer.call('GET', 'users/search?query=alice')
  ;({ conversation: talk } = await writer.call('POST', 'conversations', { type: 'direct', user_id: users[0].id }))
  for (const text of strings) await writer.call('POST', `conversations/${talk.id}/messages`, { type: 'text', text })
})
after(async () => {
  await w.close()
  assert.deepEqual(w.errors, [])
})

test('every naughty string is shown as text', async () => {
  page.on('dialog', (dialog) => assert.fail(`a text opened a dialog: ${dialog.message()}`))
  const outside = []
  page.on('request', (request) => request.url().startsWith(w.server.url) || outside.push(request.url()))
  await openTalk(page, 'writer')
  const shown = new Map()
  const take = async () => {
    const more = page.locator('.show-more', { hasText: 'Show more' })
    while ((await more.count()) > 0) await more.first().dispatchEvent('click')
    const all = await page.locator('.message[data-seq]').evaluateAll((all) => all.map((m) => [Number(m.dataset.seq), m.querySelector('.text').textContent]))
    for (const [seq, text] of all) shown.set(seq, text)
  }
  for (let i = 0; i < 2_000 && !shown.has(strings.length + 1); i++) {
    await take()
    await page.locator('.scroll').evaluate((box) => {
      box.scrollBy(0, 2_000)
      return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
    })
  }
  strings.forEach((text, i) => assert.equal(shown.get(i + 2), text))
  assert.deepEqual(outside, [])
  const wide = await page.evaluate(() => [...document.querySelectorAll('.bubble')].filter((b) => b.getBoundingClientRect().right > innerWidth + 1).length)
  assert.equal(wide, 0, 'no text is wider than the screen')
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth))
})

test('names and group names are text as well', async () => {
  const names = strings.filter((s) => [...s].length <= 64 && s.trim() !== '')
  let taken = 0
  for (const name of names.slice(0, 150)) {
    const made = await writer.call('POST', 'conversations', { type: 'group', name, member_ids: [(await writer.call('GET', 'users/search?query=alice')).users[0].id] }).catch(() => undefined)
    if (made) taken++
  }
  assert.ok(taken > 100, `${taken} names are accepted`)
  await page.getByRole('button', { name: 'Back to conversations' }).click()
  await page.waitForFunction((n) => document.querySelectorAll('.talk').length === n + 1, taken)
  const titles = new Set(await page.locator('.talk-title').allTextContents())
  const missing = names.slice(0, 150).filter((name) => !titles.has(name))
  assert.ok(missing.length <= names.slice(0, 150).length - taken, `not shown as they are: ${JSON.stringify(missing.slice(0, 5))}`)
})
