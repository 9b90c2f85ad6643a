import { bytesOf, type Draft, type Family, type Header, raw, type Tagger, type Who } from './case.ts'
import { signed } from './identity.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

const PRIZES: readonly (readonly [string, string])[] = [
  ['GET', '/queue'],
  ['GET', '/internal/logs'],
  ['POST', '/free'],
  ['POST', '/prompt'],
  ['POST', '/interrupt'],
  ['GET', '/api/system_stats'],
  ['DELETE', '/userdata/a.json'],
]

/** What hides behind or within another request: nobody's, whatever surrounds it. */
export function hidden(random: Random, world: World, tag: Tagger, who: Who = 'nobody'): Buffer {
  const [method, target] = random.pick(PRIZES)
  return bytesOf({ who, method, target, headers: [['Connection', 'keep-alive']] }, tag(who), world)
}

/** Whoever sends it: what two readers may frame differently is nobody's to send. */
const refused = (draft: Draft): Draft => ({ ...draft, who: 'nothing' })

/** Lengths that two readers may read differently. `n` is the true one. */
const LENGTHS = (n: number): readonly (readonly Header[])[] => [
  [['Content-Length', `+${n}`]],
  [['Content-Length', `-${n}`]],
  [['Content-Length', `${n}, ${n}`]],
  [['Content-Length', `${n}, 0`]],
  [['Content-Length', `0x${n.toString(16)}`]],
  [['Content-Length', `${n} 0`]],
  [['Content-Length', `${n}.0`]],
  [['Content-Length', `${n}e0`]],
  [['Content-Length', `1_${n}`]],
  [['Content-Length', `"${n}"`]],
  [['Content-Length', `${n}\x0b`]],
  [['Content-Length', `\x0c${n}`]],
  [['Content-Length', `${n};`]],
  [['Content-Length', '']],
  [['Content-Length', ' ']],
  [['Content-Length', '99999999999999999999999']],
  [['Content-Length', '18446744073709551616']],
  [
    ['Content-Length', '0'],
    ['Content-Length', `${n}`],
  ],
  [
    ['Content-Length', `${n}`],
    ['Content-Length', '0'],
  ],
  [
    ['Content-Length', `${n}`],
    ['Content-Length', `${n}`],
  ],
  [['Content-Length ', `${n}`]],
  [['Content-Length\t', `${n}`]],
  [['Content-Length\x00', `${n}`]],
  [[' Content-Length', `${n}`]],
  [['Content-Length', `\r\n ${n}`]],
  [['Content-Length', '0\r\n\t1']],
]

const CODINGS: readonly (readonly Header[])[] = [
  ['chunked', 'Content-Length'],
  ['xchunked'],
  ['chunked, identity'],
  ['identity, chunked'],
  ['gzip, chunked'],
  ['chunked, chunked'],
  ['chunked;q=1'],
  ['"chunked"'],
  ['\x0bchunked'],
  ['chunked\x0b'],
  [' ,chunked'],
  ['chunked,'],
  [''],
  ['cow'],
  ['identity'],
  ['chunked\x00'],
  ['\r\n chunked'],
  ['chun\r\n ked'],
].map(([coding, also]) => [['Transfer-Encoding', coding!] as const, ...(also ? [[also, '4'] as const] : [])])

const ODD_CODINGS: readonly (readonly Header[])[] = [
  [['Transfer-Encoding ', 'chunked']],
  [['Transfer-Encoding\t', 'chunked']],
  [['Transfer\x00-Encoding', 'chunked']],
  [[' Transfer-Encoding', 'chunked']],
  [
    ['Transfer-Encoding', 'chunked'],
    ['Transfer-Encoding', 'identity'],
  ],
  [
    ['Transfer-Encoding', 'identity'],
    ['Transfer-Encoding', 'chunked'],
  ],
  [
    ['Transfer-Encoding', 'chunked'],
    ['transfer-encoding', 'cow'],
    ['Content-Length', '4'],
  ],
  [
    ['Content-Length', '4'],
    ['Transfer-Encoding', 'chunked'],
  ],
  [['X', 'a\nTransfer-Encoding: chunked']],
  [['X', 'a\rTransfer-Encoding: chunked']],
]

/** An outer request of one who may, and bytes in its body that are a request to whoever reads the framing another way. */
function outer(random: Random): Draft {
  return random.pick<Draft>([
    { who: 'nobody', method: 'GET', target: '/assets/a.js' },
    { who: 'nobody', method: 'GET', target: '/queue' },
    { who: 'nobody', method: 'POST', target: '/auth_login.html' },
    { who: 'nobody', method: 'GET', target: '/health' },
    { who: 'viewer', method: 'GET', target: '/queue' },
    { who: 'user', method: 'POST', target: '/settings/a' },
    { who: 'user', method: 'POST', target: '/interrupt' },
    { who: 'viewer', method: 'POST', target: '/free' },
  ])
}

