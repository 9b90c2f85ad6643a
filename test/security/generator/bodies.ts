import { gzipSync } from 'node:zlib'
import { bytesOf, type Draft, type Family, type Header, plain, raw } from './case.ts'
import { signed } from './identity.ts'
import type { Random } from './random.ts'

const STOPS = [
  '/interrupt',
  '/api/interrupt',
  '/queue',
  '/api/queue',
  '/api/jobs/cancel',
  '/api/api/jobs/cancel',
  '/%69nterrupt',
  '/api/q%75eue',
] as const

function utf7(text: string): string {
  return `+${Buffer.from(text, 'utf16le').swap16().toString('base64').replace(/=+$/, '')}-`
}

/** Bodies by which a user may mean its own prompt to one reader and another's to the next. */
function stopBody(
  random: Random,
  own: string,
  other: string,
): { readonly body: string | Buffer; readonly headers?: readonly Header[] } {
  const json = (type = 'application/json'): readonly Header[] => [['Content-Type', type]]
  const foreign = random.pick([other, '', own.toUpperCase(), ` ${own}`, `${own}\u0000`])
  const member = random.pick(['prompt_id', 'delete', 'job_ids'])
  const list = member === 'prompt_id' ? (id: string) => JSON.stringify(id) : (id: string) => JSON.stringify([id])
  const both = `{"${member}":${list(own)},"${member}":${list(other)}}`
  const theirs = `{"${member}":${list(foreign)}}`
  return random.pick([
    { body: '' },
    { body: '{}', headers: json() },
    { body: 'null', headers: json() },
    { body: '[]', headers: json() },
    { body: `{"${member}":null}`, headers: json() },
    { body: `{"${member}":0}`, headers: json() },
    { body: `{"${member}":false}`, headers: json() },
    { body: `{"${member}":[]}`, headers: json() },
    { body: `{"${member}":{}}`, headers: json() },
    { body: `{"${member}":["${own}"]}`, headers: json() },
    { body: `{"${member}":"${own}"}`, headers: json() },
    { body: `{"${member}":["${own}","${other}"]}`, headers: json() },
    { body: `{"${member}":["${own}",["${other}"]]}`, headers: json() },
    { body: `{"${member}":{"${other}":1}}`, headers: json() },
    { body: theirs, headers: json() },
    { body: both, headers: json() },
    {
      body: `{"${member}":${list(own)},"${member.replace('_', '\\u005f').replace('d', '\\u0064')}":${list(other)}}`,
      headers: json(),
    },
    { body: `{"delete":["${own}"],"clear":true}`, headers: json() },
    { body: `{"delete":["${own}"],"cl\\u0065ar":1}`, headers: json() },
    { body: `{"clear":true}`, headers: json() },
    { body: `{"__proto__":{"clear":true},"${member}":${list(own)}}`, headers: json() },
    { body: `{"x":{"${member}":1},"${member}":${list(own)}}`, headers: json() },
    { body: `\ufeff${theirs}`, headers: json() },
    { body: Buffer.from(`\ufeff{"${member}":${list(own)}}`), headers: json() },
    { body: gzipSync(theirs), headers: [...json(), ['Content-Encoding', 'gzip']] },
    { body: gzipSync(theirs), headers: [...json(), ['Content-Encoding', 'GZIP ']] },
    { body: gzipSync(theirs), headers: [...json(), ['content-encoding', 'identity'], ['Content-Encoding', 'gzip']] },
    { body: gzipSync(theirs), headers: [...json(), ['Content_Encoding', 'gzip']] },
    { body: Buffer.from(theirs, 'utf16le'), headers: json('application/json; charset=utf-16le') },
    { body: Buffer.from(theirs, 'utf16le'), headers: json('application/json;charset="UTF-16LE"') },
    { body: Buffer.from(theirs, 'utf16le'), headers: json("application/json; charset*=utf-8''utf-16le") },
    { body: utf7(theirs), headers: json('text/plain; charset=utf-7') },
    {
      body: `{"${member}":${list(own)},"a":"${utf7(`","${member}":${list(other)},"b":"`)}"}`,
      headers: json('application/json; charset=UTF-7'),
    },
    {
      body: `{"${member}":${list(own)},"a":"${utf7(`","${member}":${list(other)},"b":"`)}"}`,
      headers: [
        ['Content-Type', 'application/json'],
        ['Content-Type', 'application/json; charset=UTF-7'],
      ],
    },
    { body: `{"${member}":${list(own)},"a":NaN}`, headers: json() },
    { body: `{"${member}":${list(own)}}${' '.repeat(random.pick([0, 65_000, 70_000]))}`, headers: json() },
    { body: `{"${member}":${list(own)}}{"${member}":${list(other)}}`, headers: json() },
    { body: `{"${member}":${list(own)}}\x00{"${member}":${list(other)}}`, headers: json() },
    { body: `${member}=${other}`, headers: json('application/x-www-form-urlencoded') },
    { body: `{"${member}":${list(own)}}`, headers: json('text/plain') },
    { body: `{"${member}":${list(own)}}`, headers: json('application/json; charset=utf-8') },
    { body: `{"${member}":${list(own)},"extra":"${other}"}`, headers: json() },
  ])
}

