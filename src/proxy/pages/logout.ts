import type { Policy, RequestFacts } from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import type { Sessions } from '../state/sessions.ts'
import { type Answer, jsonAnswer, seeOther } from './answer.ts'
import { endedCookie, endPresented } from './cookie.ts'

/**
 * POST /auth_logout: ends the session on the server, and with it its sockets and its storage token in every
 * tab; takes the cookie away. Without a session it does the same, so that logging out twice is no error.
 */
export function logout({ policy, sessions }: { policy: Policy; sessions: Sessions }, facts: RequestFacts): Answer {
  const ids = endPresented(facts, policy, sessions)
  const cookie = endedCookie(facts, policy)
  const answer =
    readHead(facts).accept?.includes('text/html') === true
      ? seeOther(`${policy.basePath}/auth_login.html?notice=logged-out`, cookie)
      : jsonAnswer(200, { status: 'logged-out' }, cookie)
  return { ...answer, event: { kind: 'logout', sessionIds: ids } }
}
