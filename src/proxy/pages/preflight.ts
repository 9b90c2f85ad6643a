import type { Policy, RequestFacts } from '../decide/facts.ts'
import { type Answer, OWN_HEADERS } from './answer.ts'

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'
const USUAL_HEADERS = 'Authorization, Content-Type, X-API-Key, Idempotency-Key'
const TOKENS = /^[!#$%&'*+.^_`|~0-9A-Za-z, -]{1,1024}$/

/** --enable-cors-header: the preflight is ours to answer, before any credential; never with Allow-Credentials (rule 13). */
export function preflight(policy: Policy, facts: RequestFacts): Answer {
  const asked = headerOf(facts, 'access-control-request-headers')
  return {
    status: 204,
    headers: [
      'Access-Control-Allow-Origin',
      policy.corsOrigin ?? 'null',
      'Access-Control-Allow-Methods',
      METHODS,
      'Access-Control-Allow-Headers',
      asked !== undefined && TOKENS.test(asked) ? asked : USUAL_HEADERS,
      'Access-Control-Max-Age',
      '600',
      'Vary',
      'Origin, Access-Control-Request-Headers',
      ...OWN_HEADERS,
    ],
    body: '',
  }
}

function headerOf(facts: RequestFacts, name: string): string | undefined {
  for (let i = 0; i < facts.headers.length; i += 2) {
    if (facts.headers[i]!.toLowerCase() === name) return facts.headers[i + 1]
  }
  return undefined
}
