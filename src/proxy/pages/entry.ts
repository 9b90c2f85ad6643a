import type { Policy, RequestFacts } from '../decide/facts.ts'
import type { Session, Sessions } from '../state/sessions.ts'
import type { Throttle } from '../state/throttle.ts'
import { endPresented, expiredTwins, presentedCookies, sessionCookie } from './cookie.ts'

/** What a login needs of the house. */
export interface LoginDeps {
  readonly policy: Policy
  readonly sessions: Sessions
  readonly throttle: Throttle
  /** `off`: nothing is handed to scripts (--browser-storage off). */
  readonly storage: 'on' | 'off'
}

/** A session that has just begun, and what its browser is given. */
export interface Entry {
  readonly session: Session
  readonly setCookie: readonly string[]
  /** Where the page's script keeps the token: it lives as long as the cookie does. */
  readonly storage: 'local' | 'session' | 'off'
  readonly token: string | undefined
}

/** A session under new secrets, in place of those that this browser had (rule 14). */
export function enter(
  deps: LoginDeps,
  facts: RequestFacts,
  who: { readonly keyId: string; readonly client: string; readonly remember: boolean },
): Entry {
  const { policy, sessions } = deps
  endPresented(facts, policy, sessions)
  const twins = presentedCookies(facts, policy).length > 1 ? expiredTwins(facts, policy) : []
  const { cookie, token, session } = sessions.start({ ...who, nowMs: facts.nowMs })
  const storage = deps.storage === 'off' ? 'off' : who.remember ? 'local' : 'session'
  return {
    session,
    // Ours stands last: where a host's own Domain means the host alone, it is what stays
    setCookie: [...twins, ...sessionCookie(facts, policy, cookie, who.remember)],
    storage,
    token: storage === 'off' ? undefined : token,
  }
}
