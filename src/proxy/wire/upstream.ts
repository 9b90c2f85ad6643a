import { promises as dns } from 'node:dns'
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { buildConnector, type Dispatcher, Pool } from 'undici'

/** Where a ComfyUI listens; options.ts makes it from --upstream. */
export interface UpstreamTarget {
  readonly protocol: 'http:' | 'https:'
  /** Without the brackets of IPv6; `localhost` for a unix socket. */
  readonly hostname: string
  readonly port: number
  readonly socketPath: string | undefined
  /** As people read it. */
  readonly shown: string
}

export interface UpstreamAddress extends UpstreamTarget {
  /** The Host header: a number for http, the name for https (rule 10). */
  readonly hostHeader: string
}

export type UpstreamState =
  | { readonly state: 'up' }
  | { readonly state: 'down'; readonly since: Date; readonly lastError: string }
  | { readonly state: 'unknown' }

export interface UpstreamLimits {
  readonly connections: number
  readonly connectTimeoutMs: number
  /** How long it may be silent, before its head and within its body. */
  readonly idleMs: number
}

export const UPSTREAM_LIMITS: UpstreamLimits = { connections: 256, connectTimeoutMs: 5_000, idleMs: 300_000 }

export interface Asked {
  readonly status: number
  readonly body: Buffer
}

export interface Upstream {
  readonly address: UpstreamAddress
  readonly state: UpstreamState
  /** True while a connection's reset is being told of: an answer that ends now did not end by itself. */
  readonly resetting: boolean
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void
  /** A connection of one's own, never pooled (rule 11). */
  dial(): Socket
  /** One GET of ours, its answer whole; rejects where it fails, is longer than `limitBytes` or takes too long. */
  ask(path: string, options?: { readonly limitBytes?: number; readonly timeoutMs?: number }): Promise<Asked>
  /** An exchange told that it is there, or that it cannot be reached. */
  answered(): void
  failed(error: unknown): void
  /** Why it cannot be reached, for its owner; a certificate's fault in words. */
  reasonOf(error: unknown): string
  close(): Promise<void>
}

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'EACCES',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EADDRNOTAVAIL',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
])

/** Of an https upstream that no authority vouches for, where --upstream-ca names none either. */
const UNVOUCHED: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed: name it with --upstream-ca',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is of an unknown authority: name that with --upstream-ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is of an unknown authority: name that with --upstream-ca',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is of an unknown authority: name that with --upstream-ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is of an unknown authority: name that with --upstream-ca',
}
const VOUCHED_BY_NONE = 'its certificate is not vouched for by --upstream-ca'

/** Of an https upstream: it is there, and is not believed. Nothing of a request was sent. */
const DISTRUSTED: Readonly<Record<string, string>> = {
  ...UNVOUCHED,
  CERT_SIGNATURE_FAILURE: VOUCHED_BY_NONE,
  CERT_HAS_EXPIRED: 'its certificate has run out',
  CERT_NOT_YET_VALID: 'its certificate is not good yet: is the clock of this machine right?',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name than --upstream has',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it speaks no TLS: is it http://?',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it speaks no TLS: is it http://?',
}

/** Ours, not its: there is nothing left to dial with. */
const SHORT_OF_FILES: Readonly<Record<string, string>> = {
  EMFILE: 'comfy-auth has no file descriptor left: raise its limit, as `ulimit -n` shows it',
  ENFILE: 'this machine has no file descriptor left',
}

/** Nothing of the request reached it. */
export function isUnreachable(error: unknown): boolean {
  const code = codeOf(error)
  return UNREACHABLE.has(code) || Object.hasOwn(DISTRUSTED, code) || Object.hasOwn(SHORT_OF_FILES, code)
}

