import { preflightHeaders } from '../decide/cors.ts'
import type { Policy, RequestFacts } from '../decide/facts.ts'
import { type Answer, OWN_HEADERS } from './answer.ts'

/** --enable-cors-header: the preflight is ours to answer, before any credential (rule 13). */
export function preflight(policy: Policy, facts: RequestFacts): Answer {
  return { status: 204, headers: [...preflightHeaders(facts, policy), ...OWN_HEADERS], body: '' }
}
