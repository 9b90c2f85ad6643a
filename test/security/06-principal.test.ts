import { describe, expect, test } from 'vitest'
import { digestOf } from '../../src/keys/digest.ts'
import { decide } from '../../src/proxy/decide/decide.ts'
import type { KnownKey } from '../../src/proxy/decide/facts.ts'
import {
  bearer,
  cookie,
  type FactsOverrides,
  KEYS,
  makeFacts,
  makeKnownKey,
  makePolicy,
  NOW_MS,
  type PolicyOverrides,
  SESSIONS,
} from '../support/policy.ts'

const SECRET = 'a-free-form-key'

function ask(facts: FactsOverrides, policy: PolicyOverrides = {}) {
  return decide(makeFacts({ target: '/queue', ...facts }), makePolicy(policy))
}

/** `forward`, or the refusal's status and reason. */
function outcome(facts: FactsOverrides, policy: PolicyOverrides = {}) {
  const decision = ask(facts, policy)
  return decision.kind === 'refuse' ? `${decision.refusal.status} ${decision.refusal.reason}` : decision.kind
}

const withKey = (key: Partial<KnownKey>): PolicyOverrides => ({ keys: { [SECRET]: makeKnownKey({ id: 'k', ...key }) } })

test('only a digest is looked up: the secret reaches no door of the policy', () => {
  const seen: unknown[] = []
  const spy = (...values: unknown[]) => {
    seen.push(...values)
    return undefined
  }
  const policy = { findKey: spy, findKeyById: spy, findSession: spy, throttledFor: spy, clientIdOwner: spy }
  ask({ target: `/queue?token=${SECRET}`, headers: { ...bearer(SECRET), ...cookie(SESSIONS.user.cookie) } }, policy)
  expect(seen).toContain(digestOf(SECRET))
  expect(seen).toContain(digestOf(SESSIONS.user.cookie))
  expect(JSON.stringify(seen)).not.toContain(SECRET)
  expect(JSON.stringify(seen)).not.toContain(SESSIONS.user.cookie)
})

test('a decision about a bad secret does not hold it', () => {
  for (const facts of [{ headers: bearer(SECRET) }, { target: `/queue?api_key=${SECRET}` }]) {
    expect(JSON.stringify(ask(facts))).not.toContain(SECRET)
  }
})

describe('a key', () => {
  test('lives until it expires, to the millisecond', () => {
    const headers = bearer(SECRET)
    expect(outcome({ headers }, withKey({ expiresMs: NOW_MS + 1 }))).toBe('forward')
    expect(outcome({ headers }, withKey({ expiresMs: NOW_MS }))).toBe('401 dead-credential')
    expect(outcome({ headers, nowMs: NOW_MS + 1 }, withKey({ expiresMs: NOW_MS + 1 }))).toBe('401 dead-credential')
  })

  test('that is revoked is dead, whenever it would expire', () => {
    expect(outcome({ headers: bearer(SECRET) }, withKey({ revoked: true }))).toBe('401 dead-credential')
    expect(outcome({ headers: bearer(SECRET) }, withKey({ revoked: true, expiresMs: NOW_MS + 1 }))).toBe(
      '401 dead-credential',
    )
  })

  test('has the role its record has at this moment', () => {
    let role: KnownKey['role'] = 'viewer'
    const policy = makePolicy({ findKey: () => makeKnownKey({ role }) })
    const post = makeFacts({ method: 'POST', target: '/free', headers: bearer(SECRET) })
    expect(decide(post, policy)).toMatchObject({ kind: 'refuse', refusal: { roleNeeded: 'admin' } })
    role = 'admin'
    expect(decide(post, policy).kind).toBe('forward')
  })

  test('names the principal', () => {
    const { account } = ask({ headers: bearer(KEYS.user) })
    expect(account.principal).toEqual({
      name: 'key:user-id',
      keyId: 'user-id',
      label: 'the user',
      role: 'user',
      carrier: 'bearer',
      sessionId: undefined,
      ambient: false,
    })
  })
})

test('no key left means 401 for all, never open', () => {
  const none = { keys: {}, sessions: {} }
  expect(outcome({}, none)).toBe('401 no-credential')
  expect(outcome({ headers: bearer(KEYS.admin) }, none)).toBe('401 unknown-credential')
})

