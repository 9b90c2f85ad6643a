import { digestOf } from '../../src/keys/digest.ts'
import { makeKey } from '../../src/keys/format.ts'
import { decide } from '../../src/proxy/decide/decide.ts'
import type { KnownKey, KnownSession, Policy, RequestFacts, ResponsePlan } from '../../src/proxy/decide/facts.ts'
import { readHead } from '../../src/proxy/decide/head.ts'

/** 2026-01-01T00:00:00Z: the time of every request that names none. */
export const NOW_MS = Date.UTC(2026, 0, 1)

/** One live key a role, of our own format, known to every policy that names no keys of its own. */
export const KEYS = {
  admin: makeKey(() => new Uint8Array(32).fill(1)),
  user: makeKey(() => new Uint8Array(32).fill(2)),
  viewer: makeKey(() => new Uint8Array(32).fill(3)),
} as const

/** A live session of each role's key: the cookie's value and the storage token. */
export const SESSIONS = {
  admin: { cookie: `comfys_${'a'.repeat(43)}`, token: `comfyt_${'a'.repeat(43)}` },
  user: { cookie: `comfys_${'u'.repeat(43)}`, token: `comfyt_${'u'.repeat(43)}` },
  viewer: { cookie: `comfys_${'v'.repeat(43)}`, token: `comfyt_${'v'.repeat(43)}` },
} as const

/** An own-format key that no keyring holds. */
export const UNKNOWN_KEY = makeKey(() => new Uint8Array(32).fill(9))

/** What rule 13 has an answer be, but for what a test names. */
export const RESPONSE_PLAN: ResponsePlan = {
  private: true,
  noStore: false,
  sandbox: false,
  index: false,
  corsOrigin: undefined,
  userStyle: false,
  cookieNames: [],
  basePath: '',
  upstreamHost: '127.0.0.1:8188',
}

export function makeKnownKey(overrides: Partial<KnownKey> = {}): KnownKey {
  return { id: 'someid', label: 'some label', role: 'admin', expiresMs: undefined, revoked: false, ...overrides }
}

export interface PolicyOverrides extends Partial<Policy> {
  /** Secret -> record. Default: KEYS, with ids `admin-id`, `user-id`, `viewer-id`. */
  readonly keys?: Readonly<Record<string, KnownKey>>
  /** Cookie value -> session. Default: SESSIONS. */
  readonly sessions?: Readonly<Record<string, KnownSession>>
  /** Key id -> its own prompt ids. Default: none. */
  readonly prompts?: Readonly<Record<string, readonly string[]>>
}

const ROLE_NAMES = ['admin', 'user', 'viewer'] as const

/** A policy as `serve` on loopback makes it, with three keys and a session each; anything can be put in its place. */
export function makePolicy(overrides: PolicyOverrides = {}): Policy {
  const {
    keys = Object.fromEntries(
      ROLE_NAMES.map((role) => [KEYS[role], makeKnownKey({ id: `${role}-id`, label: `the ${role}`, role })]),
    ),
    sessions = Object.fromEntries(
      ROLE_NAMES.map((role) => [
        SESSIONS[role].cookie,
        {
          id: `${role}-session`,
          keyId: `${role}-id`,
          tokenDigest: digestOf(SESSIONS[role].token),
          endsMs: NOW_MS + 3_600_000,
        },
      ]),
    ),
    prompts = {},
    ...rest
  } = overrides
  const byDigest = new Map(Object.entries(keys).map(([secret, key]) => [digestOf(secret), key]))
  const byId = new Map(Object.values(keys).map((key) => [key.id, key]))
  const byCookie = new Map(Object.entries(sessions).map(([cookie, session]) => [digestOf(cookie), session]))
  const byToken = new Map(Object.values(sessions).map((session) => [session.tokenDigest, session]))
  return {
    auth: 'keys',
    hosts: { kind: 'loopback', allowed: new Set() },
    publicUrl: undefined,
    basePath: '',
    isTrustedProxy: () => false,
    exempt: 'static',
    exemptPaths: [],
    extraRoutes: [],
    corsOrigin: undefined,
    comfyUser: 'strip',
    upstreamHost: '127.0.0.1:8188',
    cookieName: (secure) => `${secure ? '__Host-' : ''}comfy_auth_8189`,
    findKey: (digest) => byDigest.get(digest),
    findKeyById: (id) => byId.get(id),
    findSession: (digest) => byCookie.get(digest),
    findSessionByToken: (digest) => byToken.get(digest),
    throttledFor: () => undefined,
    guessesLeft: () => 10,
    ownsPrompt: (keyId, promptId) => prompts[keyId]?.includes(promptId) === true,
    clientIdOwner: () => undefined,
    ...rest,
  }
}

export interface FactsOverrides extends Partial<Omit<RequestFacts, 'headers'>> {
  /** As an object, or raw (name, value, ...) where case, order and doubles matter. Host is added where none stands. */
  readonly headers?: Readonly<Record<string, string>> | readonly string[]
}

/** GET / from 127.0.0.1 to 127.0.0.1:8189; an upgrade brings its handshake headers along. */
export function makeFacts(overrides: FactsOverrides = {}): RequestFacts {
  const { headers = [], ...rest } = overrides
  const raw = Array.isArray(headers) ? [...(headers as readonly string[])] : Object.entries(headers).flat()
  const names = raw.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
  if (!names.includes('host')) raw.unshift('Host', '127.0.0.1:8189')
  if (rest.upgrade && !names.includes('upgrade')) {
    raw.push('Connection', 'Upgrade', 'Upgrade', 'websocket')
    raw.push('Sec-WebSocket-Version', '13', 'Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ==')
  }
  return {
    method: 'GET',
    target: '/',
    headers: raw,
    peer: '127.0.0.1',
    secure: false,
    upgrade: false,
    nowMs: NOW_MS,
    freshClientId: '0123456789abcdef0123456789abcdef',
    ...rest,
  }
}

/** What is decided on these facts under this policy. */
export function ask(facts: FactsOverrides, policy: PolicyOverrides = {}) {
  return decide(makeFacts(facts), makePolicy(policy))
}

/** The same of what has to go up. */
export function forwarded(facts: FactsOverrides, policy: PolicyOverrides = {}) {
  const decision = ask(facts, policy)
  if (decision.kind !== 'forward') throw new Error(`not forwarded: ${JSON.stringify(decision)}`)
  return decision
}

/** Facts and their head, for the rules that take both. */
export function makeRequest(overrides: FactsOverrides = {}) {
  const facts = makeFacts(overrides)
  return { facts, head: readHead(facts) }
}

export function bearer(key: string): Record<string, string> {
  return { Authorization: `Bearer ${key}` }
}

export function cookie(value: string, name = 'comfy_auth_8189'): Record<string, string> {
  return { Cookie: `${name}=${value}` }
}
