import { randomBytes } from 'node:crypto'
import { ComfyAuthError } from '../errors.ts'
import { createLastUsed, sqliteSink } from '../keys/last-used.ts'
import { isLoopback, parseIp } from './decide/address.ts'
import type { Policy } from './decide/facts.ts'
import { type ProxyOptions, type Settings, validate } from './options.ts'
import { createPages } from './pages/pages.ts'
import { createAudit } from './state/audit.ts'
import { openServeDb } from './state/db.ts'
import { openLineFile } from './state/line-file.ts'
import { createPrompts } from './state/prompts.ts'
import { createSessions } from './state/sessions.ts'
import { createSockets } from './state/sockets.ts'
import { createThrottle } from './state/throttle.ts'
import { createEngine } from './wire/engine.ts'
import { learnOwner } from './wire/ownership.ts'
import { probe, type UpstreamReport } from './wire/probe.ts'
import { RELAY_LIMITS, Relays } from './wire/relay.ts'
import { type Listener, listen, SERVER_LIMITS } from './wire/server.ts'
import {
  createUpstream,
  resolveAddress,
  UPSTREAM_LIMITS,
  type Upstream,
  type UpstreamTarget,
  urlHost,
} from './wire/upstream.ts'

export type { UpstreamReport }

export interface Proxy {
  /** Where it listens, as a browser on this machine opens it; `--public-url` where that was given. */
  readonly url: string
  /** Looks at the upstream, once. */
  probe(): Promise<UpstreamReport>
  /** Key files and keyring are read again, log files re-opened: what SIGHUP does. */
  reload(): Promise<void>
  /** Stops accepting, closes the sockets with 1001, lets what runs finish (drainMs), then ends all. */
  close(): Promise<void>
}

const HANDSHAKE_MS = 30_000

/**
 * The authenticating proxy before one ComfyUI, listening. Throws `usage` where an option is wrong, the port is taken or a
 * file cannot be opened; an upstream that is down is waited for.
 */
export async function createProxy(options: ProxyOptions): Promise<Proxy> {
  const settings = validate(options)
  const { keys, log = () => {} } = options
  const nowMs = Date.now
  const closers: (() => unknown)[] = []
  const onError = (what: string) => (error: unknown) => log(`${what}: ${textOf(error)}`)
  try {
    const db = openServeDb(options.serveDb)
    closers.push(() => db.close())
    const sessions = createSessions(db, { nowMs, onError: onError('Sessions cannot be written') })
    closers.push(() => sessions.close())
    const prompts = createPrompts(db, { nowMs, onError: onError('Prompt owners cannot be written') })
    closers.push(() => prompts.close())
    const lastUsed = createLastUsed(sqliteSink(db))
    closers.push(() => lastUsed.close())
    const audit =
      options.auditLog === undefined
        ? undefined
        : createAudit({
            file: openLineFile({
              path: options.auditLog,
              ...(options.auditMaxBytes !== undefined && { maxBytes: options.auditMaxBytes }),
              onError: onError('The audit log cannot be written'),
            }),
            reads: options.accessLog ?? false,
          })
    if (audit) closers.push(() => audit.close())
    const throttle = createThrottle(options.throttle)
    const sockets = createSockets({ nowMs })
    const upstream = await openUpstream(settings.upstream, options, log)
    closers.push(() => upstream.close())

    let port = options.port
    const policy: Policy = {
      auth: keys ? 'keys' : 'none',
      hosts: settings.hosts,
      publicUrl: settings.publicUrl,
      basePath: settings.basePath,
      isTrustedProxy: settings.isTrustedProxy,
      exempt: options.exempt ?? 'static',
      exemptPaths: settings.exemptPaths,
      extraRoutes: settings.extraRoutes,
      corsOrigin: settings.corsOrigin,
      comfyUser: options.comfyUser ?? 'strip',
      upstreamHost: upstream.address.hostHeader,
      cookieName: (secure) => `${secure ? '__Host-' : ''}comfy_auth_${port}`,
      findKey: (digest) => keys?.find(digest),
      findKeyById: (id) => keys?.findById(id),
      findSession: (digest) => sessions.findByCookieDigest(digest),
      throttledFor: (client, now) => throttle.blockedFor(client, now),
      ownsPrompt: (keyId, promptId) => prompts.owns(keyId, promptId),
      clientIdOwner: (clientId, now) => sockets.owner(clientId, now),
    }
    const pages = createPages({
      policy,
      sessions,
      throttle,
      storage: options.browserStorage ?? 'on',
      wayOut: options.wayOut ?? true,
      nowMs,
      readUpstream: async () => {
        const [systemStats, prompt] = await Promise.all([
          readJson(upstream, '/system_stats'),
          readJson(upstream, '/prompt'),
        ])
        return { systemStats, prompt }
      },
    })
    const relays = new Relays(
      {
        ...RELAY_LIMITS,
        bufferBytes: options.socketBufferBytes ?? RELAY_LIMITS.bufferBytes,
        totalBytes: options.socketTotalBytes ?? RELAY_LIMITS.totalBytes,
      },
      nowMs,
      randomBytes(8),
    )
    const engine = createEngine({
      policy,
      pages,
      throttle,
      sessions,
      sockets,
      audit,
      nowMs,
      upstream,
      relays,
      idleMs: options.idleMs ?? UPSTREAM_LIMITS.idleMs,
      handshakeMs: HANDSHAKE_MS,
      waiting: pages.waiting,
      badGateway: pages.badGateway,
      injectIndex: pages.injectIndex,
      learnPrompt: async (answer, { account }, newId) => {
        const keyId = account.principal?.keyId
        if (keyId !== undefined) await learnOwner(answer, keyId, prompts, upstream.ask, newId)
      },
      keyUsed: (keyId, now) => lastUsed.touch(keyId, now),
      onFault: (error) => log(`A request failed by a fault of comfy-auth: ${stackOf(error)}`),
    })
    keys?.onDeath((keyId) => {
      sessions.endByKey(keyId)
      sockets.closeByKey(keyId, 4401)
      audit?.record({ nowMs: nowMs(), event: 'revocation', key: { keyId, label: keys.findById(keyId)?.label } })
    })
    sessions.onEnd((session) => {
      sockets.closeBySession(session.id, 4401)
      audit?.record({ nowMs: nowMs(), event: 'session-end', key: { keyId: session.keyId, label: undefined } })
    })

    const listeners = await listenAll(settings, options, nowMs, engine, (bound) => {
      port = bound
    })
    const shownHost = urlHost(settings.listen[0]!)
    return {
      url: (settings.publicUrl?.origin ?? `http://${shownHost}:${port}`) + settings.basePath,
      probe: () => probe(upstream),
      async reload() {
        await keys?.reload()
        audit?.reopen()
      },
      async close() {
        const drained = listeners.map((listener) => listener.close(options.drainMs ?? 30_000))
        sockets.closeAll(1001)
        await Promise.all(drained)
        await closeAll(closers)
      },
    }
  } catch (error) {
    await closeAll(closers)
    throw error
  }
}

