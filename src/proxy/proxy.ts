import { randomBytes } from 'node:crypto'
import { createLastUsed, sqliteSink } from '../keys/last-used.ts'
import type { Policy } from './decide/facts.ts'
import { isLive } from './decide/identify.ts'
import { descriptorLimit, placesWithin } from './descriptors.ts'
import { listenAll } from './listeners.ts'
import { openLogs } from './logs.ts'
import { type ProxyOptions, readCa, type Settings, validate } from './options.ts'
import { createPages } from './pages/pages.ts'
import { openServeDb, type Undone } from './state/db.ts'
import { watchServeDb } from './state/db-watch.ts'
import { createPrompts } from './state/prompts.ts'
import { createSessions } from './state/sessions.ts'
import { createSockets } from './state/sockets.ts'
import { createThrottle } from './state/throttle.ts'
import { createUploads } from './state/uploads.ts'
import { openTls, type TlsOptions } from './tls.ts'
import { createEngine } from './wire/engine.ts'
import { learnOwner } from './wire/ownership.ts'
import { probe, type UpstreamReport } from './wire/probe.ts'
import { RELAY_LIMITS, Relays } from './wire/relay.ts'
import { SERVER_LIMITS } from './wire/server.ts'
import {
  createUpstream,
  resolveAddress,
  UPSTREAM_LIMITS,
  type Upstream,
  type UpstreamState,
  type UpstreamTarget,
  urlHost,
} from './wire/upstream.ts'

export type { UpstreamReport }

export interface Proxy {
  /** Where it listens, as a browser on this machine opens it; `--public-url` where that was given. */
  readonly url: string
  /** Of the certificate, where it is one of our own making: SHA-256, as browsers show it. */
  readonly fingerprint: string | undefined
  /** Looks at the upstream, once. Of what it finds the log says nothing: that is the caller's to tell. */
  probe(): Promise<UpstreamReport>
  /** Key files and keyring are read again, log files re-opened: what SIGHUP does. */
  reload(): Promise<void>
  /** Stops accepting, closes the sockets with 1001, lets what runs finish (drainMs), then ends all. */
  close(): Promise<void>
}

const HANDSHAKE_MS = 30_000
const DRAIN_MS = 30_000

/** A timer holds 2^31 - 1 ms, and takes what is longer for 1 ms; some add a little to theirs. */
const LONGEST_TIMER_MS = 24 * 86_400_000

/** As timers hold it: nobody waits for more. */
function timerMs(ms: number): number {
  return Math.min(ms, LONGEST_TIMER_MS)
}

/**
 * The authenticating proxy before one ComfyUI, listening. Throws `usage` where an option is wrong, the port is taken or a
 * file cannot be opened; an upstream that is down is waited for.
 */
