import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createKey } from '../../src/keys/lifecycle.ts'
import { createSim, type Sim } from '../../src/sim/sim.ts'
import { runCli, temporaryFolder } from '../support/cli.ts'
import { type Serving, startServe } from '../support/serve.ts'

let sim: Sim
beforeAll(async () => {
  sim = await createSim()
})
afterAll(() => sim.close())

const asRoot = process.getuid?.() === 0
const NOBODY = 65534

function inPlaceOf(path: string, make: () => unknown): void {
  rmSync(path)
  make()
}

/** What can become of a file; only root can give one away. Where it is read as another user, that is nobody. */
const DAMAGES: readonly [name: string, damage: (path: string) => void, keyring: RegExp, keyFile: RegExp][] = [
  ['cut short', (path) => truncateSync(path, 40), /cut short/, /line 2 .*fewer than 8/],
  ['empty', (path) => truncateSync(path, 0), /is an empty file/, /empty/],
  ['of another type', (path) => writeFileSync(path, Buffer.from([0, 255, 1, 254, 0, 9])), /cut short/, /line 1|text/],
  ['a folder', (path) => inPlaceOf(path, () => mkdirSync(path)), /is a folder/, /is a folder/],
  ['a pipe', (path) => inPlaceOf(path, () => execFileSync('mkfifo', [path])), /is a pipe/, /is a pipe/],
  ['100 MB', (path) => truncateSync(path, 100e6), /is 96 MiB long/, /MiB long/],
  ['not to be read', (path) => chmodSync(path, 0), /permission denied/, /permission denied/],
]

/** In a folder of nobody's: a keyring, a key file and a key of each. */
async function files() {
  const home = temporaryFolder()
  const keyring = join(home, 'keyring.json')
  const keyFile = join(home, 'api_key.txt')
  const { key } = await createKey({ keyring, label: 'admin' })
  writeFileSync(keyFile, '# the file that the guide tells of\na-key-of-the-guide-kind\n', { mode: 0o600 })
  const give = () => {
    if (asRoot) for (const path of [home, keyring, keyFile]) chownSync(path, NOBODY, NOBODY)
  }
  give()
  const as = asRoot ? { home, uid: NOBODY } : { home }
  return { home, keyring, keyFile, key: key!, as, give }
}

const status = async ({ url }: Serving, key: string) =>
  (await fetch(`${url}/queue`, { headers: { 'X-API-Key': key } })).status

test('while serve runs each damage keeps the last good keys, is told once, and is over with the file', {
  timeout: 60_000,
}, async () => {
  const { keyring, keyFile, key, as, give } = await files()
  const serve = await startServe(sim.url, ['--api-key-file', keyFile], as)
  const warnings = () => serve.output().match(/Warning: .*/g) ?? []
  for (const [path, column] of [
    [keyring, 2],
    [keyFile, 3],
  ] as const) {
    const good = readFileSync(path)
    for (const damage of DAMAGES) {
      const before = warnings().length
      damage[1](path)
      await serve.reload()
      await serve.reload()
      const said = warnings().slice(before)
      expect(said, damage[0]).toEqual([expect.stringMatching(damage[column])])
      expect(said[0]).toContain('Its last good state stays in force.')
      expect(said[0]).not.toContain(path)
      expect([await status(serve, key), await status(serve, 'a-key-of-the-guide-kind')]).toEqual([200, 200])
      rmSync(path, { recursive: true })
      writeFileSync(path, good, { mode: 0o600 })
      give()
      await serve.reload()
      expect(warnings().length).toBe(before + 1)
    }
  }
  if (asRoot) {
    chownSync(keyring, 12345, NOBODY)
    chmodSync(keyring, 0o640)
    await serve.reload()
    expect(warnings().at(-1)).toMatch(/The keyring belongs to another user.*last good state/)
    expect(await status(serve, key)).toBe(200)
  }
  expect(serve.output()).not.toMatch(/\n {4}at /)
  expect(await serve.stop()).toBe(0)
})

test.each(DAMAGES)('at the start a keyring or key file that is %s is one error and exit 2', async (...row) => {
  for (const [name, column] of [
    ['keyring', 2],
    ['keyFile', 3],
  ] as const) {
    const { [name]: path, keyFile, as } = await files()
    row[1](path)
    const args = ['serve', '--port', '0', '--upstream', sim.url, '--api-key-file', keyFile]
    const { stdout, stderr, exitCode } = await runCli(args, as)
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 })
    expect(stderr).toMatch(/^Error: .+\n.+\n$/)
    expect(stderr).toMatch(row[column])
    expect(stderr).not.toContain(path)
  }
})

test('a serve.db that is deleted while serve runs is told, and so it is by sessions list', async () => {
  const { home, keyFile, key, as } = await files()
  const serve = await startServe(sim.url, ['--api-key-file', keyFile], as)
  rmSync(join(home, 'serve.db'))
  await serve.says(/serve\.db was deleted or replaced: .* Restart serve; everyone logs in once more\./)
  expect(await status(serve, key)).toBe(200)
  const { stdout } = await runCli(['sessions', 'list'], as)
  expect(stdout).toMatch(/^No browser is logged in\.\nThere is no .*serve\.db: /)
  expect(await serve.stop()).toBe(0)
})
