import type { Reason, Refusal, RequestFacts } from './facts.ts'
import { type Head, isPageLoad, speaksOfBrowser } from './head.ts'

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'refusal'
}

export function refusal(status: 400 | 403 | 404 | 421, reason: Reason): Refusal {
  return { kind: 'refusal', status, reason, as: 'json', challenge: 'none' }
}

/** 401: the login page in place for a page load, JSON for everything else; Basic only where nothing speaks of a browser (rule 5). */
export function unauthorised(facts: RequestFacts, head: Head, reason: Reason): Refusal {
  const page = isPageLoad(facts, head)
  const challenge = page || speaksOfBrowser(head) ? 'bearer' : 'bearer-basic'
  return { kind: 'refusal', status: 401, reason, as: page ? 'login' : 'json', challenge }
}

export function throttled(facts: RequestFacts, head: Head, retryAfterSeconds: number): Refusal {
  const as = isPageLoad(facts, head) ? 'login' : 'json'
  return { kind: 'refusal', status: 429, reason: 'throttled', as, challenge: 'none', retryAfterSeconds }
}