export const lengths: Family = (random, world, tag) => {
  const inner = hidden(random, world, tag)
  const draft = refused(outer(random))
  const framing = random.pick(LENGTHS(random.pick([inner.length, 5])))
  const bytes = bytesOf(
    signed({ ...draft, headers: framing, body: inner, framed: false }, random, world),
    tag(draft.who),
    world,
  )
  return raw('lengths', bytes, random)
}

export const codings: Family = (random, world, tag) => {
  const inner = hidden(random, world, tag)
  const draft = refused(outer(random))
  const framing = random.chance(0.6) ? random.pick(CODINGS) : random.pick(ODD_CODINGS)
  const body = random.pick([
    Buffer.concat([Buffer.from('0\r\n\r\n'), inner]),
    Buffer.concat([Buffer.from(`${inner.length.toString(16)}\r\n`), inner, Buffer.from('\r\n0\r\n\r\n')]),
    Buffer.concat([Buffer.from('4\r\nabcd\r\n0\r\n\r\n'), inner]),
    inner,
  ])
  const bytes = bytesOf(
    signed({ ...draft, headers: framing, body, framed: false }, random, world),
    tag(draft.who),
    world,
  )
  return raw('codings', bytes, random)
}

/** Chunked bodies: sizes, extensions, line ends and trailers that are read in more than one way. */
export const chunks: Family = (random, world, tag) => {
  const inner = hidden(random, world, tag).toString('latin1')
  const size = inner.length.toString(16)
  const draft = outer(random)
  const body = random.pick([
    `0x4\r\nabcd\r\n0\r\n\r\n${inner}`,
    `4 \r\nabcd\r\n0\r\n\r\n${inner}`,
    ` 4\r\nabcd\r\n0\r\n\r\n${inner}`,
    `+4\r\nabcd\r\n0\r\n\r\n${inner}`,
    `-1\r\nabcd\r\n0\r\n\r\n${inner}`,
    `4\nabcd\n0\n\n${inner}`,
    `4\r\nabcd0\r\n\r\n${inner}`,
    `4\r\nabcdXX0\r\n\r\n${inner}`,
    `4;a="\r\n0\r\n\r\n${inner}"\r\nabcd\r\n0\r\n\r\n`,
    `4;a=b\nabcd\r\n0\r\n\r\n${inner}`,
    `4;\nxx;${size}\r\nabcd\r\n0\r\n\r\n${inner}`,
    `4;${'x'.repeat(random.pick([10, 20_000]))}\r\nabcd\r\n0\r\n\r\n${inner}`,
    `00000000000000000004\r\nabcd\r\n0\r\n\r\n${inner}`,
    `10000000000000004\r\nabcd\r\n0\r\n\r\n${inner}`,
    `ffffffffffffffff\r\n${inner}`,
    `fffffffffffffffff4\r\nabcd\r\n0\r\n\r\n${inner}`,
    `4\r\nabcd\r\n0\r\n${inner}`,
    `4\r\nabcd\r\n0\r\nAuthorization: Bearer ${world.keys.admin}\r\n\r\n${inner}`,
    `4\r\nabcd\r\n0\r\nTransfer-Encoding: chunked\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
    `4\r\nabcd\r\n0\r\nX: \n\n${inner}`,
    `4\r\nabcd\r\n00\r\n\r\n${inner}`,
    `4\r\nabcd\r\n0;a\r\n\r\n${inner}`,
    `\r\n4\r\nabcd\r\n0\r\n\r\n${inner}`,
    `g\r\n${inner}`,
    `\r\n${inner}`,
    `${size}\r\n${inner}\r\n0\r\n\r\n${inner}`,
  ])
  const headers: Header[] = [['Transfer-Encoding', random.pick(['chunked', 'Chunked', 'CHUNKED ', '\tchunked'])]]
  return raw(
    'chunks',
    bytesOf(signed({ ...draft, headers, body, framed: false }, random, world), tag(draft.who), world),
    random,
  )
}

/** Several requests in one write: what the first was allowed is nothing to the next. */
export const pipelines: Family = (random, world, tag) => {
  const drafts: Draft[] = []
  for (let i = 0; i < 1 + random.int(4); i++) {
    const draft = random.pick<Draft>([
      { who: 'nobody', method: 'GET', target: '/queue' },
      { who: 'nobody', method: 'GET', target: '/assets/a.js' },
      { who: 'nobody', method: 'POST', target: '/prompt', body: '{}' },
      { who: 'nobody', method: 'POST', target: '/auth_login.html', body: 'api_key=x' },
      { who: 'viewer', method: 'GET', target: '/queue' },
      { who: 'user', method: 'POST', target: '/settings/a', body: '1' },
      { who: 'admin', method: 'GET', target: '/internal/logs' },
      { who: 'viewer', method: 'POST', target: '/free', body: '{}', headers: [['Expect', '100-continue']] },
      { who: 'nobody', method: 'POST', target: '/free', body: 'x'.repeat(random.int(70_000)) },
      { who: 'nobody', method: 'GET', target: '/queue', version: 'HTTP/1.0', headers: [['Connection', 'keep-alive']] },
    ])
    // A wrong guess counts for 127.0.0.1, which the other cases come from
    drafts.push(signed(draft, random, world))
  }
  const all = drafts.map((draft) => bytesOf(draft, tag(draft.who), world))
  return raw('pipelines', Buffer.concat([...all, hidden(random, world, tag)]), random)
}

const LINES = (path: string): readonly string[] => [
  `GET ${path}`,
  `GET ${path}\r\n`,
  `GET ${path} HTTP/0.9`,
  `GET ${path} HTTP/1.0`,
  `GET ${path} HTTP/1.2`,
  `GET ${path} HTTP/2.0`,
  `GET ${path} HTTP/11.1`,
  `GET ${path} HTTP/1.1 HTTP/1.1`,
  `GET ${path} http/1.1`,
  `GET  ${path}  HTTP/1.1`,
  `GET\t${path}\tHTTP/1.1`,
  `GET ${path}HTTP/1.1`,
  `GET /assets/a.js HTTP/1.1\x00 ${path}`,
  `GET ${path} HTTP/1.1\r`,
  ` GET ${path} HTTP/1.1`,
  `\r\n\r\nGET ${path} HTTP/1.1`,
  `\nGET ${path} HTTP/1.1`,
  `\x00GET ${path} HTTP/1.1`,
  `\xef\xbb\xbfGET ${path} HTTP/1.1`,
  `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET ${path} HTTP/1.1`,
  `\x16\x03\x01GET ${path} HTTP/1.1`,
  `PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET ${path} HTTP/1.1`,
  `GET ${path} ICE/1.0`,
  `SOURCE ${path} ICE/1.0`,
  `GET ${path} RTSP/1.0`,
]

/** Request lines and line ends that a strict parser refuses; the head stands behind them, or half of it does. */
export const requestLines: Family = (random, world, tag) => {
  const who = random.pick(['nobody', 'viewer'] as const)
  const path =
    who === 'nobody'
      ? random.pick(['/queue', '/api/queue', '/internal/logs'])
      : random.pick(['/free', '/internal/logs'])
  const eol = random.pick(['\r\n', '\r\n', '\r\n', '\n', '\r', '\n\r', '\r\r\n'])
  const [name, value] = tag(who)
  const key = who === 'viewer' ? `${eol}X-API-Key: ${world.keys.viewer}` : ''
  const fold = random.pick([
    '',
    '',
    `${eol} folded: 1`,
    `${eol}\tfolded`,
    `${eol}no colon`,
    `${eol}: empty`,
    `${eol}X\x00: 1`,
    `${eol}X: \x01`,
    `${eol}X Y: 1`,
    `${eol}X: a\x00b`,
  ])
  const text = `${random.pick(LINES(path))}${eol}Host: ${world.host}${eol}${name}: ${value}${key}${fold}${eol}${random.chance(0.85) ? eol : ''}`
  return raw('requestLines', Buffer.from(text, 'latin1'), random)
}

/** HTTP/1.0, with and without what it knows nothing of. */
export const http10: Family = (random, world, tag) => {
  const draft = outer(random)
  const extra = random.pick<readonly Header[]>([
    [],
    [['Connection', 'keep-alive']],
    [
      ['Connection', 'Upgrade'],
      ['Upgrade', 'websocket'],
    ],
    [['Expect', '100-continue']],
    [['Transfer-Encoding', 'chunked']],
  ])
  const chunked = extra[0]?.[0] === 'Transfer-Encoding'
  const first = signed(
    { ...draft, version: 'HTTP/1.0', headers: extra, body: chunked ? '0\r\n\r\n' : '', framed: false },
    random,
    world,
  )
  // Without a Host no rule can tell whom it is for; chunks came with HTTP/1.1
  const isHostless = random.chance(0.3)
  const sent: Draft = {
    ...first,
    ...((isHostless || chunked) && { who: 'nothing' }),
    ...(isHostless && { host: undefined }),
  }
  return raw('http10', Buffer.concat([bytesOf(sent, tag(sent.who), world), hidden(random, world, tag)]), random)
}
