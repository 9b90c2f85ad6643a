import { bytesOf, type Draft, type Family, type Header, raw, type Who } from './case.ts'
import { hidden } from './framing.ts'
import { signed } from './identity.ts'
import type { Random } from './random.ts'
import { HANDSHAKE } from './upgrades.ts'
import type { World } from './world.ts'

/** Requests that are answered before, while or without their body being read. */
const OUTERS: readonly Draft[] = [
  { who: 'nobody', method: 'GET', target: '/assets/a.js' },
  { who: 'nobody', method: 'HEAD', target: '/favicon.ico' },
  { who: 'nobody', method: 'GET', target: '/health' },
  { who: 'nobody', method: 'HEAD', target: '/auth_login.html' },
  { who: 'nobody', method: 'GET', target: '/auth_inject.js' },
  { who: 'nobody', method: 'POST', target: '/auth_login.html' },
  { who: 'nobody', method: 'POST', target: '/auth_logout' },
  { who: 'nobody', method: 'GET', target: '/queue' },
  { who: 'nobody', method: 'POST', target: '/prompt' },
  { who: 'nobody', method: 'OPTIONS', target: '/queue' },
  { who: 'nobody', method: 'TRACE', target: '/' },
  { who: 'viewer', method: 'GET', target: '/queue' },
  { who: 'viewer', method: 'HEAD', target: '/' },
  { who: 'viewer', method: 'GET', target: '/ws' },
  { who: 'viewer', method: 'POST', target: '/free' },
  { who: 'user', method: 'POST', target: '/settings/a' },
  { who: 'user', method: 'POST', target: '/interrupt' },
  { who: 'user', method: 'POST', target: '/upload/image' },
  { who: 'user', method: 'DELETE', target: '/userdata/a.json' },
]

/** A whole request as somebody's body, framed as one reader frames it and another may not: CL.0, 0.CL, TE.0, CL+TE, and what hides the one or the other. */
function framing(random: Random, inner: Buffer): { readonly headers: readonly Header[]; readonly body: Buffer } {
  const size = inner.length
  const length = (text: string): Header => ['Content-Length', text]
  const coded = (text: string): Header => ['Transfer-Encoding', text]
  const chunked = Buffer.concat([Buffer.from(`${size.toString(16)}\r\n`), inner, Buffer.from('\r\n0\r\n\r\n')])
  const ended = Buffer.concat([Buffer.from('0\r\n\r\n'), inner])
  return random.pick<{ readonly headers: readonly Header[]; readonly body: Buffer }>([
    { headers: [length(`${size}`)], body: inner },
    { headers: [length(`000${size}`)], body: inner },
    { headers: [length(` ${size}\t`)], body: inner },
    { headers: [length(`${size + 40}`)], body: Buffer.concat([Buffer.alloc(40, 'x'), inner]) },
    { headers: [length(`${size}`), ['Expect', '100-continue']], body: inner },
    { headers: [length(`${size}`), ['Expect', '100-continue, x']], body: inner },
    { headers: [length(`${size}`), ['Expect', 'x']], body: inner },
    { headers: [length(`${size}`), ['Connection', 'Content-Length']], body: inner },
    { headers: [length(`${size}`), ['Connection', 'close']], body: inner },
    { headers: [length('0')], body: inner },
    { headers: [coded('chunked')], body: chunked },
    { headers: [coded('chunked'), ['Connection', 'Transfer-Encoding']], body: chunked },
    { headers: [coded('chunked'), ['Connection', 'close, Transfer-Encoding']], body: chunked },
    { headers: [coded('chunked'), ['Expect', '100-continue']], body: chunked },
    { headers: [coded('chunked')], body: ended },
    { headers: [coded('chunked'), length(`${size}`)], body: chunked },
    { headers: [length('5'), coded('chunked')], body: ended },
    { headers: [length(`${ended.length}`), coded('chunked')], body: ended },
    { headers: [coded('chunked'), ['Transfer_Encoding', 'identity']], body: chunked },
    { headers: [['Transfer_Encoding', 'chunked'], length(`${size}`)], body: inner },
    { headers: [['Content_Length', '0'], length(`${size}`)], body: inner },
    { headers: [['X-Content-Length', '0'], length(`${size}`)], body: inner },
    { headers: [['Content-Encoding', 'chunked'], length(`${chunked.length}`)], body: chunked },
    { headers: [['TE', 'chunked'], length(`${chunked.length}`)], body: chunked },
    { headers: [['X', '1\r\n chunked'], length(`${size}`)], body: inner },
    { headers: [['Transfer-Encoding ', 'chunked'], length(`${size}`)], body: inner },
    { headers: [['Transfer-Encoding', ' chunked\r\n X: 1'], length(`${size}`)], body: inner },
    { headers: [...HANDSHAKE, length(`${size}`)], body: inner },
    { headers: [...HANDSHAKE, coded('chunked')], body: chunked },
    { headers: [...HANDSHAKE, coded('chunked'), length('0')], body: ended },
    { headers: [...HANDSHAKE, ['Expect', '100-continue']], body: inner },
    { headers: [...HANDSHAKE, length('0')], body: inner },
    {
      headers: [
        ['Connection', 'Upgrade, HTTP2-Settings'],
        ['Upgrade', 'h2c'],
        ['HTTP2-Settings', 'AAMAAABkAAQAoAAAAAIAAAAA'],
        length('0'),
      ],
      body: inner,
    },
    { headers: [], body: inner },
  ])
}

/** What hides in a body is nobody's, though its sender has a key; and another principal's request stands behind it. */
export const smuggles: Family = (random, world, tag) => {
  const outer = random.pick(OUTERS)
  const { headers, body } = framing(random, hidden(random, world, tag))
  const version = random.chance(0.1) ? 'HTTP/1.0' : 'HTTP/1.1'
  const first = signed({ ...outer, version, headers, body, framed: false }, random, world)
  const pieces = [bytesOf(first, tag(outer.who), world)]
  for (let i = random.int(3); i > 0; i--) pieces.push(behind(random, world, tag))
  return raw('smuggles', Buffer.concat(pieces), random)
}

/** An honest request of somebody else's, which shares the connection and nothing more. */
function behind(random: Random, world: World, tag: (who: Who) => Header): Buffer {
  const draft = random.pick<Draft>([
    { who: 'nobody', method: 'GET', target: '/queue' },
    { who: 'nobody', method: 'POST', target: '/interrupt', body: '{}' },
    { who: 'viewer', method: 'POST', target: '/prompt', body: '{}' },
    { who: 'viewer', method: 'GET', target: '/internal/logs' },
    { who: 'user', method: 'POST', target: '/free', body: '{}' },
    { who: 'admin', method: 'GET', target: '/internal/logs' },
  ])
  return bytesOf(signed(draft, random, world), tag(draft.who), world)
}
