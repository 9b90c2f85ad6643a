import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Answer } from '../pages/answer.ts'
import { followHttp1 } from './at-work.ts'
import { framingOf } from './body.ts'
import type { ClientRequest, ClientResponse, OnRefused } from './client.ts'
import { headFault, isWebSocketUpgrade } from './facts.ts'
import { createHttp2, type Http2Door } from './http2.ts'
import type { PlaceLimits, Places } from './places.ts'
import { endRaw, FOREIGN_EXPECTATION, LONG_HEAD, protocolAnswer, respond, respondRaw, sayAlways } from './respond.ts'
import {
  type Connections,
  divertHttp2,
  followBareSockets,
  secureContext,
  type TlsPair,
  watchHandshakes,
} from './tls.ts'
import type { Unread } from './unread.ts'

export interface ServerLimits extends PlaceLimits {
  readonly headBytes: number
  /** A head has to be whole within this; looked at every second. */
  readonly headMs: number
  readonly keepAliveMs: number
  /** How long an answer waits for its reader. */
  readonly idleMs: number
}

export const SERVER_LIMITS: ServerLimits = {
  headBytes: 32 * 1024,
  headMs: 10_000,
  keepAliveMs: 75_000,
  idleMs: 300_000,
  connections: 20_000,
  connectionsPerAddress: 512,
}

export interface ServerOptions {
  readonly host: string
  readonly port: number
  readonly limits: ServerLimits
  /** Shared by all listeners. */
  readonly places: Places
  readonly unread: Unread
  readonly nowMs: () => number
  /** TLS ends here, for HTTP/1.1 and HTTP/2 by ALPN; undefined: plain HTTP/1.1. */
  readonly tls?: TlsPair | undefined
  /** name, value: a header of every answer over TLS. */
  readonly always?: readonly string[]
  readonly onRequest: (request: ClientRequest, response: ClientResponse) => void
  readonly onUpgrade: (request: IncomingMessage, socket: Socket, head: Buffer) => void
  readonly onRefused: OnRefused
}

export interface Listener {
  readonly address: string
  readonly port: number
  /** New connections get this certificate; open ones go on with theirs. */
  renew(pair: TlsPair): void
  /** Stops accepting, and cuts where nothing runs; what runs may finish within `drainMs`, then everything is cut. */
  close(drainMs: number): Promise<void>
}

function ignore(): void {}

/** After the idle time has ended an exchange there is this much for its last words. */
const SPARE_MS = 10_000

/** How often connections on which nothing runs are looked for while draining. */
const DRAIN_LOOK_MS = 25

