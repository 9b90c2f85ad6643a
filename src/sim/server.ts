import { createReadStream, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream'
import { type Incoming, readIncoming } from './body.ts'
import { BodyBroken, BodyTooLarge, type Call } from './call.ts'
import { isForeign } from './guard.ts'
import { EMPTY_SHA, type RequestLog, type SimRequest } from './log.ts'
import { finish } from './middleware.ts'
import type { HttpFault, SimFlags } from './options.ts'
import { serveOrdinarily } from './ordinary.ts'
import { empty, type Reply, SERVER, serverError, text, tooLarge } from './reply.ts'
import type { Found } from './router.ts'
import { parseTarget } from './target.ts'

const MAX_FIELD = 8190
const MAX_FIELDS = 128
const LINGER_MS = 10_000
const SMALL_FILE = 262_144

export interface HttpParts {
  readonly flags: SimFlags
  readonly limit: number
  readonly log: RequestLog
  readonly find: (method: string, path: string) => Found
  readonly acceptSocket: (request: IncomingMessage, socket: Duplex, head: Buffer, clientId: string) => void
  readonly faultFor: (method: string, path: string) => HttpFault | undefined
}

/** What aiohttp's parser says to a head that is too large: it repeats the offender. */
function oversized(request: IncomingMessage): Reply | undefined {
  const raw = request.rawHeaders
  if ((request.url?.length ?? 0) > MAX_FIELD) {
    return text(`Got more than ${MAX_FIELD} bytes when reading: bytearray(b'${request.url?.slice(0, 100)}...').`, 400)
  }
  if (raw.length / 2 > MAX_FIELDS) return text('Too many headers received', 400)
  for (const part of raw) {
    if (part.length > MAX_FIELD)
      return text(`Got more than ${MAX_FIELD} bytes when reading: b'${part.slice(0, 100)}...'.`, 400)
  }
  return undefined
}

/** Whether a request on /ws is a handshake; what it lacks is answered in aiohttp's words by the route. */
export function isHandshake(request: IncomingMessage): boolean {
  if (request.method !== 'GET' || request.headers.upgrade?.toLowerCase().trim() !== 'websocket') return false
  const path = parseTarget(request.url ?? '')?.path
  if (path !== '/ws' && path !== '/api/ws') return false
  const { 'sec-websocket-version': version, 'sec-websocket-key': key } = request.headers
  return (
    /(^|,)\s*upgrade\s*(,|$)/i.test(request.headers.connection ?? '') &&
    (version === '13' || version === '8') &&
    /^[+/0-9A-Za-z]{22}==$/.test(key ?? '')
  )
}

function entryFor(request: IncomingMessage, upgrade: boolean): SimRequest {
  const { method = '', url: target = '', rawHeaders: headers, httpVersion } = request
  return { method, target, headers, httpVersion, upgrade, body: { bytes: 0, sha256: EMPTY_SHA }, status: 0 }
}

/** The HTTP side: guard, routes, middleware, in the order in which ComfyUI has them. */
export function createHttp(parts: HttpParts): Server {
  const { flags, log } = parts

  /** The answers that need no handler. */
  function early(request: IncomingMessage): Reply | undefined {
    const large = oversized(request)
    if (large) return { ...large, raised: true, close: true }
    if (request.headers.host === undefined && request.httpVersion === '1.1')
      return { ...text("Missing 'Host' header in request.", 400), raised: true, close: true }
    return undefined
  }

  async function answer(request: IncomingMessage, incoming: Incoming): Promise<Reply> {
    const refused = early(request)
    if (refused) return refused
    const target = parseTarget(request.url ?? '')
    if (!target) return { ...text(request.url ?? '', 400), raised: true, close: true }
    const method = request.method ?? ''
    const call: Call = { method, target, headers: request.headers, body: incoming.read }
    if (flags.corsHeader === undefined && isForeign(request.headers)) return finish(call, empty(403), {})
    if (method === 'OPTIONS') return finish(call, empty(), flags)
    const found = parts.find(method, target.path)
    if (found.kind === 'reply') return found.reply
    try {
      const reply = found.handler(call, found.params)
      return finish(call, reply instanceof Promise ? await reply : reply, flags)
    } catch (error) {
      if (error instanceof BodyTooLarge) return tooLarge(parts.limit)
      if (error instanceof BodyBroken) return { ...text('Bad Request', 400), raised: true, close: true }
      return serverError()
    }
  }

  /** Requests that had an Upgrade header and are served as ordinary ones, by socket, until they are parsed anew. */
  const originals = new WeakMap<Duplex, IncomingMessage>()
  const lastAnswer = new WeakMap<Duplex, ServerResponse>()

  const server = createServer(
    {
      requireHostHeader: false,
      maxHeaderSize: 262_144,
      keepAliveTimeout: 3_630_000,
      requestTimeout: 0,
      headersTimeout: 0,
      noDelay: true,
    },
    (request, response) => {
      lastAnswer.set(request.socket, response)
      const original = originals.get(request.socket)
      if (original) {
        originals.delete(request.socket)
        Object.assign(request.headers, { upgrade: original.headers.upgrade, connection: original.headers.connection })
      }
      const entry = log.keeps ? entryFor(original ?? request, false) : undefined
      if (entry) log.add(entry)
      const incoming = readIncoming(request, parts.limit, entry)
      const fault = parts.faultFor(request.method ?? '', request.url ?? '')
      const replied = fault
        ? misbehave(fault, () => answer(request, incoming), request, response, entry)
        : answer(request, incoming).then((reply) => {
            if (entry) entry.status = reply.status
            send(request, response, reply)
            if (!incoming.ended) linger(request)
          })
      // As aiohttp does with a head that it cannot write (a control character in a file's name): cut, without an answer.
      replied.catch(() => request.socket.destroy())
    },
  )
  server.maxHeadersCount = 0
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // An Upgrade may be pipelined behind requests that are still being answered.
    const before = lastAnswer.get(socket)
    if (before && !before.writableFinished) before.once('close', () => upgrade(request, socket, head))
    else upgrade(request, socket, head)
  })

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (!isHandshake(request) || early(request) || (flags.corsHeader === undefined && isForeign(request.headers))) {
      serveOrdinarily(server, originals, request, socket, head)
      return
    }
    const entry = entryFor(request, true)
    log.add(entry)
    const fault = parts.faultFor('GET', request.url ?? '')
    if (fault) {
      if (fault.kind === 'hang') return
      if (fault.kind === 'delay') {
        setTimeout(() => accept(request, socket, head, entry), fault.ms ?? 0)
        return
      }
      if (fault.kind === 'status') socket.write(statusLine(fault.status ?? 500))
      if (fault.kind === 'garbage') socket.write('garbage\r\n\r\n')
      socket.end()
      return
    }
    accept(request, socket, head, entry)
  }

  function accept(request: IncomingMessage, socket: Duplex, head: Buffer, entry: SimRequest): void {
    entry.status = 101
    parts.acceptSocket(request, socket, head, parseTarget(request.url ?? '')?.query.get('clientId') ?? '')
  }

  server.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer; bytesParsed?: number }, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy()
      return
    }
    const raw = error.rawPacket?.toString('latin1') ?? ''
    log.add({
      method: '',
      target: '',
      headers: [],
      httpVersion: '',
      upgrade: false,
      body: { bytes: 0, sha256: EMPTY_SHA },
      status: 400,
      raw,
    })
    const line = raw.split('\r\n', 1)[0] ?? ''
    const message = `${error.message.replace(/^Parse Error: /, '')}:\n\n  b'${line}'\n${' '.repeat(4 + Math.min(error.bytesParsed ?? 0, line.length))}^`
    socket.end(
      `HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(message)}\r\nServer: ${SERVER}\r\nConnection: close\r\n\r\n${message}`,
    )
  })
  return server
}

