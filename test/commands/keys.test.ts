import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { beforeAll, expect, test } from 'vitest'
import { formatKeyring } from '../../src/keys/keyring.ts'
import { sqliteSink } from '../../src/keys/last-used.ts'
import { createKey, revokeKey, rotateKey } from '../../src/keys/lifecycle.ts'
import { runCli, temporaryFolder } from '../support/cli.ts'
import { play } from '../support/transcript.ts'

test('a key from its making to its end', async () => {
  await play(`
$ comfy-auth keys list
The keyring holds no key. Make one: comfy-auth keygen
$ comfy-auth keygen --label me > me.key
$ comfy-auth keygen --label ci --role viewer --out ci.key --expires 90d > /dev/null
$ comfy-auth keys list
ID            LABEL  ROLE    STATE  CREATED            EXPIRES            LAST USED
[..]  me     admin   live   [..]Z  never              never
[..]  ci     viewer  live   [..]Z  [..]Z  never
$ comfy-auth keys show ci
id           [..]
label        ci
role         viewer
state        live
created      [..]Z
expires      [..]Z
last used    never
$ comfy-auth keys rotate ci --out ci2.key
Wrote ci2.key (key [..], viewer, ci); [..] works until [..]Z.
$ comfy-auth keys verify < ci.key
Good: key [..], viewer, until [..]Z.
$ comfy-auth keys verify < ci2.key
Good: key [..], viewer, ci, until [..]Z.
$ comfy-auth keys rotate ci --grace 0 --print --out ci3.key
Wrote ci3.key (key [..], viewer, ci); [..] is dead.
comfy_[..]
$ comfy-auth keys verify - < ci2.key
Error: Key [..] is expired.
Make a new one: \`comfy-auth keygen\`.
? 6
$ comfy-auth keys revoke ci
Revoked key [..], ci.
Warning: Key [..], which it replaced, works until [..]Z: end it with \`comfy-auth keys revoke [..]\`.
$ comfy-auth keys revoke ci
Key [..], ci was revoked before.
Warning: Key [..], which it replaced, works until [..]Z: end it with \`comfy-auth keys revoke [..]\`.
$ comfy-auth keys prune --dry-run
Would drop [..], expired
Would drop [..], ci, revoked
Warning: A key file or --api-key that names a dropped key makes it live again, as admin: take it out there too.
$ comfy-auth keys prune
Dropped [..], expired
Dropped [..], ci, revoked
Warning: A key file or --api-key that names a dropped key makes it live again, as admin: take it out there too.
$ comfy-auth keys revoke me
Revoked key [..], me.
Warning: No live admin key is left in the keyring: make one with \`comfy-auth keygen\`.
$ comfy-auth keys revoke nobody
Error: No key in the keyring has this id or label.
See them all: \`comfy-auth keys list\`.
? 2
$ head -c 50 ci.key | comfy-auth keys verify
Error: The key fails its checksum: it was mistyped or cut.
Copy it again, whole: 55 characters from comfy_ on.
? 2
$ comfy-auth keys verify ci.key
Error: \`keys verify\` takes no file: it reads the key from stdin.
Write it as \`comfy-auth keys verify < FILE\`.
? 2
$ comfy-auth keys verify < /dev/null
Error: There is no key on stdin.
Pipe one key in, as in \`comfy-auth keys verify < ci.key\`.
? 2
`)
})

test('a file as the guide makes it is imported, once', async () => {
  await play(`
$ umask 077; printf '\\357\\273\\277# ours\\r\\nmy-secret-key\\r\\n\\r\\n' > api_key.txt; openssl rand -base64 32 >> api_key.txt
$ comfy-auth keys import api_key.txt --label lab
Imported key [..], admin, lab-1
Imported key [..], user, lab-2
$ comfy-auth keys revoke lab-2
Revoked key [..], lab-2.
$ comfy-auth keys import api_key.txt
Key [..], admin, lab-1 was in the keyring already: it is live.
Key [..], user, lab-2 was in the keyring already: it is revoked.
$ comfy-auth keys import api_key.txt --role viewer --label guest
Key [..], admin, lab-1 was in the keyring already: it is live.
Key [..], user, lab-2 was in the keyring already: it is revoked.
--role and --label were not applied to keys that were there already.
$ printf my-secret-key | comfy-auth keys verify
Good: key [..], admin, lab-1.
$ echo another-secret | comfy-auth keys import - --role viewer
Imported key [..], viewer
$ comfy-auth keys import none.txt
Error: The key file does not exist.
Make one with \`comfy-auth keygen --out FILE\`, or correct its name.
? 2
$ echo '# nobody' > none.txt; comfy-auth keys import none.txt
Error: The key file holds no key.
Write one key a line; lines that begin with # are comments.
? 2
`)
})

