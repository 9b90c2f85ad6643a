import type { IncomingMessage } from 'node:http'
import { charsetOf, decodeText } from './charset.ts'
import { type Json, parseJson } from './json.ts'
import type { Target } from './target.ts'

/** The body ran over the limit while it was read. */
export class BodyTooLarge extends Error {}
/** The body's Content-Encoding does not hold. */
export class BodyBroken extends Error {}

/** One request as a handler sees it. */
export interface Call {
  readonly method: string
  readonly target: Target
  readonly headers: IncomingMessage['headers']
  /** Reads and unpacks the body; throws BodyTooLarge over the server's limit. */
  readonly body: () => Promise<Buffer>
}

/** The body as text, in the charset that the request names. */
export async function bodyText(call: Call): Promise<string> {
  return decodeText(await call.body(), charsetOf(call.headers['content-type']))
}

/** The body as JSON, whatever its Content-Type. */
export async function bodyJson(call: Call): Promise<Json> {
  return parseJson(await bodyText(call))
}

/** A header's value; Node joins repeated ones. */
export function header(call: Call, name: string): string | undefined {
  const value = call.headers[name]
  return Array.isArray(value) ? value[0] : value
}
