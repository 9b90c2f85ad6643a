import { decodeBase64, decodeQuery, textOf } from './encoding.ts'
import type { Carrier, Policy, Refusal } from './facts.ts'
import { DOUBLED, type Head } from './head.ts'
import { refusal } from './refusal.ts'
import type { QueryKey, Target } from './target.ts'

/** One presented secret. It is hashed by identify.ts and goes no further. */
export interface Credential {
  readonly carrier: Carrier
  readonly secret: string
  /** In a query a `+` may be a plus or a blank: the second reading, where it differs (rule 5). */
  readonly otherReading: string | undefined
}

const SUBPROTOCOL = 'comfy-auth.bearer.'
const NONE: readonly Credential[] = []

/**
 * Rule 5: every secret that a request presents, in the order in which they are preferred, those first that no browser
 * sends by itself. 400 for a doubled header. Empty values count as absent.
 */
export function readCarriers(
  head: Head,
  target: Target,
  policy: Policy,
  secure: boolean,
): readonly Credential[] | Refusal {
  const { authorization, apiKey, cookie, subprotocols } = head
  if (
    authorization === undefined &&
    apiKey === undefined &&
    cookie === undefined &&
    subprotocols === undefined &&
    target.keys.length === 0
  ) {
    return NONE
  }
  if (authorization === DOUBLED || apiKey === DOUBLED || cookie === DOUBLED) return refusal(400, 'doubled-carrier')
  const found: Credential[] = []
  const bearer = bearerOf(head)
  if (bearer !== undefined) found.push(credential('bearer', bearer))
  if (apiKey) found.push(credential('x-api-key', textOf(apiKey)))
  if (subprotocols !== undefined) {
    const offered = ourSubprotocols(subprotocols)
    if (offered.length > 1) return refusal(400, 'doubled-carrier')
    for (const protocol of offered) {
      const value = protocol.slice(SUBPROTOCOL.length)
      if (value !== '') found.push(credential('subprotocol', textOf(decodeBase64(value) ?? value)))
    }
  }
  for (const key of target.keys) {
    if (target.keys.some((other) => other !== key && other.name === key.name)) return refusal(400, 'doubled-carrier')
    found.push(queryCredential(key))
  }
  const basic = authorization === undefined ? undefined : schemeValue(authorization, 'basic')
  if (basic) {
    const password = basicPassword(basic)
    if (password) found.push(credential('basic', password))
  }
  if (cookie) {
    for (const value of cookieValues(cookie, policy.cookieName(secure))) found.push(credential('cookie', value))
  }
  return found
}

export function lessCookies(credentials: readonly Credential[]): readonly Credential[] {
  return credentials.filter(({ carrier }) => carrier !== 'cookie')
}

/** What stands in `Authorization: Bearer ...`; undefined where nothing does. */
export function bearerOf({ authorization }: Head): string | undefined {
  const value = authorization === undefined ? undefined : schemeValue(authorization, 'bearer')
  return value === undefined || value === '' ? undefined : textOf(value)
}

function credential(carrier: Carrier, secret: string): Credential {
  return { carrier, secret, otherReading: undefined }
}

/** Less the blanks around it (RFC 9110, 5.6.3); a no-break space is a byte of the value: of an `à` in UTF-8, for example. */
export function trimBlanks(value: string): string {
  let from = 0
  let to = value.length
  while (from < to && isBlank(value, from)) from++
  while (to > from && isBlank(value, to - 1)) to--
  return value.slice(from, to)
}

function isBlank(value: string, at: number): boolean {
  return value[at] === ' ' || value[at] === '\t'
}

/** `Bearer x` -> `x` for its own scheme, whatever its case (RFC 9110, 11.1). */
function schemeValue(header: string, scheme: string): string | undefined {
  const blank = header.indexOf(' ')
  if (blank !== scheme.length || header.slice(0, blank).toLowerCase() !== scheme) return undefined
  return trimBlanks(header.slice(blank + 1))
}

/** Any user, the key as password; no base64 or no colon: none. */
function basicPassword(value: string): string | undefined {
  const pair = decodeBase64(value)
  const colon = pair?.indexOf(':') ?? -1
  return pair === undefined || colon === -1 ? undefined : textOf(pair.slice(colon + 1))
}

function queryCredential(key: QueryKey): Credential {
  const withPlus = decodeQuery(key.value, 'plus') ?? key.value
  const withBlank = key.value.includes('+') ? (decodeQuery(key.value) ?? key.value) : withPlus
  return { carrier: 'query', secret: withPlus, otherReading: withBlank === withPlus ? undefined : withBlank }
}

function ourSubprotocols(header: string): string[] {
  return header
    .split(',')
    .map((protocol) => protocol.trim())
    .filter((protocol) => protocol.startsWith(SUBPROTOCOL))
}

/** The one to be echoed, or a browser drops the socket; ComfyUI itself never chooses any (rule 11). */
export function offeredSubprotocol(head: Head): string | undefined {
  return head.subprotocols === undefined ? undefined : ourSubprotocols(head.subprotocols)[0]
}

/** Sec-WebSocket-Protocol less ours; undefined where nothing is left. */
export function otherSubprotocols(header: string): string | undefined {
  if (!header.includes(SUBPROTOCOL)) return header
  const others = header.split(',').filter((protocol) => !protocol.trim().startsWith(SUBPROTOCOL))
  return others.length === 0 ? undefined : others.join(',').trim()
}

/**
 * The values of all pairs of our name, each once: another port of the host can toss one of its own (rule 5). The name is ours to the
 * byte: before a no-break space a browser sees no `__Host-`, and lets anybody set it.
 */
export function cookieValues(header: string, name: string): string[] {
  const values: string[] = []
  if (!header.includes(name)) return values
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    if (equals === -1 || trimBlanks(pair.slice(0, equals)) !== name) continue
    const value = trimBlanks(pair.slice(equals + 1))
    if (value !== '' && !values.includes(value)) values.push(value)
  }
  return values
}
