import { X509Certificate } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import { ComfyAuthError } from '../errors.ts'
import { readPrivate } from '../files/private.ts'
import type { LiveKeys } from '../keys/live.ts'
import { ROLES, type Role } from '../keys/roles.ts'
import { isLoopback, parseIp, trustedProxies } from './decide/address.ts'
import type { ExtraRoute, HostPolicy } from './decide/facts.ts'
import { parseHost } from './decide/host.ts'
import { isRefusal } from './decide/refusal.ts'
import { isInTable } from './decide/routes.ts'
import { parseTarget } from './decide/target.ts'
import type { ThrottleOptions } from './state/throttle.ts'
import type { TurnLimits } from './wire/turn-limits.ts'
import type { UpstreamTarget } from './wire/upstream.ts'

/** What `serve` may be told, as the command line has it. */
export interface ProxyOptions {
  /** `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/PATH`. */
  readonly upstream: string
  /** A file in PEM: the authority, or the certificate itself, that an https upstream is believed by, and no other. */
  readonly upstreamCa?: string | undefined
  /** IP addresses or `localhost`, several by comma, as ComfyUI's. */
  readonly listen: string
  /** 0 takes a free one. */
  readonly port: number
  /** Undefined: --no-auth. Opened and closed by the caller. */
  readonly keys: LiveKeys | undefined
  /** --no-auth beyond loopback is meant. */
  readonly allowInsecureBind?: boolean
  readonly publicUrl?: string | undefined
  /** `/comfy`: everything lives below it. */
  readonly basePath?: string | undefined
  readonly allowHosts?: readonly string[]
  readonly trustedProxies?: readonly string[]
  readonly exempt?: 'static' | 'minimal'
  readonly exemptPaths?: readonly string[]
  /** `ROLE:METHOD PATH`. */
  readonly routes?: readonly string[]
  /** An origin, or `*`. */
  readonly corsHeader?: string | undefined
  readonly comfyUser?: 'strip' | 'pass'
  readonly browserStorage?: 'on' | 'off'
  /** The small way out in ComfyUI's page. */
  readonly wayOut?: boolean
  readonly drainMs?: number
  /** A file, or `:memory:`. */
  readonly serveDb: string
  /** A file, or `-` for stdout. */
  readonly auditLog?: string | undefined
  /** Every request, reads too: a file, the same one too, or `-`. */
  readonly accessLog?: string | undefined
  /** Above which each of the two starts anew. */
  readonly auditMaxBytes?: number | undefined
  /** Longer bodies get a 413 of ours; without it ComfyUI's own limit holds. */
  readonly maxUploadBytes?: number | undefined
  /** Files of the owner's, or where a certificate of our own making is kept. Without it: plain HTTP. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string } | { readonly selfSigned: string } | undefined
  /** Strict-Transport-Security on every answer. */
  readonly hsts?: boolean
  /** A plain-HTTP port that sends browsers on to the TLS one. */
  readonly tlsRedirectPort?: number | undefined
  /** How many wrong guesses a client may make, and how long it then waits. */
  readonly throttle?: ThrottleOptions
  /** How ComfyUI's connections are shared out. */
  readonly turns?: TurnLimits
  readonly maxConnections?: number | undefined
  readonly maxConnectionsPerAddress?: number | undefined
  /** Within which a head has to be whole. */
  readonly headMs?: number
  /** What may wait for one WebSocket client, and for all of them. */
  readonly socketBufferBytes?: number | undefined
  readonly socketTotalBytes?: number | undefined
  /** How long a client or ComfyUI may be silent in the middle of a request. */
  readonly idleMs?: number
  /** Something that the owner should read, a line each. */
  readonly log?: (line: string) => void
}

/** ProxyOptions, once they are known to be right. */
export interface Settings {
  readonly upstream: UpstreamTarget
  readonly listen: readonly string[]
  readonly loopback: boolean
  readonly hosts: HostPolicy
  readonly publicUrl: URL | undefined
  /** Empty, or without a slash at its end. */
  readonly basePath: string
  readonly isTrustedProxy: (address: string) => boolean
  readonly exemptPaths: readonly string[]
  readonly extraRoutes: readonly ExtraRoute[]
  readonly corsOrigin: string | undefined
}