describe('a session', () => {
  const headers = cookie(SESSIONS.user.cookie)
  const session = { id: 's', keyId: 'user-id', tokenDigest: digestOf(SESSIONS.user.token), endsMs: NOW_MS + 1 }
  const withSession = (overrides: object): PolicyOverrides => ({
    sessions: { [SESSIONS.user.cookie]: { ...session, ...overrides } },
  })

  const sessionOf = (role: 'user' | 'viewer') => ({
    id: `${role}-session`,
    keyId: `${role}-id`,
    tokenDigest: digestOf(SESSIONS[role].token),
    endsMs: NOW_MS + 1,
  })

  test('is its key: role, label and end', () => {
    expect(ask({ headers }).account.principal).toMatchObject({
      name: 'key:user-id',
      role: 'user',
      carrier: 'cookie',
      sessionId: 'user-session',
      ambient: true,
    })
  })

  test('ends in its time, and with its key', () => {
    expect(outcome({ headers }, withSession({}))).toBe('forward')
    expect(outcome({ headers }, withSession({ endsMs: NOW_MS }))).toBe('401 dead-credential')
    expect(outcome({ headers }, withSession({ keyId: 'gone' }))).toBe('401 dead-credential')
    for (const dead of [{ revoked: true }, { expiresMs: NOW_MS }]) {
      const keys = { [KEYS.user]: makeKnownKey({ id: 'user-id', ...dead }) }
      expect(outcome({ headers }, { ...withSession({}), keys })).toBe('401 dead-credential')
    }
  })

  test('secret is nothing on any other carrier', () => {
    const { cookie: secret } = SESSIONS.user
    expect(outcome({ headers: bearer(secret) })).toBe('401 dead-credential')
    expect(outcome({ headers: { 'X-API-Key': secret } })).toBe('401 dead-credential')
    expect(outcome({ target: `/queue?api_key=${secret}` })).toBe('401 dead-credential')
  })

  test('token counts as a Bearer beside the cookie of its own session only', () => {
    const { token } = SESSIONS.user
    expect(outcome({ headers: bearer(token) })).toBe('401 dead-credential')
    expect(outcome({ headers: cookie(token) })).toBe('401 dead-credential')
    expect(outcome({ headers: { ...bearer(token), ...cookie(SESSIONS.user.token) } })).toBe('401 dead-credential')
    const own = ask({ headers: { ...bearer(token), ...headers } })
    expect(own.account.principal).toMatchObject({ carrier: 'bearer', sessionId: 'user-session', ambient: false })
    const misplaced = ask({ headers: { 'X-API-Key': token, ...headers } })
    expect(misplaced.account.principal).toMatchObject({ carrier: 'cookie', ambient: true })
  })

  test('token of another live session belies the cookie; one of a session that has ended does not', () => {
    const both = { headers: { ...bearer(SESSIONS.viewer.token), ...headers } }
    expect(outcome(both)).toBe('401 two-sessions')
    expect(ask(both).account.failures).toEqual([])
    const viewers = (session: object): PolicyOverrides => ({
      sessions: {
        [SESSIONS.user.cookie]: sessionOf('user'),
        [SESSIONS.viewer.cookie]: { ...sessionOf('viewer'), ...session },
      },
    })
    expect(outcome(both, viewers({}))).toBe('401 two-sessions')
    for (const policy of [viewers({ endsMs: NOW_MS }), viewers({ keyId: 'gone' }), withSession({})]) {
      expect(outcome(both, policy)).toBe('forward')
      expect(ask(both, policy).account.principal).toMatchObject({ carrier: 'cookie', keyId: 'user-id' })
    }
    // Of two sessions of one key too: their sockets, and their ends, are apart
    expect(outcome(both, viewers({ keyId: 'user-id' }))).toBe('401 two-sessions')
  })
})

test('--no-auth makes everyone admin, and reads no credential', () => {
  const decision = ask({ headers: bearer('whatever') }, { auth: 'none' })
  expect(decision).toMatchObject({
    kind: 'forward',
    account: { failures: [], principal: { name: 'open', role: 'admin' } },
  })
})
