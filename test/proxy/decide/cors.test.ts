import { describe, expect, test } from 'vitest'
import { preflightHeaders } from '../../../src/proxy/decide/cors.ts'
import { responseHeaders } from '../../../src/proxy/decide/response-headers.ts'
import { ask, bearer, forwarded, KEYS, makeFacts, makePolicy } from '../../support/policy.ts'

const plan = (...about: Parameters<typeof forwarded>) => forwarded(...about).response

const admin = { headers: bearer(KEYS.admin) }

/** The upstream's headers with CORS for this origin, as they go back. */
function back(upstream: readonly string[], corsOrigin?: string): string[] {
  const response = { ...plan({ ...admin, target: '/queue' }), corsOrigin }
  return responseHeaders(upstream, response, 200)
}

describe('CORS', () => {
  const origin = 'https://app.example'
  const from = { Origin: origin, ...bearer(KEYS.admin) }
  const preflight = {
    method: 'OPTIONS',
    target: '/prompt',
    headers: { Origin: origin, 'Access-Control-Request-Method': 'POST' },
  }

  test('of the upstream is removed', () => {
    const upstream = [
      'Access-Control-Allow-Origin',
      '*',
      'access-control-allow-credentials',
      'true',
      'Access-Control-Max-Age',
      '1',
    ]
    expect(back(upstream).join()).not.toMatch(/access-control/i)
  })

  test('is granted to the origin that the owner named, or to all, never with credentials', () => {
    expect(plan({ headers: from, target: '/queue' }, { corsOrigin: origin }).corsOrigin).toBe(origin)
    expect(plan({ headers: from, target: '/queue' }, { corsOrigin: '*' }).corsOrigin).toBe('*')
    expect(
      plan({ headers: from, target: '/queue' }, { corsOrigin: 'https://other.example' }).corsOrigin,
    ).toBeUndefined()
    expect(plan({ headers: from, target: '/queue' }).corsOrigin).toBeUndefined()
    expect(plan({ ...admin, target: '/queue' }, { corsOrigin: '*' }).corsOrigin).toBeUndefined()
    expect(back([], origin).slice(-4)).toEqual(['Access-Control-Allow-Origin', origin, 'Vary', 'Origin'])
    expect(back([], origin).join()).not.toMatch(/credentials/i)
  })

  test('preflights are answered before the principal, and only where the flag is given', () => {
    expect(ask(preflight, { corsOrigin: origin })).toMatchObject({
      kind: 'page',
      page: 'preflight',
      account: { principal: undefined },
    })
    expect(ask(preflight)).toMatchObject({ refusal: { status: 401 } })
    const plain = { ...preflight, headers: { Origin: origin } }
    expect(ask(plain, { corsOrigin: origin })).toMatchObject({ refusal: { status: 401 } })
    expect(
      ask({ ...preflight, headers: { ...preflight.headers, Host: 'evil.example' } }, { corsOrigin: '*' }),
    ).toMatchObject({
      refusal: { status: 421 },
    })
  })

  test('a preflight says what may come, to the named origin alone', () => {
    const granted = preflightHeaders(makeFacts(preflight), makePolicy({ corsOrigin: origin }))
    expect(granted.slice(0, 4)).toEqual(['Access-Control-Allow-Origin', origin, 'Vary', 'Origin'])
    expect(granted).toContain('Access-Control-Allow-Headers')
    expect(granted.join()).toMatch(/Authorization, X-API-Key/)
    expect(granted.join()).not.toMatch(/credentials/i)
    const other = preflightHeaders(makeFacts(preflight), makePolicy({ corsOrigin: 'https://other.example' }))
    expect(other).toEqual(['Vary', 'Origin'])
  })
})
