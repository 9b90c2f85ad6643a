import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ask, bearer, cookie, type FactsOverrides, KEYS, type PolicyOverrides, SESSIONS } from '../../support/policy.ts'

/** The reason of the refusal, or the decision's kind. */
function outcome(facts: FactsOverrides, policy: PolicyOverrides = {}) {
  const decision = ask(facts, policy)
  return decision.kind === 'refuse' ? decision.refusal.reason : decision.kind
}

describe('the rules are asked in order', () => {
  const doubled = ['X-API-Key', 'a', 'X-API-Key', 'b']
  const sw = ['Service-Worker', 'script']
  const evil = ['Host', 'evil.example']

  test('target, host, service worker, carriers', () => {
    expect(outcome({ target: '/#', headers: [...evil, ...sw, ...doubled] })).toBe('bad-target')
    expect(outcome({ target: '/health', headers: [...evil, ...sw, ...doubled] })).toBe('unknown-host')
    expect(outcome({ target: '/health', headers: [...sw, ...doubled] })).toBe('service-worker')
    expect(outcome({ target: '/health', headers: doubled })).toBe('doubled-carrier')
  })

  test('principal, role, CSRF, clientId', () => {
    const foreign = { Origin: 'https://evil.example' }
    const taken = { clientIdOwner: () => 'key:other' }
    const post = { method: 'POST', target: '/free' }
    expect(outcome({ ...post, headers: foreign })).toBe('no-credential')
    expect(outcome({ ...post, headers: { ...foreign, ...cookie(SESSIONS.user.cookie) } })).toBe('role')
    expect(outcome({ ...post, headers: { ...foreign, ...cookie(SESSIONS.admin.cookie) } })).toBe('foreign-origin')
    const socket = { target: '/ws?clientId=x', upgrade: true }
    expect(outcome({ ...socket, headers: { ...foreign, ...cookie(SESSIONS.admin.cookie) } }, taken)).toBe(
      'foreign-origin',
    )
    expect(outcome({ ...socket, headers: cookie(SESSIONS.admin.cookie) }, taken)).toBe('foreign-client-id')
  })

  test('CSRF before a body is read', () => {
    const headers = { Origin: 'https://evil.example', ...cookie(SESSIONS.user.cookie) }
    expect(outcome({ method: 'POST', target: '/interrupt', headers })).toBe('foreign-origin')
  })
})

test('every decision says who it was', () => {
  const peer = '192.0.2.7'
  const principal = { keyId: 'user-id', label: 'the user', role: 'user' }
  const headers = bearer(KEYS.user)
  expect(ask({ peer, headers, target: '/queue' }).account).toMatchObject({ client: peer, principal })
  expect(ask({ peer, headers, target: '/internal/logs' })).toMatchObject({ kind: 'refuse', account: { principal } })
  expect(ask({ peer, headers, method: 'POST', target: '/queue' })).toMatchObject({
    kind: 'inspect',
    account: { principal },
  })
  expect(ask({ peer, headers, target: '/#' }).account).toEqual({ client: peer, principal: undefined, failures: [] })
})

test('a refused page load shows the login page, anything else JSON', () => {
  const as = (headers: Record<string, string>, facts: FactsOverrides = {}) => {
    const decision = ask({ ...facts, headers })
    return decision.kind === 'refuse' ? decision.refusal.as : decision.kind
  }
  const html = { Accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }
  for (const target of ['/', '/index.html', '/api/', '/view?filename=x']) expect(as(html, { target })).toBe('login')
  expect(as({ 'Sec-Fetch-Dest': 'document', Accept: '*/*' })).toBe('login')
  expect(as({ 'Sec-Fetch-Mode': 'navigate' })).toBe('login')
  expect(as(html, { method: 'HEAD' })).toBe('login')
  expect(as({ ...html, 'Sec-Fetch-Dest': 'empty' })).toBe('json')
  expect(as({ ...html, 'Sec-Fetch-Dest': 'iframe' })).toBe('json')
  expect(as({ ...html, 'Sec-Fetch-Mode': 'cors' })).toBe('json')
  expect(as(html, { method: 'POST' })).toBe('json')
  expect(as(html, { method: 'POST', target: '/auth_logout' })).toBe('login')
  expect(as({ ...html, 'Sec-Fetch-Mode': 'cors' }, { method: 'POST', target: '/auth_logout' })).toBe('json')
  expect(as({ Accept: '*/*' })).toBe('json')
  expect(as({ Accept: 'application/json' })).toBe('json')
  expect(as({})).toBe('json')
})

test('logging out asks for a living credential, of any role', () => {
  const logout = { method: 'POST', target: '/auth_logout' }
  for (const session of Object.values(SESSIONS)) {
    expect(ask({ ...logout, headers: cookie(session.cookie) })).toMatchObject({ kind: 'page', page: 'logout-post' })
  }
  expect(outcome(logout)).toBe('no-credential')
  expect(outcome({ ...logout, headers: cookie(`comfys_${'0'.repeat(43)}`) })).toBe('dead-credential')
})

test('under --no-auth everything goes up, and our own pages stay ours', () => {
  const open: PolicyOverrides = { auth: 'none' }
  for (const [method, target] of [
    ['GET', '/queue'],
    ['POST', '/free'],
    ['GET', '//x'],
    ['POST', '/interrupt'],
    ['GET', '/'],
  ] as const) {
    expect(ask({ method, target }, open), target).toMatchObject({
      kind: 'forward',
      target,
      response: { private: false },
    })
  }
  expect(ask({ target: '/health' }, open)).toMatchObject({ kind: 'page', page: 'health' })
  const keyed = ask({ target: `/queue?api_key=${KEYS.user}`, headers: bearer(KEYS.user) }, open)
  expect(keyed).toMatchObject({ target: '/queue', headers: ['Host', '127.0.0.1:8188'] })
})

test('no request, however odd, makes a decision throw, or pass without a credential', () => {
  const text = fc.string({ unit: 'binary', maxLength: 30 })
  const name = fc.constantFrom(
    ...'Host Cookie Origin Referer Sec-Fetch-Site Sec-Fetch-Mode X-Forwarded-For Connection Content-Type Accept Upgrade'.split(
      ' ',
    ),
  )
  const request = fc.record({
    method: fc.oneof(fc.constantFrom('GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS', 'CONNECT'), text),
    target: text.map((rest) => `/${rest}`),
    headers: fc.array(fc.tuple(name, text), { maxLength: 6 }).map((pairs) => ['Host', 'localhost', ...pairs.flat()]),
    peer: fc.oneof(text, fc.ipV4(), fc.ipV6()),
    secure: fc.boolean(),
    upgrade: fc.boolean(),
  })
  const policy: PolicyOverrides = { exempt: 'minimal', isTrustedProxy: () => true, corsOrigin: '*' }
  fc.assert(
    fc.property(request, (facts) => {
      expect(ask(facts, policy).kind).toMatch(/refuse|page/)
    }),
    { numRuns: 2_000 },
  )
})
