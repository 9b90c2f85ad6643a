import type { Policy, RequestFacts } from './facts.ts'
import { type Head, readHead } from './head.ts'

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'
const HEADERS = 'Authorization, X-API-Key, Content-Type, Comfy-User, Comfy-Usage-Source, Idempotency-Key'

/** A preflight that --enable-cors-header has us answer, before the principal: it carries no credential. */
export function isPreflight(facts: RequestFacts, head: Head, policy: Policy): boolean {
  return (
    policy.corsOrigin !== undefined &&
    facts.method === 'OPTIONS' &&
    head.origin !== undefined &&
    head.preflightMethod !== undefined
  )
}

/** What --enable-cors-header allows this request, if anything: `*`, or its own origin where that is the one named. */
export function allowedOrigin(head: Head, policy: Policy): string | undefined {
  const { corsOrigin } = policy
  if (head.origin === undefined) return undefined
  return corsOrigin === '*' || corsOrigin === head.origin ? corsOrigin : undefined
}

/** The headers that let a page of the allowed origin read an answer. Never Allow-Credentials (rule 13). */
export function corsHeaders(origin: string | undefined): readonly string[] {
  return origin === undefined ? [] : ['Access-Control-Allow-Origin', origin, 'Vary', 'Origin']
}

/** Headers of the answer (204) to a preflight; without an allowed origin only `Vary`, which browsers take for a no. */
export function preflightHeaders(facts: RequestFacts, policy: Policy): readonly string[] {
  const origin = allowedOrigin(readHead(facts), policy)
  if (origin === undefined) return ['Vary', 'Origin']
  return [
    ...corsHeaders(origin),
    'Access-Control-Allow-Methods',
    METHODS,
    'Access-Control-Allow-Headers',
    HEADERS,
    'Access-Control-Max-Age',
    '600',
  ]
}
