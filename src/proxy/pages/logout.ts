import type { PageDecision, Policy, RequestFacts } from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import type { Sessions } from '../state/sessions.ts'
import { type Answer, jsonAnswer, seeOther } from './answer.ts'
import { endedCookie, presentedSessions } from './cookie.ts'

/**
 * POST /auth_logout: ends the session on the server, and with it its sockets and its storage token in every
 * tab; takes the cookie away. Without a session it does the same, so that logging out twice is no error.
 */
export function logout(
  deps: { policy: Policy; sessions: Sessions },
  decision: PageDecision,
  facts: RequestFacts,
): Answer {
  const { policy, sessions } = deps
  const ids = presentedSessions(facts, policy, sessions).map((session) => session.id)
  const own = decision.account.principal?.sessionId
  if (own !== undefined && !ids.includes(own)) ids.push(own)
  for (const id of ids) sessions.end(id)
  const cookie = endedCookie(facts, policy)
  const answer =
    readHead(facts).accept?.includes('text/html') === true
      ? seeOther(`${policy.basePath}/auth_login.html?notice=logged-out`, cookie)
      : jsonAnswer(200, { status: 'logged-out' }, cookie)
  return { ...answer, event: { kind: 'logout', sessionIds: ids } }
}