function usage(message: string, remedy: string): ComfyAuthError {
  return new ComfyAuthError('usage', message, { remedy })
}

/** Throws `usage`, with the flag's name and what to write instead, at the first thing that is wrong. */
export function validate(options: ProxyOptions): Settings {
  const listen = parseListen(options.listen)
  const loopback = listen.every((address) => isLoopback(parseIp(address)!))
  if (!Number.isInteger(options.port) || options.port < 0 || options.port > 65_535) {
    throw usage('--port is no port number.', 'Give a number from 1 to 65535.')
  }
  if (options.keys === undefined && !loopback && !options.allowInsecureBind) {
    throw usage(
      '--no-auth beyond this machine would let everyone on the network run code here.',
      'Leave --no-auth out and make a key with `comfy-auth keygen`, or add --allow-insecure-bind if that is what you want.',
    )
  }
  const publicUrl = options.publicUrl === undefined ? undefined : parsePublicUrl(options.publicUrl)
  const upstream = parseUpstream(options.upstream)
  if (upstream.port === options.port && upstream.socketPath === undefined && isListenedOn(upstream.hostname, listen)) {
    throw usage('--upstream is the address that serve itself would listen on.', 'Give ComfyUI or serve another port.')
  }
  checkTls(options, upstream)
  if (options.auditMaxBytes !== undefined && options.auditLog === undefined && options.accessLog === undefined) {
    throw usage('--audit-max-size is for a log, and none is kept.', 'Add --audit-log FILE or --access-log FILE.')
  }
  return {
    upstream,
    listen,
    loopback,
    hosts: hostPolicy(options, loopback),
    publicUrl,
    basePath: parseBasePath(options.basePath ?? ''),
    isTrustedProxy: trustedProxies(options.trustedProxies ?? []),
    exemptPaths: (options.exemptPaths ?? []).map(parseExemptPath),
    extraRoutes: (options.routes ?? []).map(parseRoute),
    corsOrigin: options.corsHeader === undefined ? undefined : parseCorsOrigin(options.corsHeader),
  }
}

/** ComfyUI's two flags belong together, as there; `selfSigned` is where a certificate of our own making is kept. */
export function tlsOptions(
  certFile: string | undefined,
  keyFile: string | undefined,
  selfSigned: string | undefined,
): ProxyOptions['tls'] {
  if (selfSigned !== undefined) return { selfSigned }
  if (certFile !== undefined && keyFile !== undefined) return { certFile, keyFile }
  if (certFile === undefined && keyFile === undefined) return undefined
  throw usage(
    'TLS needs both --tls-certfile and --tls-keyfile.',
    'Give the other one too, or use --tls-self-signed alone.',
  )
}

function checkTls({ tls, hsts, tlsRedirectPort, port, upstreamCa }: ProxyOptions, upstream: UpstreamTarget): void {
  const remedy = 'Add --tls-certfile and --tls-keyfile, or --tls-self-signed.'
  if (hsts && !tls) throw usage('--hsts tells browsers to come by TLS alone, and this serve has none.', remedy)
  if (hsts && tls && 'selfSigned' in tls) {
    throw usage(
      '--hsts with --tls-self-signed would shut browsers out: they let nobody past its certificate any more.',
      'Leave --hsts out, or give a certificate that browsers believe.',
    )
  }
  if (tlsRedirectPort !== undefined && !tls) throw usage('--tls-redirect-port sends browsers on to TLS.', remedy)
  if (tlsRedirectPort !== undefined && tlsRedirectPort !== 0 && tlsRedirectPort === port) {
    throw usage('--tls-redirect-port is the port of TLS itself.', 'Give it another, such as 80.')
  }
  if (upstreamCa !== undefined && upstream.protocol !== 'https:') {
    throw usage('--upstream-ca is for an --upstream with https://.', 'Leave it out, or write the --upstream so.')
  }
}

