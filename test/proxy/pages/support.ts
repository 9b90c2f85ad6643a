import { expect } from 'vitest'
import { type Digest, digestOf } from '../../../src/keys/digest.ts'
import type {
  Account,
  KnownKey,
  PageName,
  Policy,
  Principal,
  Refusal,
  RefuseDecision,
  RequestFacts,
} from '../../../src/proxy/decide/facts.ts'
import type { Answer } from '../../../src/proxy/pages/answer.ts'
import { createPages, type PagesDeps } from '../../../src/proxy/pages/pages.ts'
import { openServeDb } from '../../../src/proxy/state/db.ts'
import { createSessions } from '../../../src/proxy/state/sessions.ts'
import { createThrottle } from '../../../src/proxy/state/throttle.ts'
import { makePolicy } from '../../support/policy.ts'

export const HOST = 'comfy.example:8189'

export interface FactsOptions {
  readonly method?: string
  readonly target?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly secure?: boolean
  readonly nowMs?: number
}

export function facts(options: FactsOptions = {}): RequestFacts {
  const headers = { Host: HOST, ...options.headers }
  return {
    method: options.method ?? 'GET',
    target: options.target ?? '/',
    headers: Object.entries(headers).flat(),
    peer: '192.0.2.1',
    secure: options.secure ?? false,
    upgrade: false,
    nowMs: options.nowMs ?? 1_000_000,
    freshClientId: '0'.repeat(32),
  }
}

/** What a browser says when it loads a page. */
export const BROWSER = { Accept: 'text/html,*/*;q=0.8', 'Sec-Fetch-Dest': 'document', 'Sec-Fetch-Mode': 'navigate' }

/** Pages over true sessions and a true throttle; keys are what `keys` says. */
export function house(
  deps: Partial<Omit<PagesDeps, 'policy'>> & {
    keys?: Readonly<Record<string, Partial<KnownKey>>>
    policy?: Partial<Policy>
  } = {},
) {
  const db = openServeDb(':memory:')
  const sessions = createSessions(db, { nowMs: () => 1_000_000, pollMs: 60_000 })
  const throttle = createThrottle()
  const known = new Map<Digest, KnownKey>()
  for (const [secret, key] of Object.entries(deps.keys ?? {})) {
    const whole = { id: secret, label: undefined, role: 'user', expiresMs: undefined, revoked: false, ...key } as const
    known.set(digestOf(secret), whole)
  }
  const policy = makePolicy({
    hosts: { kind: 'any', allowed: new Set() },
    findKey: (digest) => known.get(digest),
    findKeyById: (id) => [...known.values()].find((key) => key.id === id),
    findSession: (digest) => sessions.findByCookieDigest(digest),
    findSessionByToken: (digest) => sessions.findByTokenDigest(digest),
    throttledFor: (client, nowMs) => throttle.blockedFor(client, nowMs),
    guessesLeft: (client, nowMs) => throttle.guessesLeft(client, nowMs),
    ...deps.policy,
  })
  const pages = createPages({
    sessions,
    throttle,
    storage: 'on',
    nowMs: () => 1_000_000,
    wayOut: true,
    readUpstream: async () => ({ systemStats: {}, prompt: {} }),
    ...deps,
    policy,
  })

  return {
    pages,
    sessions,
    throttle,
    policy,
    get: (target: string, headers: Record<string, string> = BROWSER, page: PageName = 'login') =>
      pages.answer(
        { kind: 'page', page, returnTo: '/', account: account() },
        { facts: facts({ target, headers }), body: Buffer.alloc(0) },
      ),
    /** POST /auth_login.html as the page's script sends it. */
    logIn: (fields: object, headers: Record<string, string> = {}, nowMs = 1_000_000) =>
      pages.answer(
        { kind: 'page', page: 'login-post', returnTo: '/', account: account() },
        {
          facts: facts({
            method: 'POST',
            target: '/auth_login.html',
            headers: { Accept: 'application/json', 'Content-Type': 'application/json', ...headers },
            nowMs,
          }),
          body: Buffer.from(JSON.stringify(fields)),
        },
      ),
    /** POST /auth_login.html as a browser without a script sends it. */
    logInByForm: (fields: Record<string, string>, headers: Record<string, string> = {}, secure = false) =>
      pages.answer(
        { kind: 'page', page: 'login-post', returnTo: '/', account: account() },
        {
          facts: facts({
            method: 'POST',
            target: '/auth_login.html',
            headers: { ...BROWSER, 'Content-Type': 'application/x-www-form-urlencoded', ...headers },
            secure,
          }),
          body: Buffer.from(new URLSearchParams(fields).toString()),
        },
      ),
  }
}

export function account(principal?: Partial<Principal>): Account {
  const whole: Principal | undefined = principal && {
    name: `key:${principal.keyId}`,
    keyId: 'k1',
    label: undefined,
    role: 'user',
    carrier: 'bearer',
    sessionId: undefined,
    ambient: false,
    ...principal,
  }
  return { client: '192.0.2.1', principal: whole, failures: [] }
}

export function refuse(refusal: Partial<Refusal>, principal?: Partial<Principal>, returnTo = '/'): RefuseDecision {
  const whole: Refusal = {
    kind: 'refusal',
    status: 401,
    reason: 'no-credential',
    as: 'json',
    challenge: 'none',
    ...refusal,
  }
  return { kind: 'refuse', refusal: whole, returnTo, account: account(principal) }
}

export function header(answer: Answer, name: string): string | undefined {
  return headers(answer, name)[0]
}

export function headers(answer: Answer, name: string): string[] {
  return answer.headers.filter((_, i) => i % 2 === 1 && answer.headers[i - 1]!.toLowerCase() === name.toLowerCase())
}

export function json(answer: Answer): Record<string, unknown> {
  expect.soft(header(answer, 'content-type')).toBe('application/json; charset=utf-8')
  return JSON.parse(String(answer.body))
}

/** `name=value` of the Set-Cookie. */
export function cookieOf(answer: Answer): string {
  return header(answer, 'set-cookie')?.split(';', 1)[0] ?? ''
}
