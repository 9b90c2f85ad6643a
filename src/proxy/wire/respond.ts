import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Answer } from '../pages/answer.ts'
import { dropRest } from './body.ts'
import type { ClientRequest, ClientResponse } from './client.ts'

/** How long a socket that was refused may take to read why. */
export const LINGER_MS = 2_000

/** Writes an answer of ours and gives the length of its body. The one place that does, but for `respondRaw`. */
export function respond(request: ClientRequest, response: ClientResponse, { status, headers, body }: Answer): number {
  dropRest(request)
  if (status === 204 || status === 304) {
    response.writeHead(status, headers as string[]).end()
    return 0
  }
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length
  response.writeHead(status, [...headers, 'Content-Length', String(length)])
  response.end(request.method === 'HEAD' ? undefined : body) // a text shares one buffer with the head
  response.reader?.hold(response, length)
  return length
}

const always = new WeakMap<Duplex, readonly string[]>()

/** name, value: on every answer that is written to this bare socket (HSTS, RFC 6797, section 7.1). */
export function sayAlways(socket: Duplex, headers: readonly string[]): void {
  always.set(socket, headers)
}

export function alwaysOf(socket: Duplex): readonly string[] {
  return always.get(socket) ?? []
}

/** The same on a bare socket, as a whole HTTP/1.1 answer that ends the connection: a refused Upgrade, a broken head. */
export function respondRaw(socket: Duplex, answer: Answer, nowMs: number): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const content = typeof answer.body === 'string' ? Buffer.from(answer.body) : answer.body
  const length = ['Content-Length', String(content.length), 'Date', new Date(nowMs).toUTCString()]
  socket.write(rawHead(answer.status, undefined, [...answer.headers, ...alwaysOf(socket), ...length]))
  endRaw(socket, content)
}

const PLAIN = /^[\x20-\x7e]+$/

/** The upstream's words for its status, where nothing in them needs a second look. */
export function plainText(statusText: string | undefined): string | undefined {
  return statusText !== undefined && PLAIN.test(statusText) ? statusText : undefined
}

/** A head for a bare socket, after which the connection closes. */
export function rawHead(status: number, statusText: string | undefined, headers: readonly string[]): Buffer {
  let head = `HTTP/1.1 ${status} ${plainText(statusText) ?? STATUS_CODES[status] ?? ''}\r\n`
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
  return Buffer.from(`${head}Connection: close\r\n\r\n`, 'latin1')
}

/** Ends a bare socket, dropping what still comes, so that no reset overtakes the answer. */
export function endRaw(socket: Duplex, last?: Uint8Array): void {
  socket.on('error', () => socket.destroy())
  socket.end(last)
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref()
  socket.once('close', () => clearTimeout(timer))
  socket.once('end', () => socket.destroy())
}

/** Above --max-upload-size, in ComfyUI's MB of 1,048,576 bytes. */
export function tooLargeAnswer(limitBytes: number): Answer {
  const mb = Math.round((limitBytes / 2 ** 20) * 1_000) / 1_000
  return protocolAnswer(413, `The body of this request is longer than the ${mb} MB that --max-upload-size allows.`)
}

/** What the rules of HTTP itself refuse, in the shape of our other refusals. */
export function protocolAnswer(status: 400 | 404 | 408 | 413 | 417 | 431 | 503 | 505, message: string): Answer {
  return {
    status,
    headers: [
      'Content-Type',
      'application/json; charset=utf-8',
      'Cache-Control',
      'no-store',
      'X-Content-Type-Options',
      'nosniff',
    ],
    body: `${JSON.stringify({ error: STATUS_CODES[status], message })}\n`,
  }
}

export const LONG_HEAD = protocolAnswer(431, 'The head of this request is longer than 32 KiB.')
export const FOREIGN_EXPECTATION = protocolAnswer(417, 'The one expectation known here is 100-continue.')
