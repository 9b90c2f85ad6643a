import type { Draft, Header } from './case.ts'
import type { World } from './world.ts'

/** RFC 9113 by hand: what no library would send too. A stream's number stands for itself until the runner gives it one of its connection. */
export const FRAME = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const
export const END_STREAM = 1
export const END_HEADERS = 4
const PADDED = 8

/** Of a frame's payload, as every peer takes it. */
const MOST = 16_384

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** RFC 7541, 5.1, with a prefix of 7 bits. */
function length7(value: number): number[] {
  if (value < 127) return [value]
  const bytes = [127]
  let rest = value - 127
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  return [...bytes, rest]
}

/** Literals, not compressed (RFC 7541, 6.2); `indexed`: the peer is to remember them for the streams behind. */
export function block(fields: readonly Header[], indexed = false): Buffer {
  const text = (value: string) => [Buffer.from(length7(value.length)), Buffer.from(value, 'latin1')]
  const kind = Buffer.from([indexed ? 0x40 : 0])
  return Buffer.concat(fields.flatMap(([name, value]) => [kind, ...text(name), ...text(value)]))
}

/** One field section, in as many frames as it is asked to be in or has to be. */
export function head(bytes: Buffer, stream: number, end: boolean, { pieces = 1, padding = 0 } = {}): Buffer {
  const size = Math.min(MOST - 300, Math.max(1, Math.ceil(bytes.length / pieces)))
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length || at === 0; at += size) parts.push(bytes.subarray(at, at + size))
  return Buffer.concat(
    parts.map((part, i) => {
      const last = i === parts.length - 1 ? END_HEADERS : 0
      if (i > 0) return frame(FRAME.continuation, last, stream, part)
      const flags = last | (end ? END_STREAM : 0)
      if (padding === 0) return frame(FRAME.headers, flags, stream, part)
      return frame(
        FRAME.headers,
        flags | PADDED,
        stream,
        Buffer.concat([Buffer.from([padding]), part, Buffer.alloc(padding)]),
      )
    }),
  )
}

/** A body of `pieces` frames, or of as many as it has to be in. */
export function data(body: Buffer, stream: number, end: boolean, pieces = 1): Buffer {
  const size = Math.min(MOST, Math.max(1, Math.ceil(body.length / pieces)))
  const parts: Buffer[] = []
  for (let at = 0; at < body.length || at === 0; at += size) parts.push(body.subarray(at, at + size))
  return Buffer.concat(
    parts.map((part, i) => frame(FRAME.data, end && i === parts.length - 1 ? END_STREAM : 0, stream, part)),
  )
}

/** Of a tag, which no two requests share. */
export const streamOf = ([, tag]: Header): number => 2 * Number.parseInt(tag, 10) + 1

/**
 * A draft as a stream. Its tag's number chooses the spelling: where the authority stands, whether cookies are fields of
 * their own, how many frames there are, padding, a length or none.
 */
export function streamBytes(draft: Draft, tag: Header, world: World): Buffer {
  const { method, target, headers = [], body = '', framed = body.length > 0 } = draft
  const stream = streamOf(tag)
  const n = (stream - 1) / 2
  const authority = 'host' in draft ? draft.host : world.host
  const content = Buffer.isBuffer(body) ? body : Buffer.from(body, 'latin1')
  const path = `${target.startsWith('/') ? world.base : ''}${target}`
  const fields: Header[] = [
    [':method', method],
    [':scheme', 'https'],
    [':path', path],
  ]
  if (authority !== undefined) fields.push([n % 5 === 1 ? 'host' : ':authority', authority])
  fields.push([tag[0].toLowerCase(), tag[1]])
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (lower === 'cookie' && n % 3 === 0) fields.push(...value.split('; ').map((pair) => ['cookie', pair] as const))
    else fields.push([lower, value])
  }
  if (framed && n % 6 !== 5) fields.push(['content-length', String(content.length)])
  const bare = content.length === 0 && n % 9 !== 4
  const opening = head(block(fields, n % 2 === 1), stream, bare, {
    pieces: n % 7 === 2 ? 2 + (n % 6) : 1,
    padding: n % 11 === 3 ? n % 256 : 0,
  })
  return bare ? opening : Buffer.concat([opening, data(content, stream, true, 1 + (n % 3))])
}
