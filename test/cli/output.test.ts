import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { createKey } from '../../src/keys/lifecycle.ts'
import { createSim } from '../../src/sim/sim.ts'
import { RUN, startCli, temporaryFolder } from '../support/cli.ts'
import { freePort } from '../support/ports.ts'

const FULL = 'Error: stdout cannot be written: no space left on the device.'

/** Runs it with a full disk (/dev/full) as its stdout or stderr; what it says on the other. */
async function onFullDisk(args: readonly string[], { home = temporaryFolder(), fd = 1 } = {}) {
  const full = openSync('/dev/full', 'w')
  const stdio = ['ignore', 'pipe', 'pipe'] as ('ignore' | 'pipe' | number)[]
  stdio[fd] = full
  const env = { PATH: process.env.PATH, NO_COLOR: '1', COMFY_AUTH_HOME: home }
  const child = spawn(process.execPath, [RUN, ...args], { cwd: home, env, stdio })
  closeSync(full)
  const said = text((fd === 1 ? child.stderr : child.stdout)!)
  const [exitCode] = await once(child, 'close')
  return { exitCode, said: await said }
}

/** Runs it with nobody at the other end of its stdout. */
async function intoClosedPipe(args: readonly string[], home = temporaryFolder()) {
  const child = startCli(args, { home })
  child.stdout.destroy()
  child.stdin.end()
  const said = text(child.stderr)
  const [exitCode] = await once(child, 'close')
  return { exitCode, said: await said }
}

function ringOf(home: string): readonly Record<string, unknown>[] {
  return JSON.parse(readFileSync(join(home, 'keyring.json'), 'utf8')).keys
}

test.each([
  ['--version'],
  ['--help'],
  ['keys list --help'],
  ['keys list'],
  ['keys list --json'],
  ['keygen --no-keyring'],
  ['queue add cat.json'],
  ['queue list --json'],
  ['submit cat.json --dry-run'],
  ['no-such-command --json'],
])('%s on a full disk is told in one line, with exit code 2', async (line) => {
  const home = temporaryFolder()
  writeFileSync(join(home, 'cat.json'), '{"1":{"class_type":"SaveImage","inputs":{}}}')
  expect(await onFullDisk(line.split(' '), { home })).toEqual({ exitCode: 2, said: `${FULL}\n` })
})

test('health speaks its own codes there too', async () => {
  const answer = await onFullDisk(['health', '--json', '--url', 'http://127.0.0.1:1'])
  expect(answer).toEqual({ exitCode: 3, said: `${FULL}\n` })
})

test.each([['--version'], ['--help'], ['keys list'], ['keys list --json']])(
  '%s into a pipe that nobody reads ends quietly, with the code of SIGPIPE',
  async (line) => {
    expect(await intoClosedPipe(line.split(' '))).toEqual({ exitCode: 141, said: '' })
  },
)

test('a stderr that cannot be written costs its words, and nothing else', async () => {
  const listed = await onFullDisk(['keys', 'list', '--json'], { fd: 2 })
  expect({ ...listed, said: JSON.parse(listed.said) }).toEqual({ exitCode: 0, said: { schema: 1, keys: [] } })
  expect(await onFullDisk(['keys', 'show', 'nobody'], { fd: 2 })).toEqual({ exitCode: 2, said: '' })
})

test.each([['keygen'], ['keygen --json'], ['keygen --out a.key --force --print --json']])(
  'a key that nobody has seen is not in the keyring: %s',
  async (line) => {
    const home = temporaryFolder()
    const shown = !line.includes('--out')
    const said = `${FULL}${shown ? ' The key was not recorded.' : ''}\n`
    expect(await onFullDisk(line.split(' '), { home })).toEqual({ exitCode: 2, said })
    // Where it stands in a file, its holder has it.
    expect(ringOf(home)).toHaveLength(shown ? 0 : 1)
    if (!shown) return
    expect((await intoClosedPipe(line.split(' '), home)).exitCode).toBe(141)
    expect(ringOf(home)).toEqual([])
  },
)

test.each([['keys rotate ci --grace 0'], ['keys rotate ci --json']])(
  'where nobody has seen the new key the old one stays what it was: %s',
  async (line) => {
    const home = temporaryFolder()
    await createKey({ keyring: join(home, 'keyring.json'), label: 'ci' })
    const before = ringOf(home)
    const { exitCode, said } = await onFullDisk(line.split(' '), { home })
    expect(exitCode).toBe(2)
    expect(said.trim().split('\n').at(-1)).toBe(`${FULL} The old key stays as it was.`)
    expect(ringOf(home)).toEqual(before)
  },
)

test('serve goes on with a stdout and a stderr that are full', async () => {
  const sim = await createSim()
  onTestFinished(() => sim.close())
  const home = temporaryFolder()
  await createKey({ keyring: join(home, 'keyring.json') })
  const full = openSync('/dev/full', 'w')
  const port = await freePort()
  const args = [RUN, 'serve', '--port', String(port), '--upstream', sim.url]
  const env = { PATH: process.env.PATH, COMFY_AUTH_HOME: home }
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', full, full] })
  closeSync(full)
  const exit = once(child, 'exit')
  const answers = async () => (await fetch(`http://127.0.0.1:${port}/queue`).catch(() => undefined))?.status
  let status: number | undefined
  while (status === undefined && child.exitCode === null) status = await answers()
  child.kill('SIGHUP') // reads the keys again, and says so
  await sleep(300) // more than the files' quiet time
  expect([status, child.exitCode, await answers()]).toEqual([401, null, 401])
  child.kill('SIGTERM')
  expect(await exit).toEqual([0, null])
})
