import {
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ClientConnection, ClientRequest, ClientResponse, Framing, OnRefused } from './client.ts'
import { type Line, type SessionLimits, TendedSession } from './http2-session.ts'
import { FOREIGN_EXPECTATION, LINGER_MS, LONG_HEAD, respond } from './respond.ts'
import type { Unread } from './unread.ts'

export interface Http2Limits extends SessionLimits {
  readonly headBytes: number
}

export interface Http2Options {
  readonly limits: Http2Limits
  /** name, value: on every answer. */
  readonly always: readonly string[]
  readonly unread: Unread
  readonly onRequest: (request: ClientRequest, response: ClientResponse) => void
  readonly onRefused: OnRefused
}

export interface Http2Door {
  /** A TLS connection whose ALPN says h2, and the bare one beneath it. */
  accept(secure: TLSSocket, bare: Socket): void
  /** Connections that had their requests and have none now end, for others need their room. */
  closeIdle(): void
  /** Lets open streams finish, takes no new ones; cuts connections that never had one. */
  drain(): void
  /** Cuts what is left. */
  cut(): void
}

/**
 * Rule 15's limits of HTTP/2; resets are counted in http2-session.ts. nghttp2 itself bounds CONTINUATION frames (CVE-2024-28182),
 * and pings and settings that wait for their acknowledgement.
 */
const STREAMS = 100
const STREAM_WINDOW = 1024 * 1024
const CONNECTION_WINDOW = 2 * 1024 * 1024
/** How often heads, silence and idleness are looked at. */
const LOOK_MS = 1_000

/** Serves HTTP/2 on connections that a TLS listener hands over. */
export function createHttp2({ limits, always, unread, onRequest, onRefused }: Http2Options): Http2Door {
  const sessions = new Map<ServerHttp2Session, TendedSession>()
  const server: Http2Server = createServer({
    settings: {
      maxConcurrentStreams: STREAMS,
      maxHeaderListSize: limits.headBytes,
      initialWindowSize: STREAM_WINDOW,
      enableConnectProtocol: false, // RFC 8441: browsers open a connection of HTTP/1.1 for their WebSockets instead
      enablePush: false,
    },
    maxHeaderListPairs: 1_024,
    maxSettings: 32,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
  })
  let looking: NodeJS.Timeout | undefined
  const look = () => {
    for (const tended of sessions.values()) tended.look()
  }
  /** Whose session begins. */
  let arriving: Line | undefined
  server.on('session', (session) => {
    sessions.set(session, new TendedSession(session, arriving!, limits, () => performance.now()))
    looking ??= setInterval(look, LOOK_MS).unref()
    session.setLocalWindowSize(CONNECTION_WINDOW)
    session.on('error', () => session.destroy())
    session.once('close', () => {
      sessions.delete(session)
      if (sessions.size > 0) return
      clearInterval(looking)
      looking = undefined
    })
  })
  server.on('sessionError', () => {})
  function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: string[]): void {
    const request = new Http2Request(stream, headers, rawHeaders)
    const response = new Http2Response(stream, always)
    if (stream.session) unread.watch(response, stream.session)
    const { expect = '100-continue' } = headers
    const isLong = bytesOf(rawHeaders) > limits.headBytes
    if (!isLong && String(expect).toLowerCase() === '100-continue') {
      onRequest(request, response)
      return
    }
    const refused = isLong ? LONG_HEAD : FOREIGN_EXPECTATION
    respond(request, response, refused)
    onRefused(refused.status, request.socket, request)
  }
  server.on('stream', (stream, headers, _flags, rawHeaders) => {
    stream.on('error', () => {})
    // Reset in the same breath it costs no decision, and ComfyUI no connection: that is what a rapid reset is about.
    setImmediate(() => {
      if (!stream.destroyed && !stream.closed && !stream.aborted) answer(stream, headers, rawHeaders)
    })
  })
  return {
    accept(secure, bare) {
      // Its session is over then, and nobody looks any more whether the client goes.
      secure.once('finish', () => {
        const timer = setTimeout(() => secure.destroy(), LINGER_MS).unref()
        secure.once('close', () => clearTimeout(timer))
      })
      arriving = { secure, bare }
      server.emit('connection', secure)
      arriving = undefined
    },
    closeIdle() {
      for (const [session, tended] of sessions) if (tended.isIdle) session.close()
    },
    drain() {
      for (const [session, tended] of sessions) {
        if (tended.neverAsked) session.destroy()
        else session.close()
      }
    },
    cut() {
      for (const session of sessions.keys()) session.destroy()
    },
  }
}

/** As much as the same head has in HTTP/1. */
function bytesOf(rawHeaders: readonly string[]): number {
  let bytes = 0
  for (const text of rawHeaders) bytes += text.length + 2
  return bytes
}

