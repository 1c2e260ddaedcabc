// What the browser tests share: the real server, Chromium, people with a context of their own.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const binary = process.env['PARLEY_BINARY']
if (!binary) throw new Error('PARLEY_BINARY names the server to test: run deploy/dev/web')

/** startServer runs parley with data of its own; it may die and come back on the same port. */
export async function startServer(...flags) {
  const data = mkdtempSync(join(tmpdir(), 'parley-web-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const args = ['serve', '--limits', 'off', '--data', data, '--listen', `127.0.0.1:${port}`, '--admin-listen', '', '--drain-time', '1s', ...flags]
  let running

  async function start() {
    running = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    await ready(running)
  }
  async function end(signal) {
    const child = running
    running = undefined
    if (!child) return
    const exit = once(child, 'exit')
    child.kill(signal)
    await exit
  }
  await start()
  return {
    url,
    start,
    kill: () => end('SIGKILL'),
    close: async () => {
      await end('SIGKILL')
      rmSync(data, { recursive: true, force: true })
    },
  }
}

function ready(child) {
  let output = ''
  return new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk.toString()
      if (output.includes('parley is running at')) resolve()
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.on('exit', (code) => reject(new Error(`the server ended with ${code}: ${output}`)))
  })
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

export function launch() {
  return chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
  })
}

export const phone = { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 }
export const small = { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true }
export const desk = { viewport: { width: 1180, height: 780 } }

// The browser itself reports requests that fail; the page must report nothing.
const byBrowser = /^Failed to load resource|WebSocket connection to .* failed/

/** World is a server, a browser, and everybody's complaints. */
export async function newWorld(...flags) {
  const [server, browser] = await Promise.all([startServer(...flags), launch()])
  const errors = []
  let people = 0

  function watch(page, name) {
    page.setDefaultTimeout(15_000)
    page.on('console', (message) => {
      if (message.type() === 'error' && !byBrowser.test(message.text())) errors.push(`${name}: ${message.text()}`)
    })
    page.on('pageerror', (error) => errors.push(`${name}: ${error.stack}`))
  }

  /** somebody registers by REST: for people whose page does not matter. */
  async function somebody(name = `extra${++people}`) {
    const response = await fetch(`${server.url}/api/v1/auth/register`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ username: name, email: `${name}@example.org`, password: 'correct horse' }),
    })
    assert.equal(response.status, 200)
    const login = await response.json()
    const call = async (method, path, body) => {
      const answer = await fetch(`${server.url}/api/v1/${path}`, {
        method, headers: { Authorization: `Bearer ${login.access_token}`, 'Content-Type': 'application/json' }, ...(body ? { body: JSON.stringify(body) } : {}),
      })
      assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`)
      return answer.status === 204 ? undefined : answer.json()
    }
    return { name, id: login.user.id, call, token: login.access_token }
  }

  async function visit(options = desk) {
    const context = await browser.newContext(options)
    const page = await context.newPage()
    watch(page, `visitor ${++people}`)
    await page.goto(server.url)
    return page
  }

  /** person registers on the page. */
  async function person(name, options = desk) {
    const page = await visit(options)
    await page.getByRole('button', { name: 'New here?' }).click()
    await page.getByLabel('Username').fill(name)
    await page.getByLabel('E-mail').fill(`${name}@example.org`)
    await page.getByLabel('Password', { exact: true }).fill('correct horse')
    await page.getByRole('button', { name: 'Create account' }).click()
    await page.getByRole('region', { name: 'Conversations' }).waitFor()
    return page
  }

  return {
    server, browser, errors, visit, person, somebody, watch,
    async close() {
      await browser.close()
      await server.close()
    },
  }
}

/** openDirect opens the conversation with somebody through the page. */
export async function openDirect(page, name) {
  await page.getByRole('button', { name: 'New conversation' }).first().click()
  await page.getByLabel('Find a person by username').fill(name)
  await page.getByRole('dialog').getByRole('button', { name: `@${name}` }).click()
  await page.getByRole('textbox', { name: 'Write a message' }).waitFor()
}

export async function openTalk(page, title) {
  await page.getByRole('region', { name: 'Conversations' }).getByRole('link', { name: title }).first().click()
}

export async function say(page, text) {
  const field = page.getByRole('textbox', { name: 'Write a message' })
  await field.fill(text)
  await page.locator('.composer .send').click()
}

export const bubble = (page, text) => page.locator('.message', { has: page.locator('.text', { hasText: text }) })
export const mark = (page, text, label) => bubble(page, text).locator('.mark', { hasText: label })

/** textsOf is every message on screen, in order. */
export const textsOf = (page) => page.locator('.message .text').allInnerTexts()
