import { isTrustedPeer } from './client.ts'
import { allowedOrigin } from './cors.ts'
import type { PageName, Policy, Principal, Refusal, RequestFacts } from './facts.ts'
import { type Head, isPageLoad } from './head.ts'
import { parseHost } from './host.ts'
import { refusal, unauthorised } from './refusal.ts'
import type { Standpoint } from './role.ts'

/** What rule 9 looks at. */
export interface Asked {
  readonly facts: RequestFacts
  readonly head: Head
  readonly principal: Principal | undefined
  readonly standpoint: Standpoint
  readonly page: PageName | undefined
  readonly open: boolean
}

/** The last value: what the nearest proxy said. */
function lastOf(list: string): string {
  return list.slice(list.lastIndexOf(',') + 1).trim()
}

/** TLS between the browser and whoever faces it: decides the cookie's name and Secure. */
export function isSecure(facts: RequestFacts, head: Head, policy: Policy): boolean {
  if (policy.publicUrl) return policy.publicUrl.protocol === 'https:'
  if (head.forwardedProto !== undefined && isTrustedPeer(facts, policy)) {
    return lastOf(head.forwardedProto).toLowerCase() === 'https'
  }
  return facts.secure
}

/**
 * The origin that is *ours*: `--public-url`'s, else from a trusted proxy's X-Forwarded-Proto and -Host, else from Host.
 * Undefined where the host is malformed.
 */
export function originOf(facts: RequestFacts, head: Head, policy: Policy): string | undefined {
  if (policy.publicUrl) return policy.publicUrl.origin
  const scheme = isSecure(facts, head, policy) ? 'https' : 'http'
  const trusted = head.forwardedHost !== undefined && isTrustedPeer(facts, policy)
  const host = parseHost(trusted ? lastOf(head.forwardedHost) : (head.host ?? ''))
  return host && normalOrigin(`${scheme}://${host.text}`)
}

/** scheme://host[:port] without a default port; undefined for `null` and for what is no http(s) URL. */
function normalOrigin(text: string): string | undefined {
  if (!text.startsWith('http://') && !text.startsWith('https://')) return undefined
  return URL.parse(text)?.origin
}

/**
 * Rule 9, for a request whose credential a browser may send by itself, or that needs none (JupyterHub CVE-2026-40864,
 * code-server CVE-2023-26114; the model is Go's CrossOriginProtection). SameSite=Strict does not hold between ports.
 */
export function checkCsrf(asked: Asked, policy: Policy): Refusal | undefined {
  const { facts, head, standpoint } = asked
  if (!isAmbient(asked, policy) || isSafe(asked, policy)) return undefined
  // The page itself may be asked for by anyone: the login page in its place then finds the session by its own fetch
  if (isPage(standpoint) && isPageLoad(facts, head)) return unauthorised(facts, head, 'foreign-origin')
  return refusal(403, 'foreign-origin')
}

/**
 * Sent by a page of somebody else's: its author chose query and subprotocol, and the visitor's browser sent them. A link that
 * the visitor follows looks like a tab that a script steers. The origin that --enable-cors-header names is nobody else's.
 */
export function isForeignPages(facts: RequestFacts, head: Head, policy: Policy): boolean {
  const { fetchSite, origin, referer } = head
  if (allowedOrigin(head, policy) !== undefined) return false
  if (fetchSite !== undefined) return fetchSite === 'cross-site' || fetchSite === 'same-site'
  const from = origin ?? referer
  return from !== undefined && !isOurs(from, facts, head, policy)
}

/** `from`: an Origin or a Referer. */
function isOurs(from: string, facts: RequestFacts, head: Head, policy: Policy): boolean {
  const theirs = normalOrigin(from)
  return theirs !== undefined && theirs === originOf(facts, head, policy)
}

/** Cookie, Basic, --no-auth; of what is open only an Upgrade, the login, and --no-auth's rest but for our own pages. */
function isAmbient({ facts, principal, page, open }: Asked, policy: Policy): boolean {
  if (!open) return principal?.ambient !== false
  return facts.upgrade || page === 'login-post' || (policy.auth === 'none' && !page)
}

/** A stranger's link may lead to the page itself, and nowhere else. */
function isPage({ route }: Standpoint): boolean {
  return route?.mark === 'index'
}

function isSafe({ facts, head, principal, standpoint, page }: Asked, policy: Policy): boolean {
  const { fetchSite: site, fetchMode: mode, origin, referer } = head
  if (origin === 'null') return false
  if (site !== undefined) {
    if (site === 'same-origin' || site === 'none') return true
    if (isAllowedByCors(head, principal, policy)) return true
    return isPage(standpoint) && mode === 'navigate' && isPageLoad(facts, head)
  }
  if (mode === 'no-cors') return false
  const from = origin ?? referer
  if (from === undefined) return standpoint.known || page !== undefined || isNoBrowser(head, principal)
  return isAllowedByCors(head, principal, policy) || isOurs(from, facts, head, policy)
}

/** Nothing tells where a page hides it; a browser says in which languages, and sends cookies. */
function isNoBrowser(head: Head, principal: Principal | undefined): boolean {
  return principal?.carrier !== 'cookie' && head.acceptLanguage === undefined
}

/** Under --no-auth the origin that --enable-cors-header names may call, as it may ComfyUI's; `*` opens nothing here. */
function isAllowedByCors(head: Head, principal: Principal | undefined, policy: Policy): boolean {
  const { corsOrigin } = policy
  return (
    principal?.carrier === 'none' && policy.auth === 'none' && corsOrigin !== undefined && head.origin === corsOrigin
  )
}
