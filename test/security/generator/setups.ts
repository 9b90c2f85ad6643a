import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ProxyOptions } from '../../../src/proxy/options.ts'
import type { SimOptions } from '../../../src/sim/sim.ts'
import { openDoor } from '../../support/door.ts'
import { testCertificate } from '../../support/http2.ts'
import type { Rules } from './rules.ts'
import { furnish, WEAK_KEY, type Wire, type World } from './world.ts'

/** A way to run the proxy, and what the judge has to know of it. */
export interface Setup {
  readonly wire?: Wire
  readonly options?: Partial<ProxyOptions>
  readonly sim?: SimOptions
  readonly rules?: Partial<Rules>
  /** ComfyUI listens on a unix socket. */
  readonly unix?: boolean
}

/** Opened and furnished; close() ends all of it. */
export async function openWorld({ wire = 'http1', options = {}, sim, rules, unix }: Setup): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'comfy-auth-world-'))
  const faults: string[] = []
  const pair = join(folder, 'pair.pem')
  if (wire !== 'http1') await writeFile(pair, testCertificate(), { mode: 0o600 })
  const bridge = unix ? await openBridge(join(folder, 'comfyui.sock')) : undefined
  const door = await openDoor(
    {
      throttle: { globalLimit: 1_000_000 },
      log: (line) => void (line.includes('fault of comfy-auth') && faults.push(line)),
      ...(wire !== 'http1' && { tls: { certFile: pair, keyFile: pair } }),
      ...(bridge && { upstream: `unix:${bridge.path}` }),
      ...options,
    },
    sim,
    [WEAK_KEY],
  )
  bridge?.lead(door.sim.port)
  const { basePath: base = '', publicUrl } = options
  const world = await furnish(door, { base, wire, publicUrl, faults, ...(rules && { rules }) })
  return {
    ...world,
    async close() {
      await world.close()
      await door.close()
      bridge?.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A unix socket that leads to a port. */
async function openBridge(path: string) {
  let port = 0
  const server = createServer((socket) => {
    const inner = connect(port, '127.0.0.1')
    socket.on('error', () => inner.destroy()).on('close', () => inner.destroy())
    inner.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.pipe(inner).pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return {
    path,
    lead(to: number) {
      port = to
    },
    close: () => void server.close(),
  }
}

const FORWARDED = /^(?:forwarded|x-real-ip|x-forwarded-.*)$/

/** What serve may be told, one thing at a time. */
export const SETUPS = {
  'behind a proxy': {
    options: { trustedProxies: ['127.0.0.1'], publicUrl: 'https://gpu.example' },
    rules: { passed: FORWARDED },
  },
  'behind a proxy that says who it is': { options: { trustedProxies: ['127.0.0.1'] }, rules: { passed: FORWARDED } },
  '--exempt minimal': { options: { exempt: 'minimal' }, rules: { statics: false } },
  '--exempt-path': {
    options: { exemptPaths: ['/ws', '/system_stats', '/my-node/*', '/object_info/*', '/user.css'] },
    rules: {
      open: /^\/(?:ws|system_stats|user\.css|(?:my-node|object_info)\/.*)$/s,
      openSocket: /^\/(?:ws|system_stats|user\.css)$/,
    },
  },
  '--route': {
    options: {
      routes: [
        'viewer:GET /easyuse/*',
        'user:POST /easyuse/*',
        'viewer:GET /my-node/list',
        'user:POST /api/my-node/run',
      ],
    },
    rules: {
      routes: [
        ['viewer', /^(?:GET|HEAD)$/, /^\/(?:easyuse\/.*|my-node\/list)$/s],
        ['user', /^POST$/, /^\/(?:easyuse\/.*|api\/my-node\/run)$/s],
      ],
    },
  },
  '--comfy-user pass': {
    options: { comfyUser: 'pass' },
    sim: { flags: { multiUser: true } },
    rules: { passed: /^comfy-user$/ },
  },
  'Manager v4': { sim: { flags: { enableManager: true } } },
  'Manager v3': { sim: { flags: { managerV3: true } } },
  '--enable-cors-header *': { options: { corsHeader: '*' } },
  '--enable-cors-header ORIGIN': { options: { corsHeader: 'https://app.example' } },
  '--browser-storage off': { options: { browserStorage: 'off' } },
  'a unix socket': { unix: true, rules: { upstreamHost: '127.0.0.1' } },
  'HTTP/1.1 within TLS': { wire: 'tls1' },
  'HTTP/2': { wire: 'http2' },
} as const satisfies Readonly<Record<string, Setup>>