/** The file of --upstream-ca. Throws `usage` where it holds no certificate. */
export function readCa(path: string): string {
  const remedy = 'Name a file in PEM: -----BEGIN CERTIFICATE-----.'
  const file = readPrivate(path, { name: 'The file of --upstream-ca', maxBytes: 1024 * 1024 })
  if (!file) throw usage('The file of --upstream-ca is not there.', remedy)
  try {
    new X509Certificate(file.text)
  } catch {
    throw usage('--upstream-ca holds no certificate.', remedy)
  }
  return file.text
}

function parseListen(text: string): string[] {
  const addresses = text.split(',').map((part) => {
    const address = part.trim().replace(/^\[(.*)\]$/, '$1')
    return address === 'localhost' ? '127.0.0.1' : address
  })
  if (addresses.some((address) => isIP(address) === 0 || address.includes('%'))) {
    const remedy = 'Give 127.0.0.1 (this machine alone), or 0.0.0.0 or :: (the network).'
    throw usage('--listen takes IP addresses, without a zone.', remedy)
  }
  return [...new Set(addresses)]
}

/** What the system's `sun_path` holds: nothing can listen on a longer one. */
const LONGEST_SOCKET_BYTES = process.platform === 'linux' ? 107 : 103

/** `http://127.0.0.1:8188`, `https://gpu.example`, `unix:/run/comfyui.sock`. */
export function parseUpstream(text: string): UpstreamTarget {
  if (text.startsWith('unix:')) {
    const socketPath = text.slice('unix:'.length)
    if (!socketPath.startsWith('/')) {
      throw usage('--upstream unix: needs an absolute path.', 'Write it as unix:/run/comfyui.sock.')
    }
    if (Buffer.byteLength(socketPath) > LONGEST_SOCKET_BYTES) {
      throw usage(
        '--upstream unix: is longer than the path of a socket may be.',
        'Move it, or name a short link to it.',
      )
    }
    return { protocol: 'http:', hostname: 'localhost', port: 80, socketPath, shown: `unix:${socketPath}` }
  }
  const remedy = 'Write it as http://127.0.0.1:8188, https://HOST or unix:/PATH.'
  const url = URL.parse(text)
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw usage('--upstream is no http:// or https:// URL.', remedy)
  }
  if (url.username !== '' || url.password !== '') throw usage('--upstream holds a user or password.', remedy)
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw usage('--upstream is more than a server: it holds a path, query or fragment.', remedy)
  }
  return {
    protocol: url.protocol,
    hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(url.port) || (url.protocol === 'https:' ? 443 : 80),
    socketPath: undefined,
    shown: url.origin,
  }
}

const NOT_PUBLIC = new BlockList()
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  NOT_PUBLIC.addSubnet(network, bits, 'ipv4')
}
NOT_PUBLIC.addAddress('::1', 'ipv6')
NOT_PUBLIC.addSubnet('fc00::', 7, 'ipv6')
NOT_PUBLIC.addSubnet('fe80::', 10, 'ipv6')

/** The upstream is named by an IP address that the whole internet can route to. */
export function isPublicAddress(upstream: string): boolean {
  const { hostname } = parseUpstream(upstream)
  const family = isIP(hostname)
  return family !== 0 && !NOT_PUBLIC.check(hostname, family === 6 ? 'ipv6' : 'ipv4')
}

function isListenedOn(hostname: string, listen: readonly string[]): boolean {
  const address = parseIp(hostname === 'localhost' ? '127.0.0.1' : hostname)
  if (!address) return false
  return listen.some(
    (own) => own === hostname || (isLoopback(address) && (own === '0.0.0.0' || own === '::' || own === '127.0.0.1')),
  )
}

