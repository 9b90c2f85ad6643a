import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createSim, type Sim } from '../../src/sim/sim.ts'
import { startCli, temporaryFolder } from '../support/cli.ts'
import { closers } from '../support/closers.ts'
import { follow } from '../support/follow.ts'
import { freePort } from '../support/ports.ts'

const KEY = 'a-key-of-the-guide-kind'

let sim: Sim

beforeAll(async () => {
  sim = await createSim()
})

afterAll(() => sim.close())

function serve(args: readonly string[], env: Record<string, string> = {}) {
  const child = startCli(args, { env })
  const followed = follow(child)
  closers.push(() => {
    child.kill('SIGKILL')
    return followed.ended()
  })
  return { ...followed, child }
}

/** Starts serve on a free port, and waits until it stands. */
async function started(args: readonly string[], env: Record<string, string> = {}) {
  const upstream = args.includes('--upstream') ? [] : ['--upstream', sim.url]
  const run = serve(['serve', '--port', '0', ...upstream, ...args], env)
  const output = await run.says(/Keys: .*|Open to everyone.*/)
  return { ...run, url: /http:\/\/127\.0\.0\.1:\d+(?=\/comfy|\/auth_login|\.$)/m.exec(output)![0] }
}

function keyFile(...keys: string[]): string {
  const path = join(temporaryFolder(), 'api_key.txt')
  writeFileSync(path, `# keys\n${keys.join('\n')}\n`, { mode: 0o600 })
  return path
}

const status = async (url: string, key?: string) =>
  (await fetch(url, { headers: key === undefined ? {} : { authorization: `Bearer ${key}` } })).status

describe('starts', () => {
  test('with a key file: says where, how many keys, what is open, and guards ComfyUI', async () => {
    const { url, output } = await started(['--api-key-file', keyFile(KEY, 'another-key')])
    expect(output()).toMatch(/guards ComfyUI at http:\/\/127.0.0.1:\d+ \(it answers, version 0\.33\.0\)/)
    expect(output()).toContain(`Log in:  ${url}/auth_login.html`)
    expect(output()).toMatch(/Keys:\s+2\. Open without one: \/health, the login page, the page's static files\./)
    expect(await status(`${url}/queue`)).toBe(401)
    expect(await status(`${url}/queue`, KEY)).toBe(200)
    expect(output()).not.toContain(KEY)
  })

  test('with keys of every source together', async () => {
    const credentials = temporaryFolder()
    writeFileSync(join(credentials, 'api_key'), 'key-of-systemd\n', { mode: 0o600 })
    const { url, output } = await started(['--api-key', 'key-of-the-flag'], {
      COMFYUI_API_KEY: 'key-of-the-environment',
      COMFYUI_API_KEY_FILE: keyFile('key-of-a-file'),
      CREDENTIALS_DIRECTORY: credentials,
    })
    for (const key of ['key-of-the-flag', 'key-of-the-environment', 'key-of-a-file', 'key-of-systemd']) {
      expect(await status(`${url}/queue`, key), key).toBe(200)
    }
    expect(output()).toMatch(/Warning: --api-key shows the key/)
    expect(output()).not.toContain('key-of-')
  })

  test('before an upstream that is down, and serves as soon as it comes', async () => {
    const port = await freePort()
    const run = serve([
      'serve',
      '--port',
      '0',
      '--upstream',
      `http://127.0.0.1:${port}`,
      '--api-key-file',
      keyFile(KEY),
    ])
    const output = await run.says(/Keys: /)
    expect(output).toMatch(/it does not answer yet, ECONNREFUSED; waiting for it/)
    expect(output.match(/not answer/g)).toHaveLength(1)
    const url = /http:\/\/127\.0\.0\.1:\d+(?=\/auth_login)/.exec(output)![0]
    expect(await status(`${url}/queue`, KEY)).toBe(503)
    const now = await createSim({ port })
    expect(await status(`${url}/queue`, KEY)).toBe(200)
    await run.says(/answers\.\n/)
    await now.close()
  })

  test('everywhere: says an address that can be opened; below a path: where everything is', async () => {
    const everywhere = ['--listen', '0.0.0.0', '--base-path', '/comfy', '--exempt-path', '/my-node/*']
    const { output, url } = await started(['--api-key-file', keyFile(KEY), ...everywhere])
    expect(output()).not.toContain('//0.0.0.0')
    expect(await status(`${url}/comfy/queue`, KEY)).toBe(200)
    expect(output()).toMatch(/Log in: {2}http:\/\/127\.0\.0\.1:\d+\/comfy\/auth_login\.html/)
    expect(output()).toContain(
      "Open without one: /comfy/health, the login page, the page's static files, /comfy/my-node/*.",
    )
  })

  test('open with --no-auth, and warns', async () => {
    const { url, says } = await started(['--no-auth'])
    await says(/Warning: --no-auth/)
    expect(await status(`${url}/queue`)).toBe(200)
  })

  test('as JSON lines for programs', async () => {
    const run = serve(['serve', '--port', '0', '--upstream', sim.url, '--api-key-file', keyFile(KEY), '--json'])
    const output = await run.says(/"listening".*\n/)
    const line = output.split('\n').find((text) => text.startsWith('{'))!
    expect(JSON.parse(line)).toMatchObject({ schema: 1, event: 'listening', keys: 1, upstream: { state: 'comfyui' } })
    run.child.kill('SIGTERM')
    expect(await run.ended()).toBe(0)
    expect(run.output()).toContain('{"schema":1,"event":"stopped"}')
  })

  test('warns of a key file that others may read, and of what is no ComfyUI', async () => {
    const file = keyFile(KEY)
    chmodSync(file, 0o644)
    const other = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')).listen(
      0,
      '127.0.0.1',
    )
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const run = serve(['serve', '--port', '0', '--upstream', `http://127.0.0.1:${port}`, '--api-key-file', file])
    await run.says(/Warning: .*is no ComfyUI/)
    expect(run.output()).toMatch(/chmod 600/)
    other.close()
  })
})

