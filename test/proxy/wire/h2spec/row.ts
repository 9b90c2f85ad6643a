import { END_HEADERS, END_STREAM, FRAME, headerBlock, pseudo, type Raw2 } from '../../../support/http2.ts'
import { ADMIN } from '../support.ts'

/** One thing that a client may not do, or may, and what RFC 9113 (in `hpack.ts`: RFC 7541) wants of a server then. */
export interface Row {
  readonly section: string
  readonly what: string
  /**
   * What ends the wait: `goaway CODE`, `reset CODE`, `answer STATUS`, or `served`: nothing of these, and the next request on this
   * very connection is answered. What is seen today stands first; the others are what the RFC permits besides, as nghttp2 1.64
   * (Node 22) and 1.70 differ.
   */
  readonly outcome: readonly string[]
  /** `preface: false` opens the connection without preface and SETTINGS. */
  readonly preface?: boolean
  readonly act: (raw: Raw2) => unknown
  /** Looked at once the outcome is there. */
  readonly look?: (raw: Raw2) => unknown
}

export type Fields = readonly (readonly [string, string])[]

export const AUTH_FIELD = ['authorization', `Bearer ${ADMIN}`] as const

/** A request that is answered with 200, with these fields behind its own. */
export const get = (more: Fields = []) => headerBlock([...pseudo('GET', '/queue'), AUTH_FIELD, ...more])

/** A request that is answered with 200 once its body has come. */
export const post = (more: Fields = []) =>
  headerBlock([...pseudo('POST', '/userdata/h2spec.json?overwrite=true'), AUTH_FIELD, ...more])

/** Ends with its head. */
export function sendGet(raw: Raw2, stream = 1, block = get()): void {
  raw.send(FRAME.headers, END_HEADERS | END_STREAM, stream, block)
}

/** Its body is still to come. */
export function sendPost(raw: Raw2, stream = 1, block = post()): void {
  raw.send(FRAME.headers, END_HEADERS, stream, block)
}

export function uint32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, i * 4)
  return bytes
}

/** One setting of a SETTINGS frame. */
export function setting(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(6)
  bytes.writeUInt16BE(id, 0)
  bytes.writeUInt32BE(value, 2)
  return bytes
}
