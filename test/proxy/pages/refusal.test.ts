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
  expect(String(page.body)).toContain('Try again in 2 minutes.')
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
      target: '/secret-in-path?api_key=secret-in-query',
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
