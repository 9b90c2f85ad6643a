import { streamBytes } from './http2-bytes.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

/**
 * On whose behalf a request is sent, which is what the judge measures it by.
 * `foreign`: an admin's cookie or Basic sent along by somebody else's page. `nothing`: malformed or addressed to another
 * host, so that it may not reach ComfyUI whatever key it brings.
 */
export type Who = 'nobody' | 'viewer' | 'user' | 'admin' | 'foreign' | 'nothing'

/** Stands in every request, also in those hidden in the body of another: `NUMBER.WHO`. */
export const TAG = 'X-Tag'

export type Header = readonly [name: string, value: string]

/** One request as it is put on the wire: nothing here is made valid. Text is latin1. HTTP/2 has no version, and names in lower case. */
export interface Draft {
  readonly who: Who
  readonly method: string
  readonly target: string
  readonly version?: string
  readonly host?: string | undefined
  readonly headers?: readonly Header[]
  readonly body?: string | Buffer
  /** Content-Length is added for a body unless the headers frame it themselves. */
  readonly framed?: boolean
}

/** What is sent over one connection, and how. */
export interface Case {
  readonly family: string
  /** Written one after another, each after a turn of the event loop; `paced`: each after the reply to the one before. */
  readonly pieces: readonly Buffer[]
  readonly paced?: boolean
  /** The methods of the well-formed requests in it: the replies to wait for. None: until it closes or falls silent. */
  readonly methods: readonly string[]
  /** May go over a connection that was used before and will be used again. Streams may, but for `alone`. */
  readonly shared: boolean
  readonly alone?: boolean
  /** The client's own address in 127.0.0.0/8; a case that guesses keys has one of its own. */
  readonly from?: string
}

/** Makes the cases of one family. */
export type Family = (random: Random, world: World, tag: (who: Who) => Header) => Case

export type Tagger = (who: Who) => Header

/** The bytes of one request. */
export function bytesOf(draft: Draft, tag: Header, world: World): Buffer {
  if (world.wire === 'http2') return streamBytes(draft, tag, world)
  const { method, target, version = 'HTTP/1.1', headers = [], body = '', framed = body.length > 0 } = draft
  const host = 'host' in draft ? draft.host : world.host
  const content = Buffer.isBuffer(body) ? body : Buffer.from(body, 'latin1')
  const lines = [`${method} ${target.startsWith('/') ? world.base : ''}${target} ${version}`]
  if (host !== undefined) lines.push(`Host: ${host}`)
  lines.push(`${tag[0]}: ${tag[1]}`)
  for (const [name, value] of headers) lines.push(`${name}: ${value}`)
  if (framed) lines.push(`Content-Length: ${content.length}`)
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), content])
}

/** An ordinary request over a connection that lives on. */
export function plain(family: string, draft: Draft, tag: Tagger, world: World, from?: string): Case {
  const bytes = bytesOf(draft, tag(draft.who), world)
  return { family, pieces: [bytes], methods: [draft.method], shared: from === undefined, ...(from && { from }) }
}

/** Bytes that no client library would send: a connection of their own, sometimes in several writes. */
export function raw(family: string, bytes: Buffer, random: Random, methods: readonly string[] = []): Case {
  return { family, pieces: random.chance(0.3) ? cut(bytes, random) : [bytes], methods, shared: false }
}

function cut(bytes: Buffer, random: Random): Buffer[] {
  const at = 1 + random.int(Math.max(1, bytes.length - 1))
  return [bytes.subarray(0, at), bytes.subarray(at)].filter((piece) => piece.length > 0)
}
