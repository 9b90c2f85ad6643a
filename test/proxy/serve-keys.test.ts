import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { createKey, revokeKey, rotateKey } from '../../src/keys/lifecycle.ts'
import { createSim, type Sim } from '../../src/sim/sim.ts'
import { RUN, runCli, temporaryFolder } from '../support/cli.ts'
import { type Serving, startServe } from '../support/serve.ts'

let sim: Sim
beforeAll(async () => {
  sim = await createSim()
})
afterAll(() => sim.close())

/** A keyring with an admin in it, and serve with it. */
async function house() {
  const home = temporaryFolder()
  const keyring = join(home, 'keyring.json')
  const admin = await createKey({ keyring, label: 'admin' })
  const serve = await startServe(sim.url, [], { home })
  return { home, keyring, admin: admin.key, serve }
}

const status = async (serve: Serving, headers: Record<string, string>) =>
  (await fetch(`${serve.url}/queue`, { headers })).status
const by = (key: string) => ({ 'X-API-Key': key })

async function logIn({ url }: Serving, key: string): Promise<{ Cookie: string }> {
  const { headers } = await fetch(`${url}/auth_login.html`, {
    method: 'POST',
    body: new URLSearchParams({ api_key: key }),
    redirect: 'manual',
  })
  return { Cookie: headers.getSetCookie()[0]!.split(';')[0]! }
}

/** An open socket, and when it was closed with which code. */
async function socket({ url }: Serving, headers: Record<string, string>) {
  const opened = new WebSocket(`${url.replace('http', 'ws')}/ws`, { headers })
  const closed = once(opened, 'close').then(([code]) => ({ code: code as number, atMs: Date.now() }))
  await once(opened, 'open')
  return { closed }
}

/** All that hangs on a key, open: sockets by key and by session, and a session. */
async function everything(serve: Serving, key: string) {
  const session = await logIn(serve, key)
  expect([await status(serve, by(key)), await status(serve, session)]).toEqual([200, 200])
  return { session, sockets: [await socket(serve, by(key)), await socket(serve, session)] }
}

/** Asks again and again, as a loop of curl does, until it is refused; when that was. */
async function refusedAt(serve: Serving, headers: Record<string, string>): Promise<number> {
  while ((await status(serve, headers)) === 200);
  return Date.now()
}

type Open = Awaited<ReturnType<typeof everything>>

/** From `sinceMs` on, within a second, the key opens nothing any more: HTTP, session and sockets. */
async function allGone(serve: Serving, key: string, open: Open, sinceMs: number) {
  const refused = await Promise.all([refusedAt(serve, by(key)), refusedAt(serve, open.session)])
  const closed = await Promise.all(open.sockets.map((one) => one.closed))
  expect(closed.map(({ code }) => code)).toEqual([4401, 4401])
  for (const atMs of [...refused, ...closed.map((end) => end.atMs)]) {
    expect(atMs - sinceMs).toBeGreaterThanOrEqual(0)
    expect(atMs - sinceMs).toBeLessThan(1_000)
  }
}

test('keys revoke bites within a second of its return: a loop of requests, the session, open sockets', async () => {
  const { home, keyring, admin, serve } = await house()
  const made = await createKey({ keyring, label: 'ci', role: 'user' })
  await serve.reload()
  const open = await everything(serve, made.key)
  let returnedMs = Number.POSITIVE_INFINITY
  const revoked = runCli(['keys', 'revoke', 'ci'], { home }).then(({ exitCode }) => {
    returnedMs = Date.now()
    expect(exitCode).toBe(0)
  })
  const closed = Promise.all(open.sockets.map((one) => one.closed))
  const refused = await Promise.all([refusedAt(serve, by(made.key)), refusedAt(serve, open.session)])
  await revoked
  for (const { code, atMs } of await closed) {
    expect(code).toBe(4401)
    expect(atMs - returnedMs).toBeLessThan(1_000)
  }
  for (const atMs of refused) expect(atMs - returnedMs).toBeLessThan(1_000)
  expect(await status(serve, by(admin))).toBe(200)
})

