import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseKey } from '../../src/keys/format.ts'
import { runCli, temporaryFolder } from '../support/cli.ts'
import { play } from '../support/transcript.ts'

const KEY = /^comfy_\w{49}\n$/

test('in a pipe stdout is the key and nothing else, and nothing stands on stderr', async () => {
  const { stdout, stderr, exitCode } = await runCli(['keygen'])
  expect(stdout).toMatch(KEY)
  expect(parseKey(stdout.trim())).toEqual({ kind: 'ok' })
  expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
})

test('sessions as people have them', async () => {
  await play(`
$ KEY=$(comfy-auth keygen --label lab) && echo $KEY | comfy-auth keys verify
Good: key [..], admin, lab.
$ comfy-auth keygen > f && wc -l < f
1
$ comfy-auth keygen --label ci --role user --out ci.key
Wrote ci.key (key [..], user, ci)
$ stat -c %a ci.key; wc -c < ci.key
600
56
$ comfy-auth keygen --out ci.key
Error: The output file exists already.
Name another file, or add --force to replace it.
? 2
$ comfy-auth keygen --out ci.key --force --print
Wrote ci.key (key [..], user)
comfy_[..]
$ comfy-auth keygen --label ci
Error: A live key has this label already.
Choose another label, or revoke that key first: \`comfy-auth keys revoke LABEL\`.
? 2
$ comfy-auth keygen --no-keyring --out elsewhere.key
Wrote elsewhere.key (recorded nowhere, admin)
$ comfy-auth keys verify < elsewhere.key
Error: The keyring does not know this key.
Is it for another server, or pruned? See \`comfy-auth keys list\`.
? 6
$ comfy-auth keygen --keyring other.json > /dev/null && grep -c sha256 other.json
1
$ comfy-auth keygen --label guest --expires 2001-01-01
Error: The expiry lies in the past: the key would be dead at once.
Give a duration such as --expires 90d, or a later date.
? 2
`)
})

test('--out - is stdout, and a label that holds a key is not repeated', async () => {
  const cwd = temporaryFolder()
  const { stdout, exitCode } = await runCli(['keygen', '--out', '-', '--force', '--print'], { cwd })
  expect({ exitCode, key: stdout }).toEqual({ exitCode: 0, key: expect.stringMatching(KEY) })
  expect(existsSync(join(cwd, '-'))).toBe(false)
  const label = await runCli(['keygen', '--label', stdout.trim()])
  expect(label).toEqual({
    stdout: '',
    stderr: 'Error: The label holds a key.\nLogs and lists show labels: name who holds the key, as in --label ci.\n',
    exitCode: 2,
  })
  const unrecorded = await runCli(['keygen', '--no-keyring', '--label', 'ci'])
  expect(unrecorded).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--no-keyring and --label') })
})

test('JSON has the key only where text would print it', async () => {
  const out = join(temporaryFolder(), 'ci.key')
  const shown = JSON.parse((await runCli(['keygen', '--json'])).stdout)
  expect(shown).toEqual({
    schema: 1,
    id: expect.any(String),
    label: null,
    role: 'admin',
    expires: null,
    path: null,
    key: expect.stringMatching(/^comfy_/),
  })
  const kept = JSON.parse((await runCli(['keygen', '--json', '--out', out, '--expires', '1h'])).stdout)
  expect(kept).not.toHaveProperty('key')
  expect(kept).toMatchObject({ path: out, expires: expect.stringMatching(/^\d{4}-.+Z$/) })
  expect(JSON.parse((await runCli(['keygen', '--json', '--out', out, '--force', '--print'])).stdout).key).toMatch(
    /^comfy_/,
  )
})

test('an output that is a symbolic link, a folder or in a folder that cannot be written makes no key', async () => {
  const folder = temporaryFolder()
  const home = temporaryFolder()
  symlinkSync('target', join(folder, 'link'))
  mkdirSync(join(folder, 'folder'))
  const cases = [
    ['link', 'The output file is a symbolic link'],
    ['folder', 'The output file is a folder.'],
    ['none/ci.key', 'The output file cannot be written: no such file or folder.'],
  ] as const
  for (const [out, message] of cases) {
    const { stderr, exitCode } = await runCli(['keygen', '--out', out, '--force'], { cwd: folder, home })
    expect(exitCode).toBe(2)
    expect(stderr).toContain(`Error: ${message}`)
  }
  expect(existsSync(join(home, 'keyring.json'))).toBe(false)
})

test('a folder that this user cannot write is one line and exit 2', async () => {
  const folder = temporaryFolder()
  const home = temporaryFolder()
  chmodSync(folder, 0o555)
  chmodSync(home, 0o755)
  const asRoot = process.getuid?.() === 0
  const { stderr, exitCode } = await runCli(['keygen', '--no-keyring', '--out', join(folder, 'ci.key')], {
    home,
    ...(asRoot ? { uid: 65534 } : {}),
  })
  expect(stderr).toBe(
    'Error: The output file cannot be written: permission denied.\nName a file in a folder that you can write.\n',
  )
  expect(exitCode).toBe(2)
})

/** COMFY_AUTH_TEST_WRITERS raises it: 50 were run before this file was written. */
const WRITERS = Number(process.env.COMFY_AUTH_TEST_WRITERS ?? 16)

test(`${WRITERS} keygen processes at once make ${WRITERS} records, one admin among them`, {
  timeout: 60_000,
}, async () => {
  const home = temporaryFolder()
  const runs = await Promise.all(Array.from({ length: WRITERS }, () => runCli(['keygen'], { home })))
  expect(new Set(runs.map(({ stdout }) => stdout)).size).toBe(WRITERS)
  for (const run of runs) expect(run).toMatchObject({ exitCode: 0, stderr: '', stdout: expect.stringMatching(KEY) })
  const { keys } = JSON.parse(readFileSync(join(home, 'keyring.json'), 'utf8'))
  expect(keys).toHaveLength(WRITERS)
  expect(keys.filter((key: { role: string }) => key.role === 'admin')).toHaveLength(1)
  expect(statSync(join(home, 'keyring.json')).mode & 0o777).toBe(0o600)
})
