import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { createSim, type Sim } from '../../src/sim/sim.ts'
import { RUN, startCli, temporaryFolder } from '../support/cli.ts'
import { freePort } from '../support/ports.ts'

const KEY = 'a-key-of-the-guide-kind'

let sim: Sim
beforeAll(async () => {
  sim = await createSim()
})
afterAll(() => sim.close())

function keyFile(): string {
  const path = join(temporaryFolder(), 'api_key.txt')
  writeFileSync(path, `${KEY}\n`, { mode: 0o600 })
  return path
}

/** serve on a free port, with a stdout that is read as far as its greeting alone. */
async function startUnread(args: readonly string[]) {
  const child = startCli(['serve', '--port', '0', '--upstream', sim.url, '--api-key-file', keyFile(), ...args])
  onTestFinished(() => void child.kill('SIGKILL'))
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  let greeting = ''
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    greeting += chunk
    if (/Keys: .*\n/.test(greeting)) break
  }
  child.stdout.pause()
  const url = /http:\/\/127\.0\.0\.1:\d+(?=\/auth_login)/.exec(greeting)![0]
  return { child, url, ended }
}

const status = async (url: string, key = KEY) => (await fetch(url, { headers: { 'x-api-key': key } })).status

test('a log on a stdout that nobody reads holds up no request and no ending', async () => {
  const { child, url, ended } = await startUnread(['--audit-log', '-', '--access-log', '-'])
  const path = `/object_info/${'x'.repeat(240)}`
  for (let round = 0; round < 60; round++) {
    await Promise.all(Array.from({ length: 25 }, () => status(url + path)))
  }
  expect(await status(`${url}/queue`)).toBe(200)
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})

test.each([
  ['a full disk', () => openSync('/dev/full', 'w')],
  ['nobody reads', () => 'pipe' as const],
])('what serve says on %s is lost, and the lock stays', async (_name, output) => {
  const home = temporaryFolder()
  const keys = keyFile()
  const port = await freePort()
  const to = output()
  const args = ['serve', '--port', String(port), '--upstream', sim.url, '--api-key-file', keys, '--audit-log', '-']
  const child = spawn(process.execPath, [RUN, ...args, '--json'], {
    env: { PATH: process.env.PATH, COMFY_AUTH_HOME: home },
    stdio: ['ignore', to, to],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  if (to !== 'pipe') closeSync(to)
  child.stdout?.destroy()
  child.stderr?.destroy()
  const ended = once(child, 'exit')
  const url = `http://127.0.0.1:${port}`
  const answers = (key: string) =>
    expect.poll(() => status(`${url}/queue`, key).catch(() => 0), { timeout: 10_000 }).toBe(200)
  await answers(KEY)
  for (const key of ['the-second-key', 'the-third-key']) {
    writeFileSync(keys, `${key}\n`)
    child.kill('SIGHUP') // tells that it has read them, and the audit log of the refusals
    await answers(key)
  }
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})