function reasonOf(error: unknown, hasCa: boolean): string {
  const code = codeOf(error)
  if (hasCa && Object.hasOwn(UNVOUCHED, code)) return VOUCHED_BY_NONE
  return DISTRUSTED[code] ?? SHORT_OF_FILES[code] ?? code
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

export function createUpstream(
  address: UpstreamAddress,
  limits: UpstreamLimits,
  onChange: (state: UpstreamState) => void,
  ca?: string,
): Upstream {
  const { protocol, hostname, port, socketPath, hostHeader } = address
  let resetting = false
  const onReset = () => {
    resetting = true
    queueMicrotask(() => {
      resetting = false
    })
  }
  const connector = buildConnector({
    allowH2: false,
    timeout: limits.connectTimeoutMs,
    ...(socketPath !== undefined && { socketPath }),
    ...(ca !== undefined && { ca }),
  })
  const pool = new Pool(`${protocol}//${urlHost(hostname)}:${port}`, {
    connections: limits.connections,
    pipelining: 1,
    allowH2: false,
    // ComfyUI keeps idle connections for an hour; ours go first, so that none is closed under a request.
    keepAliveTimeout: 60_000,
    headersTimeout: limits.idleMs,
    bodyTimeout: limits.idleMs,
    maxHeaderSize: 64 * 1024,
    connect: (options, done) =>
      connector(options, (...[error, socket]) => {
        if (error) return done(error, null)
        socket.on('error', onReset) // before undici listens
        done(null, socket)
      }),
  })
  let state: UpstreamState = { state: 'unknown' }

  const reason = (error: unknown) => reasonOf(error, ca !== undefined)
  const downBecause = (error: unknown): UpstreamState => {
    return { state: 'down', since: new Date(), lastError: reason(error) || 'unreachable' }
  }
  const change = (next: UpstreamState) => {
    const before = state.state
    state = next
    if (before !== next.state) onChange(next)
  }

  return {
    address,
    get state() {
      return state
    },
    get resetting() {
      return resetting
    },
    dispatch: (options, handler) => void pool.dispatch(options, handler),
    dial() {
      if (socketPath !== undefined) return connect({ path: socketPath, allowHalfOpen: true })
      const to = { host: hostname, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }
      if (protocol === 'http:') return connect({ ...to, allowHalfOpen: true })
      const name = isIP(hostname) === 0 ? { servername: hostname } : {} // RFC 6066: an address is no server name
      return connectTls({ ...to, ...name, ALPNProtocols: ['http/1.1'], ...(ca !== undefined && { ca }) })
    },
    ask: (path, { limitBytes = 1024 * 1024, timeoutMs = 5_000 } = {}) =>
      new Promise((resolve, reject) => {
        const chunks: Buffer[] = []
        let length = 0
        let status = 0
        let controller: Dispatcher.DispatchController | undefined
        const late = new Error(`no answer within ${timeoutMs} ms`)
        const timer = setTimeout(() => {
          controller?.abort(late)
          reject(late)
        }, timeoutMs)
        pool.dispatch(
          { method: 'GET', path, headers: ['Host', hostHeader, 'Accept', '*/*'] },
          {
            onRequestStart: (started) => {
              controller = started
            },
            onResponseStart: (_controller, code) => {
              status = code
            },
            onResponseData: (started, chunk) => {
              length += chunk.length
              if (length > limitBytes) started.abort(new Error(`an answer longer than ${limitBytes} bytes`))
              else chunks.push(chunk)
            },
            onResponseEnd: () => {
              clearTimeout(timer)
              change({ state: 'up' })
              resolve({ status, body: Buffer.concat(chunks) })
            },
            onResponseError: (_controller, error) => {
              clearTimeout(timer)
              if (isUnreachable(error)) change(downBecause(error))
              reject(error)
            },
          },
        )
      }),
    answered: () => {
      if (state.state !== 'up') change({ state: 'up' })
    },
    failed: (error) => {
      if (state.state !== 'down') change(downBecause(error))
    },
    reasonOf: reason,
    close: () => pool.destroy(),
  }
}

export async function resolveAddress(target: UpstreamTarget): Promise<UpstreamAddress> {
  return { ...target, hostHeader: await hostHeaderOf(target) }
}

/** Rule 10: a number for http, since ComfyUI resolves a name on its event loop; https keeps the name; 127.0.0.1 for a unix socket. */
async function hostHeaderOf({ protocol, hostname, port, socketPath }: UpstreamTarget): Promise<string> {
  if (socketPath !== undefined) return '127.0.0.1'
  if (protocol === 'https:') return port === 443 ? urlHost(hostname) : `${urlHost(hostname)}:${port}`
  let address = hostname
  if (isIP(hostname) === 0) {
    try {
      address = (await dns.lookup(hostname)).address
    } catch {
      address = '127.0.0.1' // not known yet: it may come with the container that carries the name
    }
  }
  return port === 80 ? urlHost(address) : `${urlHost(address)}:${port}`
}

/** An address as it stands in a URL: IPv6 in brackets. */
export function urlHost(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}
