import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { headFault, isWebSocketUpgrade } from './facts.ts'
import { endRaw, protocolAnswer, respond, respondRaw } from './respond.ts'

export interface ServerLimits {
  readonly headBytes: number
  /** A head has to be whole within this; looked at every second. */
  readonly headMs: number
  readonly keepAliveMs: number
  readonly connections: number
  /** From one address; not counted for loopback and trusted proxies. */
  readonly connectionsPerAddress: number
}

export const SERVER_LIMITS: ServerLimits = {
  headBytes: 32 * 1024,
  headMs: 10_000,
  keepAliveMs: 75_000,
  connections: 20_000,
  connectionsPerAddress: 512,
}

export interface ServerOptions {
  readonly host: string
  readonly port: number
  readonly limits: ServerLimits
  /** Addresses that speak for many: loopback, and trusted proxies. */
  readonly isUncounted: (address: string) => boolean
  readonly nowMs: () => number
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void
  readonly onUpgrade: (request: IncomingMessage, socket: Socket, head: Buffer) => void
}

export interface Listener {
  readonly address: string
  readonly port: number
  /** Stops accepting; what runs may finish within `drainMs`, then everything is cut. */
  close(drainMs: number): Promise<void>
}

function ignore(): void {}

/** How often idle connections are looked for while draining. */
const DRAIN_LOOK_MS = 25

/** Rule 15: an HTTP/1.1 listener with a strict parser and bounded heads. Rejects with the system's error where it cannot listen. */
export async function listen(options: ServerOptions): Promise<Listener> {
  const { host, port, limits, nowMs } = options
  /** The last response of each connection: a broken head behind it must not be answered in the middle of it. */
  const latest = new WeakMap<Socket, ServerResponse>()
  let draining = false

  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    // node:http emits `aborted` a tick after it has looked for a listener: by then whoever read the body may have left
    request.on('error', ignore)
    latest.set(request.socket, response)
    if (draining) response.shouldKeepAlive = false
    const fault = headFault(request)
    if (fault === undefined) return options.onRequest(request, response)
    response.shouldKeepAlive = false
    respond(request, response, protocolAnswer(request.httpVersionMajor > 1 ? 505 : 400, fault))
  }

  const server = createServer(
    {
      insecureHTTPParser: false,
      maxHeaderSize: limits.headBytes,
      headersTimeout: limits.headMs,
      connectionsCheckingInterval: 1_000,
      requestTimeout: 0, // uploads may take hours: only silence is limited
      keepAliveTimeout: limits.keepAliveMs,
      requireHostHeader: false, // decide/host.ts says what a Host must be
      shouldUpgradeCallback: (request: IncomingMessage) => !draining && isWebSocketUpgrade(request),
      noDelay: true,
    } as Parameters<typeof createServer>[0] & object,
    onRequest,
  )
  server.maxHeadersCount = 0 // a head is bounded by its bytes; a list cut short would hide what stands behind
  server.timeout = 0
  server.maxConnections = limits.connections
  countByAddress(server, limits.connectionsPerAddress, options.isUncounted)

  // `Expect: 100-continue` is answered by whoever reads the body, after the decision.
  server.on('checkContinue', onRequest)
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    response.shouldKeepAlive = false
    respond(request, response, protocolAnswer(417, 'The one expectation known here is 100-continue.'))
  })
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    options.onUpgrade(request, socket, head)
  })
  server.on('connect', (_request: IncomingMessage, socket: Socket) => {
    respondRaw(socket, protocolAnswer(400, 'CONNECT is not served here.'), nowMs())
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const response = latest.get(socket)
    const answered = response?.headersSent === true && !(response.writableFinished && response.shouldKeepAlive)
    if (!socket.writable || error.code === 'ECONNRESET' || (answered && !response.writableFinished)) socket.destroy()
    // Behind the last answer of a connection there is nothing to say.
    else if (answered) endRaw(socket)
    else respondRaw(socket, parserAnswer(error.code ?? ''), nowMs())
  })

  server.listen({ host, port, backlog: 4_096 })
  await once(server, 'listening')
  const bound = server.address() as AddressInfo

  return {
    address: bound.address,
    port: bound.port,
    async close(drainMs) {
      draining = true
      const closed = once(server, 'close')
      server.close()
      const idle = setInterval(() => server.closeIdleConnections(), DRAIN_LOOK_MS)
      const deadline = setTimeout(() => server.closeAllConnections(), drainMs)
      await closed
      clearInterval(idle)
      clearTimeout(deadline)
    },
  }
}

function parserAnswer(code: string) {
  if (code === 'HPE_HEADER_OVERFLOW') return protocolAnswer(431, 'The head of this request is longer than 32 KiB.')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return protocolAnswer(408, 'The head of this request took too long.')
  return protocolAnswer(400, 'This is not a well-formed HTTP/1.1 request.')
}

function countByAddress(server: Server, most: number, isUncounted: (address: string) => boolean): void {
  const counts = new Map<string, number>()
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? ''
    if (isUncounted(address)) return
    const count = (counts.get(address) ?? 0) + 1
    if (count > most) {
      socket.destroy()
      return
    }
    counts.set(address, count)
    socket.once('close', () => {
      const left = counts.get(address)! - 1
      if (left === 0) counts.delete(address)
      else counts.set(address, left)
    })
  })
}