test('without a terminal: no key yet is told from keys that are all dead', async () => {
  const home = temporaryFolder()
  const start = () => runCli(['serve', '--port', '0', '--upstream', sim.url], { home })
  expect(await start()).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/^Error: There is no key yet,/) })
  const { id } = await createKey({ keyring: join(home, 'keyring.json') })
  await revokeKey(join(home, 'keyring.json'), id!)
  expect(await start()).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/^Error: Every key has expired or was revoked, so nobody could come in\.\n.*keygen/),
  })
})

test('on a terminal the first key is made and shown, and nothing is said of keys that were read again', async () => {
  const home = temporaryFolder()
  const line = `'${process.execPath}' '${RUN}' serve --port 0 --drain 0s --upstream ${sim.url}`
  const child = spawn('script', ['-qec', line, '/dev/null'], {
    env: { PATH: process.env.PATH, COMFY_AUTH_HOME: home, NO_COLOR: '1' },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let seen = ''
  const greeted = new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk) => {
      seen += chunk
      if (seen.includes('Keys:    1.')) resolve()
    })
  })
  await greeted
  const key = /Made the first key, an admin's[\s\S]*?(comfy_\w{49})\r\n/.exec(seen)![1]!
  const url = /Log in: +(http:\/\/[^/]+)\//.exec(seen)![1]!
  expect((await fetch(`${url}/queue`, { headers: by(key) })).status).toBe(200)
  const ended = once(child, 'exit')
  child.stdin.write('\u0003')
  await ended
  expect(seen).not.toContain('read again')
})

test('a key revoked while nothing ran has no session any more at the next start', async () => {
  const { home, keyring, serve } = await house()
  const made = await createKey({ keyring, label: 'ci', role: 'user' })
  await serve.reload()
  await logIn(serve, made.key)
  const listed = async () => JSON.parse((await runCli(['sessions', 'list', '--json'], { home })).stdout).sessions.length
  await expect.poll(listed, { timeout: 10_000 }).toBe(1)
  expect(await serve.stop()).toBe(0)
  await revokeKey(keyring, 'ci')
  await startServe(sim.url, [], { home })
  await expect.poll(listed, { timeout: 10_000 }).toBe(0)
})

