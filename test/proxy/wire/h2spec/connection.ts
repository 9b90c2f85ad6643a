import { ACK, END_HEADERS, END_STREAM, FRAME, PREFACE } from '../../../support/http2.ts'
import { get, post, type Row, sendGet, sendPost, uint32 } from './row.ts'

const EXTENSION = 0xbe
const CANCEL = uint32(8)

/** RFC 9113, sections 3 to 5: the preface, frames as such, the states of streams. */
export const CONNECTION: readonly Row[] = [
  {
    section: '3.4',
    what: 'a preface with SETTINGS is answered by SETTINGS, as the first frame',
    outcome: ['served'],
    act: (raw) => raw.until(({ type, flags }) => type === FRAME.settings && flags === 0),
    look: ({ frames }) => frames[0]!.type === FRAME.settings && (frames[0]!.flags & ACK) === 0,
  },
  {
    section: '3.4',
    what: 'another preface',
    outcome: ['goaway PROTOCOL_ERROR'],
    preface: false,
    act: ({ socket }) => socket.write('PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n'),
  },
  {
    section: '3.4',
    what: 'a request of HTTP/1.1 on a connection that said h2',
    outcome: ['goaway PROTOCOL_ERROR'],
    preface: false,
    act: ({ socket }) => socket.write('GET /queue HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  },
  {
    section: '3.4',
    what: 'a preface followed by something else than SETTINGS',
    outcome: ['goaway PROTOCOL_ERROR'],
    preface: false,
    act(raw) {
      raw.socket.write(PREFACE)
      sendGet(raw)
    },
  },
  {
    section: '4.1',
    what: 'a frame of a type that nobody knows',
    outcome: ['served'],
    act: (raw) => raw.send(EXTENSION, 0, 0, Buffer.alloc(8)),
  },
  {
    section: '4.1',
    what: 'flags that mean nothing on their frame',
    outcome: ['answer 200'],
    act(raw) {
      raw.send(FRAME.ping, 0x16, 0, Buffer.alloc(8))
      raw.send(FRAME.headers, END_HEADERS | END_STREAM | 0x82, 1, get())
    },
  },
  {
    section: '4.1',
    what: 'the reserved bit before the stream id',
    outcome: ['answer 200'],
    act: (raw) => raw.send(FRAME.headers, END_HEADERS | END_STREAM, 0x80000001, get()),
  },
  {
    section: '4.2',
    what: 'DATA of 2^14 bytes',
    outcome: ['answer 200'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.data, END_STREAM, 1, Buffer.alloc(16_384, 'a'))
    },
  },
  {
    section: '4.2',
    what: 'DATA of more than SETTINGS_MAX_FRAME_SIZE',
    outcome: ['goaway FRAME_SIZE_ERROR', 'reset FRAME_SIZE_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.data, END_STREAM, 1, Buffer.alloc(16_385, 'a'))
    },
  },
  {
    section: '4.2',
    what: 'HEADERS of more than SETTINGS_MAX_FRAME_SIZE',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    act: (raw) => raw.send(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.alloc(16_385)),
  },
  {
    section: '4.2',
    what: 'a frame that says it is 16 MiB long',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    act: ({ socket }) => socket.write(Buffer.from('ffffff000000000001', 'hex')),
  },
  {
    section: '4.3',
    what: 'a header block that is none',
    outcome: ['goaway COMPRESSION_ERROR'],
    act: (raw) => sendGet(raw, 1, Buffer.from('4001', 'hex')),
  },
  {
    section: '4.3',
    what: 'PRIORITY within a header block',
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      raw.send(FRAME.headers, END_STREAM, 1, get())
      raw.send(FRAME.priority, 0, 1, Buffer.from('0000000010', 'hex'))
    },
  },
  {
    section: '4.3',
    what: "another stream's HEADERS within a header block",
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      raw.send(FRAME.headers, END_STREAM, 1, get())
      sendGet(raw, 3)
    },
  },
  {
    section: '5.1',
    what: 'idle: DATA',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.data, END_STREAM, 1, Buffer.from('x')),
  },
  {
    section: '5.1',
    what: 'idle: RST_STREAM',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.reset, 0, 1, CANCEL),
  },
  {
    section: '5.1',
    what: 'idle: WINDOW_UPDATE',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.window, 0, 1, uint32(100)),
  },
  {
    section: '5.1',
    what: 'idle: CONTINUATION',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.continuation, END_HEADERS, 1, get()),
  },
  {
    section: '5.1',
    what: 'half-closed: DATA',
    outcome: ['goaway STREAM_CLOSED', 'reset STREAM_CLOSED'],
    act(raw) {
      sendGet(raw)
      raw.send(FRAME.data, END_STREAM, 1, Buffer.from('x'))
    },
  },
  {
    section: '5.1',
    what: 'half-closed: HEADERS',
    outcome: ['goaway STREAM_CLOSED', 'reset STREAM_CLOSED'],
    act(raw) {
      sendGet(raw)
      sendGet(raw)
    },
  },
  {
    section: '5.1',
    what: 'half-closed: CONTINUATION',
    outcome: ['goaway PROTOCOL_ERROR', 'goaway STREAM_CLOSED'],
    act(raw) {
      sendGet(raw)
      raw.send(FRAME.continuation, END_HEADERS, 1, get())
    },
  },
  {
    section: '5.1',
    what: 'half-closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are in order',
    outcome: ['served'],
    act(raw) {
      sendGet(raw)
      raw.send(FRAME.window, 0, 1, uint32(100))
      raw.send(FRAME.priority, 0, 1, Buffer.from('0000000010', 'hex'))
      raw.send(FRAME.reset, 0, 1, CANCEL)
    },
  },
  {
    section: '5.1',
    what: 'closed by its own RST_STREAM: DATA',
    outcome: ['served', 'goaway STREAM_CLOSED', 'reset STREAM_CLOSED'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.reset, 0, 1, CANCEL)
      raw.send(FRAME.data, END_STREAM, 1, Buffer.from('x'))
    },
  },
  {
    section: '5.1',
    what: 'closed by its own RST_STREAM: HEADERS',
    outcome: ['served', 'goaway STREAM_CLOSED', 'reset STREAM_CLOSED', 'goaway PROTOCOL_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.reset, 0, 1, CANCEL)
      sendGet(raw)
    },
  },
  {
    section: '5.1',
    what: 'closed by its own RST_STREAM: CONTINUATION',
    outcome: ['goaway PROTOCOL_ERROR', 'goaway STREAM_CLOSED'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.reset, 0, 1, CANCEL)
      raw.send(FRAME.continuation, END_HEADERS, 1, get())
    },
  },
  ...(['data', 'headers', 'continuation'] as const).map(
    (type): Row => ({
      section: '5.1',
      what: `closed once answered: ${type.toUpperCase()}`,
      outcome: ['served', 'goaway STREAM_CLOSED', 'goaway PROTOCOL_ERROR', 'reset STREAM_CLOSED'],
      async act(raw) {
        sendGet(raw)
        await raw.until(({ stream, flags }) => stream === 1 && (flags & END_STREAM) !== 0)
        raw.frames.length = 0
        raw.send(FRAME[type], END_HEADERS | END_STREAM, 1, type === 'data' ? Buffer.from('x') : get())
      },
    }),
  ),
  {
    section: '5.1.1',
    what: 'a stream with an even id',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => sendGet(raw, 2),
  },
  {
    section: '5.1.1',
    what: 'an id below the last one',
    outcome: ['served', 'goaway PROTOCOL_ERROR', 'goaway STREAM_CLOSED'],
    act(raw) {
      sendGet(raw, 5)
      sendGet(raw, 3)
    },
  },
  {
    section: '5.1.2',
    what: 'more streams than SETTINGS_MAX_CONCURRENT_STREAMS',
    outcome: ['goaway PROTOCOL_ERROR', 'reset REFUSED_STREAM', 'reset INTERNAL_ERROR'],
    async act(raw) {
      await raw.until(({ type }) => type === FRAME.settings)
      raw.send(FRAME.settings, ACK, 0)
      for (let stream = 3; stream <= 203; stream += 2) sendPost(raw, stream)
    },
  },
  {
    section: '5.3.1',
    what: 'HEADERS of a stream that depends on itself',
    outcome: ['goaway PROTOCOL_ERROR', 'answer 200', 'reset PROTOCOL_ERROR'],
    act: (raw) =>
      raw.send(FRAME.headers, END_HEADERS | END_STREAM | 32, 1, Buffer.concat([uint32(1), Buffer.from([9]), get()])),
  },
  {
    section: '5.3.1',
    what: 'PRIORITY of a stream that depends on itself',
    outcome: ['served', 'reset PROTOCOL_ERROR', 'goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.priority, 0, 1, Buffer.from('000000010f', 'hex')),
  },
  {
    section: '5.4.1',
    what: 'GOAWAY names the last stream',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    async act(raw) {
      sendGet(raw)
      await raw.until(({ stream, flags }) => stream === 1 && (flags & END_STREAM) !== 0)
      raw.frames.length = 0
      raw.send(FRAME.ping, 0, 0, Buffer.alloc(7))
    },
    look: ({ frames }) => frames.find(({ type }) => type === FRAME.goaway)!.payload.readUInt32BE(0) <= 1,
  },
  {
    section: '5.4.2',
    what: 'a stream in error leaves the others alone',
    outcome: ['reset PROTOCOL_ERROR'],
    act(raw) {
      sendPost(raw, 1, post([['connection', 'close']]))
      sendGet(raw, 3)
    },
    look: (raw) => raw.until(({ stream, type }) => stream === 3 && type === FRAME.headers),
  },
  {
    section: '5.5',
    what: 'an extension frame on a stream',
    outcome: ['answer 200'],
    act(raw) {
      sendPost(raw)
      raw.send(EXTENSION, 0xff, 1, Buffer.alloc(100))
      raw.send(FRAME.data, END_STREAM, 1, Buffer.from('{}'))
    },
  },
  {
    section: '5.5',
    what: 'an extension frame within a header block',
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      raw.send(FRAME.headers, END_STREAM, 1, get())
      raw.send(EXTENSION, 0, 1, Buffer.alloc(8))
    },
  },
]
