import { digestOf } from '../../keys/digest.ts'
import { decodeQuery } from '../decide/encoding.ts'
import type { PageDecision, Policy, RequestFacts } from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import { isRefusal } from '../decide/refusal.ts'
import { parseTarget } from '../decide/target.ts'
import type { Answer } from './answer.ts'
import { presentedSessions } from './cookie.ts'
import type { Document } from './document.ts'
import { enter, type LoginDeps } from './entry.ts'

/**
 * Rule 13: a page load that brought its key in the query gets a page that replaces itself by the clean
 * address; a redirect from a foreign page would arrive without the Strict cookie. Where the address was not
 * typed and is not our own link, or a session of another key came along, the page asks first, or any link
 * could swap the session under its reader: a redirect from an address that was typed looks typed too.
 */
export function keyArrival(deps: LoginDeps, document: Document, decision: PageDecision, facts: RequestFacts): Answer {
  const { principal, client } = decision.account
  const next = decision.returnTo
  if (principal?.keyId === undefined) return document.answer(401, 'login', { title: 'Log in', mode: 'still', next })
  const { keyId, label } = principal

  const { fetchSite } = readHead(facts)
  const had = presentedSessions(facts, deps.policy, deps.sessions)
  const swaps = had.some((session) => session.keyId !== keyId)
  if (swaps || (fetchSite !== 'none' && fetchSite !== 'same-origin')) {
    const key = keyInQuery(facts, keyId, deps.policy)
    return document.answer(200, 'ask', { title: 'Log in', mode: 'ask', label: label ?? keyId, key, next })
  }
  const values = { title: 'Logging in', mode: 'enter', next }
  if (had.length === 1) {
    return document.answer(200, 'enter', { ...values, storage: 'kept' })
  }
  const { session, setCookie, storage, token } = enter(deps, facts, { keyId, client, remember: false })
  return {
    ...document.answer(200, 'enter', { ...values, storage, token: token ?? '' }, setCookie),
    event: { kind: 'login', keyId, label, sessionId: session.id },
  }
}

/** The key as it was meant: a `+` in a query may be a plus or a blank (rule 5). Only the page that asks holds it, in a field. */
function keyInQuery(facts: RequestFacts, keyId: string, policy: Policy): string {
  const target = parseTarget(facts.target)
  if (isRefusal(target)) return ''
  const readings = target.keys.flatMap(({ value }) => [decodeQuery(value, 'plus'), decodeQuery(value)])
  return readings.find((text) => text !== undefined && policy.findKey(digestOf(text))?.id === keyId) ?? ''
}