test('an expiry does the same without a change of any file', async () => {
  const { keyring, serve } = await house()
  const made = await createKey({ keyring, role: 'user', expires: new Date(Date.now() + 3_600_000) })
  await serve.reload()
  const open = await everything(serve, made.key)
  const end = new Date(Date.now() + 2_000)
  const text = readFileSync(keyring, 'utf8')
  writeFileSync(keyring, text.replace(/"expires":"[^"]+"/, `"expires":"${end.toISOString()}"`))
  await serve.reload()
  await allGone(serve, made.key, open, end.getTime())
})

test('so does the end of a rotation’s grace, and the new key goes on', async () => {
  const { keyring, serve } = await house()
  const old = await createKey({ keyring, label: 'ci', role: 'user' })
  await serve.reload()
  const open = await everything(serve, old.key)
  const endMs = Date.now() + 2_000
  const next = await rotateKey(keyring, { name: 'ci', graceMs: 2_000 })
  await allGone(serve, old.key, open, endMs)
  expect(await status(serve, by(next.key))).toBe(200)
})

test('reloads under full load drop no request, and no revoked key comes in after one', {
  timeout: 60_000,
}, async () => {
  const { keyring, admin, serve } = await house()
  const ROUNDS = 24
  const keys: { key: string; id: string }[] = []
  for (let i = 0; i < ROUNDS; i++)
    keys.push((await createKey({ keyring, role: 'user' })) as { key: string; id: string })
  await serve.reload()

  const agent = new Agent({ keepAlive: true, maxSockets: 24 })
  const ask = (key: string) =>
    new Promise<number>((resolve, reject) => {
      const sent = request(`${serve.url}/features`, { agent, headers: by(key) }, (answer) => {
        answer
          .resume()
          .once('end', () => resolve(answer.statusCode!))
          .once('error', reject)
      })
      sent.once('error', reject).end()
    })
  const answers = new Map<string, number>()
  const dead: string[] = []
  let loading = true
  const load = Array.from({ length: 20 }, async (_, number) => {
    for (let turn = number; loading || (answers.get('live 200') ?? 0) < 2_000; turn++) {
      const isDead = dead.length > 0 && turn % 4 === 0
      const said = await ask(isDead ? dead[turn % dead.length]! : admin).catch((error: Error) => error.message)
      const line = `${isDead ? 'dead' : 'live'} ${said}`
      answers.set(line, (answers.get(line) ?? 0) + 1)
    }
  })
  for (const [round, { key, id }] of keys.entries()) {
    expect(await ask(key)).toBe(200)
    await revokeKey(keyring, id)
    if (round % 3 === 1) writeFileSync(keyring, readFileSync(keyring)) // edited in place
    if (round % 3 === 2) {
      const text = readFileSync(keyring)
      unlinkSync(keyring)
      writeFileSync(keyring, text, { mode: 0o600 })
    }
    await serve.reload()
    expect(await ask(key)).toBe(401)
    dead.push(key)
  }
  loading = false
  await Promise.all(load)
  agent.destroy()
  expect([...answers.keys()].sort()).toEqual(['dead 401', 'live 200'])
  expect(serve.output().match(/Keys were read again/g)!.length).toBeGreaterThanOrEqual(ROUNDS)
})

test('a file replaced, edited in place, deleted and made anew is followed by itself', async () => {
  const { keyring, admin, serve } = await house()
  const [first, second, third] = [
    await createKey({ keyring }),
    await createKey({ keyring }),
    await createKey({ keyring }),
  ]
  await serve.reload()
  const without = (id: string | undefined) => {
    const json = JSON.parse(readFileSync(keyring, 'utf8'))
    return JSON.stringify({ ...json, keys: json.keys.filter((key: { id: string }) => key.id !== id) })
  }
  writeFileSync(`${keyring}.new`, without(first.id), { mode: 0o600 })
  renameSync(`${keyring}.new`, keyring)
  await refusedAt(serve, by(first.key!))
  expect(await status(serve, by(second.key!))).toBe(200)
  writeFileSync(keyring, without(second.id))
  await refusedAt(serve, by(second.key!))
  const last = without(third.id)
  unlinkSync(keyring)
  await serve.says(/The keyring is gone/)
  expect(await status(serve, by(third.key!))).toBe(200) // damage takes nobody's key away
  writeFileSync(keyring, last, { mode: 0o600 })
  await refusedAt(serve, by(third.key!))
  expect(await status(serve, by(admin))).toBe(200)
})

test('keys list shows the last use while serve runs, and using a key never touches the keyring', async () => {
  const { home, keyring, admin, serve } = await house()
  const before = statSync(keyring, { bigint: true })
  const lastUsed = async () => JSON.parse((await runCli(['keys', 'list', '--json'], { home })).stdout).keys[0].lastUsed
  expect(await lastUsed()).toBeNull()
  const sinceMs = Date.now()
  for (let i = 0; i < 20; i++) await status(serve, by(admin))
  await expect.poll(lastUsed, { timeout: 5_000 }).not.toBeNull()
  expect(Date.parse(await lastUsed())).toBeGreaterThanOrEqual(sinceMs)
  const after = statSync(keyring, { bigint: true })
  expect([after.mtimeNs, after.ino]).toEqual([before.mtimeNs, before.ino])
})

test('a --keyring that is not there is told of, though a key of another kind opens the door; the default one is not', async () => {
  const env = { COMFYUI_API_KEY: 'a-key-of-the-guide-kind' }
  const missing = join(temporaryFolder(), 'no-such.json')
  const named = await startServe(sim.url, ['--keyring', missing], { env })
  expect(named.output()).toContain('Warning: There is no file where --keyring points')
  expect(named.output()).not.toContain('no-such')
  const unnamed = await startServe(sim.url, [], { env })
  expect(unnamed.output()).not.toContain('There is no file')
})
