import { END_HEADERS, END_STREAM, FRAME, headerBlock, pseudo } from '../../../support/http2.ts'
import { AUTH_FIELD, type Fields, get, post, type Row, sendGet, sendPost } from './row.ts'

const MALFORMED = ['reset PROTOCOL_ERROR', 'goaway PROTOCOL_ERROR', 'answer 400']

/** A GET with these fields, in this order: malformed, so that ComfyUI must not see it. */
function bad(section: string, what: string, fields: Fields, outcome: readonly string[] = MALFORMED): Row {
  return { section, what, outcome, act: (raw) => sendGet(raw, 1, headerBlock(fields)) }
}

const without = (name: string) => [...pseudo('GET', '/queue').filter(([own]) => own !== name), AUTH_FIELD]
const more = (...fields: Fields): Fields => [...pseudo('GET', '/queue'), AUTH_FIELD, ...fields]
const GET = pseudo('GET', '/queue')

/** Whose field has to go, the request with it or not: nghttp2 takes the field away and serves the rest. */
function taken(what: string, name: string, value: string): Row {
  return bad('8.2.1', what, more([name, value]), ['answer 200', ...MALFORMED])
}

/** A body of `pieces` under the content-length that is told. */
function body(what: string, told: string, pieces: readonly string[], outcome = MALFORMED): Row {
  return {
    section: '8.1.1',
    what,
    outcome,
    act(raw) {
      sendPost(raw, 1, post([['content-length', told]]))
      for (const [i, piece] of pieces.entries()) {
        raw.send(FRAME.data, i === pieces.length - 1 ? END_STREAM : 0, 1, Buffer.from(piece))
      }
    },
  }
}

