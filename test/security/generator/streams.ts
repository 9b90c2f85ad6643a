import { bytesOf, type Case, type Draft, type Family, type Header, type Tagger, type Who } from './case.ts'
import { hidden } from './framing.ts'
import { block, data, FRAME, frame, head, streamOf } from './http2-bytes.ts'
import { signed } from './identity.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

/** Frames as a case: streams among others', or a connection of their own where they may end it. */
function framesCase(family: string, frames: readonly Buffer[], alone = false): Case {
  return { family, pieces: [Buffer.concat(frames)], methods: [], shared: true, alone }
}

function fieldsOf(method: string, target: string, world: World, tag: Header, ...more: readonly Header[]): Header[] {
  return [
    [':method', method],
    [':scheme', 'https'],
    [':authority', world.host],
    [':path', world.base + target],
    ['x-tag', tag[1]],
    ...more,
  ]
}

const PLACES = ['/queue', '/internal/logs', '/api/users', '/assets/a.js', '/', '/userdata/a.json'] as const

/** Field sections that no request has (RFC 9113, 8.2 and 8.3), and whom they might deceive: refused whatever key is in them. */
export const pseudo: Family = (random, world, tag) => {
  const mark = tag('nothing')
  const path = random.pick(PLACES)
  const fields = fieldsOf('GET', path, world, mark, ['x-api-key', world.keys.admin])
  const without = (name: string) => fields.filter(([other]) => other !== name)
  const instead = (name: string, value: string) =>
    fields.map((field) => (field[0] === name ? ([name, value] as const) : field))
  const twice = (name: string, value: string): Header[] => [[name, value], ...fields]
  const contradicted: readonly (readonly Header[])[] = [
    [...fields, ['authorization', `Bearer ${world.keys.viewer}`]],
    [...fields, ['cookie', world.cookies.viewer], ['cookie', 'a=b']],
  ]
  const odd = random.pick<readonly Header[]>([
    twice(':method', 'GET'),
    twice(':path', '/assets/a.js'),
    twice(':path', path),
    twice(':scheme', 'https'),
    twice(':authority', world.host),
    twice(':authority', 'evil.example'),
    twice(':unknown', '1'),
    twice(':status', '200'),
    twice(':', '1'),
    twice('', '1'),
    twice(':Path', '/assets/a.js'),
    twice(':path ', '/assets/a.js'),
    twice('accept', '*/*'),
    [...without(':path'), [':path', path]],
    [...without(':method'), [':method', 'GET']],
    without(':path'),
    without(':method'),
    without(':scheme'),
    without(':authority'),
    [...fields, ['host', 'evil.example']],
    [...fields, ['host', world.host.replace(/\d$/, '')]],
    [...fields, ['host', '']],
    [...without(':authority'), ['host', 'evil.example']],
    [...without(':authority'), ['host', world.host], ['host', 'evil.example']],
    instead(':authority', ''),
    instead(':authority', 'evil.example'),
    instead(':authority', `me@${world.host}`),
    instead(':authority', `${world.host}/x`),
    instead(':authority', `${world.host}\r\nX: 1`),
    instead(':authority', `${world.host} `),
    instead(':path', ''),
    instead(':path', 'queue'),
    instead(':path', '*'),
    instead(':path', `https://${world.host}${path}`),
    instead(':path', `${path}#/assets/a.js`),
    instead(':path', `/assets/a.js HTTP/1.1\r\nHost: x\r\n\r\nGET ${path}`),
    instead(':path', `/assets/a.js\x00${path}`),
    instead(':path', `${path} `),
    instead(':path', `${path}\t`),
    instead(':method', ''),
    instead(':method', 'GET '),
    instead(':method', `GET ${path} HTTP/1.1\r\n\r\nGET`),
    instead(':method', 'G\x00T'),
    [...fields, ['X-API-KEY', world.keys.viewer]],
    [...fields, ['Accept', '*/*']],
    [
      ...fields,
      [random.pick(['connection', 'proxy-connection', 'keep-alive']), random.pick(['close', 'x-api-key', ''])],
    ],
    [...fields, ['upgrade', random.pick(['websocket', 'h2c', ''])]],
    [...fields, ['transfer-encoding', random.pick(['chunked', 'identity', ''])]],
    [...fields, ['te', random.pick(['gzip', 'chunked', 'trailers, chunked'])]],
    // A blank value is not among them: under Node 22 nghttp2 takes the field away, and nothing of it goes up
    [...fields, ['content-length', random.pick(['-1', '+0', '0x0', '0, 0', '18446744073709551616', 'x'])]],
    [...fields, ['content-length', '0'], ['content-length', '0']],
    [...fields, ['content-length', '4']],
    [...fields, ['x-api-key', world.keys.viewer]],
    // What is open looks at no key (rule 7)
    ...(path === '/assets/a.js' ? [] : contradicted),
  ])
  const pieces = random.pick([1, 1, 2, 5])
  return framesCase('pseudo', [head(block(odd, random.chance(0.5)), streamOf(mark), true, { pieces })])
}