function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Length: 0\r\nServer: ${SERVER}\r\nConnection: close\r\n\r\n`
}

/** After an answer in the middle of an upload the rest is read for a while, then the connection ends. */
function linger(request: IncomingMessage): void {
  request.resume()
  const timer = setTimeout(() => request.socket.destroy(), LINGER_MS)
  timer.unref()
  request.once('close', () => clearTimeout(timer))
}

/** Python writes a header's text as UTF-8; Node takes one character for each byte. */
function asUtf8(value: string): string {
  return Buffer.from(value, 'utf8').toString('latin1')
}

/** Writes an answer. Small files go out with their head in one write. */
function send(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  const head: string[] = []
  for (const [name, value] of reply.headers) head.push(name, asUtf8(value))
  const { body } = reply
  let content = Buffer.isBuffer(body) ? body : undefined
  const length = content ? content.length : body && !Buffer.isBuffer(body) ? body.end - body.start + 1 : undefined
  const bodiless = request.method === 'HEAD' || reply.status === 204 || reply.status === 304
  if (reply.chunked) head.push('Transfer-Encoding', 'chunked')
  else if (length !== undefined && reply.status !== 204 && reply.status !== 304)
    head.push('Content-Length', String(length))
  head.push('Server', SERVER)
  if (reply.close) head.push('Connection', 'close')
  // aiohttp keeps connections open without saying so.
  if (!reply.close) response.removeHeader('connection')
  response.writeHead(reply.status, head)
  if (bodiless || (content === undefined && !body)) {
    response.end()
    return
  }
  if (content === undefined && body && !Buffer.isBuffer(body)) {
    if (body.end < body.start) content = Buffer.alloc(0)
    else if (body.end < SMALL_FILE) content = readFileSync(body.path).subarray(body.start, body.end + 1)
    else {
      pipeline(
        createReadStream(body.path, { start: body.start, end: body.end, highWaterMark: SMALL_FILE }),
        response,
        () => {},
      )
      return
    }
  }
  response.end(content)
}

/** Plays one fault. The request has reached us either way, and is in the log. */
async function misbehave(
  fault: HttpFault,
  answer: () => Promise<Reply>,
  request: IncomingMessage,
  response: ServerResponse,
  entry: SimRequest | undefined,
): Promise<void> {
  switch (fault.kind) {
    case 'hang':
      return
    case 'reset':
      request.socket.resetAndDestroy()
      return
    case 'garbage':
      request.socket.end('garbage, and no HTTP\r\n\r\n')
      return
    case 'status':
      if (entry) entry.status = fault.status ?? 500
      send(request, response, empty(fault.status ?? 500))
      return
    case 'delay': {
      await new Promise((resolve) => setTimeout(resolve, fault.ms ?? 0))
      const reply = await answer()
      if (entry) entry.status = reply.status
      send(request, response, reply)
      return
    }
    case 'after':
      await answer()
      request.socket.resetAndDestroy()
      return
    case 'cut': {
      const reply = await answer()
      if (entry) entry.status = reply.status
      const whole = Buffer.isBuffer(reply.body)
        ? reply.body
        : reply.body
          ? readFileSync(reply.body.path)
          : Buffer.alloc(0)
      const fields = reply.headers.flatMap(([name, value]) => [name, asUtf8(value)])
      response.writeHead(reply.status, [...fields, 'Content-Length', String(whole.length)])
      response.write(whole.subarray(0, whole.length >> 1), () => request.socket.destroy())
    }
  }
}
