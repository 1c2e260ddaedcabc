import { readFileSync } from 'node:fs'
import test, { type TestContext } from 'node:test'

const list = new URL('../../../scenarios/scenarios.json', import.meta.url)
const { scenarios } = JSON.parse(readFileSync(list, 'utf8')) as { scenarios: { name: string }[] }

/** scenario is a test of the list that all SDKs share. */
export function scenario(name: string, body: (t: TestContext) => Promise<void> | void): void {
  if (!scenarios.some((s) => s.name === name)) throw new Error(`sdk/scenarios does not list "${name}"`)
  test(name, { timeout: 60_000 }, body)
}
