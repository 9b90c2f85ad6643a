import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { freePort, isInstalled, type Running, startPinned } from './process.ts'

export interface Peer {
  readonly name: string
  /** Why it cannot run here, or undefined. */
  readonly absent: string | undefined
  start(upstreamPort: number, core: number): Promise<Running>
}

const folder = () => mkdtempSync(join(tmpdir(), 'comfy-auth-bench-'))

/** 64 characters of a guide-style key: what the load sends. */
export const KEY = `${'bench'.repeat(12)}keys`

function write(name: string, content: string): { dir: string; path: string } {
  const dir = folder()
  const path = join(dir, name)
  writeFileSync(path, content, { mode: 0o600 })
  return { dir, path }
}

const comfyAuth: Peer = {
  name: 'comfy-auth',
  absent: undefined,
  async start(upstreamPort, core) {
    const port = await freePort()
    const { dir, path } = write('api_key.txt', `${KEY}\n`)
    const serve = [
      resolve('bin/run.js'),
      'serve',
      '--port',
      `${port}`,
      '--upstream',
      `http://127.0.0.1:${upstreamPort}`,
    ]
    const home = `COMFY_AUTH_HOME=${dir}`
    return startPinned(core, ['env', home, process.execPath, ...serve, '--api-key-file', path], port)
  },
}

const nginx: Peer = {
  name: 'nginx',
  absent: isInstalled('nginx') ? undefined : 'not installed',
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

const haproxy: Peer = {
  name: 'haproxy',
  absent: isInstalled('haproxy') ? undefined : 'not installed',
  async start(upstreamPort, core) {
    const port = await freePort()
    const { path } = write(
      'haproxy.cfg',
      `global\n  nbthread 1\n  maxconn 2000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\nfrontend f\n  bind 127.0.0.1:${port}\n  default_backend b\nbackend b\n  server s 127.0.0.1:${upstreamPort}\n`,
    )
    return startPinned(core, ['haproxy', '-db', '-f', path], port)
  },
}

const caddy: Peer = {
  name: 'caddy',
  absent: isInstalled('caddy') ? undefined : 'not installed',
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
function nodePeer(name: string): Peer {
  return {
    name,
    absent: undefined,
    async start(upstreamPort, core) {
      const port = await freePort()
      const script = resolve(`bench/peers/${name}.ts`)
      return startPinned(core, [process.execPath, script, `${port}`, `${upstreamPort}`], port)
    },
  }
}

export const PEERS: readonly Peer[] = [
  comfyAuth,
  nginx,
  haproxy,
  caddy,
  nodePeer('undici-dispatch'),
  nodePeer('reply-from'),
  nodePeer('httpxy'),
  nodePeer('http-proxy-3'),
]