describe('refuses to start, with exit 2 and what to do', () => {
  const CASES: readonly [string, readonly string[], RegExp][] = [
    ['no key anywhere', [], /no key yet[\s\S]*comfy-auth keygen/],
    ['two upstreams', ['--upstream', 'http://127.0.0.1:1', '--upstream', 'http://127.0.0.1:2'], /more than once/],
    ['serve -- COMMAND', ['--', 'python3', 'main.py'], /serve -- COMMAND[\s\S]*--upstream/],
    ['--no-auth for the network', ['--no-auth', '--listen', '0.0.0.0'], /--allow-insecure-bind/],
    ['a bare --listen without a lock', ['--no-auth', '--listen'], /--allow-insecure-bind/],
    ['--no-auth beside a key', ['--no-auth', '--api-key', 'secret-secret'], /--no-auth/],
    ['a key file that is not there', ['--api-key-file', '/nowhere/api_key.txt'], /key file/i],
    ['a key as an argument', ['comfy_secretsecretsecret'], /./],
    ['an audit log in no folder', ['--api-key-file', 'FILE', '--audit-log', '/nowhere/log'], /--audit-log.*no such/],
    ['an audit log that is a folder', ['--api-key-file', 'FILE', '--audit-log', '/tmp'], /--audit-log.*a folder/],
    ['an access log in no folder', ['--api-key-file', 'FILE', '--access-log', '/nowhere/log'], /--access-log.*no such/],
    ['a size for no log', ['--api-key-file', 'FILE', '--audit-max-size', '1MiB'], /--audit-max-size.*--access-log/s],
    ['everything exempt', ['--api-key-file', 'FILE', '--exempt-path', '/*'], /--exempt-path/],
  ]
  for (const [name, args, message] of CASES) {
    test(name, async () => {
      const file = keyFile(KEY)
      const run = serve(['serve', '--port', '0', ...args.map((word) => (word === 'FILE' ? file : word))])
      expect(await run.ended()).toBe(2)
      expect(run.output()).toMatch(message)
      expect(run.output()).not.toMatch(/secret|\n {4}at /)
    })
  }

  test('a port in use', async () => {
    const run = serve([
      'serve',
      '--port',
      String(sim.port),
      '--upstream',
      'http://127.0.0.1:1',
      '--api-key-file',
      keyFile(KEY),
    ])
    expect(await run.ended()).toBe(2)
    expect(run.output()).toMatch(new RegExp(`Port ${sim.port} is in use[\\s\\S]*--port`))
  })
})

