import { once } from 'node:events'
import { connect } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { Case } from './case.ts'
import { END_STREAM, FRAME, frame } from './http2-bytes.ts'

/** Connections that many cases share at a time, and how many cases are under way on each of them. */
const CONNECTIONS = 6
const LANES = 8 * CONNECTIONS
/** A connection is left after so many streams. */
const STREAMS = 300
const ACK = 1
/** A stream that says nothing for so long waits for more than it will get. */
const QUIET_MS = 400
/** Where all that was sent is whole. */
const ANSWER_MS = 5_000
const CANCEL = Buffer.from([0, 0, 0, 8])
/** SETTINGS_INITIAL_WINDOW_SIZE, and as much for the connection: answers are never waited for. */
const WIDE = Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff])

interface Connection {
  readonly usable: boolean
  /** The number that a new stream has. */
  take(): number
  write(bytes: Buffer): void
  /** Until all of these have ended, or nothing comes any more. */
  ended(streams: readonly number[], withinMs: number): Promise<void>
  close(): void
}

/** As runConnections, each case as streams of a connection that carries other cases' streams too. */
export async function runStreams(cases: readonly Case[], port: number): Promise<void> {
  const all: Promise<Connection>[] = []
  const shared: Promise<Connection>[] = []
  const openAnother = (from?: string) => {
    const connection = open(port, from)
    all.push(connection)
    return connection
  }
  const onShared = async (lane: number): Promise<Connection> => {
    const i = lane % CONNECTIONS
    const kept = shared[i]
    if (kept !== undefined && (await kept).usable) return kept
    // Of several lanes that find it closed, the first opens another
    if (shared[i] === kept) shared[i] = openAnother()
    return shared[i]!
  }
  let next = 0
  const lane = async (number: number) => {
    while (next < cases.length) {
      const one = cases[next++]!
      const own = one.alone === true || one.from !== undefined
      const connection = await (own ? openAnother(one.from) : onShared(number))
      await send(connection, one)
      if (own) connection.close()
    }
  }
  await Promise.all(Array.from({ length: LANES }, (_, i) => lane(i)))
  for (const one of all) (await one).close()
}

async function send(connection: Connection, { pieces, methods, paced = false }: Case): Promise<void> {
  const numbers = new Map<number, number>()
  const sent = paced ? pieces : [Buffer.concat(pieces)]
  for (const piece of sent) {
    const before = new Set(numbers.values())
    connection.write(numbered(piece, numbers, connection))
    const streams = [...numbers.values()].filter((stream) => !before.has(stream))
    await connection.ended(streams, methods.length > 0 ? ANSWER_MS : QUIET_MS)
  }
}

/** The frames with numbers of this connection. */
function numbered(bytes: Buffer, numbers: Map<number, number>, connection: Connection): Buffer {
  const copy = Buffer.from(bytes)
  for (let at = 0; at + 9 <= copy.length; at += 9 + copy.readUIntBE(at, 3)) {
    const stream = copy.readUInt32BE(at + 5)
    if (stream === 0) continue
    if (!numbers.has(stream)) numbers.set(stream, connection.take())
    copy.writeUInt32BE(numbers.get(stream)!, at + 5)
  }
  return copy
}

async function open(port: number, from: string | undefined): Promise<Connection> {
  const plain = connect({ host: '127.0.0.1', port, noDelay: true, ...(from !== undefined && { localAddress: from }) })
  plain.on('error', () => plain.destroy())
  const socket = connectTls({ socket: plain, ALPNProtocols: ['h2'], rejectUnauthorized: false })
  socket.on('error', () => socket.destroy())
  await Promise.race([once(socket, 'secureConnect'), once(socket, 'close')])
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  socket.write(
    Buffer.concat([frame(FRAME.settings, 0, 0, WIDE), frame(FRAME.window, 0, 0, Buffer.from([0x3f, 0, 0, 0]))]),
  )
  return watch(socket)
}

function watch(socket: TLSSocket): Connection {
  let rest: Buffer = Buffer.alloc(0)
  let usable = !socket.destroyed
  let next = 1
  const ended = new Set<number>()
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const look of waiting) look()
  }
  socket.on('close', () => {
    usable = false
    wake()
  })
  socket.on('data', (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const size = 9 + rest.readUIntBE(0, 3)
      const [type, flags] = [rest[3]!, rest[4]!]
      const stream = rest.readUInt32BE(5)
      const payload = rest.subarray(9, size)
      rest = rest.subarray(size)
      if (type === FRAME.settings && flags === 0) socket.write(frame(FRAME.settings, ACK, 0))
      else if (type === FRAME.ping && flags === 0) socket.write(frame(FRAME.ping, ACK, 0, payload))
      else if (type === FRAME.goaway) usable = false
      else if (type === FRAME.reset || ((type === FRAME.headers || type === FRAME.data) && flags & END_STREAM))
        ended.add(stream)
    }
    wake()
  })
  return {
    get usable() {
      return usable && next < 2 * STREAMS
    },
    take() {
      next += 2
      return next - 2
    },
    write: (bytes) => void (socket.writable && socket.write(bytes)),
    ended: (streams, withinMs) =>
      new Promise((resolve) => {
        const finish = () => {
          clearTimeout(timer)
          waiting.delete(look)
          resolve()
        }
        const look = () => {
          if (socket.destroyed || streams.every((stream) => ended.has(stream))) finish()
        }
        const timer = setTimeout(() => {
          for (const stream of streams) {
            if (!ended.has(stream) && socket.writable) socket.write(frame(FRAME.reset, 0, stream, CANCEL))
          }
          finish()
        }, withinMs)
        waiting.add(look)
        look()
      }),
    close: () => socket.destroy(),
  }
}
