import { describe, expect, test } from 'vitest'
import { decide } from '../../src/proxy/decide/decide.ts'
import {
  bearer,
  cookie,
  type FactsOverrides,
  KEYS,
  makeFacts,
  makePolicy,
  type PolicyOverrides,
  SESSIONS,
} from '../support/policy.ts'

const OURS = 'http://127.0.0.1:8189'
const THEIRS = 'http://127.0.0.1:3000'
const base64 = Buffer.from(`me:${KEYS.admin}`).toString('base64')

interface Ambient {
  readonly facts?: FactsOverrides
  readonly policy?: PolicyOverrides
}
const BY_COOKIE: Ambient = { facts: { headers: cookie(SESSIONS.admin.cookie) } }
const BY_BASIC: Ambient = { facts: { headers: { Authorization: `Basic ${base64}` } } }
const NO_AUTH: Ambient = { policy: { auth: 'none' } }
const EXEMPT_SOCKET: Ambient = {
  facts: { method: 'GET', target: '/ws', upgrade: true },
  policy: { exemptPaths: ['/ws'] },
}
const LOGIN: Ambient = { facts: { method: 'POST', target: '/auth_login.html' } }

function ask(
  { facts, policy }: Ambient,
  headers: Record<string, string>,
  more: FactsOverrides = {},
  rules: PolicyOverrides = {},
) {
  const request = { method: 'POST', target: '/free', ...facts, ...more }
  return decide(
    makeFacts({ ...request, headers: { ...facts?.headers, ...headers } }),
    makePolicy({ ...policy, ...rules }),
  )
}

function passes(
  ambient: Ambient,
  headers: Record<string, string>,
  more: FactsOverrides = {},
  rules: PolicyOverrides = {},
) {
  const decision = ask(ambient, headers, more, rules)
  if (decision.kind === 'refuse') expect(decision.refusal.reason).toBe('foreign-origin')
  return decision.kind !== 'refuse'
}

describe.each([
  ['a cookie', BY_COOKIE],
  ['Basic', BY_BASIC],
  ['--no-auth', NO_AUTH],
  ['an exempt Upgrade', EXEMPT_SOCKET],
  ['the login POST', LOGIN],
])('with %s, which a foreign page could send', (_, ambient) => {
  test.each<[string, Record<string, string>]>([
    ['Sec-Fetch-Site same-origin', { 'Sec-Fetch-Site': 'same-origin' }],
    ['Sec-Fetch-Site none', { 'Sec-Fetch-Site': 'none' }],
    ['Sec-Fetch-Site same-origin beside our Origin', { 'Sec-Fetch-Site': 'same-origin', Origin: OURS }],
    ['our Origin', { Origin: OURS }],
    ['our Origin, whatever the Referer', { Origin: OURS, Referer: `${THEIRS}/x` }],
    ['our Referer', { Referer: `${OURS}/x?y` }],
    ["Node's fetch", { 'Sec-Fetch-Mode': 'cors' }],
    ['no browser at all', {}],
  ])('%s passes', (_, headers) => {
    expect(passes(ambient, headers)).toBe(true)
  })

  test.each<[string, Record<string, string>]>([
    ['Sec-Fetch-Site cross-site', { 'Sec-Fetch-Site': 'cross-site' }],
    ['Sec-Fetch-Site same-site: another port', { 'Sec-Fetch-Site': 'same-site', Origin: THEIRS }],
    ['an unknown Sec-Fetch-Site', { 'Sec-Fetch-Site': 'maybe' }],
    ['an empty Sec-Fetch-Site', { 'Sec-Fetch-Site': '' }],
    [
      'a navigation elsewhere',
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' },
    ],
    ...['prefetch', 'prefetch;prerender', 'Prefetch; anonymous-client-ip'].map(
      (purpose): [string, Record<string, string>] => [
        `what a page has fetched ahead (${purpose})`,
        {
          'Sec-Fetch-Site': 'none',
          'Sec-Fetch-Mode': 'navigate',
          'Sec-Fetch-Dest': 'document',
          'Sec-Purpose': purpose,
        },
      ],
    ),
    ['a foreign Origin', { Origin: 'https://evil.example' }],
    ['another port', { Origin: THEIRS }],
    ['another scheme', { Origin: 'https://127.0.0.1:8189' }],
    ['another name for the same host', { Origin: 'http://localhost:8189' }],
    ['a longer host', { Origin: 'http://127.0.0.1:81890' }],
    ['our host as a user name', { Origin: 'http://127.0.0.1:8189@evil.example' }],
    ['a foreign Origin beside our Referer', { Origin: THEIRS, Referer: `${OURS}/` }],
    ['a foreign Referer', { Referer: `${THEIRS}/` }],
    ['Origin null', { Origin: 'null' }],
    ['Origin null, also from our own origin', { Origin: 'null', 'Sec-Fetch-Site': 'same-origin' }],
    ['no-cors without Sec-Fetch-Site', { 'Sec-Fetch-Mode': 'no-cors' }],
    ['no-cors with our Referer', { 'Sec-Fetch-Mode': 'no-cors', Referer: `${OURS}/` }],
    ['an Origin that is no URL', { Origin: 'chrome-extension://abc' }],
    ['an empty Origin', { Origin: '' }],
    ['an empty Referer', { Referer: '' }],
  ])('%s is refused', (_, headers) => {
    expect(passes(ambient, headers)).toBe(false)
  })

  test('a doubled header is refused', () => {
    const request: FactsOverrides = { method: 'POST', target: '/free', ...ambient.facts }
    for (const name of ['Origin', 'Referer', 'Sec-Fetch-Site']) {
      const value = name === 'Sec-Fetch-Site' ? 'same-origin' : OURS
      const headers = [...Object.entries(request.headers ?? {}).flat(), name, value, name, value] as string[]
      const decision = decide(makeFacts({ ...request, headers }), makePolicy(ambient.policy))
      expect(decision, name).toMatchObject({ refusal: { status: 403, reason: 'foreign-origin' } })
    }
  })
})