/** Rule 15: a listener with a strict parser and bounded heads. Rejects with the system's error where it cannot listen. */
export async function listen(options: ServerOptions): Promise<Listener> {
  const { host, port, limits, nowMs, tls, always = [] } = options
  /** The last response of each connection: a broken head behind it must not be answered in the middle of it. */
  const latest = new WeakMap<Socket, ServerResponse>()
  /** Connections whose framing is in doubt: what stands behind may be the inside of a body, and is nobody's request. */
  const doubtful = new WeakSet<Socket>()
  /** Connections of which node:http drops what came with the request that is being taken. */
  const torn = new WeakSet<Socket>()
  /** Upgraded, or never to be: whoever took them ends them. */
  const handedOn = new WeakSet<Socket>()
  let draining = false
  const isOneTooMany = countWaiting()

  const onRequest = (request: IncomingMessage, response: ServerResponse) =>
    take(request, response, refusedHead(request))

  const take = (request: IncomingMessage, response: ServerResponse, refusal: Answer | undefined) => {
    // node:http emits `aborted` a tick after it has looked for a listener: by then whoever read the body may have left
    request.on('error', ignore)
    if (doubtful.has(request.socket)) return
    latest.set(request.socket, response)
    if (refusal || torn.has(request.socket)) {
      doubtful.add(request.socket)
      response.shouldKeepAlive = false
    }
    if (response.socket !== null) {
      serve(request, response, refusal)
    } else if (isOneTooMany(request, response)) {
      doubtful.add(request.socket)
      destroyCrowded(request.socket)
    } else {
      // Pipelined: its turn comes with the connection, so that one connection is one exchange with ComfyUI.
      response.once('socket', () => serve(request, response, refusal))
    }
  }

  const serve = (request: IncomingMessage, response: ServerResponse, refusal: Answer | undefined) => {
    options.unread.watch(response, request.socket)
    if (draining) response.shouldKeepAlive = false
    for (let i = 0; i < always.length; i += 2) response.setHeader(always[i]!, always[i + 1]!)
    if (!refusal) return options.onRequest(request, response)
    respond(request, response, refusal)
    options.onRefused(refusal.status, request.socket, request)
  }

  const refuse = (socket: Socket, answer: Answer, request?: IncomingMessage) => {
    respondRaw(socket, answer, nowMs())
    options.onRefused(answer.status, socket, request)
  }

  const http1 = {
    insecureHTTPParser: false,
    maxHeaderSize: limits.headBytes,
    headersTimeout: limits.headMs,
    connectionsCheckingInterval: 1_000,
    requestTimeout: 0, // uploads may take hours: only silence is limited
    keepAliveTimeout: limits.keepAliveMs,
    requireHostHeader: false, // decide/host.ts says what a Host must be
    shouldUpgradeCallback: (request: IncomingMessage) => {
      const isTaken = !draining && standing(latest.get(request.socket)) === 'free' && isWebSocketUpgrade(request)
      if (!isTaken) torn.add(request.socket)
      return isTaken
    },
    noDelay: true,
  } as Parameters<typeof createServer>[0] & object
  const ofTls = {
    ...(tls && secureContext(tls)),
    ALPNProtocols: ['h2', 'http/1.1'],
    handshakeTimeout: limits.headMs,
  }
  const server = tls ? createTlsServer({ ...http1, ...ofTls }, onRequest) : createServer(http1, onRequest)
  server.maxHeadersCount = MOST_FIELDS + 1 // one too many, and the head is refused: nothing hides behind a list cut short
  server.timeout = limits.idleMs + SPARE_MS // no exchange is silent for so long: what is left is a reader that never takes its end

  let http2: Http2Door | undefined
  let connections: Connections | undefined
  const cutIdle = followHttp1(server, tls ? 'secureConnection' : 'connection', (socket) => {
    return handedOn.has(socket) || isRunning(latest.get(socket))
  })
  options.places.guard(server, () => {
    server.closeIdleConnections()
    http2?.closeIdle()
  })
  if (tls) {
    http2 = createHttp2({
      limits,
      always,
      unread: options.unread,
      onRequest: options.onRequest,
      onRefused: options.onRefused,
    })
    const bareSockets = followBareSockets(server as TlsServer)
    divertHttp2(server as TlsServer, bareSockets, http2.accept)
    server.on('secureConnection', (socket: TLSSocket) => sayAlways(socket, always))
    const tellPlain = (socket: Socket) => respondRaw(socket, PLAIN_TO_TLS, nowMs())
    connections = watchHandshakes(server as TlsServer, bareSockets, tellPlain)
  }

  // `Expect: 100-continue` is answered by whoever reads the body, after the decision.
  server.on('checkContinue', onRequest)
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    take(request, response, refusedHead(request) ?? FOREIGN_EXPECTATION)
  })
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    handedOn.add(socket)
    socket.on('error', () => socket.destroy())
    if (doubtful.has(socket)) return endRaw(socket)
    if (hasTooManyFields(request)) return refuse(socket, TOO_MANY_FIELDS, request)
    options.onUpgrade(request, socket, head)
  })
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy())
    const state = standing(latest.get(socket))
    if (state === 'pending') socket.destroy()
    else if (state === 'last' || doubtful.has(socket)) endRaw(socket)
    else refuse(socket, NO_CONNECT, request)
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const response = latest.get(socket)
    const state = standing(response)
    // Broken within the body of the request whose turn it is: that one is told.
    const isItsOwn = response?.socket != null && !response.req.complete && !response.headersSent
    const comesTooEarly = state === 'pending' && !isItsOwn
    if (!socket.writable || error.code === 'ECONNRESET' || comesTooEarly) socket.destroy()
    else if (state === 'last') endRaw(socket)
    else if (error.code === 'HPE_INVALID_EOF_STATE')
      respondRaw(socket, parserAnswer(error.code), nowMs()) // its client left
    else refuse(socket, parserAnswer(error.code ?? ''))
  })

  server.listen({ host, port, backlog: 4_096 })
  await once(server, 'listening')
  const bound = server.address() as AddressInfo

  return {
    address: bound.address,
    port: bound.port,
    renew: (pair) => (server as TlsServer).setSecureContext(secureContext(pair)),
    async close(drainMs) {
      draining = true
      const closed = once(server, 'close')
      server.close()
      const look = () => {
        cutIdle()
        http2?.drain()
        connections?.cutHandshakes()
      }
      look()
      const looking = setInterval(look, DRAIN_LOOK_MS)
      const deadline = setTimeout(() => {
        server.closeAllConnections()
        http2?.cut()
        connections?.cut()
      }, drainMs)
      await closed
      clearInterval(looking)
      clearTimeout(deadline)
    },
  }
}

