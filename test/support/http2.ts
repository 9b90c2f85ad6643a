import { once } from 'node:events'
import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { makeCertificate } from '../../src/proxy/certificate.ts'

/** A key and a certificate of this machine's loopback names, as one PEM text. */
export function testCertificate(names: readonly string[] = ['localhost', '127.0.0.1']): string {
  return makeCertificate({ commonName: 'comfy-auth test', names, nowMs: Date.now() })
}

export interface Heard2 {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Client2 {
  readonly session: ClientHttp2Session
  ask(method: string, path: string, headers?: OutgoingHttpHeaders, body?: string | Buffer): Promise<Heard2>
  close(): void
}

/** One HTTP/2 connection of Node's own client; the certificate is not looked at. */
export async function client2(port: number): Promise<Client2> {
  const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  session.on('error', () => {})
  await once(session, 'connect')
  return {
    session,
    ask: (method, path, headers = {}, body) => ask2(session, method, path, headers, body),
    close: () => session.destroy(),
  }
}

function ask2(
  session: ClientHttp2Session,
  method: string,
  path: string,
  headers: OutgoingHttpHeaders,
  body: string | Buffer | undefined,
): Promise<Heard2> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': method, ':path': path, ...headers }, { endStream: body === undefined })
    let head: IncomingHttpHeaders & { ':status'?: number | undefined } = {}
    const chunks: Buffer[] = []
    stream.on('response', (received) => {
      head = received
    })
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', reject)
    stream.on('close', () => {
      if (head[':status'] === undefined) reject(new Error(`reset with ${stream.rstCode}`))
      else resolve({ status: head[':status'], headers: head, body: Buffer.concat(chunks).toString() })
    })
    if (body !== undefined) stream.end(body)
  })
}

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const

/** RFC 9113, section 4.1. */
export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}
export const END_STREAM = 1
export const ACK = 1
export const END_HEADERS = 4
export const PADDED = 8
export const PRIORITY = 32

/** RFC 9113, section 7, by number. */
export const CODES = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
] as const

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

/** Frames that no library will send: RFC 9113 by hand. */
export interface Raw2 {
  readonly socket: TLSSocket
  readonly frames: Frame[]
  send(type: number, flags: number, stream: number, payload?: Buffer): void
  /** Resolves with the first frame that fits; undefined once the connection has closed without one. */
  until(fits: (frame: Frame) => boolean): Promise<Frame | undefined>
  closed(): Promise<void>
  close(): void
}

/** RFC 9113, section 3.4, without the SETTINGS that follow it. */
export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

/** `preface: false` leaves it to the test, the SETTINGS too. */
export async function raw2(port: number, { preface = true } = {}): Promise<Raw2> {
  const socket = connectTls({ host: '127.0.0.1', port, ALPNProtocols: ['h2'], rejectUnauthorized: false })
  const frames: Frame[] = []
  const waiting: (() => void)[] = []
  let rest = Buffer.alloc(0)
  let closed = false
  const wake = () => {
    for (const one of waiting.splice(0)) one()
  }
  const change = () => new Promise<void>((resolve) => waiting.push(resolve))
  socket.on('error', () => {})
  socket.on('close', () => {
    closed = true
    wake()
  })
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    for (;;) {
      const length = rest.length < 9 ? Number.POSITIVE_INFINITY : rest.readUIntBE(0, 3)
      if (rest.length < 9 + length) break
      const payload = rest.subarray(9, 9 + length)
      frames.push({ type: rest[3]!, flags: rest[4]!, stream: rest.readUInt32BE(5), payload })
      rest = rest.subarray(9 + length)
    }
    wake()
  })
  await once(socket, 'secureConnect')
  const send = (type: number, flags: number, stream: number, payload?: Buffer) => {
    if (!closed) socket.write(frame(type, flags, stream, payload))
  }
  if (preface) {
    socket.write(PREFACE)
    send(FRAME.settings, 0, 0)
  }
  return {
    socket,
    frames,
    send,
    async until(fits) {
      for (;;) {
        const found = frames.find(fits)
        if (found || closed) return found
        await change()
      }
    },
    async closed() {
      while (!closed) await change()
    },
    close: () => socket.destroy(),
  }
}

/** HPACK literals, never indexed nor compressed (RFC 7541, 6.2.2). */
export function headerBlock(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value, 'latin1')
    if (bytes.length > 126) throw new Error('longer than this encoder writes')
    return Buffer.concat([Buffer.from([bytes.length]), bytes])
  }
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]))
}

export const pseudo = (method: string, path: string, authority = 'localhost') =>
  [
    [':method', method],
    [':scheme', 'https'],
    [':authority', authority],
    [':path', path],
  ] as const