/** RFC 9113, section 8: requests. */
export const MESSAGES: readonly Row[] = [
  {
    section: '8.1',
    what: 'a second HEADERS frame that does not end its stream',
    outcome: MALFORMED,
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.headers, END_HEADERS, 1, headerBlock([['x-trailer', '1']]))
    },
  },
  {
    section: '8.1',
    what: 'trailers are taken, and dropped',
    outcome: ['answer 200'],
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.data, 0, 1, Buffer.from('{}'))
      raw.send(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock([['x-trailer', '1']]))
    },
  },
  {
    section: '8.1',
    what: 'pseudo-headers among the trailers',
    outcome: MALFORMED,
    act(raw) {
      sendPost(raw)
      raw.send(FRAME.data, 0, 1, Buffer.from('{}'))
      raw.send(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock([[':method', 'GET']]))
    },
  },
  body('less DATA than content-length', '8', ['{}']),
  body('more DATA than content-length', '1', ['{}']),
  body('DATA in pieces that come to less than content-length', '8', ['{', '}']),
  body('DATA in pieces that come to more than content-length', '1', ['{', '}']),
  body('DATA in pieces that come to content-length', '2', ['{', '}'], ['answer 200']),
  bad('8.1.1', 'no DATA at all beside a content-length', more(['content-length', '5'])),
  bad('8.1.1', 'two different content-lengths', more(['content-length', '0'], ['content-length', '5'])),
  bad('8.1.1', 'a content-length that is no number', more(['content-length', '1x'])),
  bad('8.1.1', 'a negative content-length', more(['content-length', '-1'])),
  bad('8.2.1', 'a name in upper case', more(['X-Upper', 'case'])),
  taken('a name with a blank', 'x y', '1'),
  taken('a name with a colon', 'x:y', '1'),
  taken('a name with a line', 'x\r\ny', '1'),
  taken('an empty name', '', '1'),
  taken('a name with a byte above 0x7e', 'x-\xe9', '1'),
  taken('NUL in a value', 'x-value', 'a\0b'),
  taken('CR in a value', 'x-value', 'a\rb'),
  taken('LF in a value', 'x-value', 'a\nb'),
  taken('another header in a value', 'x-value', 'a\r\nx-other: b'),
  taken('a blank before a value', 'x-value', ' a'),
  taken('a tab behind a value', 'x-value', 'a\t'),
  ...(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'] as const).map((name) =>
    bad('8.2.2', name, more([name, name === 'upgrade' ? 'websocket' : 'close'])),
  ),
  bad('8.2.2', 'te that is not trailers', more(['te', 'trailers, deflate'])),
  bad('8.2.2', 'te: trailers', more(['te', 'trailers']), ['answer 200']),
  bad('8.2.3', 'cookie in pieces', more(['cookie', 'a=1'], ['cookie', 'b=2']), ['answer 200']),
  bad('8.3', 'a pseudo-header behind a field', [...without(':path'), [':path', '/queue']]),
  bad('8.3', 'a pseudo-header that nobody knows', [...GET, [':test', 'ok'], AUTH_FIELD]),
  bad('8.3', "an answer's pseudo-header", [...GET, [':status', '200'], AUTH_FIELD]),
  bad('8.3.1', 'an empty :path', [...GET.slice(0, 3), [':path', ''], AUTH_FIELD]),
  bad('8.3.1', 'a :path that does not begin with a slash', [...GET.slice(0, 3), [':path', 'queue'], AUTH_FIELD]),
  bad('8.3.1', 'a :path of * for GET', [...GET.slice(0, 3), [':path', '*'], AUTH_FIELD]),
  bad('8.3.1', 'a :path that is a whole URL', [...GET.slice(0, 3), [':path', 'https://localhost/'], AUTH_FIELD]),
  bad('8.3.1', 'a blank in :path', [...GET.slice(0, 3), [':path', '/que ue'], AUTH_FIELD]),
  bad('8.3.1', 'a line in :path', [...GET.slice(0, 3), [':path', '/queue HTTP/1.1\r\nx: y'], AUTH_FIELD]),
  ...([':method', ':scheme', ':path'] as const).map((name) => bad('8.3.1', `no ${name}`, without(name))),
  bad('8.3.1', 'neither :authority nor host', without(':authority')),
  bad('8.3.1', 'host in place of :authority', [...without(':authority'), ['host', 'localhost']], ['answer 200']),
  ...GET.map(([name, value]) => bad('8.3.1', `${name} twice`, [...GET, [name, value], AUTH_FIELD])),
  bad('8.3.1', 'a user in :authority', [...pseudo('GET', '/queue', 'me@localhost'), AUTH_FIELD]),
  bad('8.3.1', 'a path in :authority', [...pseudo('GET', '/queue', 'localhost/x'), AUTH_FIELD]),
  bad('8.3.1', 'an empty :authority', [...pseudo('GET', '/queue', ''), AUTH_FIELD]),
  bad('8.3.1', 'a host that differs from :authority', more(['host', '127.0.0.1'])),
  bad('8.3.1', 'host twice', more(['host', 'localhost'], ['host', 'localhost'])),
  bad('8.3.1', 'a method that is none', [...pseudo('G T', '/queue'), AUTH_FIELD]),
  bad('8.3.1', 'an empty method', [...pseudo('', '/queue'), AUTH_FIELD]),
  bad(
    '8.3.1',
    'a :scheme of neither http nor https',
    [[':method', 'GET'], [':scheme', 'ftp'], ...GET.slice(2), AUTH_FIELD],
    ['answer 200', ...MALFORMED],
  ),
  {
    section: '8.4',
    what: 'nothing is pushed to a client that would take it',
    outcome: ['answer 200'],
    act: (raw) => sendGet(raw),
    look: ({ frames }) => !frames.some(({ type }) => type === FRAME.push),
  },
  bad('8.5', 'CONNECT', [[':method', 'CONNECT'], [':authority', 'localhost:1'], AUTH_FIELD]),
  bad('8.5', 'CONNECT with :scheme and :path', [...pseudo('CONNECT', '/ws'), AUTH_FIELD]),
  bad('8.5', 'CONNECT without :authority', [[':method', 'CONNECT'], AUTH_FIELD]),
  {
    section: '8.5',
    what: 'CONNECT that asks for a WebSocket (RFC 8441), which is not offered',
    outcome: MALFORMED,
    act: (raw) => sendPost(raw, 1, headerBlock([...pseudo('CONNECT', '/ws'), [':protocol', 'websocket'], AUTH_FIELD])),
  },
  {
    section: '8.6',
    what: 'a GET with a body',
    outcome: ['answer 200'],
    act(raw) {
      sendPost(raw, 1, get())
      raw.send(FRAME.data, END_STREAM, 1, Buffer.from('x'))
    },
  },
]
