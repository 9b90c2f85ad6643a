import { ACK, END_HEADERS, END_STREAM, FRAME, PADDED, type Raw2 } from '../../../support/http2.ts'
import { get, post, type Row, sendGet, sendPost, setting, uint32 } from './row.ts'

const CANCEL = uint32(8)
const GOAWAY_UNKNOWN = uint32(0, 0xff)

const pongs = ({ frames }: Raw2) => frames.filter(({ type }) => type === FRAME.ping)

/** RFC 9113, sections 6 and 7: each type of frame but those of `windows.ts`. */
export const FRAMES: readonly Row[] = [
  {
    section: '6.1',
    what: 'DATA on stream 0',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.data, END_STREAM, 0, Buffer.from('x')),
  },
  {
    section: '6.1',
    what: 'DATA padded by more than it holds',
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.data, END_STREAM | PADDED, 1, Buffer.from('05aabb', 'hex'))
    },
  },
  {
    section: '6.1',
    what: 'DATA whose padding is taken off',
    outcome: ['answer 200'],
    act(raw) {
      sendPost(raw, 1, post([['content-length', '2']]))
      raw.send(FRAME.data, END_STREAM | PADDED, 1, Buffer.from('037b7d000000', 'hex'))
    },
  },
  {
    section: '6.1',
    what: 'padded DATA without a byte that says by how much',
    outcome: ['goaway FRAME_SIZE_ERROR', 'goaway PROTOCOL_ERROR', 'reset FRAME_SIZE_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.data, END_STREAM | PADDED, 1)
    },
  },
  {
    section: '6.2',
    what: 'HEADERS on stream 0',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => sendGet(raw, 0),
  },
  {
    section: '6.2',
    what: 'HEADERS padded by more than they hold',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) =>
      raw.send(FRAME.headers, END_HEADERS | END_STREAM | PADDED, 1, Buffer.concat([Buffer.from([255]), get()])),
  },
  {
    section: '6.2',
    what: 'HEADERS whose padding and priority are taken off',
    outcome: ['answer 200'],
    act: (raw) =>
      raw.send(
        FRAME.headers,
        END_HEADERS | END_STREAM | PADDED | 32,
        1,
        Buffer.concat([Buffer.from('040000000010', 'hex'), get(), Buffer.alloc(4)]),
      ),
  },
  {
    section: '6.2',
    what: 'HEADERS too short for the priority that they announce',
    outcome: ['goaway FRAME_SIZE_ERROR', 'goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.headers, END_HEADERS | END_STREAM | 32, 1, Buffer.alloc(3)),
  },
  {
    section: '6.3',
    what: 'PRIORITY on stream 0',
    outcome: ['served', 'goaway PROTOCOL_ERROR'], // nghttp2 1.70 looks into none of them any more
    act: (raw) => raw.send(FRAME.priority, 0, 0, Buffer.from('0000000110', 'hex')),
  },
  {
    section: '6.3',
    what: 'PRIORITY of another length than 5',
    outcome: ['goaway FRAME_SIZE_ERROR', 'reset FRAME_SIZE_ERROR'],
    act: (raw) => raw.send(FRAME.priority, 0, 1, Buffer.alloc(4)),
  },
  {
    section: '6.3',
    what: 'PRIORITY of an idle stream',
    outcome: ['served'],
    act: (raw) => raw.send(FRAME.priority, 0, 1, Buffer.from('0000000010', 'hex')),
  },
  {
    section: '6.4',
    what: 'RST_STREAM on stream 0',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.reset, 0, 0, CANCEL),
  },
  {
    section: '6.4',
    what: 'RST_STREAM of another length than 4',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.reset, 0, 1, Buffer.alloc(3))
    },
  },
  {
    section: '6.5',
    what: 'an ACK of SETTINGS with something in it',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    act: (raw) => raw.send(FRAME.settings, ACK, 0, setting(3, 1)),
  },
  {
    section: '6.5',
    what: 'SETTINGS on a stream',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.settings, 0, 1, setting(3, 1)),
  },
  {
    section: '6.5',
    what: 'SETTINGS whose length is no multiple of 6',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    act: (raw) => raw.send(FRAME.settings, 0, 0, Buffer.alloc(3)),
  },
  ...(
    [
      ['ENABLE_PUSH that is neither 0 nor 1', setting(2, 2), 'PROTOCOL_ERROR'],
      ['INITIAL_WINDOW_SIZE above 2^31-1', setting(4, 2 ** 31), 'FLOW_CONTROL_ERROR'],
      ['MAX_FRAME_SIZE below 2^14', setting(5, 16_383), 'PROTOCOL_ERROR'],
      ['MAX_FRAME_SIZE above 2^24-1', setting(5, 2 ** 24), 'PROTOCOL_ERROR'],
    ] as const
  ).map(
    ([what, payload, code]): Row => ({
      section: '6.5.2',
      what,
      outcome: [`goaway ${code}`],
      act: (raw) => raw.send(FRAME.settings, 0, 0, payload),
    }),
  ),
  {
    section: '6.5.2',
    what: 'a setting that nobody knows',
    outcome: ['served'],
    act: (raw) => raw.send(FRAME.settings, 0, 0, setting(0xff, 1)),
  },
  {
    section: '6.5.2',
    what: 'what is offered here: no push, no WebSocket within HTTP/2 (RFC 8441), 100 streams, 32 KiB of head',
    outcome: ['served'],
    act: (raw) => raw.until(({ type, flags }) => type === FRAME.settings && flags === 0),
    look({ frames }) {
      const { payload } = frames[0]!
      const told = new Map<number, number>()
      for (let i = 0; i < payload.length; i += 6) told.set(payload.readUInt16BE(i), payload.readUInt32BE(i + 2))
      return told.get(3) === 100 && told.get(6) === 32_768 && (told.get(8) ?? 0) === 0
    },
  },
  {
    section: '6.5.3',
    what: 'SETTINGS are acknowledged',
    outcome: ['served'],
    act: (raw) => raw.send(FRAME.settings, 0, 0, setting(3, 7)),
    look: ({ frames }) => frames.filter(({ type, flags }) => type === FRAME.settings && flags === ACK).length === 2,
  },
  {
    section: '6.6',
    what: 'PUSH_PROMISE from a client',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.push, END_HEADERS, 1, Buffer.concat([uint32(2), get()])),
  },
  {
    section: '6.7',
    what: 'PING is answered with what it held',
    outcome: ['served'],
    act: (raw) => raw.send(FRAME.ping, 0, 0, Buffer.from('h2spec..')),
    look: (raw) =>
      pongs(raw)
        .map(({ flags, payload }) => `${flags} ${payload}`)
        .join() === `${ACK} h2spec..`,
  },
  {
    section: '6.7',
    what: 'an answer to no PING is answered by none',
    outcome: ['goaway INTERNAL_ERROR', 'served'], // Node takes it for an attack
    act: (raw) => raw.send(FRAME.ping, ACK, 0, Buffer.from('invalid.')),
    look: (raw) => pongs(raw).length === 0,
  },
  {
    section: '6.7',
    what: 'PING on a stream',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.ping, 0, 1, Buffer.alloc(8)),
  },
  {
    section: '6.7',
    what: 'PING of another length than 8',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    act: (raw) => raw.send(FRAME.ping, 0, 0, Buffer.alloc(6)),
  },
  {
    section: '6.8',
    what: 'GOAWAY on a stream',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.goaway, 0, 1, uint32(0, 0)),
  },
  {
    section: '6.8',
    what: 'GOAWAY lets what runs be answered',
    outcome: ['goaway NO_ERROR', 'answer 200'],
    act(raw) {
      sendGet(raw)
      raw.send(FRAME.goaway, 0, 0, uint32(0, 0))
    },
    look: (raw) => raw.until(({ stream, type }) => type === FRAME.headers && stream === 1),
  },
  {
    section: '6.8',
    what: 'GOAWAY that is too short',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    act: (raw) => raw.send(FRAME.goaway, 0, 0, uint32(0)),
  },
  {
    section: '7',
    what: 'GOAWAY with a code that nobody knows',
    outcome: ['goaway NO_ERROR', 'served'],
    act: (raw) => raw.send(FRAME.goaway, 0, 0, GOAWAY_UNKNOWN),
  },
  {
    section: '7',
    what: 'RST_STREAM with a code that nobody knows',
    outcome: ['served'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.reset, 0, 1, uint32(0xff))
    },
  },
]
