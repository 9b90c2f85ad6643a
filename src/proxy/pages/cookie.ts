import { digestOf } from '../../keys/digest.ts'
import { cookieValues } from '../decide/carriers.ts'
import { isTrustedPeer } from '../decide/client.ts'
import type { Policy, RequestFacts } from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import { ABSOLUTE_MS, type Session, type Sessions } from '../state/sessions.ts'

/** TLS between the browser and whoever faces it: it decides the cookie's name and its Secure. */
export function isSecure(facts: RequestFacts, policy: Policy): boolean {
  if (policy.publicUrl !== undefined) return policy.publicUrl.protocol === 'https:'
  const proto = readHead(facts).forwardedProto
  return proto !== undefined && isTrustedPeer(facts, policy) ? proto.trim() === 'https' : facts.secure
}

/** Set-Cookie for a session: SameSite=Strict always, Secure over TLS; Remember me alone makes it outlive the browser. */
export function sessionCookie(policy: Policy, secure: boolean, value: string, remember: boolean): readonly string[] {
  const maxAge = remember ? `; Max-Age=${ABSOLUTE_MS.remember / 1_000}` : ''
  return ['Set-Cookie', `${policy.cookieName(secure)}=${value}; ${attributes(secure)}${maxAge}`]
}

/** Set-Cookie that takes the session's cookie away. */
export function endedCookie(policy: Policy, secure: boolean): readonly string[] {
  return ['Set-Cookie', `${policy.cookieName(secure)}=; ${attributes(secure)}; Max-Age=0`]
}

function attributes(secure: boolean): string {
  return `Path=/; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
}

/** Every live session whose cookie came along: another port of the same host can toss some in (rule 5). */
export function presentedSessions(facts: RequestFacts, policy: Policy, sessions: Sessions): readonly Session[] {
  const { cookie } = readHead(facts)
  if (cookie === undefined) return []
  return cookieValues(cookie, policy.cookieName(isSecure(facts, policy)))
    .map((value) => sessions.findByCookieDigest(digestOf(value)))
    .filter((session) => session !== undefined)
}
