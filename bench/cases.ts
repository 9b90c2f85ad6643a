import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { digestOf } from '../src/keys/digest.ts'
import { makeKey } from '../src/keys/format.ts'
import type { Case, Contender } from './compare.ts'
import { freePort, isInstalled, startPinned, temporaryFolder } from './process.ts'

/** 64 characters of a guide-style key: what the load sends. */
export const KEY = `${'bench'.repeat(12)}keys`

function write(name: string, content: string): { dir: string; path: string } {
  const dir = temporaryFolder()
  const path = join(dir, name)
  writeFileSync(path, content, { mode: 0o600 })
  return { dir, path }
}

const bearer = (key: string) => ({ Authorization: `Bearer ${key}` })

/** comfy-auth with one key in a file, or with a keyring. */
function comfyAuth(name: string, headers: Contender['headers'], keyring?: string): Contender {
  return {
    name,
    absent: undefined,
    headers,
    async start(upstreamPort, core) {
      const port = await freePort()
      const { dir, path } = write('api_key.txt', `${KEY}\n`)
      if (keyring !== undefined) writeFileSync(join(dir, 'keyring.json'), keyring, { mode: 0o600 })
      const serve = ['serve', '--port', `${port}`, '--upstream', `http://127.0.0.1:${upstreamPort}`]
      const command = [process.execPath, resolve('bin/run.js'), ...serve, '--api-key-file', path]
      return startPinned(core, ['env', `COMFY_AUTH_HOME=${dir}`, ...command], port)
    },
  }
}

const nginx: Contender = {
  name: 'nginx',
  absent: isInstalled('nginx') ? undefined : 'not installed',
  headers: bearer(KEY),
  async start(upstreamPort, core) {
    const port = await freePort()
    const { dir, path } = write(
      'nginx.conf',
      `daemon off; worker_processes 1; error_log stderr crit; pid nginx.pid;
       events { worker_connections 16384; }
       http { access_log off; keepalive_requests 1000000000;
         upstream comfyui { server 127.0.0.1:${upstreamPort}; keepalive 64; keepalive_requests 1000000000; }
         server { listen 127.0.0.1:${port} backlog=4096;
           location / { proxy_pass http://comfyui; proxy_http_version 1.1; proxy_set_header Connection ""; } } }`,
    )
    return startPinned(core, ['nginx', '-c', path, '-p', dir], port)
  },
}

const haproxy: Contender = {
  name: 'haproxy',
  absent: isInstalled('haproxy') ? undefined : 'not installed',
  headers: bearer(KEY),
  async start(upstreamPort, core) {
    const port = await freePort()
    const { path } = write(
      'haproxy.cfg',
      `global\n  nbthread 1\n  maxconn 2000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\nfrontend f\n  bind 127.0.0.1:${port}\n  default_backend b\nbackend b\n  server s 127.0.0.1:${upstreamPort}\n`,
    )
    return startPinned(core, ['haproxy', '-db', '-f', path], port)
  },
}

const caddy: Contender = {
  name: 'caddy',
  absent: isInstalled('caddy') ? undefined : 'not installed',
  headers: bearer(KEY),
  async start(upstreamPort, core) {
    const port = await freePort()
    const { path } = write(
      'Caddyfile',
      `{\n  admin off\n  auto_https off\n}\nhttp://127.0.0.1:${port} {\n  reverse_proxy 127.0.0.1:${upstreamPort}\n}\n`,
    )
    const caddyRun = ['caddy', 'run', '--config', path, '--adapter', 'caddyfile']
    return startPinned(core, ['env', 'GOMAXPROCS=1', ...caddyRun], port)
  },
}

/** The proxies from npm: each a script of its own in bench/peers. */
function nodePeer(name: string): Contender {
  return {
    name,
    absent: undefined,
    headers: bearer(KEY),
    async start(upstreamPort, core) {
      const port = await freePort()
      const script = resolve(`bench/peers/${name}.ts`)
      return startPinned(core, [process.execPath, script, `${port}`, `${upstreamPort}`], port)
    },
  }
}

/** nginx and bare Node that refuse everything by themselves: the most that a refusal can cost. */
const refusers: readonly Contender[] = [
  {
    name: 'nginx, return 401',
    absent: nginx.absent,
    headers: {},
    async start(_upstreamPort, core) {
      const port = await freePort()
      const { dir, path } = write(
        'nginx.conf',
        `daemon off; worker_processes 1; error_log stderr crit; pid nginx.pid;
         events { worker_connections 16384; }
         http { access_log off; keepalive_requests 1000000000;
           server { listen 127.0.0.1:${port} backlog=4096; location / { return 401; } } }`,
      )
      return startPinned(core, ['nginx', '-c', path, '-p', dir], port)
    },
  },
  {
    name: 'Node, 401',
    absent: undefined,
    headers: {},
    async start(_upstreamPort, core) {
      const port = await freePort()
      const { path } = write(
        'refuse.mjs',
        `import { createServer } from 'node:http'
         createServer((_, response) => response.writeHead(401).end('no')).listen(${port}, '127.0.0.1')`,
      )
      return startPinned(core, [process.execPath, path], port)
    },
  },
]

/** A keyring of `count` keys, and the last of them. */
function keyringOf(count: number): { keyring: string; key: string } {
  const created = new Date().toISOString()
  const made = Array.from({ length: count }, () => makeKey())
  const keys = made.map((key, index) => ({
    id: String(index).padStart(12, '0'),
    role: 'admin',
    created,
    sha256: digestOf(key),
  }))
  return { keyring: JSON.stringify({ version: 1, keys }), key: made.at(-1)! }
}

function withKeyrings(title: string, refused: boolean, sent: (key: string) => string): Case {
  const contenders = [1, 1_000, 100_000].map((count) => {
    const { keyring, key } = keyringOf(count)
    const name = `${count.toLocaleString('en')} ${count === 1 ? 'key' : 'keys'}`
    return comfyAuth(name, bearer(sent(key)), keyring)
  })
  return { title, ours: '1 key', refused, contenders }
}

export const CASES: Readonly<Record<string, () => Case>> = {
  small: () => ({
    title: 'Small authenticated GET',
    ours: 'comfy-auth',
    refused: false,
    contenders: [
      comfyAuth('comfy-auth', bearer(KEY)),
      nginx,
      haproxy,
      caddy,
      nodePeer('undici-dispatch'),
      nodePeer('reply-from'),
      nodePeer('httpxy'),
      nodePeer('http-proxy-3'),
    ],
  }),
  refusals: () => ({
    title: 'A request without a key',
    ours: 'comfy-auth',
    refused: true,
    contenders: [comfyAuth('comfy-auth', {}), ...refusers],
  }),
  keys: () => withKeyrings('One key or 100,000', false, (key) => key),
  'unknown-key': () => withKeyrings('An unknown key beside one key or 100,000', true, () => makeKey()),
}
