import { createHash } from 'node:crypto'
import type { Asked } from './upstream.ts'

/** One way in which an upstream goes wrong with a WebSocket, as docs/faults.md names it. */
export interface SocketFault {
  readonly answer: (asked: Asked) => void
  /** What the client does once it is joined; default: it waits. */
  readonly client?: 'closes' | 'sends much'
  /** What the client must have got as frames' payloads. */
  readonly frames?: string
}

/** RFC 6455, section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** A true 101 to this request. */
export function switching({ head }: Pick<Asked, 'head'>): string {
  const key = /\r\nsec-websocket-key: (.*)\r\n/i.exec(head)![1]
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
}

/** A server's text frame of at most 125 bytes. */
export function textFrame(text: string): string {
  return `\x81${String.fromCharCode(text.length)}${text}`
}

const CLOSED = '\x88\x02\x03\xe8'

const says =
  (text: (asked: Asked) => string): SocketFault['answer'] =>
  (asked) =>
    asked.socket.write(Buffer.from(text(asked), 'latin1'))

const closesAfter =
  (text: (asked: Asked) => string): SocketFault['answer'] =>
  (asked) =>
    asked.socket.end(Buffer.from(text(asked), 'latin1'))

const resetsAfter =
  (text: (asked: Asked) => string): SocketFault['answer'] =>
  (asked) =>
    asked.socket.write(Buffer.from(text(asked), 'latin1'), () => setTimeout(() => asked.socket.resetAndDestroy(), 20))

/** Answers the client's close frame with these bytes, then does this. */
const atClose =
  (bytes: string, then: (asked: Asked) => void): SocketFault['answer'] =>
  (asked) => {
    asked.socket.write(switching(asked))
    asked.socket.once('data', () => {
      asked.socket.write(Buffer.from(bytes, 'latin1'))
      then(asked)
    })
  }

/** By the first cell of their row. */
export const SOCKET_FAULTS: Readonly<Record<string, SocketFault>> = {
  'closes without a word': { answer: closesAfter(() => '') },
  'breaks the connection (RST) without a word': { answer: ({ socket }) => socket.resetAndDestroy() },
  'never answers': { answer: () => {} },
  'falls silent in its head': { answer: says((asked) => switching(asked).slice(0, 60)) },
  'closes in its head': { answer: closesAfter((asked) => switching(asked).slice(0, 60)) },
  'sends 103 before its 101': {
    answer: (asked) => {
      asked.socket.write(`HTTP/1.1 103 Early Hints\r\n\r\n${switching(asked)}`)
      asked.socket.end(Buffer.from(CLOSED, 'latin1'))
    },
  },
  'sends informational heads without end': {
    answer: ({ socket }) => {
      const timer = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'), 20)
      socket.once('close', () => clearInterval(timer))
    },
  },
  'sends a wrong Sec-WebSocket-Accept': {
    answer: says((asked) => `${switching(asked).replace(/Accept: .*\r/, 'Accept: AAAA\r')}${textFrame('evil')}`),
  },
  'sends a head of 70 KiB': { answer: says(() => `HTTP/1.1 101 Switching Protocols\r\nX: ${'a'.repeat(70_000)}`) },
  'answers 403': { answer: says(() => 'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno') },
  'answers 403 and closes in its body': {
    answer: closesAfter(() => 'HTTP/1.1 403 Forbidden\r\nContent-Length: 20\r\n\r\nno'),
  },
  'answers 403 and falls silent in its body': {
    answer: says(() => 'HTTP/1.1 403 Forbidden\r\nContent-Length: 20\r\n\r\nno'),
  },
  'closes after its 101': { answer: closesAfter(switching) },
  'resets after its 101': { answer: resetsAfter(switching) },
  'sends frames at once behind its 101, and closes well': {
    answer: (asked) => {
      asked.socket.write(Buffer.from(`${switching(asked)}${textFrame('one')}${textFrame('two')}${CLOSED}`, 'latin1'))
      asked.socket.end()
    },
    frames: 'onetwo',
  },
  'closes in a frame': {
    answer: closesAfter((asked) => `${switching(asked)}${textFrame('one')}${textFrame('two').slice(0, 3)}`),
    frames: 'one',
  },
  'resets in a frame': {
    answer: resetsAfter((asked) => `${switching(asked)}${textFrame('one')}${textFrame('two').slice(0, 3)}`),
    frames: 'one',
  },
  'closes in the head of a frame': {
    answer: closesAfter((asked) => `${switching(asked)}${textFrame('one')}\x81`),
    frames: 'one',
  },
  'answers a close frame, and closes': { answer: atClose(CLOSED, ({ socket }) => socket.end()), client: 'closes' },
  'closes where a close frame was due': { answer: atClose('', ({ socket }) => socket.end()), client: 'closes' },
  'resets where a close frame was due': {
    answer: atClose('', ({ socket }) => socket.resetAndDestroy()),
    client: 'closes',
  },
  'closes in its close frame': { answer: atClose('\x88', ({ socket }) => socket.end()), client: 'closes' },
  'answers a close frame, and never closes': {
    answer: atClose(CLOSED, ({ socket }) => socket.removeAllListeners('end')),
    client: 'closes',
  },
  'never reads what it is sent': {
    answer: (asked) => {
      asked.socket.write(switching(asked))
      asked.socket.pause()
    },
    client: 'sends much',
  },
}
