import { expect, test } from 'vitest'
import type { Reason } from '../../../src/proxy/decide/facts.ts'
import { BROWSER, facts, header, headers, house, json, refuse } from './support.ts'

const { pages } = house()

test('a 401 is JSON in the guide’s shape and says how to send a key', () => {
  const answer = pages.refusal(refuse({ challenge: 'bearer-basic' }), facts())
  expect(answer.status).toBe(401)
  expect(Object.keys(json(answer))).toEqual(['error', 'message'])
  expect(json(answer)).toMatchObject({ error: 'Unauthorized', message: expect.stringContaining('X-API-Key') })
  expect(headers(answer, 'www-authenticate')).toEqual([
    'Bearer realm="comfy-auth"',
    'Basic realm="comfy-auth", charset="UTF-8"',
  ])
  expect(header(answer, 'cache-control')).toBe('no-store')
})

test('a browser is not offered Basic, and a wrong key is told from none as RFC 6750 has it', () => {
  const none = pages.refusal(refuse({ challenge: 'bearer' }), facts())
  expect(headers(none, 'www-authenticate')).toEqual(['Bearer realm="comfy-auth"'])
  const wrong = pages.refusal(refuse({ challenge: 'bearer', reason: 'unknown-credential' }), facts())
  expect(headers(wrong, 'www-authenticate')).toEqual(['Bearer realm="comfy-auth", error="invalid_token"'])
})

test('a page load gets the login page in place, which keeps where it was going', () => {
  const decision = refuse({ as: 'login', challenge: 'bearer' }, undefined, '/?workflow=1')
  const answer = pages.refusal(decision, facts({ headers: BROWSER, target: '/?workflow=1' }))
  expect(answer.status).toBe(401)
  expect(header(answer, 'content-type')).toBe('text/html; charset=utf-8')
  expect(String(answer.body)).toContain('data-mode="probe" data-next="/?workflow=1"')
  expect(header(answer, 'cache-control')).toBe('no-store')
  expect(header(answer, 'www-authenticate')).toBe('Bearer realm="comfy-auth"')
})

test('the login page leads on to where the decision says', () => {
  const answer = pages.refusal(refuse({ as: 'login' }, undefined, '/?a=b'), facts({ target: '//evil.example' }))
  expect(String(answer.body)).toContain('data-next="/?a=b"')
})

test.each(['doubled-carrier', 'conflicting-keys'] as const)('%s in an address says so on the login page', (reason) => {
  const answer = pages.refusal(refuse({ status: 400, reason, as: 'login' }), facts({ target: '/?api_key=a&api_key=a' }))
  expect(answer.status).toBe(400)
  expect(String(answer.body)).toContain('data-mode="still"')
  expect(String(answer.body)).toContain('More than one key came with the address.')
})

test('403 names the role that is needed, in words and for programs', () => {
  const answer = pages.refusal(
    refuse({ status: 403, reason: 'role', roleNeeded: 'admin' }, { role: 'viewer' }),
    facts(),
  )
  expect(json(answer)).toEqual({
    error: 'Forbidden',
    message: 'The key may not do this. It needs the role admin; yours is viewer.',
    role_needed: 'admin',
  })
})

test('429 says how long to wait, in a header, in JSON and on the page', () => {
  const throttled = { status: 429, reason: 'throttled', retryAfterSeconds: 120 } as const
  const answer = pages.refusal(refuse(throttled), facts())
  expect(header(answer, 'retry-after')).toBe('120')
  expect(json(answer)).toMatchObject({ error: 'Too Many Requests', message: expect.stringContaining('in 2 minutes') })
  const page = pages.refusal(refuse({ ...throttled, as: 'login' }), facts({ headers: BROWSER }))
  expect([page.status, header(page, 'retry-after')]).toEqual([429, '120'])
  expect(String(page.body)).toContain('any other has to wait <b>2 minutes</b>.')
})

test('the login page in place tells who must wait before the first try', () => {
  const waits = house({ policy: { throttledFor: () => 30 } })
  const page = waits.pages.refusal(refuse({ as: 'login', challenge: 'bearer' }), facts({ headers: BROWSER }))
  expect([page.status, header(page, 'retry-after')]).toEqual([401, undefined])
  expect(String(page.body)).toContain('any other has to wait <b>30 seconds</b>.')
})

