import { once } from 'node:events'
import { type ClientHttp2Session, connect as connect2 } from 'node:http2'
import { connect } from 'node:net'
import { KEY } from './process.ts'

/** What a client got of one answer. */
export interface Seen {
  /** The status of an answer that is whole by its own framing; `cut` where it is not. */
  readonly outcome: string
  readonly head: string
  readonly body: string
}

export interface Question {
  readonly method?: string
  readonly path?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Goes away once it has this many bytes. */
  readonly leavesAfterBytes?: number
}

export const UPGRADE = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
}

/** A whole HTTP/1.1 request with the key, as bytes. */
export function request({ method = 'GET', path = '/queue', body, headers }: Question = {}): string {
  const all = {
    Host: 'localhost',
    Authorization: `Bearer ${KEY}`,
    ...headers,
    ...(body !== undefined && { 'Content-Length': String(Buffer.byteLength(body)) }),
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body ?? ''}`
}

/** Where the answer that `text` begins with is whole: its end. Undefined: it is not, so far. NaN: it has no framing. */
function endOf(text: string, method: string): number | undefined {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd === -1) return undefined
  const head = text.slice(0, headEnd + 2)
  const status = Number(head.slice(9, 12))
  const start = headEnd + 4
  if (method === 'HEAD' || status === 204 || status === 304) return start
  if (/\r\ntransfer-encoding: chunked\r\n/i.test(head)) return chunkedEnd(text, start)
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(head)
  if (!length) return Number.NaN
  return text.length >= start + Number(length[1]) ? start + Number(length[1]) : undefined
}

function chunkedEnd(text: string, start: number): number | undefined {
  for (let at = start; ; ) {
    const line = text.indexOf('\r\n', at)
    if (line === -1) return undefined
    const length = Number.parseInt(text.slice(at, line), 16)
    at = line + 2 + length + 2
    if (text.length < at) return undefined
    if (length === 0) return at
  }
}

/** Sends bytes and reads one answer, by the rules of RFC 9112 alone. Fails where more comes than one answer. */
export async function ask1(port: number, question: Question = {}): Promise<Seen> {
  const method = question.method ?? 'GET'
  const socket = connect(port, '127.0.0.1').setNoDelay(true)
  const chunks: Buffer[] = []
  let text = ''
  let end: number | undefined
  let bytes = 0
  const { leavesAfterBytes = Number.POSITIVE_INFINITY } = question
  await new Promise<void>((resolve) => {
    socket.on('error', () => {})
    socket.on('close', () => resolve())
    socket.on('data', (chunk) => {
      bytes += chunk.length
      if (bytes > leavesAfterBytes) resolve()
      if (leavesAfterBytes < Number.POSITIVE_INFINITY) return
      chunks.push(chunk)
      text = Buffer.concat(chunks)
        .toString('latin1')
        .replace(/^HTTP\/1\.1 1\d\d .*?\r\n\r\n/s, '')
      end = endOf(text, method)
      if (end !== undefined) resolve()
    })
    socket.write(request(question))
  })
  socket.destroy()
  const headEnd = text.indexOf('\r\n\r\n')
  const head = text.slice(0, headEnd === -1 ? 0 : headEnd)
  if (Number.isNaN(end)) throw new Error(`an answer whose end is its connection's: ${head}`)
  if (end === undefined) return { outcome: 'cut', head, body: text.slice(headEnd + 4) }
  if (end < text.length) throw new Error(`more than one answer: ${JSON.stringify(text.slice(end))}`)
  return { outcome: text.slice(9, 12), head, body: bodyOf(text.slice(0, end), headEnd + 4) }
}

function bodyOf(text: string, start: number): string {
  if (!/\r\ntransfer-encoding: chunked\r\n/i.test(text.slice(0, start))) return text.slice(start)
  let body = ''
  for (let at = start; ; ) {
    const line = text.indexOf('\r\n', at)
    const length = Number.parseInt(text.slice(at, line), 16)
    if (!(length > 0)) return body
    body += text.slice(line + 2, line + 2 + length)
    at = line + 2 + length + 2
  }
}

export async function open2(port: number): Promise<ClientHttp2Session> {
  const session = connect2(`https://127.0.0.1:${port}`, {
    rejectUnauthorized: false,
    maxHeaderListPairs: 20_000,
    settings: { maxHeaderListSize: 4 * 1024 * 1024 },
  })
  session.on('error', () => {})
  await once(session, 'connect')
  return session
}

/** The same question as one stream of HTTP/2: whole is what ended without a reset. */
export function ask2(session: ClientHttp2Session, question: Question = {}): Promise<Seen> {
  const { method = 'GET', path = '/queue', body, headers, leavesAfterBytes = Number.POSITIVE_INFINITY } = question
  let bytes = 0
  return new Promise((resolve) => {
    const fields = { ':method': method, ':path': path, authorization: `Bearer ${KEY}`, ...headers }
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const stream = session.request({ ...fields, ...length }, { endStream: body === undefined })
    let status: number | undefined
    let head = ''
    let text = ''
    let ended = false
    stream.setEncoding('latin1')
    stream.on('response', (received) => {
      status = received[':status']
      head = JSON.stringify(received)
    })
    stream.on('data', (chunk: string) => {
      bytes += chunk.length
      if (bytes > leavesAfterBytes)
        stream.close(8) // CANCEL
      else if (leavesAfterBytes === Number.POSITIVE_INFINITY) text += chunk
    })
    stream.on('end', () => {
      ended = !stream.aborted
    })
    stream.on('error', () => {})
    stream.on('close', () => {
      const whole = ended && stream.rstCode === 0 && status !== undefined
      resolve({ outcome: whole ? String(status) : 'cut', head, body: text })
    })
    if (body !== undefined) stream.end(body)
  })
}