test('each command has its JSON, and none of it holds a digest', async () => {
  const home = temporaryFolder()
  const keyring = join(home, 'keyring.json')
  const made = await createKey({ keyring, label: 'ci' })
  const db = new DatabaseSync(join(home, 'serve.db'))
  sqliteSink(db).write(new Map([[made.id!, Date.UTC(2026, 10, 24)]]))
  db.close()
  const json = async (args: string[], stdin = '') => {
    const { stdout, stderr, exitCode } = await runCli([...args, '--json'], { home, stdin })
    expect({ stderr, exitCode }, args.join(' ')).toEqual({ stderr: '', exitCode: 0 })
    expect(stdout).not.toMatch(/[0-9a-f]{64}/)
    return JSON.parse(stdout)
  }
  const described = {
    id: made.id,
    label: 'ci',
    role: 'admin',
    state: 'live',
    created: expect.stringMatching(/Z$/),
    expires: null,
    revoked: null,
    replacedBy: null,
    lastUsed: '2026-11-24T00:00:00.000Z',
  }
  expect(await json(['keys', 'list'])).toEqual({ schema: 1, keys: [described] })
  expect(await json(['keys', 'show', 'ci'])).toEqual({ schema: 1, ...described })
  expect(await json(['keys', 'verify'], made.key)).toMatchObject({ schema: 1, id: made.id, state: 'live' })
  const rotated = await json(['keys', 'rotate', 'ci', '--grace', '1h'])
  expect(rotated).toMatchObject({
    schema: 1,
    label: 'ci',
    replaces: made.id,
    key: expect.stringMatching(/^comfy_/),
    path: null,
  })
  expect(await json(['keys', 'revoke', made.id!])).toMatchObject({ state: 'revoked', already: false })
  expect(await json(['keys', 'import', '-'], 'my-secret-key')).toMatchObject({ added: [{ role: 'user' }], known: 0 })
  const again = await json(['keys', 'import', '-', '--role', 'viewer', '--expires', '1d'], 'my-secret-key')
  expect(again).toMatchObject({ added: [], known: 1, notApplied: ['role', 'expires'] })
  expect(again.already).toMatchObject([{ id: expect.stringMatching(/^\w{12}$/), role: 'user', state: 'live' }])
  expect(await json(['keys', 'prune'])).toMatchObject({ dryRun: false, pruned: [{ id: made.id }] })
})

test('JSON of a key that is dead says which it is', async () => {
  const home = temporaryFolder()
  const made = await createKey({ keyring: join(home, 'keyring.json') })
  await revokeKey(join(home, 'keyring.json'), made.id!)
  const { stdout, exitCode } = await runCli(['keys', 'verify', '--json'], { home, stdin: made.key })
  expect(exitCode).toBe(6)
  expect(JSON.parse(stdout).error).toMatchObject({ code: 'unauthorised', id: made.id, state: 'revoked' })
})

test('the keyring can come from the environment', async () => {
  const keyring = join(temporaryFolder(), 'mine.json')
  const made = await createKey({ keyring, label: 'ci' })
  const { stdout } = await runCli(['keys', 'list', '--json'], { env: { COMFY_AUTH_KEYRING: keyring } })
  expect(JSON.parse(stdout).keys).toMatchObject([{ id: made.id }])
})

let good: string
beforeAll(() => {
  good = formatKeyring([])
})

