import { describe, expect, test } from 'vitest'
import { ask, bearer, KEYS } from '../support/policy.ts'

/** The status of the refusal for nobody, and for a viewer; or what became of it. */
function outcomes(target: string, headers: Record<string, string> = {}) {
  return [headers, { ...headers, ...bearer(KEYS.viewer) }].map((sent) => {
    const decision = ask({ target, headers: sent }, { exemptPaths: ['/public/*'] })
    return decision.kind === 'refuse' ? decision.refusal.status : decision.kind
  })
}

describe('oauth2-proxy', () => {
  test('GHSA-7rh7-c77v-6434: a query that looks like an exempt path exempts nothing', () => {
    expect(outcomes('/internal/logs?/assets/x.js')).toEqual([401, 403])
    expect(outcomes('/internal/logs?x=/health')).toEqual([401, 403])
    expect(outcomes('/free?/public/a.css')).toEqual([401, 403])
  })

  test('CVE-2026-40575: X-Forwarded-Uri names no path', () => {
    expect(outcomes('/internal/logs', { 'X-Forwarded-Uri': '/health' })).toEqual([401, 403])
  })

  test('GHSA-pxq7-h93f-9jrg: a fragment, which the server behind cuts off, is refused', () => {
    expect(outcomes('/internal/logs#/assets/x.js')).toEqual([400, 400])
    expect(outcomes('/queue#.js')).toEqual([400, 400])
    expect(outcomes('/assets/x.js#')).toEqual([400, 400])
    expect(outcomes('/internal/logs%23/x.js')).toEqual([401, 403])
  })
})

describe('Traefik', () => {
  test("CVE-2025-66490: an encoded separator, NUL, `;` or `%` makes a path only admin's", () => {
    for (const code of ['%2F', '%5C', '%00', '%3B', '%25']) {
      expect(outcomes(`/assets${code}x.js`), code).toEqual([401, 403])
      expect(outcomes(`/public/${code}../internal/logs`), code).toEqual([401, 403])
    }
  })

  test('CVE-2026-48020: a prefix is never stripped into another path', () => {
    for (const target of [
      '/api../internal/logs',
      '/api%2e%2e/internal/logs',
      '/public../internal/logs',
      '/api/../internal/logs',
    ]) {
      expect(outcomes(target), target).toEqual([401, 403])
    }
    expect(outcomes('/api/internal/logs')).toEqual([401, 403])
    expect(outcomes('/api/assets/x.js')).toEqual([401, 403])
  })
})

test('Envoy CVE-2021-29492: an escaped slash separates nothing', () => {
  expect(outcomes('/public%2F..%2Finternal%2Flogs')).toEqual([401, 403])
  expect(outcomes('/internal%2flogs')).toEqual([401, 403])
  expect(outcomes('/internal%5clogs')).toEqual([401, 403])
})

test('Caddy CVE-2026-27587: an escape or another case reaches no other rule than its path', () => {
  expect(outcomes('/%69nternal/logs')).toEqual([401, 403])
  expect(outcomes('/INTERNAL/logs')).toEqual([401, 403])
  expect(outcomes('/%49NTERNAL/logs')).toEqual([401, 403])
  expect(outcomes('/ASSETS/x.js')).toEqual([401, 403])
  expect(outcomes('/%71ueue')).toEqual([401, 'forward'])
})