/** Fields that would become more than one field, or a request, where they are written out as HTTP/1. */
export const injections: Family = (random, world, tag) => {
  const who = random.pick(['nobody', 'nobody', 'viewer', 'user'] as const)
  const inner = hidden(random, { ...world, wire: 'http1' }, tag).toString('latin1')
  const { admin } = world.keys
  const [name, value] = random.pick<Header>([
    ['x-a', `1\r\nX-API-Key: ${admin}`],
    ['x-a', `1\nX-API-Key: ${admin}`],
    ['x-a', `1\rX-API-Key: ${admin}`],
    ['x-a', `1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`],
    ['x-a', `1\r\n\r\n${inner}`],
    ['x-a', `\n\n${inner}`],
    ['x-a', `1\x00\r\n\r\n${inner}`],
    [`x-a: 1\r\nx-api-key`, admin],
    [`x-a: 1\r\n\r\n${inner}x`, '1'],
    ['x-api-key ', admin],
    [' x-api-key', admin],
    ['x-api-key\x00', admin],
    ['x-api-key:', admin],
    ['x_api_key', admin],
    ['authorization\t', `Bearer ${admin}`],
    ['cookie\x00', world.cookies.admin],
    ['content-length\x00', '0'],
    ['content-length ', `${inner.length}`],
    ['transfer-encoding ', 'chunked'],
    ['transfer-encoding\x00', 'chunked'],
    ['transfer_encoding', 'chunked'],
    ['x-a', `${'a'.repeat(random.int(9_000))}\r\nX-API-Key: ${admin}`],
    ['te', 'trailers'],
    ['expect', '100-continue'],
    ['expect', `100-continue\r\n\r\n${inner}`],
    ['trailer', 'x-api-key'],
    ['http2-settings', 'AAMAAABkAAQAoAAAAAIAAAAA'],
    ['x-forwarded-for', world.rules.mark],
    ['forwarded', `for=${world.rules.mark}`],
  ])
  const mark = tag(who)
  const draft: Draft = { who, method: random.pick(['GET', 'POST']), target: random.pick(PLACES) }
  const { target, headers = [] } = signed(draft, random, world)
  const more = headers.map(([key, text]) => [key.toLowerCase(), text] as const)
  const fields = fieldsOf(
    draft.method,
    target,
    world,
    mark,
    ...(random.chance(0.5) ? [[name, value] as const, ...more] : [...more, [name, value] as const]),
  )
  const stream = streamOf(mark)
  if (draft.method === 'GET') return framesCase('injections', [head(block(fields), stream, true)])
  return framesCase('injections', [
    head(block(fields), stream, false),
    data(Buffer.from(inner, 'latin1'), stream, true, 2),
  ])
}