export async function createProxy(given: ProxyOptions): Promise<Proxy> {
  const drainMs = timerMs(given.drainMs ?? DRAIN_MS)
  const options = { ...given, idleMs: timerMs(given.idleMs ?? UPSTREAM_LIMITS.idleMs) }
  const settings = validate(options)
  const { keys, log = () => {} } = options
  const nowMs = Date.now
  const closers: (() => unknown)[] = []
  const onError = (what: string) => (error: unknown, undone: Undone) =>
    log(`${what} cannot be ${undone}: ${textOf(error)}`)
  try {
    const db = openServeDb(options.serveDb)
    closers.push(() => db.close(), watchServeDb(options.serveDb, log))
    const sessions = createSessions(db, { nowMs, onError: onError('Sessions') })
    closers.push(() => sessions.close())
    const prompts = createPrompts(db, { nowMs, onError: onError('Prompt owners') })
    closers.push(() => prompts.close())
    const lastUsed = createLastUsed(sqliteSink(db))
    closers.push(() => lastUsed.close())
    const audit = await openLogs(options, log)
    if (audit) {
      closers.push(async () => {
        await audit.close()
        if (audit.lost > 0) log(`${audit.lost} lines are missing in the logs: the disk was full or too slow.`)
      })
    }
    const throttle = createThrottle(options.throttle)
    const places = placesWithin(options.maxConnections ?? SERVER_LIMITS.connections, descriptorLimit())
    const sockets = createSockets({ nowMs, most: places.sockets })
    const uploads = createUploads()
    const tls = options.tls && openTls(withNames(options.tls, settings), nowMs, log)
    if (tls) closers.push(() => tls.close())
    let probing = false // how it was found is told by who asked for it
    const upstream = await openUpstream(settings.upstream, options, (line) => {
      if (!probing) log(line)
    })
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
      findSessionByToken: (digest) => sessions.findByTokenDigest(digest),
      throttledFor: (client, now) => throttle.blockedFor(client, now),
      guessesLeft: (client, now) => throttle.guessesLeft(client, now),
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
      () => performance.now(), // of pings and stalled readers: a clock that is set says nothing about them
      randomBytes(8),
    )
    const engine = createEngine({
      policy,
      pages,
      throttle,
      turns: options.turns,
      sessions,
      sockets,
      uploads,
      audit,
      nowMs,
      upstream,
      relays,
      idleMs: options.idleMs,
      maxUploadBytes: options.maxUploadBytes,
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
      uploads.abortByKey(keyId)
      audit?.record({ nowMs: nowMs(), event: 'revocation', key: { keyId, label: keys.findById(keyId)?.label } })
    })
    for (const { keyId } of sessions.list()) {
      const key = keys?.findById(keyId)
      // It died while nothing ran. A key that is not known may be another serve's, which keeps its sessions here too.
      if (key && !isLive(key, nowMs())) sessions.endByKey(keyId)
    }
    sessions.onEnd((session) => {
      sockets.closeBySession(session.id, 4401)
      uploads.abortBySession(session.id)
      audit?.record({ nowMs: nowMs(), event: 'session-end', key: { keyId: session.keyId, label: undefined } })
    })

    const listening = { ...options, maxConnections: places.connections }
    const listeners = await listenAll(settings, listening, nowMs, engine, tls, (bound) => {
      port = bound
    })
    const shownHost = urlHost(settings.listen[0]!)
    return {
      url: (settings.publicUrl?.origin ?? `${tls ? 'https' : 'http'}://${shownHost}:${port}`) + settings.basePath,
      fingerprint: tls?.selfSigned ? tls.fingerprint : undefined,
      async probe() {
        probing = true
        const report = await probe(upstream)
        probing = false
        return report
      },
      async reload() {
        await keys?.reload()
        tls?.reload()
        audit?.reopen()
      },
      async close() {
        const drained = listeners.map((listener) => listener.close(drainMs))
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

/** A certificate of our own making is for the names that serve was told of, too. */
function withNames(tls: NonNullable<ProxyOptions['tls']>, { listen, hosts, publicUrl }: Settings): TlsOptions {
  if (!('selfSigned' in tls)) return tls
  const addresses = listen.filter((address) => address !== '0.0.0.0' && address !== '::')
  const own = publicUrl === undefined ? [] : [publicUrl.hostname.replace(/^\[(.*)\]$/, '$1')]
  return { selfSigned: tls.selfSigned, names: [...addresses, ...hosts.allowed, ...own] }
}

async function closeAll(closers: (() => unknown)[]): Promise<void> {
  for (const close of closers.toReversed()) await close()
}

async function openUpstream(
  target: UpstreamTarget,
  options: ProxyOptions,
  log: (line: string) => void,
): Promise<Upstream> {
  const limits = { ...UPSTREAM_LIMITS, idleMs: options.idleMs ?? UPSTREAM_LIMITS.idleMs }
  const onChange = (state: UpstreamState) => {
    if (state.state === 'down') log(`ComfyUI at ${target.shown} does not answer (${state.lastError}); waiting for it.`)
    if (state.state === 'up') log(`ComfyUI at ${target.shown} answers.`)
  }
  const ca = options.upstreamCa === undefined ? undefined : readCa(options.upstreamCa)
  return createUpstream(await resolveAddress(target), limits, onChange, ca)
}

async function readJson(upstream: Upstream, path: string): Promise<unknown> {
  const { status, body } = await upstream.ask(path)
  if (status !== 200) throw new Error(`${path} answered ${status}`)
  return JSON.parse(body.toString())
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
