import type { RawResponse, RecordedRequest } from './raw.ts'
import { maskJson, shapeJson } from './shape.ts'

/** A recorded request and what the server answered. */
export interface Exchange {
  readonly index: number
  readonly note: string
  readonly server: string
  readonly request: RecordedRequest
  readonly response: {
    readonly status: number
    readonly headers: Readonly<Record<string, string>>
    /** Twins and large bodies give size and digest alone. */
    readonly body: {
      readonly text?: string
      readonly base64?: string
      readonly bytes?: number
      readonly sha256?: string
    }
  }
}

/** What a failing test is called. */
export function label({ index, server, request, note }: Exchange): string {
  return `${index}: ${server} ${request.method} ${request.path.slice(0, 80)} ${note}`.replaceAll('$', '')
}

/** Headers that hold sizes, times and digests: that they are there is compared, their values are not. */
const VALUES = new Set(['etag', 'last-modified', 'content-length', 'content-range'])
/** Not kept by the recorder. */
const UNRECORDED = new Set(['date', 'connection'])

/** Answers that list what is installed: our few nodes, models and blueprints have the recorded shape, not its content. */
const CATALOGUES = [
  /^\/(?:api\/)?global_subgraphs/,
  /^\/(?:api\/)?node_replacements/,
  /^\/(?:api\/)?extensions$/,
  /\/object_info\//,
  /^\/(?:api\/)?system_stats/,
  /^\/internal\/logs/,
  /^\/internal\/files\//,
  /\/models\/checkpoints$/,
]

function bodyDifference(exchange: Exchange, answer: RawResponse): unknown[] {
  const { text, base64 } = exchange.response.body
  const type = exchange.response.headers['content-type'] ?? ''
  if (exchange.request.method === 'HEAD' || exchange.response.headers['content-encoding']) return []
  const path = exchange.request.path.split('?')[0] ?? ''
  if (text === undefined) {
    if (base64 === undefined || type.startsWith('image/'))
      return answer.body.length === 0 && exchange.response.body.bytes !== 0 ? ['empty body'] : []
    return []
  }
  const own = answer.body.toString()
  if (!type.startsWith('application/json; charset')) return own === text ? [] : [{ recorded: text, own }]
  if (CATALOGUES.some((pattern) => pattern.test(path))) return catalogueDifference(text, own)
  return unlike(maskJson(text), maskJson(own), '')
}

/** Where two values differ, by path; the order of members counts. */
function unlike(theirs: unknown, ours: unknown, at: string): unknown[] {
  if (
    typeof theirs !== 'object' ||
    typeof ours !== 'object' ||
    theirs === null ||
    ours === null ||
    Array.isArray(theirs) !== Array.isArray(ours)
  ) {
    return theirs === ours ? [] : [{ at, recorded: theirs, own: ours }]
  }
  const [wanted, own] = [Object.keys(theirs), Object.keys(ours)]
  if (wanted.join() !== own.join()) return [{ at, recorded: wanted, own }]
  return wanted.flatMap((key) =>
    unlike((theirs as Record<string, unknown>)[key], (ours as Record<string, unknown>)[key], `${at}.${key}`),
  )
}

/** Keys in order, lists and maps of alike entries by the shapes that occur in them. */
function sorted(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(sorted)
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(
    Object.entries(node)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => [key, sorted(value)]),
  )
}

function entries(text: string): Set<string> {
  const shape = shapeJson(text)
  const list = Array.isArray(shape) ? shape : typeof shape === 'object' ? Object.values(shape) : [shape]
  return new Set(list.map((item) => JSON.stringify(sorted(item))))
}

/** Each of our entries has a shape that the recorded ones have; where those are none, nothing can be said. */
function catalogueDifference(text: string, own: string): unknown[] {
  const theirs = entries(text)
  const ours = entries(own)
  if (theirs.size === 0) return []
  const strange = [...ours].filter((shape) => !theirs.has(shape))
  return ours.size === 0 || strange.length > 0 ? [{ strange, recorded: [...theirs] }] : []
}

/** All in which our answer differs from the recorded one: status, headers (both ways), body. */
export function differences(exchange: Exchange, answer: RawResponse | undefined): unknown[] {
  if (!answer) return ['not played']
  const { status, headers } = exchange.response
  const out: unknown[] = []
  if (status !== answer.status) out.push({ status, own: answer.status })
  for (const [name, value] of Object.entries(headers)) {
    const own = answer.headers[name]
    if (own === undefined) out.push({ missing: name })
    else if (!VALUES.has(name) && own !== value) out.push({ header: name, recorded: value, own })
  }
  for (const name of Object.keys(answer.headers))
    if (!(name in headers) && !UNRECORDED.has(name)) out.push({ extra: name })
  return [...out, ...bodyDifference(exchange, answer)]
}
