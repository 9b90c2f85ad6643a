import { ComfyAuthError } from '../errors.ts'
import { isLoopback, parseIp } from './decide/address.ts'
import { isOurName, parseHost } from './decide/host.ts'
import type { ProxyOptions, Settings } from './options.ts'
import type { LiveTls } from './tls.ts'
import type { Engine } from './wire/engine.ts'
import { Places } from './wire/places.ts'
import { listenForRedirect } from './wire/redirect.ts'
import { type Listener, listen, SERVER_LIMITS, type ServerLimits } from './wire/server.ts'
import { UNREAD_BYTES, Unread } from './wire/unread.ts'
import { codeOf, urlHost } from './wire/upstream.ts'

/** --hsts: a year, for this name alone; whoever wants it for every name below it has a proxy that says so. */
const HSTS = ['Strict-Transport-Security', 'max-age=31536000']

/** Every listener of serve, all on one port; throws `usage` where one cannot be. */
export async function listenAll(
  settings: Settings,
  options: ProxyOptions,
  nowMs: () => number,
  engine: Engine,
  tls: LiveTls | undefined,
  onPort: (port: number) => void,
): Promise<Listener[]> {
  const listeners: Listener[] = []
  const limits = {
    ...SERVER_LIMITS,
    headMs: options.headMs ?? SERVER_LIMITS.headMs,
    idleMs: options.idleMs ?? SERVER_LIMITS.idleMs,
    connections: options.maxConnections ?? SERVER_LIMITS.connections,
    connectionsPerAddress: options.maxConnectionsPerAddress ?? SERVER_LIMITS.connectionsPerAddress,
  }
  const places = new Places(limits, (text) => {
    const address = parseIp(text)
    return address === undefined || isLoopback(address) || settings.isTrustedProxy(text)
  })
  const unread = new Unread({ ...UNREAD_BYTES, stillMs: limits.headMs }, () => performance.now())
  const secure = tls !== undefined
  let { port } = options
  for (const host of settings.listen) {
    try {
      const listener = await listen({
        host,
        port,
        limits,
        places,
        unread,
        nowMs,
        tls: tls?.pair,
        always: options.hsts ? HSTS : [],
        onRequest: (request, response) => engine.onRequest(request, response, secure),
        onUpgrade: (request, socket, head) => engine.onUpgrade(request, socket, head, secure),
        onRefused: engine.onRefused,
      })
      port = listener.port
      listeners.push(listener)
    } catch (error) {
      // A machine without IPv6 serves ComfyUI's bare --listen (0.0.0.0,::) on what it has.
      if (codeOf(error) === 'EAFNOSUPPORT' && listeners.length > 0) continue
      await Promise.all(listeners.map((listener) => listener.close(0)))
      throw cannotListen(error, '--port', `Port ${port}`)
    }
  }
  onPort(port)
  tls?.onChange((pair) => {
    for (const listener of listeners) listener.renew(pair)
  })
  if (options.tlsRedirectPort !== undefined) {
    try {
      listeners.push(...(await redirectAll(settings, options.tlsRedirectPort, port, limits, places)))
    } catch (error) {
      await Promise.all(listeners.map((listener) => listener.close(0)))
      throw error
    }
  }
  return listeners
}

/** --tls-redirect-port, on the same addresses. */
async function redirectAll(
  settings: Settings,
  from: number,
  to: number,
  limits: ServerLimits,
  places: Places,
): Promise<Listener[]> {
  const listeners: Listener[] = []
  for (const host of settings.listen) {
    try {
      const originFor = (name: string) => secureOrigin(name, to, settings)
      const { port, close } = await listenForRedirect({ host, port: from, limits, places, originFor })
      listeners.push({ address: host, port, renew: () => {}, close })
    } catch (error) {
      if (codeOf(error) === 'EAFNOSUPPORT' && listeners.length > 0) continue
      await Promise.all(listeners.map((listener) => listener.close(0)))
      throw cannotListen(error, '--tls-redirect-port', 'The port of --tls-redirect-port')
    }
  }
  return listeners
}

/** Rule 2 holds here too: only a name of ours is sent on, and by --public-url where browsers know us by that. */
function secureOrigin(text: string, port: number, { hosts, publicUrl }: Settings): string | undefined {
  const host = parseHost(text)
  if (!host || !isOurName(host.name, { hosts, publicUrl })) return undefined
  if (publicUrl?.protocol === 'https:') return publicUrl.origin
  return `https://${urlHost(host.name)}${port === 443 ? '' : `:${port}`}`
}

function cannotListen(error: unknown, flag: string, port: string): unknown {
  const fault = (message: string, remedy: string) => new ComfyAuthError('usage', message, { remedy, cause: error })
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return fault(`${port} is in use.`, `Stop what listens there, or choose another with ${flag}.`)
    case 'EACCES':
      return fault(`${port} needs more rights than this user has.`, `Choose one above 1023 with ${flag}.`)
    case 'EADDRNOTAVAIL':
      return fault(
        '--listen names an address that this machine does not have.',
        'Give 127.0.0.1, 0.0.0.0 or one of its own.',
      )
    default:
      return error
  }
}