/** Stops by a user: through every door that ComfyUI has for it, with every spelling of a body. */
export const stops: Family = (random, world, tag) => {
  const own = random.pick(world.own)
  const other = random.pick(world.others)
  if (random.chance(0.15)) {
    const id = random.pick([
      other,
      '',
      '%20',
      own.toUpperCase(),
      `${own}%20`,
      `${own}%00`,
      `${own}%2F..%2F${other}`,
      `${own}/../${other}`,
      `x/../${own}`,
      own,
    ])
    const target = `${random.pick(['', '/api'])}/api/jobs/${id}/cancel`
    return plain(
      'stops',
      signed({ who: random.pick(['user', 'viewer', 'nobody'] as const), method: 'POST', target }, random, world),
      tag,
      world,
    )
  }
  const { body, headers = [] } = stopBody(random, own, other)
  const target = random.pick(STOPS)
  const who = random.chance(0.8) ? 'user' : 'viewer'
  if (random.chance(0.7))
    return plain('stops', signed({ who, method: 'POST', target, headers, body }, random, world), tag, world)
  // The same in chunks, which tell no length beforehand
  const content = Buffer.isBuffer(body) ? body : Buffer.from(body, 'latin1')
  const chunked =
    content.length === 0
      ? Buffer.from('0\r\n\r\n')
      : Buffer.concat([Buffer.from(`${content.length.toString(16)}\r\n`), content, Buffer.from('\r\n0\r\n\r\n')])
  const draft: Draft = {
    who,
    method: 'POST',
    target,
    headers: [...headers, ['Transfer-Encoding', 'chunked']],
    body: chunked,
    framed: false,
  }
  return raw('stops', bytesOf(signed(draft, random, world), tag(who), world), random, ['POST'])
}

const CSS = [
  'user.css',
  'User.CSS',
  'user.css.',
  'user.css%20',
  '%75ser.css',
  '%2575ser.css',
  'user%2ecss',
  'user%252ecss',
  'u%C5%BFer.css',
  'u%25C5%25BFer.css',
  './user.css',
  '.%2Fuser.css',
  '%252e%252fuser.css',
  'x%2F..%2Fuser.css',
  '%2Fuser.css',
  'user.css%2F',
  'user.css%3A%3A$DATA',
  'user.css%00',
  'x%252F..%252Fuser.css',
  '..%2Fdefault%2Fuser.css',
  'user%EF%BC%8Ecss',
  'user.css;',
  'user.css%5c',
]

