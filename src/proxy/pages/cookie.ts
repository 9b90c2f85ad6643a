import { digestOf } from '../../keys/digest.ts'
import { parseIp } from '../decide/address.ts'
import { bearerOf, cookieValues } from '../decide/carriers.ts'
import { isSecure, originOf } from '../decide/csrf.ts'
import type { Policy, RequestFacts } from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import { ABSOLUTE_MS, type Session, type Sessions } from '../state/sessions.ts'

/** Set-Cookie for a session: SameSite=Strict always, Secure over TLS; Remember me alone makes it outlive the browser. */
export function sessionCookie(
  facts: RequestFacts,
  policy: Policy,
  value: string,
  remember: boolean,
): readonly string[] {
  const secure = isSecure(facts, readHead(facts), policy)
  const maxAge = remember ? `; Max-Age=${ABSOLUTE_MS.remember / 1_000}` : ''
  return ['Set-Cookie', `${policy.cookieName(secure)}=${value}; ${attributes(secure, policy)}${maxAge}`]
}

/** Set-Cookie that takes the session's cookie away. */
export function endedCookie(facts: RequestFacts, policy: Policy): readonly string[] {
  const secure = isSecure(facts, readHead(facts), policy)
  return ['Set-Cookie', `${policy.cookieName(secure)}=; ${attributes(secure, policy)}; Max-Age=0`]
}

/** Below --base-path alone, so that what else the host serves is not sent it; but `__Host-` is a promise of Path=/. */
function attributes(secure: boolean, { basePath }: Policy): string {
  return `Path=${secure ? '' : basePath}/; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
}

/** Every live session whose cookie came along: another port of the same host can toss some in (rule 5). */
export function presentedSessions(facts: RequestFacts, policy: Policy, sessions: Sessions): readonly Session[] {
  return presentedCookies(facts, policy)
    .map((value) => sessions.findByCookieDigest(digestOf(value)))
    .filter((session) => session !== undefined)
}

/**
 * Ends all that this browser brought: by cookie, and by storage token where another port put its cookie over ours. A token
 * without any cookie is no browser's of ours, and ends nothing.
 */
export function endPresented(facts: RequestFacts, policy: Policy, sessions: Sessions): readonly string[] {
  const token = presentedCookies(facts, policy).length === 0 ? undefined : bearerOf(readHead(facts))
  const byToken = token === undefined ? undefined : sessions.findByTokenDigest(digestOf(token))
  const found = [...presentedSessions(facts, policy, sessions), ...(byToken ? [byToken] : [])]
  const ids = [...new Set(found.map(({ id }) => id))]
  for (const id of ids) sessions.end(id)
  return ids
}

/** The values of all cookies of our name. */
export function presentedCookies(facts: RequestFacts, policy: Policy): readonly string[] {
  const head = readHead(facts)
  return head.cookie === undefined ? [] : cookieValues(head.cookie, policy.cookieName(isSecure(facts, head, policy)))
}

/** Twice what a name of four labels and a path of four segments make: a front proxy's buffer for a head holds 4 KiB. */
const MAX_TWINS_BYTES = 2_048

/**
 * Set-Cookie that takes away every cookie of our name but our own, which stands at our path for this host alone. Over plain
 * HTTP another port can set one for a path below, or for the whole domain; browsers send both, and neither can be told from
 * ours (rule 5). Over TLS `__Host-` lets none be set. Empty there.
 */
export function expiredTwins(facts: RequestFacts, policy: Policy): readonly string[] {
  const head = readHead(facts)
  if (isSecure(facts, head, policy)) return []
  const own = `${policy.basePath}/`
  const domains = [undefined, ...cookieDomains(originOf(facts, head, policy))]
  const headers: string[] = []
  let bytes = 0
  for (const path of cookiePaths(facts.target)) {
    for (const domain of domains) {
      if (path === own && domain === undefined) continue
      const scope = `Path=${path}${domain === undefined ? '' : `; Domain=${domain}`}`
      const value = `${policy.cookieName(false)}=; ${scope}; Max-Age=0`
      bytes += value.length
      if (bytes > MAX_TWINS_BYTES) return headers
      headers.push('Set-Cookie', value)
    }
  }
  return headers
}

/** Every Path of a cookie that comes along to this target: `/`, `/api`, `/api/`, `/api/queue` (RFC 6265, 5.1.4). */
function* cookiePaths(target: string): Generator<string> {
  const path = target.split('?', 1)[0]!
  if (!/^\/[!-:<-~]*$/.test(path)) {
    yield '/'
    return
  }
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) {
    if (at > 0) yield path.slice(0, at)
    yield path.slice(0, at + 1)
  }
  if (!path.endsWith('/')) yield path
}

const MAX_PARENTS = 5

/** The host and what stands nearest above it. For an address or a single label browsers take Domain as the host alone: none. */
function cookieDomains(origin: string | undefined): readonly string[] {
  const name = origin === undefined ? '' : new URL(origin).hostname
  if (name.startsWith('[') || parseIp(name)) return []
  const domains: string[] = []
  let domain = name
  for (let dot = domain.indexOf('.'); dot !== -1 && domains.length <= MAX_PARENTS; dot = domain.indexOf('.')) {
    domains.push(domain)
    domain = domain.slice(dot + 1)
  }
  return domains
}