/** Bodies longer and shorter than they say, that never end, or that end in fields where a key might stand. */
export const contents: Family = (random, world, tag) => {
  const draft = random.pick<Draft>([
    { who: 'nobody', method: 'GET', target: '/assets/a.js' },
    { who: 'nobody', method: 'POST', target: '/auth_login.html' },
    { who: 'nobody', method: 'POST', target: '/prompt' },
    { who: 'nobody', method: 'GET', target: '/queue' },
    { who: 'viewer', method: 'GET', target: '/queue' },
    { who: 'viewer', method: 'POST', target: '/free' },
    { who: 'user', method: 'POST', target: '/interrupt' },
    { who: 'user', method: 'POST', target: '/settings/a' },
    { who: 'user', method: 'DELETE', target: '/userdata/a.json' },
  ])
  const inner = hidden(random, { ...world, wire: 'http1' }, tag)
  const body = random.pick([
    inner,
    Buffer.from(`{"prompt_id":"${world.others[0]}"}`),
    Buffer.alloc(0),
    Buffer.alloc(70_000, 'x'),
  ])
  const says = random.pick<readonly Header[]>([
    [],
    [],
    [['content-length', `${body.length}`]],
    [['content-length', `${body.length + 5}`]],
    [['content-length', `${Math.max(0, body.length - 5)}`]],
    [['content-length', '0']],
    [['content-length', '1']],
    [['content-length', `000${body.length}`]],
  ])
  const mark = tag(draft.who)
  const stream = streamOf(mark)
  const { target, headers = [] } = signed(draft, random, world)
  const more = headers.map(([key, text]) => [key.toLowerCase(), text] as const)
  const type: Header = ['content-type', 'application/json']
  const opening = head(block(fieldsOf(draft.method, target, world, mark, ...more, type, ...says)), stream, false)
  const { admin } = world.keys
  const last = random.pick<readonly Header[]>([
    [['x-api-key', admin]],
    [['authorization', `Bearer ${admin}`]],
    [['cookie', world.cookies.admin]],
    [['content-length', '0']],
    [['content-type', 'application/json; charset=utf-16']],
    [['content-encoding', 'gzip']],
    [['transfer-encoding', 'chunked']],
    [['x-tag', `${stream}.admin`]],
    // No trailers, but the head of another request on this stream
    fieldsOf('GET', '/internal/logs', world, mark, ['x-api-key', admin]).filter(([name]) => name !== 'x-tag'),
  ])
  const rest = random.pick<readonly Buffer[]>([
    [data(body, stream, true, 3)],
    [data(body, stream, true)],
    [data(body, stream, false)],
    [data(body, stream, false), data(Buffer.alloc(0), stream, true)],
    [data(body, stream, true), data(inner, stream, true)],
    [data(body, stream, true), head(block(last), stream, true)],
    [data(body, stream, false), head(block(last), stream, true)],
    [data(body, stream, false), head(block(last), stream, false), data(inner, stream, true)],
    [data(body, stream, false), frame(FRAME.reset, 0, stream, Buffer.from([0, 0, 0, random.int(14)]))],
    [data(body, stream, false), frame(FRAME.reset, 0, stream, Buffer.from([0, 0, 0, 8])), data(inner, stream, true)],
  ])
  return framesCase('contents', [opening, ...rest], random.chance(0.3))
}