test('a credential that only a script of its holder sends is not asked', () => {
  const foreign = { Origin: 'https://app.example', 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'cors' }
  expect(passes({ facts: { headers: bearer(KEYS.admin) } }, foreign)).toBe(true)
  expect(passes({ facts: { headers: { 'X-API-Key': KEYS.admin } } }, foreign)).toBe(true)
  expect(passes({}, foreign, { target: `/free?api_key=${KEYS.admin}` })).toBe(true)
  const both = { ...cookie(SESSIONS.admin.cookie), ...bearer(SESSIONS.admin.token) }
  expect(passes({ facts: { headers: both } }, { Referer: 'https://app.example/' })).toBe(true)
})

test('GET is refused like any other method', () => {
  for (const method of ['GET', 'HEAD']) {
    expect(passes(BY_COOKIE, { Origin: THEIRS }, { method, target: '/queue' })).toBe(false)
    expect(passes(BY_COOKIE, { Referer: `${THEIRS}/` }, { method, target: '/view?filename=a' })).toBe(false)
    expect(passes(BY_COOKIE, { 'Sec-Fetch-Site': 'cross-site' }, { method, target: '/queue' })).toBe(false)
  }
})

describe('a cross-site navigation', () => {
  const navigation = { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' }

  test('comes to the page itself', () => {
    for (const target of ['/', '/?x=1', '/index.html', '/api/']) {
      for (const ambient of [BY_COOKIE, NO_AUTH]) {
        expect(passes(ambient, navigation, { method: 'GET', target }), target).toBe(true)
        expect(passes(ambient, { ...navigation, 'Sec-Fetch-Site': 'same-site' }, { method: 'GET', target })).toBe(true)
      }
    }
  })

  test('comes nowhere else, and never by POST, in a frame, or as no navigation', () => {
    expect(passes(BY_COOKIE, navigation, { method: 'GET', target: '/view?filename=a' })).toBe(false)
    expect(passes(BY_COOKIE, navigation, { method: 'GET', target: '/custom/do' })).toBe(false)
    expect(passes(BY_COOKIE, navigation, { method: 'POST', target: '/' })).toBe(false)
    expect(passes(BY_COOKIE, { ...navigation, 'Sec-Fetch-Dest': 'iframe' }, { method: 'GET', target: '/' })).toBe(false)
    expect(passes(BY_COOKIE, { ...navigation, 'Sec-Fetch-Mode': 'no-cors' }, { method: 'GET', target: '/' })).toBe(
      false,
    )
  })

  test('refused on the page itself gets the login page, whose own fetch finds the session', () => {
    const link = { Referer: `${THEIRS}/`, Accept: 'text/html' }
    expect(ask(BY_COOKIE, link, { method: 'GET', target: '/' })).toMatchObject({
      refusal: { status: 401, reason: 'foreign-origin', as: 'login', challenge: 'bearer' },
      returnTo: '/',
    })
    expect(ask(BY_COOKIE, link, { method: 'GET', target: '/queue' })).toMatchObject({
      refusal: { status: 403, as: 'json' },
    })
  })
})

describe('without Sec-Fetch-Site, Origin and Referer', () => {
  const nothing = {}

  test('a cookie reaches what ComfyUI has', () => {
    expect(passes(BY_COOKIE, nothing, { method: 'GET', target: '/queue' })).toBe(true)
    expect(passes(BY_COOKIE, nothing, { method: 'POST', target: '/auth_logout' })).toBe(true)
  })

  test('what --route names is no better known: a GET may act there', () => {
    const extraRoutes = [{ role: 'viewer', method: 'GET', path: '/custom/*' }] as const
    const custom = { method: 'GET', target: '/custom/a' }
    expect(passes(BY_COOKIE, nothing, custom, { extraRoutes })).toBe(false)
    expect(passes(BY_COOKIE, { Referer: `${OURS}/` }, custom, { extraRoutes })).toBe(true)
    expect(passes(BY_BASIC, nothing, custom, { extraRoutes })).toBe(true)
  })

  test('nor is it reached by Basic or without a lock where a browser speaks, which says in which language', () => {
    const custom = { method: 'GET', target: '/custom/a' }
    const browser = { 'Accept-Language': 'en' }
    for (const ambient of [BY_BASIC, NO_AUTH]) {
      expect(passes(ambient, browser, custom)).toBe(false)
      expect(passes(ambient, { ...browser, Referer: `${OURS}/` }, custom)).toBe(true)
      expect(passes(ambient, browser, { method: 'GET', target: '/queue' })).toBe(true)
    }
  })

  test('a cookie does not reach a route that nobody named, where a GET may act', () => {
    for (const target of ['/custom/do', '/manager/reboot', '/api/manager/reboot', '/assets/%2e%2e/x', '//queue']) {
      expect(passes(BY_COOKIE, nothing, { method: 'GET', target }), target).toBe(false)
      expect(passes(BY_COOKIE, { Referer: `${OURS}/` }, { method: 'GET', target }), target).toBe(true)
      expect(passes(BY_COOKIE, { 'Sec-Fetch-Site': 'same-origin' }, { method: 'GET', target }), target).toBe(true)
      expect(passes(BY_BASIC, nothing, { method: 'GET', target }), target).toBe(true)
      expect(passes(NO_AUTH, nothing, { method: 'GET', target }), target).toBe(true)
    }
  })
})

describe('ours is', () => {
  const passesAs = (
    origin: string,
    more: FactsOverrides,
    rules: PolicyOverrides = {},
    headers: Record<string, string> = {},
  ) => passes(NO_AUTH, { Origin: origin, ...headers }, more, { hosts: { kind: 'any', allowed: new Set() }, ...rules })

  test('the Host with the scheme of this connection, a default port or none', () => {
    const host = (name: string) => ({ headers: { Host: name } })
    const withHost = (origin: string, name: string, secure: boolean) =>
      decide(
        makeFacts({ method: 'POST', target: '/free', secure, headers: { ...host(name).headers, Origin: origin } }),
        makePolicy({ auth: 'none', hosts: { kind: 'any', allowed: new Set() } }),
      ).kind === 'forward'
    expect(withHost('https://box.lan', 'box.lan:443', true)).toBe(true)
    expect(withHost('https://box.lan', 'BOX.lan.', true)).toBe(true)
    expect(withHost('http://box.lan', 'box.lan:80', false)).toBe(true)
    expect(withHost('http://box.lan:80', 'box.lan', false)).toBe(true)
    expect(withHost('http://box.lan', 'box.lan', true)).toBe(false)
    expect(withHost('https://box.lan', 'box.lan', false)).toBe(false)
    expect(withHost('http://[2001:db8::1]:8189', '[2001:db8::1]:8189', false)).toBe(true)
  })

  test('--public-url, where it is given, and then nothing else', () => {
    const rules = { publicUrl: new URL('https://comfy.example/') }
    expect(passesAs('https://comfy.example', {}, rules)).toBe(true)
    expect(passesAs(OURS, {}, rules)).toBe(false)
  })

  test("a trusted proxy's X-Forwarded-Proto and -Host, the nearest one's", () => {
    const rules = { isTrustedProxy: (address: string) => address === '127.0.0.1' }
    const forwarded = { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'comfy.example' }
    expect(passesAs('https://comfy.example', {}, rules, forwarded)).toBe(true)
    expect(passesAs(OURS, {}, rules, forwarded)).toBe(false)
    expect(
      passesAs('https://evil.example', {}, rules, { ...forwarded, 'X-Forwarded-Host': 'evil.example, comfy.example' }),
    ).toBe(false)
    expect(passesAs('https://127.0.0.1:8189', {}, rules, { 'X-Forwarded-Proto': 'https' })).toBe(true)
    expect(passesAs('http://comfy.example', {}, rules, { 'X-Forwarded-Host': 'comfy.example' })).toBe(true)
    expect(passesAs('https://x', {}, rules, { ...forwarded, 'X-Forwarded-Host': 'a b' })).toBe(false)
  })

  test('never what an untrusted peer forwards', () => {
    const forwarded = { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'evil.example' }
    expect(passesAs('https://evil.example', {}, {}, forwarded)).toBe(false)
    expect(passesAs(OURS, {}, {}, forwarded)).toBe(true)
  })
})

describe('--enable-cors-header', () => {
  const from = { Origin: 'https://app.example', 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'cors' }

  test('lets the origin it names call under --no-auth', () => {
    expect(passes(NO_AUTH, from, {}, { corsOrigin: 'https://app.example' })).toBe(true)
    expect(passes(NO_AUTH, { Origin: 'https://app.example' }, {}, { corsOrigin: 'https://app.example' })).toBe(true)
    expect(passes(NO_AUTH, from, {}, { corsOrigin: 'https://other.example' })).toBe(false)
  })

  test('opens nothing with `*`, nor for a cookie', () => {
    expect(passes(NO_AUTH, from, {}, { corsOrigin: '*' })).toBe(false)
    expect(passes(BY_COOKIE, from, {}, { corsOrigin: 'https://app.example' })).toBe(false)
  })
})

test('open GETs are not asked, but under --no-auth', () => {
  const foreign = { 'Sec-Fetch-Site': 'cross-site' }
  expect(passes({}, foreign, { method: 'GET', target: '/assets/x.js' })).toBe(true)
  expect(passes({}, foreign, { method: 'GET', target: '/health' })).toBe(true)
  expect(passes(NO_AUTH, foreign, { method: 'GET', target: '/health' })).toBe(true)
  expect(passes(NO_AUTH, foreign, { method: 'GET', target: '/assets/x.js' })).toBe(false)
})

test('a logout from a foreign page is refused', () => {
  const logout = { method: 'POST', target: '/auth_logout' }
  expect(passes(BY_COOKIE, { 'Sec-Fetch-Site': 'cross-site' }, logout)).toBe(false)
  expect(ask(BY_COOKIE, { 'Sec-Fetch-Site': 'same-origin' }, logout)).toMatchObject({
    kind: 'page',
    page: 'logout-post',
  })
})
