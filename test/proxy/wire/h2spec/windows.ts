import { END_HEADERS, END_STREAM, FRAME, type Raw2 } from '../../../support/http2.ts'
import { get, post, type Row, sendGet, sendPost, setting, uint32 } from './row.ts'

const MOST = 0x7fffffff

const dataOf = ({ frames }: Raw2, stream = 1) =>
  Buffer.concat(frames.filter((frame) => frame.type === FRAME.data && frame.stream === stream).map((f) => f.payload))

/** RFC 9113, sections 6.9 and 6.10: flow control, and heads in several frames. */
export const WINDOWS: readonly Row[] = [
  {
    section: '6.5.3',
    what: 'of two values in one SETTINGS frame the last holds',
    outcome: ['answer 200'],
    act(raw) {
      raw.send(FRAME.settings, 0, 0, Buffer.concat([setting(4, 100), setting(4, 1)]))
      sendGet(raw)
    },
    async look(raw) {
      await raw.until(({ type, stream }) => type === FRAME.data && stream === 1)
      return dataOf(raw).length === 1
    },
  },
  {
    section: '6.9',
    what: 'WINDOW_UPDATE by 0 for the connection',
    outcome: ['goaway PROTOCOL_ERROR'],
    act: (raw) => raw.send(FRAME.window, 0, 0, uint32(0)),
  },
  {
    section: '6.9',
    what: 'WINDOW_UPDATE by 0 for a stream',
    outcome: ['goaway PROTOCOL_ERROR', 'reset PROTOCOL_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.window, 0, 1, uint32(0))
    },
  },
  {
    section: '6.9',
    what: 'WINDOW_UPDATE of another length than 4',
    outcome: ['goaway FRAME_SIZE_ERROR'],
    act: (raw) => raw.send(FRAME.window, 0, 0, Buffer.alloc(3)),
  },
  {
    section: '6.9.1',
    what: 'no more DATA comes than the window takes, and the rest once it is opened',
    outcome: ['answer 200'],
    act(raw) {
      raw.send(FRAME.settings, 0, 0, setting(4, 1))
      sendGet(raw)
    },
    async look(raw) {
      await raw.until(({ type, stream }) => type === FRAME.data && stream === 1)
      if (dataOf(raw).length !== 1) return false
      raw.send(FRAME.window, 0, 1, uint32(1_000))
      await raw.until(({ stream, flags, type }) => type === FRAME.data && stream === 1 && (flags & END_STREAM) !== 0)
      return 'queue_running' in JSON.parse(dataOf(raw).toString())
    },
  },
  {
    section: '6.9.1',
    what: "the connection's window above 2^31-1",
    outcome: ['goaway FLOW_CONTROL_ERROR'],
    act(raw) {
      raw.send(FRAME.window, 0, 0, uint32(MOST))
      raw.send(FRAME.window, 0, 0, uint32(MOST))
    },
  },
  {
    section: '6.9.1',
    what: "a stream's window above 2^31-1",
    outcome: ['goaway FLOW_CONTROL_ERROR', 'reset FLOW_CONTROL_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.window, 0, 1, uint32(MOST))
      raw.send(FRAME.window, 0, 1, uint32(MOST))
    },
  },
  {
    section: '6.9.2',
    what: 'SETTINGS_INITIAL_WINDOW_SIZE moves the windows of open streams',
    outcome: ['answer 200'],
    act(raw) {
      raw.send(FRAME.settings, 0, 0, setting(4, 0))
      sendGet(raw)
      raw.send(FRAME.settings, 0, 0, setting(4, 1))
    },
    async look(raw) {
      await raw.until(({ type, stream }) => type === FRAME.data && stream === 1)
      return dataOf(raw).length === 1
    },
  },
  {
    section: '6.9.2',
    what: 'a window may become negative',
    outcome: ['answer 200'],
    act(raw) {
      raw.send(FRAME.settings, 0, 0, setting(4, 3))
      sendGet(raw)
    },
    async look(raw) {
      await raw.until(({ type, stream }) => type === FRAME.data && stream === 1)
      raw.send(FRAME.settings, 0, 0, setting(4, 2)) // now -1
      raw.send(FRAME.window, 0, 1, uint32(2)) // now 1
      await raw.until(() => dataOf(raw).length > 3)
      return dataOf(raw).length === 4
    },
  },
  {
    section: '6.9.2',
    what: 'SETTINGS_INITIAL_WINDOW_SIZE that takes an open window above 2^31-1',
    outcome: ['goaway FLOW_CONTROL_ERROR', 'reset FLOW_CONTROL_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.window, 0, 1, uint32(MOST - 65_535))
      raw.send(FRAME.settings, 0, 0, setting(4, 65_536))
    },
  },
  {
    section: '6.10',
    what: 'a head in several CONTINUATION frames',
    outcome: ['answer 200'],
    act(raw) {
      const block = get([['x-more', 'a'.repeat(60)]])
      raw.send(FRAME.headers, END_STREAM, 1, block.subarray(0, 20))
      raw.send(FRAME.continuation, 0, 1, block.subarray(20, 21))
      raw.send(FRAME.continuation, 0, 1)
      raw.send(FRAME.continuation, END_HEADERS, 1, block.subarray(21))
    },
  },
  {
    section: '6.10',
    what: 'CONTINUATION followed by another frame',
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      raw.send(FRAME.headers, END_STREAM, 1, get())
      raw.send(FRAME.continuation, 0, 1)
      raw.send(FRAME.ping, 0, 0, Buffer.alloc(8))
    },
  },
  {
    section: '6.10',
    what: 'CONTINUATION on stream 0',
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      raw.send(FRAME.headers, END_STREAM, 1, get())
      raw.send(FRAME.continuation, END_HEADERS, 0)
    },
  },
  {
    section: '6.10',
    what: "another stream's CONTINUATION",
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      raw.send(FRAME.headers, END_STREAM, 1, get())
      raw.send(FRAME.continuation, END_HEADERS, 3)
    },
  },
  {
    section: '6.10',
    what: 'CONTINUATION behind HEADERS that had ended',
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.continuation, END_HEADERS, 1, get())
    },
  },
  {
    section: '6.10',
    what: 'CONTINUATION behind a CONTINUATION that had ended',
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      raw.send(FRAME.headers, 0, 1, post())
      raw.send(FRAME.continuation, END_HEADERS, 1)
      raw.send(FRAME.continuation, END_HEADERS, 1, get())
    },
  },
  {
    section: '6.10',
    what: 'CONTINUATION behind DATA',
    outcome: ['goaway PROTOCOL_ERROR'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.data, 0, 1, Buffer.from('x'))
      raw.send(FRAME.continuation, END_HEADERS, 1, get())
    },
  },
]