async function closeAll(closers: (() => unknown)[]): Promise<void> {
  for (const close of closers.toReversed()) await close()
}

type Engine = ReturnType<typeof createEngine>

async function listenAll(
  settings: Settings,
  options: ProxyOptions,
  nowMs: () => number,
  engine: Engine,
  onPort: (port: number) => void,
): Promise<Listener[]> {
  const listeners: Listener[] = []
  const limits = {
    ...SERVER_LIMITS,
    headMs: options.headMs ?? SERVER_LIMITS.headMs,
    connections: options.maxConnections ?? SERVER_LIMITS.connections,
    connectionsPerAddress: options.maxConnectionsPerAddress ?? SERVER_LIMITS.connectionsPerAddress,
  }
  const isUncounted = (text: string) => {
    const address = parseIp(text)
    return address === undefined || isLoopback(address) || settings.isTrustedProxy(text)
  }
  let { port } = options
  for (const host of settings.listen) {
    try {
      const listener = await listen({
        host,
        port,
        limits,
        isUncounted,
        nowMs,
        onRequest: (request, response) => engine.onRequest(request, response, false),
        onUpgrade: (request, socket, head) => engine.onUpgrade(request, socket, head, false),
      })
      port = listener.port
      listeners.push(listener)
    } catch (error) {
      // A machine without IPv6 serves ComfyUI's bare --listen (0.0.0.0,::) on what it has.
      if (codeOf(error) === 'EAFNOSUPPORT' && listeners.length > 0) continue
      await Promise.all(listeners.map((listener) => listener.close(0)))
      throw cannotListen(error, port)
    }
  }
  onPort(port)
  return listeners
}

function cannotListen(error: unknown, port: number): unknown {
  const fault = (message: string, remedy: string) => new ComfyAuthError('usage', message, { remedy, cause: error })
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return fault(`Port ${port} is in use.`, 'Stop what listens there, or choose another with --port.')
    case 'EACCES':
      return fault(`Port ${port} needs more rights than this user has.`, 'Choose one above 1023 with --port.')
    case 'EADDRNOTAVAIL':
      return fault(
        '--listen names an address that this machine does not have.',
        'Give 127.0.0.1, 0.0.0.0 or one of its own.',
      )
    default:
      return error
  }
}

async function openUpstream(
  target: UpstreamTarget,
  options: ProxyOptions,
  log: (line: string) => void,
): Promise<Upstream> {
  const limits = { ...UPSTREAM_LIMITS, idleMs: options.idleMs ?? UPSTREAM_LIMITS.idleMs }
  return createUpstream(await resolveAddress(target), limits, (state) => {
    if (state.state === 'down') log(`ComfyUI at ${target.shown} does not answer (${state.lastError}); waiting for it.`)
    if (state.state === 'up') log(`ComfyUI at ${target.shown} answers.`)
  })
}

async function readJson(upstream: Upstream, path: string): Promise<unknown> {
  const { status, body } = await upstream.ask(path)
  if (status !== 200) throw new Error(`${path} answered ${status}`)
  return JSON.parse(body.toString())
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