test.each<[string, (path: string) => void, RegExp]>([
  ['empty', (path) => writeFileSync(path, ''), /is an empty file/],
  ['cut short', (path) => writeFileSync(path, good.slice(0, 20)), /not JSON, or was cut short/],
  ['of another type', (path) => writeFileSync(path, '[1, 2]'), /not a JSON object/],
  ['binary', (path) => writeFileSync(path, Buffer.from([0, 255, 1, 254])), /not JSON, or was cut short/],
  [
    'of a newer version',
    (path) => writeFileSync(path, '{"version":99,"keys":[]}'),
    /has version 99; this comfy-auth knows 1/,
  ],
  ['a folder', (path) => mkdirSync(path), /The keyring is a folder/],
  ['a pipe', (path) => execFileSync('mkfifo', [path]), /The keyring is a pipe/],
  [
    '100 MB',
    (path) => {
      writeFileSync(path, '')
      truncateSync(path, 100e6)
    },
    /The keyring is 96 MiB long/,
  ],
])(
  'a keyring that is %s is one error and exit 2, for reading and for writing, and is left as it is',
  async (_name, damage, message) => {
    const home = temporaryFolder()
    damage(join(home, 'keyring.json'))
    for (const args of [['keys', 'list'], ['keygen']]) {
      const { stdout, stderr, exitCode } = await runCli(args, { home })
      expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 })
      expect(stderr).toMatch(/^Error: .+\n.+\n$/)
      expect(stderr).toMatch(message)
    }
  },
)

test("a keyring that this user cannot read, or that is another user's, is one error and exit 2", async () => {
  const asRoot = process.getuid?.() === 0
  const home = temporaryFolder()
  const keyring = join(home, 'keyring.json')
  chmodSync(home, 0o755)
  writeFileSync(keyring, good, { mode: 0o600 })
  if (!asRoot) chmodSync(keyring, 0)
  const as = asRoot ? { home, uid: 65534 } : { home }
  expect(await runCli(['keys', 'list'], as)).toEqual({
    stdout: '',
    stderr: 'Error: The keyring cannot be read: permission denied.\nLet this user read it, or name another file.\n',
    exitCode: 2,
  })
  if (!asRoot) return // only root can give a file away
  chownSync(keyring, 12345, 12345)
  chmodSync(keyring, 0o644)
  expect(await runCli(['keys', 'list'], as)).toEqual({
    stdout: '',
    stderr: 'Error: The keyring belongs to another user.\nMake it your own (chown), or name another file.\n',
    exitCode: 2,
  })
})

test('a keyring that others may read is used, with a warning', async () => {
  const home = temporaryFolder()
  await createKey({ keyring: join(home, 'keyring.json'), label: 'ci' })
  chmodSync(join(home, 'keyring.json'), 0o644)
  const { stderr, exitCode, stdout } = await runCli(['keys', 'list', '--json'], { home })
  expect(stderr).toBe('Warning: Other users may read the keyring: run `chmod 600` on it.\n')
  expect({ exitCode, keys: JSON.parse(stdout).keys.length }).toEqual({ exitCode: 0, keys: 1 })
  await runCli(['keygen'], { home })
  expect(readFileSync(join(home, 'keyring.json'), 'utf8').match(/sha256/g)).toHaveLength(2)
})

test.runIf(process.getuid?.() === 0)("a key that root revokes is revoked in its owner's keyring", async () => {
  const home = temporaryFolder()
  chownSync(home, 65534, 65534)
  expect(await runCli(['keygen', '--label', 'lab'], { home })).toMatchObject({ exitCode: 0 })
  const owner = { home, uid: 65534 }
  expect(await runCli(['keygen', '--label', 'ci'], owner)).toMatchObject({ exitCode: 0, stderr: '' })
  expect(await runCli(['keys', 'revoke', 'ci'], { home })).toMatchObject({ exitCode: 0 })
  const { stdout } = await runCli(['keys', 'list', '--json'], owner)
  expect(JSON.parse(stdout).keys).toMatchObject([{ state: 'live' }, { state: 'revoked' }])
})

test('revoking a rotated key tells of its predecessor, which is in its grace time, and how to end it', async () => {
  const home = temporaryFolder()
  const keyring = join(home, 'keyring.json')
  const { id } = await createKey({ keyring, label: 'ci' })
  await rotateKey(keyring, { name: 'ci', graceMs: 3_600_000 })
  const text = await runCli(['keys', 'revoke', 'ci'], { home })
  expect(text.stderr).toMatch(`Warning: Key ${id}, which it replaced, works until `)
  expect(text.stderr).toMatch(`: end it with \`comfy-auth keys revoke ${id}\`.\n`)
  const json = JSON.parse((await runCli(['keys', 'revoke', 'ci', '--json'], { home })).stdout)
  expect(json).toMatchObject({ already: true, predecessors: [{ id, state: 'live' }] })
  await runCli(['keys', 'revoke', id!], { home })
  expect(JSON.parse((await runCli(['keys', 'revoke', 'ci', '--json'], { home })).stdout).predecessors).toEqual([])
})