/** The style sheet that every user's page loads, under other names; and folders that are not the user's. */
export const userFiles: Family = (random, world, tag) => {
  const name = random.pick(CSS)
  const prefix = random.pick(['', '/api'])
  const [method, target] = random.pick<readonly [string, string]>([
    ['POST', `${prefix}/userdata/${name}`],
    ['DELETE', `${prefix}/userdata/${name}`],
    ['POST', `${prefix}/userdata/a.json/move/${name}`],
    ['POST', `${prefix}/userdata/${name}/move/b.json`],
    ['POST', `${prefix}/userdata/..%2F..%2F${name}`],
    ['POST', `${prefix}/userdata/%252e%252e%252f${name}`],
    ['PUT', `${prefix}/userdata/${name}`],
  ])
  return plain(
    'userFiles',
    signed(
      {
        who: 'user',
        method,
        target: `${target}${random.pick(['', '?overwrite=true'])}`,
        body: method === 'POST' ? 'a{}' : '',
      },
      random,
      world,
    ),
    tag,
    world,
  )
}

/** The prompt's id, in ways in which ComfyUI reads it and somebody who looks on may not. */
function takingBody(
  random: Random,
  json: string,
): Pick<Draft, 'body' | 'framed'> & { readonly headers: readonly Header[] } {
  const type = (text: string): Header => ['Content-Type', text]
  const chunked = (body: string, size: number) => {
    const pieces = body.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? []
    return `${pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join('')}0\r\n\r\n`
  }
  const escaped = json.replace(/prompt_id/, (name) =>
    [...name].map((char) => (random.chance(0.3) ? `\\u00${char.charCodeAt(0).toString(16)}` : char)).join(''),
  )
  const size = random.pick([1, 2, 3, 7, 1_000])
  return random.pick<Pick<Draft, 'body' | 'framed'> & { readonly headers: readonly Header[] }>([
    { body: json, headers: [type('application/json')] },
    { body: escaped, headers: [type('text/plain')] },
    { body: chunked(json, size), framed: false, headers: [['Transfer-Encoding', 'chunked']] },
    { body: chunked(escaped, size), framed: false, headers: [['Transfer-Encoding', 'chunked']] },
    { body: gzipSync(json), headers: [['Content-Encoding', random.pick(['gzip', 'GZIP', 'deflate'])]] },
    { body: Buffer.from(json, 'utf16le'), headers: [type('application/json; charset=utf-16le')] },
    { body: Buffer.from(json, 'utf16le'), headers: [type('application/json;Charset="utf-16-le"')] },
    { body: utf7(json), headers: [type('application/json; x=1; charset=utf-7')] },
    {
      body: json.replace('prompt_id', utf7('prompt_id')),
      headers: [type('application/json'), type('a/b; charset=utf-7')],
    },
  ])
}

/** A prompt under an id that is another's makes nothing one's own. */
export const takenPrompts: Family = (random, world, tag) => {
  const other = random.pick(world.others)
  const workflow = {
    1: { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color: 0 } },
    2: { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
  }
  const headers: readonly Header[] = [
    ['Content-Type', 'application/json'],
    ['X-API-Key', world.keys.user],
  ]
  const taking = takingBody(random, JSON.stringify({ prompt: workflow, prompt_id: other }))
  const drafts: Draft[] = [
    { who: 'user', method: 'POST', target: '/prompt', ...taking, headers: [...taking.headers, headers[1]!] },
    { who: 'user', method: 'POST', target: '/interrupt', headers, body: JSON.stringify({ prompt_id: other }) },
    { who: 'user', method: 'POST', target: `/api/jobs/${other}/cancel`, headers },
    { who: 'user', method: 'POST', target: '/queue', headers, body: JSON.stringify({ delete: [other] }) },
  ]
  return {
    family: 'takenPrompts',
    pieces: drafts.map((draft) => bytesOf(draft, tag(draft.who), world)),
    paced: true,
    methods: drafts.map(({ method }) => method),
    shared: false,
  }
}
