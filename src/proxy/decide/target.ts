import { decodeAgain, decodeQuery, decodeSegment } from './encoding.ts'
import type { Refusal } from './facts.ts'
import { refusal } from './refusal.ts'

declare const canonical: unique symbol

/** A path that every reader reads alike. Only this file makes one, so that no rule can exempt a doubtful path. */
export interface CanonicalPath {
  readonly [canonical]: true
  /** The segments joined by `/`; a `/` that is data stands as `%2F`. */
  readonly text: string
  /** Decoded as ComfyUI decodes them: once, and the names of `/userdata` twice. */
  readonly segments: readonly string[]
}

export interface QueryKey {
  readonly name: 'api_key' | 'token'
  /** As it stood in the query, still encoded. */
  readonly value: string
}

export interface Target {
  readonly canonical: CanonicalPath | undefined
  /** Byte for byte what came, less `api_key` and `token` in the query: what goes upstream. */
  readonly withoutKey: string
  /** Values that are not empty. */
  readonly keys: readonly QueryKey[]
}

/** Control bytes and blanks cannot stand in a request line; `#` is cut by ComfyUI and by nobody before it. */
const ACCEPTED = /^\/[!"$-~\u0080-\u00ff]*$/
/** Nothing to decode, nothing that another reader could take for a separator. */
const PLAIN = /^[A-Za-z0-9/._~!$&'()*+,=:@-]*$/
/** What a decoded segment may not hold; `/` is asked apart. */
const DOUBTFUL = /[\\;%\p{Cc}]/u
const DOUBTFUL_NAME = /[\\\p{Cc}]/u
const NO_KEYS: readonly QueryKey[] = []

/** Rule 1: a Target, or 400 for what is no origin-form or holds a `#`. The raw target is never rewritten but for a key. */
export function parseTarget(raw: string): Target | Refusal {
  if (!ACCEPTED.test(raw)) return refusal(400, 'bad-target')
  const mark = raw.indexOf('?')
  const path = mark === -1 ? raw : raw.slice(0, mark)
  const canonical = canonicalPath(path)
  if (mark === -1) return { canonical, withoutKey: raw, keys: NO_KEYS }
  return withoutKeys(raw, path, raw.slice(mark + 1), canonical)
}

function withoutKeys(raw: string, path: string, query: string, canonical: CanonicalPath | undefined): Target {
  const keys: QueryKey[] = []
  const rest: string[] = []
  const pairs = query.split('&')
  for (const pair of pairs) {
    const name = carrierName(pair)
    if (name === undefined) rest.push(pair)
    else {
      const equals = pair.indexOf('=')
      const value = equals === -1 ? '' : pair.slice(equals + 1)
      if (value !== '') keys.push({ name, value })
    }
  }
  if (rest.length === pairs.length) return { canonical, withoutKey: raw, keys: NO_KEYS }
  return { canonical, withoutKey: rest.length === 0 ? path : `${path}?${rest.join('&')}`, keys }
}

/** A name is read decoded: `api%5Fkey` is a carrier to whoever reads the query after us. */
function carrierName(pair: string): QueryKey['name'] | undefined {
  const equals = pair.indexOf('=')
  const raw = equals === -1 ? pair : pair.slice(0, equals)
  const name = raw.includes('%') ? decodeQuery(raw) : raw
  return name === 'api_key' || name === 'token' ? name : undefined
}

function make(text: string, segments: readonly string[]): CanonicalPath {
  return { text, segments } as unknown as CanonicalPath
}

/** Undefined wherever two readers could differ (oauth2-proxy GHSA-7rh7-c77v-6434, Traefik CVE-2025-66490, Envoy CVE-2021-29492). */
function canonicalPath(path: string): CanonicalPath | undefined {
  const raw = path.slice(1).split('/')
  for (let i = 0; i < raw.length; i++) {
    const segment = raw[i]!
    if ((segment === '' && i < raw.length - 1) || segment === '.' || segment === '..') return undefined
  }
  if (PLAIN.test(path)) return make(path, raw)
  const once: string[] = []
  for (const segment of raw) {
    const decoded = decodeSegment(segment)
    if (decoded === undefined) return undefined
    once.push(decoded)
  }
  const data = dataSegments(once)
  const segments: string[] = []
  let text = ''
  for (const [i, decoded] of once.entries()) {
    const segment = data.includes(i) ? dataSegment(decoded, data) : plainSegment(decoded)
    if (segment === undefined) return undefined
    segments.push(segment)
    text += `/${segment.includes('/') ? segment.replaceAll('/', '%2F') : segment}`
  }
  return make(text, segments)
}

function plainSegment(decoded: string): string | undefined {
  return decoded === '.' || decoded === '..' || decoded.includes('/') || DOUBTFUL.test(decoded) ? undefined : decoded
}

const NONE: readonly number[] = []
const CLASS: readonly number[] = [1]
const CLASS_TWIN: readonly number[] = [2]
const FILE: readonly number[] = [1, 3]
const FILE_TWIN: readonly number[] = [2, 4]

/** Which segments hold a decoded `/` as data: the class of /object_info/{class}, file and dest of /userdata/{file}/move/{dest}. */
function dataSegments(segments: readonly string[]): readonly number[] {
  const at = segments[0] === 'api' ? 1 : 0
  const name = segments[at]
  const count = segments.length - at
  if (name === 'object_info' && count === 2) return at === 0 ? CLASS : CLASS_TWIN
  if (name === 'userdata' && (count === 2 || (count === 4 && segments[at + 2] === 'move'))) {
    return at === 0 ? FILE : FILE_TWIN
  }
  return NONE
}

function dataSegment(decoded: string, data: readonly number[]): string | undefined {
  return data.length === 1 ? nodeClass(decoded) : fileName(decoded)
}

/** A key of a dictionary: `//` stands in some, but no dot segments, which a proxy before us may resolve. */
function nodeClass(decoded: string): string | undefined {
  if (DOUBTFUL.test(decoded)) return undefined
  return decoded.split('/').some((part) => part === '.' || part === '..') ? undefined : decoded
}

/** Decoded a second time, as ComfyUI does: then a relative path that leaves its folder nowhere. */
function fileName(decoded: string): string | undefined {
  if (DOUBTFUL_NAME.test(decoded)) return undefined
  const name = decodeAgain(decoded)
  if (name === undefined || DOUBTFUL_NAME.test(name)) return undefined
  return name.split('/').some((part) => part === '' || part === '.' || part === '..') ? undefined : name
}