const REASONS: Record<Reason, [400 | 401 | 403 | 404 | 421 | 429, string]> = {
  'bad-target': [400, 'Bad Request'],
  'outside-base-path': [404, 'Not Found'],
  'bad-host': [400, 'Bad Request'],
  'unknown-host': [421, 'Misdirected Request'],
  'doubled-carrier': [400, 'Bad Request'],
  'conflicting-keys': [400, 'Bad Request'],
  'no-credential': [401, 'Unauthorized'],
  'unknown-credential': [401, 'Unauthorized'],
  'dead-credential': [401, 'Unauthorized'],
  'two-sessions': [401, 'Unauthorized'],
  throttled: [429, 'Too Many Requests'],
  role: [403, 'Forbidden'],
  'not-own-prompt': [403, 'Forbidden'],
  'bad-body': [400, 'Bad Request'],
  'foreign-origin': [403, 'Forbidden'],
  'service-worker': [403, 'Forbidden'],
  'foreign-client-id': [403, 'Forbidden'],
}

test.each(Object.entries(REASONS))(
  '%s has a sentence of its own and repeats nothing of the request',
  (reason, [status, error]) => {
    const sent = facts({
      target: '/view?filename=secret&api_key=secret-in-query',
      headers: { 'X-API-Key': 'secret-in-header' },
    })
    const answer = pages.refusal(refuse({ status, reason: reason as Reason }), sent)
    expect(answer.status).toBe(status)
    expect(json(answer).error).toBe(error)
    expect(json(answer).message).toMatch(/^[A-Z].{20,}\.$/)
    expect(JSON.stringify(answer)).not.toContain('secret')
  },
)

test('a page of the origin that --enable-cors-header names may read the refusal, without credentials', () => {
  const { pages: open } = house({ policy: { corsOrigin: 'https://app.example' } as never })
  const from = (Origin: string) => open.refusal(refuse({}), facts({ headers: { Origin } }))
  expect(header(from('https://app.example'), 'access-control-allow-origin')).toBe('https://app.example')
  expect(header(from('https://evil.example'), 'access-control-allow-origin')).toBeUndefined()
  expect(header(from('https://app.example'), 'access-control-allow-credentials')).toBeUndefined()
})

test('two sessions: every cookie of our name goes but our own, and scripts are told why', () => {
  const twins = (target: string, Host: string, policy: object = {}) => {
    const answer = house({ policy }).pages.refusal(
      refuse({ reason: 'two-sessions' }),
      facts({ target, headers: { Host } }),
    )
    return headers(answer, 'set-cookie').map((value) =>
      value.replace('comfy_auth_8189=; ', '').replace('; Max-Age=0', ''),
    )
  }
  expect(twins('/api/queue?x=/y', '192.168.1.5:8189')).toEqual(['Path=/api', 'Path=/api/', 'Path=/api/queue'])
  expect(twins('/', 'localhost:8189')).toEqual([]) // browsers take its Domain as the host alone
  expect(twins('/', '[::1]:8189')).toEqual([])
  expect(twins('/ws', 'gpu.lab.test')).toEqual([
    'Path=/; Domain=gpu.lab.test',
    'Path=/; Domain=lab.test',
    'Path=/ws',
    'Path=/ws; Domain=gpu.lab.test',
    'Path=/ws; Domain=lab.test',
  ])
  expect(twins('/comfy/ws', 'localhost', { basePath: '/comfy' })).toEqual(['Path=/', 'Path=/comfy', 'Path=/comfy/ws'])
  expect(twins('/a;b/c', 'localhost')).toEqual([])
  const deep = twins(`/${'deep/'.repeat(200)}`, 'gpu.lab.test')
  expect(deep.join().length).toBeLessThan(2_048)
  expect(deep).toContain('Path=/deep/; Domain=lab.test')
  // Of a name of many labels, itself and the five above it
  expect(twins('/', `${'a.'.repeat(50)}lab.test`).map((scope) => scope.split('.').length)).toEqual([
    52, 51, 50, 49, 48, 47,
  ])
  // Over TLS no other port can set a `__Host-` cookie
  expect(twins('/api/queue', 'gpu.lab.test', { publicUrl: new URL('https://gpu.lab.test') })).toEqual([])
  const challenge = header(
    pages.refusal(refuse({ reason: 'two-sessions', challenge: 'bearer' }), facts()),
    'www-authenticate',
  )
  expect(challenge).toBe('Bearer realm="comfy-auth", error="invalid_token", error_description="two-sessions"')
  expect(twinless('no-credential')).toEqual([])
  expect(twinless('dead-credential')).toEqual([])
})

function twinless(reason: Reason): string[] {
  return headers(pages.refusal(refuse({ reason }), facts({ target: '/api/queue' })), 'set-cookie')
}