describe('while it runs', () => {
  test('a key file that changes is read again: a new key comes in, a removed one goes out with its socket', async () => {
    const file = keyFile(KEY, 'key-to-be-removed')
    const { url } = await started(['--api-key-file', file])
    const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`, { headers: { 'x-api-key': 'key-to-be-removed' } })
    const close = once(socket, 'close')
    await once(socket, 'open')
    writeFileSync(file, `${KEY}\nkey-that-is-new\n`, { mode: 0o600 })
    expect((await close)[0]).toBe(4401)
    expect(await status(`${url}/queue`, 'key-to-be-removed')).toBe(401)
    expect(await status(`${url}/queue`, 'key-that-is-new')).toBe(200)
    expect(await status(`${url}/queue`, KEY)).toBe(200)
  })

  test('SIGHUP reads the keys again', async () => {
    const run = await started(['--api-key-file', keyFile(KEY)])
    run.child.kill('SIGHUP')
    await run.says(/Keys were read again: 1 open the door/)
    expect(await status(`${run.url}/queue`, KEY)).toBe(200)
  })

  test('a SIGHUP before it stands is remembered: a log that logrotate moved away meanwhile is left', async () => {
    const log = join(temporaryFolder(), 'audit.jsonl')
    const moved = `
      import fs from 'node:fs'
      import { syncBuiltinESMExports } from 'node:module'
      const { openSync } = fs
      fs.openSync = (path, ...rest) => {
        const opened = openSync(path, ...rest)
        if (path === ${JSON.stringify(log)}) {
          fs.renameSync(path, path + '.1')
          process.kill(process.pid, 'SIGHUP')
        }
        return opened
      }
      syncBuiltinESMExports()`
    const { url } = await started(
      // The name has to be looked up: a turn of the event loop, in which the signal comes
      ['--upstream', `http://localhost:${sim.port}`, '--api-key-file', keyFile(KEY), '--audit-log', log],
      { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(moved)}` },
    )
    expect(await status(`${url}/queue`)).toBe(401)
    await expect.poll(() => existsSync(log) && readFileSync(log, 'utf8')).toContain('"refusal"')
  })

  test('the audit log names who did what, and holds no key', async () => {
    const log = join(temporaryFolder(), 'audit.jsonl')
    const { url, child, ended } = await started(['--api-key-file', keyFile(KEY), '--audit-log', log])
    await status(`${url}/queue?api_key=wrong-key-here`)
    await fetch(`${url}/settings/x`, { method: 'POST', headers: { 'x-api-key': KEY }, body: '1' })
    await status(`${url}/queue`, KEY)
    child.kill('SIGTERM')
    expect(await ended()).toBe(0)
    const lines = readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines).toMatchObject([
      {
        event: 'refusal',
        client: '127.0.0.1',
        method: 'GET',
        path: '/queue',
        status: 401,
        reason: 'unknown-credential',
      },
      { event: 'request', method: 'POST', path: '/settings/x', status: 200, key: expect.any(String) },
    ])
    expect(readFileSync(log, 'utf8')).not.toMatch(/wrong-key|guide-kind/)
  })

  test('the access log has the reads too, in a file of its own or in the same by another name', async () => {
    const folder = temporaryFolder()
    symlinkSync(folder, join(folder, 'here'))
    const audited = join(folder, 'audit.jsonl')
    const linesOf = (path: string) =>
      readFileSync(path, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
    for (const [asked, shown, also] of [
      [join(folder, 'access.jsonl'), ['GET', 'POST'], ['POST']],
      [join(folder, 'here', 'audit.jsonl'), ['POST', 'GET', 'POST'], ['POST', 'GET', 'POST']],
    ] as const) {
      const logs = ['--audit-log', audited, '--access-log', asked]
      const { url, child, ended } = await started(['--api-key-file', keyFile(KEY), ...logs])
      await status(`${url}/queue`, KEY)
      await fetch(`${url}/settings/x`, { method: 'POST', headers: { 'x-api-key': KEY }, body: '1' })
      child.kill('SIGTERM')
      expect(await ended()).toBe(0)
      expect(linesOf(asked).map(({ method }) => method)).toEqual(shown)
      expect(linesOf(audited).map(({ method }) => method)).toEqual(also)
    }
  })
})

describe('stops', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`on ${signal}: sockets get 1001, a running answer finishes, exit 0`, async () => {
      const { url, child, ended } = await started(['--api-key-file', keyFile(KEY)])
      const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`, { headers: { 'x-api-key': KEY } })
      await once(socket, 'open')
      const close = once(socket, 'close')
      sim.clearRequests()
      sim.setFaults({ http: [{ path: '/features', kind: 'delay', ms: 500 }] })
      const answer = status(`${url}/features`, KEY)
      while (!sim.requests.some(({ target }) => target === '/features'))
        await new Promise((done) => setTimeout(done, 5))
      child.kill(signal)
      expect((await close)[0]).toBe(1001)
      expect(await answer).toBe(200)
      expect(await ended()).toBe(0)
      sim.setFaults({})
    })
  }
})