/** Ways out of HTTP: CONNECT, as it is and as WebSockets use it (RFC 8441), with what would stand in the tunnel. */
export const tunnels: Family = (random, world, tag) => {
  const mark = tag('nothing')
  const stream = streamOf(mark)
  const key: Header = random.pick([
    ['x-api-key', world.keys.admin],
    ['authorization', `Bearer ${world.keys.admin}`],
  ])
  const path = random.pick(['/ws', '/ws?clientId=a', '/queue', '/internal/logs'])
  const of = (method: string, ...more: readonly Header[]) => fieldsOf(method, path, world, mark, key, ...more)
  const protocol = (text: string, method = 'CONNECT'): readonly Header[] => [[':protocol', text], ...of(method)]
  const socket: readonly Header[] = [
    ['sec-websocket-version', '13'],
    ['sec-websocket-key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ]
  const fields = random.pick<readonly Header[]>([
    of('CONNECT').filter(([name]) => name !== ':scheme' && name !== ':path'),
    [[':method', 'CONNECT'], [':authority', `127.0.0.1:${world.door.sim.port}`], ['x-tag', mark[1]], key],
    [
      [':method', 'CONNECT'],
      [':authority', world.host],
      ['x-tag', mark[1]],
    ],
    of('CONNECT'),
    of('connect', ...socket, [':protocol', 'websocket']),
    [...protocol('websocket'), ...socket],
    [...protocol('websocket', 'GET'), ...socket],
    protocol('connect-udp'),
    protocol('connect-tcp'),
    protocol('http/1.1'),
    protocol(''),
    [...of('GET'), ['connection', 'Upgrade'], ['upgrade', 'websocket'], ...socket],
    [...of('GET'), ['upgrade', 'websocket'], ...socket],
  ])
  const inner = hidden(random, { ...world, wire: 'http1' }, tag)
  return framesCase('tunnels', [head(block(fields), stream, false), data(inner, stream, random.chance(0.5))])
}

/** Streams of several principals on one connection, cut up and shuffled: whose key it is, is said on each of them alone. */
export const mixes: Family = (random, world, tag) => {
  const streams = Array.from({ length: 3 + random.int(5) }, () => oneOf(random, world, tag))
  const frames: Buffer[] = []
  while (streams.some((stream) => stream.length > 0)) {
    const stream = random.pick(streams.filter((left) => left.length > 0))
    frames.push(stream.shift()!)
  }
  if (random.chance(0.8)) return framesCase('mixes', frames)
  // A head that is cut by a frame of another stream ends the connection (RFC 9113, 4.3)
  const mark = tag('nothing')
  const whole = block(fieldsOf('GET', '/queue', world, mark, ['x-api-key', world.keys.admin]))
  const [first, second] = [whole.subarray(0, 20), whole.subarray(20)]
  const between = random.pick(frames)
  return framesCase(
    'mixes',
    [
      ...frames.filter((one) => one !== between),
      frame(FRAME.headers, 1, streamOf(mark), first),
      between,
      frame(FRAME.continuation, 4, streamOf(mark), second),
    ],
    true,
  )
}

/** The frames of one stream, a field section being one of them. */
function oneOf(random: Random, world: World, tag: Tagger): Buffer[] {
  const draft = random.pick<Draft>([
    { who: 'nobody', method: 'GET', target: '/queue' },
    { who: 'nobody', method: 'GET', target: '/internal/logs' },
    { who: 'nobody', method: 'POST', target: '/prompt', body: '{}' },
    { who: 'viewer', method: 'GET', target: '/queue' },
    { who: 'viewer', method: 'POST', target: '/settings/a', body: '1' },
    { who: 'user', method: 'POST', target: '/settings/a', body: '1' },
    { who: 'user', method: 'POST', target: '/interrupt', body: `{"prompt_id":"${world.others[0]}"}` },
    { who: 'user', method: 'GET', target: '/internal/logs' },
    { who: 'admin', method: 'GET', target: '/internal/logs' },
    { who: 'admin', method: 'POST', target: '/free', body: '{}' },
    {
      who: 'foreign',
      method: 'POST',
      target: '/free',
      body: '{}',
      headers: [
        ['cookie', world.cookies.admin],
        ['origin', 'https://evil.example'],
      ],
    },
  ])
  const sent = draft.who === 'foreign' ? draft : signed(draft, random, world)
  const bytes = bytesOf(sent, tag(draft.who as Who), world)
  const frames: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const size = 9 + bytes.readUIntBE(at, 3)
    const one = bytes.subarray(at, at + size)
    // CONTINUATION stays with what it continues
    if (one[3] === FRAME.continuation) frames.push(Buffer.concat([frames.pop()!, one]))
    else frames.push(one)
    at += size
  }
  return frames
}
