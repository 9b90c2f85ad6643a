import { digestOf } from '../../keys/digest.ts'
import { cookieValues } from '../decide/carriers.ts'
import { isSecure } from '../decide/csrf.ts'
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
  const head = readHead(facts)
  if (head.cookie === undefined) return []
  return cookieValues(head.cookie, policy.cookieName(isSecure(facts, head, policy)))
    .map((value) => sessions.findByCookieDigest(digestOf(value)))
    .filter((session) => session !== undefined)
}
