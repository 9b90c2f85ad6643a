import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ResponsePlan } from '../../src/proxy/decide/facts.ts'
import { isRefusal } from '../../src/proxy/decide/refusal.ts'
import { responseHeaders } from '../../src/proxy/decide/response-headers.ts'
import { cleanUrlOf, returnToOf } from '../../src/proxy/decide/return-to.ts'
import { parseTarget } from '../../src/proxy/decide/target.ts'
import { safeNext } from '../../src/proxy/pages/next.ts'
import { ask, makeRequest, RESPONSE_PLAN } from '../support/policy.ts'

/** Where browsers find us: the judge is their own reading of a URL (WHATWG). */
const OURS = ['http://gpu.lan:8189', 'https://gpu.lan'] as const
const BASE_PATHS = ['', '/comfy'] as const
const RUNS = { numRuns: 3_000 }

const expectOurs = (url: string) => {
  for (const origin of OURS) {
    const read = new URL(url, `${origin}/auth_login.html`)
    expect(read.origin, JSON.stringify(url)).toBe(origin)
    expect(read.username + read.password).toBe('')
  }
}

const piece = fc.oneof(
  fc.constantFrom(
    ...[
      '/',
      '//',
      '\\',
      '\t',
      '\n',
      ' ',
      '\u00a0',
      '.',
      '..',
      '%2e',
      '%2f',
      '%5c',
      '%09',
      '%0d%0a',
      '%',
      ';',
      ':',
      '@',
      '?',
      '#',
      '&',
    ],
    ...[
      'http:',
      'https:',
      'HTTPS:',
      'javascript:',
      'data:,',
      'user:pass@',
      'evil.example',
      '[::1]',
      '\u3002',
      '\uff0f',
      '\u00fc',
    ],
    ...['127.0.0.1:8188', '127.1:8188', '//127.0.0.1:8188', 'http://127.0.0.1:8188', 'gpu.lan:8189'],
    ...['queue', 'view', 'api', 'userdata', 'index.html', 'api_key=x', 'token=x', 'a=b'],
  ),
  fc.string({ unit: 'binary', maxLength: 3 }),
  fc.string({ unit: 'grapheme-ascii', maxLength: 3 }),
)
const text = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''))
const basePath = fc.constantFrom(...BASE_PATHS)

/** A page of ours, and something behind it that could make another of it. */
const target = fc.oneof(
  text.map((rest) => `/${rest}`),
  fc.tuple(fc.constantFrom('/', '/view', '/queue', '/userdata/', '/my-node'), text).map((parts) => parts.join('')),
)

describe('whatever was asked for, a browser stays with us', () => {
  test('by the address that a login returns to', () => {
    fc.assert(
      fc.property(target, basePath, (rest, base) => {
        const decision = ask({ target: base + rest, headers: { Accept: 'text/html' } }, { basePath: base })
        if (decision.kind === 'refuse') {
          expectOurs(decision.returnTo)
          expect(decision.returnTo.startsWith(`${base}/`)).toBe(true)
        }
        const read = parseTarget(rest)
        if (!isRefusal(read)) expectOurs(returnToOf(read))
      }),
      RUNS,
    )
  })

  test('by the clean address for one that brought a key', () => {
    fc.assert(
      fc.property(target, fc.constantFrom('none', 'same-origin', 'cross-site', ''), (rest, site) => {
        const read = parseTarget(rest)
        if (isRefusal(read)) return
        const url = cleanUrlOf(read, makeRequest({ headers: site === '' ? [] : ['Sec-Fetch-Site', site] }).head)
        expectOurs(url)
        const query = new URL(url, OURS[0]).searchParams
        expect([query.get('api_key'), query.get('token')]).toEqual([null, null])
      }),
      RUNS,
    )
  })

  test('by the `next` of the login page, or there is none', () => {
    fc.assert(
      fc.property(fc.oneof(text, target), basePath, (next, base) => {
        for (const said of [next, base + next]) {
          const safe = safeNext(said, base)
          if (safe === undefined) continue
          expectOurs(safe)
          expect(safe.startsWith(`${base}/`)).toBe(true)
        }
      }),
      RUNS,
    )
  })
})

describe('a Location of the upstream', () => {
  const to = (location: string, plan: Partial<ResponsePlan>) => {
    const headers = responseHeaders(['Location', location], { ...RESPONSE_PLAN, ...plan }, 302)
    return headers[headers.indexOf('Location') + 1]!
  }

  const SELF = [
    'http://127.0.0.1:8188',
    'HTTP://127.0.0.1:8188',
    '//127.0.0.1:8188',
    '\\\\127.0.0.1:8188',
    'ht\ttp://127.1:8188',
  ]
  const self = fc.constantFrom(...SELF)

  test('that is written anew led to the upstream, and leads to nobody but us', () => {
    const location = fc.tuple(fc.oneof(fc.constant(''), self), text).map((parts) => parts.join(''))
    fc.assert(
      fc.property(location, basePath, (said, base) => {
        const written = to(said, { basePath: base })
        if (written === said) return
        expectOurs(written)
        const meant = new URL(said, 'http://127.0.0.1:8188/view')
        expect([meant.host, meant.username, meant.password]).toEqual(['127.0.0.1:8188', '', ''])
      }),
      RUNS,
    )
  })

  test('to the upstream itself leads to the same path of ours', () => {
    const rest = fc.tuple(fc.constantFrom('/', '\\', '?', '#', '\t/'), text).map((parts) => parts.join(''))
    fc.assert(
      fc.property(self, rest, (host, path) => {
        const meant = new URL(host + path, 'http://upstream.example')
        const written = to(host + path, {})
        expectOurs(written)
        const read = new URL(written, OURS[0])
        expect(read.pathname + read.search + read.hash).toBe(meant.pathname + meant.search + meant.hash)
      }),
      RUNS,
    )
  })
})