/** One stream's request. Nothing is joined or dropped; `:authority` and the other pseudo-headers stand in rawHeaders. */
class Http2Request implements ClientRequest {
  readonly httpVersion = '2.0'
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: string[]
  readonly socket: ClientConnection
  readonly framing: Framing
  readonly #stream: ServerHttp2Stream
  complete: boolean

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: string[]) {
    this.#stream = stream
    this.method = headers[':method'] ?? ''
    this.url = headers[':path'] ?? ''
    this.headers = headers
    this.rawHeaders = rawHeaders
    this.socket = connectionOf(stream)
    // Nothing at all may have come behind the head since, and ended it: nobody is told of that again.
    this.complete = stream.endAfterHeaders || stream.readableEnded
    const length = headers['content-length']
    this.framing = {
      hasBody: !this.complete && length !== '0',
      contentLength: length === undefined ? undefined : Number(length),
    }
    // A client that resets its stream without an error ends it too: that is no whole body.
    stream.on('end', () => {
      this.complete = !stream.closed && !stream.aborted
    })
    if (!this.framing.hasBody) stream.resume()
  }

  get destroyed(): boolean {
    return this.#stream.destroyed
  }

  on(event: string, listener: ((chunk: Buffer) => void) | ((error: Error) => void) | (() => void)): this {
    this.#stream.on(event, listener)
    return this
  }

  once(event: string, listener: () => void): this {
    this.#stream.once(event, listener)
    return this
  }

  off(event: string, listener: ((chunk: Buffer) => void) | ((error: Error) => void) | (() => void)): this {
    this.#stream.off(event, listener)
    return this
  }

  pause(): this {
    this.#stream.pause()
    return this
  }

  resume(): this {
    this.#stream.resume()
    return this
  }

  read(size?: number): unknown {
    return this.#stream.read(size)
  }
}

/** To one stream its connection is itself: the others on it go on. */
function connectionOf(stream: ServerHttp2Stream): ClientConnection {
  const remoteAddress = stream.session?.socket.remoteAddress
  const leave = () => {
    if (!stream.closed) stream.close(constants.NGHTTP2_NO_ERROR)
    stream.resume() // Node destroys it with its last byte read only, and its connection not before
  }
  return {
    remoteAddress,
    get destroyed() {
      return stream.destroyed
    },
    destroy: leave,
    end: leave,
  }
}

/** Sent as fields of their own, since their values hold commas; of other names the values are joined. */
const SEPARATE: ReadonlySet<string> = new Set(['set-cookie', 'www-authenticate'])

/** RFC 9113, section 8.2.2: what speaks of the connection makes an answer malformed. */
const OF_CONNECTION: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])

class Http2Response implements ClientResponse {
  shouldKeepAlive = true
  statusCode = 0
  #isEnded = false
  readonly #stream: ServerHttp2Stream
  readonly #always: readonly string[]

  constructor(stream: ServerHttp2Stream, always: readonly string[]) {
    this.#stream = stream
    this.#always = always
  }

  get headersSent(): boolean {
    return this.#stream.headersSent
  }

  get destroyed(): boolean {
    return this.#stream.destroyed || this.#stream.closed
  }

  /**
   * Ended by us and not reset. Node's own `writableFinished` does not say: it ends a stream that its client resets, and one whose
   * status has no body; and of an answer written in one piece with its end it hears only after the stream has closed.
   */
  get writableFinished(): boolean {
    const { closed, aborted, rstCode } = this.#stream
    return this.#isEnded && closed && !aborted && rstCode === constants.NGHTTP2_NO_ERROR
  }

  get writableLength(): number {
    return this.#stream.writableLength
  }

  /** HTTP/2 has no status text. */
  writeHead(status: number, textOrHeaders: string | string[], headers?: string[]): this {
    this.statusCode = status
    if (this.destroyed) return this
    const list = headers ?? (textOrHeaders as string[])
    const fields: Record<string, string | string[] | number> = Object.create(null) // a header may be named `constructor`
    fields[':status'] = status
    for (const raw of [list, this.#always]) {
      for (let i = 0; i < raw.length; i += 2) add(fields, raw[i]!.toLowerCase(), raw[i + 1]!)
    }
    this.#stream.respond(fields)
    return this
  }

  writeContinue(): void {
    if (!this.destroyed) this.#stream.additionalHeaders({ ':status': 100 })
  }

  /** The head is under way once it is written. */
  flushHeaders(): void {}

  write(chunk: Buffer): boolean {
    if (this.destroyed || this.#stream.writableEnded) return false
    return this.#stream.write(chunk)
  }

  end(body?: string | Uint8Array, encoding: BufferEncoding = 'utf8'): this {
    if (this.destroyed) return this
    this.#isEnded = true
    if (this.#stream.writableEnded) return this
    if (body === undefined) this.#stream.end()
    else if (typeof body === 'string') this.#stream.end(body, encoding)
    else this.#stream.end(body)
    return this
  }

  /** Cut: the client sees a reset, never an end. (`close()` with an error code would send the end first.) */
  destroy(): void {
    this.#stream.destroy(new Error('the answer was cut'))
  }

  on(event: string, listener: () => void): this {
    this.#stream.on(event, listener)
    return this
  }

  once(event: string, listener: () => void): this {
    this.#stream.once(event, listener)
    return this
  }
}

function add(fields: Record<string, string | string[] | number>, name: string, value: string): void {
  if (OF_CONNECTION.has(name)) return
  const before = fields[name]
  if (before === undefined) fields[name] = value
  else if (!SEPARATE.has(name)) fields[name] = `${before}, ${value}`
  else if (Array.isArray(before)) before.push(value)
  else fields[name] = [String(before), value]
}