/**
 * How a connection stands after its latest answer. `pending`: that one, or one before it, has not all been handed to the connection,
 * and nothing else may be written there: answers come in the order of the requests (RFC 9112, section 9.3.2). So an Upgrade is
 * ignored there, as RFC 9110, section 7.8, allows, and ends the connection with its answer, and CONNECT or what is no request ends it
 * at once. `last`: nothing comes behind it.
 */
function standing(response: ServerResponse | undefined): 'free' | 'pending' | 'last' {
  if (response === undefined) return 'free'
  const isOut = response.writableFinished || (response.writableEnded && response.socket !== null)
  if (!isOut) return 'pending'
  return response.shouldKeepAlive && response.req.complete ? 'free' : 'last'
}

/** Not all of the request is here, or not all of the answer is on its way. */
function isRunning(response: ServerResponse | undefined): boolean {
  return response !== undefined && !(response.writableFinished && response.req.complete)
}

/** As many as HTTP/2 has streams. 64 KiB hold 1,600 requests, and nothing else would bound what they cost in one go. */
const MOST_PIPELINED = 100
/** In requests without one: its first 64 KiB are read before its turn. */
const COST_OF_BODY = 50

/** Counts the answers of each connection that wait behind another one. */
function countWaiting(): (request: IncomingMessage, response: ServerResponse) => boolean {
  const costs = new WeakMap<Socket, number>()
  return (request, response) => {
    const { socket } = request
    const cost = framingOf(request).hasBody ? COST_OF_BODY : 1
    const sum = (costs.get(socket) ?? 0) + cost
    costs.set(socket, sum)
    response.once('close', () => costs.set(socket, costs.get(socket)! - cost))
    return sum > MOST_PIPELINED
  }
}

/** node:http makes an error for each request that a connection leaves behind: with their stacks 25 ms for 64 KiB of them. */
function destroyCrowded(socket: Socket): void {
  const { stackTraceLimit } = Error
  socket.prependOnceListener('close', () => {
    Error.stackTraceLimit = 0
  })
  socket.once('close', () => {
    Error.stackTraceLimit = stackTraceLimit
  })
  socket.destroy()
}

const NO_CONNECT = protocolAnswer(400, 'CONNECT is not served here.')
const PLAIN_TO_TLS = protocolAnswer(400, 'Plain HTTP was sent to a port of HTTPS: write https:// in place of http://.')

/** As over HTTP/2: 5,000 fields fit into 32 KiB, and each costs more than its bytes. */
const MOST_FIELDS = 1_024
const TOO_MANY_FIELDS = protocolAnswer(431, 'The head of this request has more than 1,024 fields.')

function hasTooManyFields({ rawHeaders }: IncomingMessage): boolean {
  return rawHeaders.length > 2 * MOST_FIELDS
}

function refusedHead(request: IncomingMessage) {
  if (hasTooManyFields(request)) return TOO_MANY_FIELDS
  const fault = headFault(request)
  return fault === undefined ? undefined : protocolAnswer(request.httpVersionMajor > 1 ? 505 : 400, fault)
}

function parserAnswer(code: string) {
  if (code === 'HPE_HEADER_OVERFLOW') return LONG_HEAD
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return protocolAnswer(408, 'The head of this request took too long.')
  return protocolAnswer(400, 'This is not a well-formed HTTP/1.1 request.')
}