/** Rule 2: which names the server goes by. */
function hostPolicy(options: ProxyOptions, loopback: boolean): HostPolicy {
  const allowed = new Set(
    (options.allowHosts ?? []).map((text) => {
      const host = parseHost(text)
      if (host && host.text === (host.name.includes(':') ? `[${host.name}]` : host.name)) return host.name
      throw usage('--allow-host takes a host name without a port.', 'Write it as gpu.example.com.')
    }),
  )
  if (loopback) return { kind: 'loopback', allowed }
  if (options.keys === undefined) return { kind: 'ip', allowed }
  return { kind: allowed.size > 0 || options.publicUrl !== undefined ? 'listed' : 'any', allowed }
}

function parsePublicUrl(text: string): URL {
  const remedy = 'Give what stands in the address bar: https://gpu.example.com.'
  const url = URL.parse(text)
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw usage('--public-url is no http:// or https:// URL.', remedy)
  }
  if (url.username !== '' || url.password !== '' || url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw usage('--public-url is more than scheme, host and port.', `${remedy} A path goes to --base-path.`)
  }
  return url
}

/** Plain characters alone: the prefix is compared byte for byte, and stands in cookies, scripts and pages. */
function parseBasePath(text: string): string {
  const path = text.replace(/\/+$/, '')
  if (path === '' && (text === '' || text === '/')) return ''
  if (/^(?:\/[\w~-][\w.~-]*)+$/.test(path)) return path
  throw usage('--base-path is no plain path.', 'Write it as /comfy: letters, digits and . _ ~ - between the slashes.')
}

/** A decoded canonical path, or one that ends in `/*`; undefined for anything a reader could doubt. */
function parsePattern(text: string): string | undefined {
  const tail = text.endsWith('/*')
  const path = tail ? text.slice(0, -2) : text
  if (path === '' || path.includes('*') || path.includes('?')) return undefined
  const target = parseTarget(path)
  if (isRefusal(target) || target.canonical?.text !== path) return undefined
  return text
}

function parseExemptPath(text: string): string {
  const remedy = 'Give a path such as /ws, or a folder such as /my-node/*.'
  if (text === '/*') throw usage('--exempt-path /* would open everything.', 'Use --no-auth if no lock is wanted.')
  if (text === '/api' || text.startsWith('/api/')) {
    throw usage('--exempt-path opens nothing under /api/.', 'ComfyUI has the same routes without /api: name those.')
  }
  const path = parsePattern(text)
  if (path === undefined) throw usage('--exempt-path takes a plain path, already decoded.', remedy)
  return path
}

function parseRoute(text: string): ExtraRoute {
  const remedy = "Write it as --route 'user:GET /my-node/*'."
  const [, role, method, path] = /^([a-z]+):([A-Z]+) (\/\S*)$/.exec(text) ?? []
  if (role === undefined || method === undefined || path === undefined) {
    throw usage('--route is not ROLE:METHOD PATH.', remedy)
  }
  if (!isRole(role)) throw usage(`--route names a role that is none of ${ROLES.join(', ')}.`, remedy)
  if (path === '/*' || path === '/api/*') {
    throw usage('--route for everything would hand out ComfyUI-Manager and the console too.', remedy)
  }
  const pattern = parsePattern(path)
  if (pattern === undefined) throw usage('--route takes a plain path, already decoded.', remedy)
  const below = pattern.endsWith('/*')
  const target = parseTarget(below ? pattern.slice(0, -2) : pattern)
  if (!isRefusal(target) && target.canonical && isInTable(method, target.canonical, below)) {
    throw usage(
      '--route names a route of ComfyUI or ComfyUI-Manager, whose role is fixed.',
      'Leave it out: --route is for the routes of custom nodes, which no role has yet but admin.',
    )
  }
  return { role, method, path: pattern }
}

function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text)
}

function parseCorsOrigin(text: string): string {
  if (text === '*') return text
  if (URL.parse(text)?.origin === text && text !== 'null') return text
  throw usage('--enable-cors-header takes * or one origin.', 'Write it as https://app.example.com, without a path.')
}
