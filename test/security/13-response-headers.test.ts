import { describe, expect, test } from 'vitest'
import type { ResponsePlan } from '../../src/proxy/decide/facts.ts'
import { responseHeaders } from '../../src/proxy/decide/response-headers.ts'
import { ask, bearer, cookie, forwarded, KEYS, RESPONSE_PLAN, SESSIONS } from '../support/policy.ts'

const PLAN: ResponsePlan = { ...RESPONSE_PLAN, cookieNames: ['comfy_auth_8189', '__Host-comfy_auth_8189'] }

function back(upstream: readonly string[], plan: Partial<ResponsePlan> = {}, status = 200): string[] {
  const headers = responseHeaders(upstream, { ...PLAN, ...plan }, status)
  return headers.filter((_, i) => i % 2 === 0).map((name, i) => `${name}: ${headers[2 * i + 1]}`)
}

const ADDED = [
  'X-Content-Type-Options: nosniff',
  'Referrer-Policy: same-origin',
  "Content-Security-Policy: frame-ancestors 'self'",
]

test('every answer of the upstream gets the guards, in place of its own', () => {
  expect(back(['Server', 'x', 'X-Content-Type-Options', 'sniff', 'referrer-policy', 'unsafe-url'])).toEqual([
    'Server: x',
    'Cache-Control: private',
    ...ADDED,
  ])
})

test('a policy of its own holds beside ours', () => {
  expect(back(['Content-Security-Policy', "default-src 'self'"])).toEqual([
    "Content-Security-Policy: default-src 'self'",
    'Cache-Control: private',
    ...ADDED,
  ])
})

test('what no rule names comes back as it came, doubles and bytes too', () => {
  const odd = [
    'ETag',
    '"x"',
    'content-disposition',
    'filename="\u00c3\u00bc"',
    'Vary',
    'A',
    'vary',
    'B',
    'Content-Length',
    '3',
    'Set-Cookie',
    'a=1',
  ]
  expect(back(odd).slice(0, 6)).toEqual([
    'ETag: "x"',
    'content-disposition: filename="\u00c3\u00bc"',
    'Vary: A',
    'vary: B',
    'Content-Length: 3',
    'Set-Cookie: a=1',
  ])
})

test('hop-by-hop headers stay behind, and what Connection names', () => {
  const hop = [
    'Connection',
    'close, X-Hop',
    'CONNECTION',
    'x-two',
    'Keep-Alive',
    '1',
    'Transfer-Encoding',
    'chunked',
    'Trailer',
    'X',
    'Upgrade',
    'h2c',
  ]
  const rest = ['X-Hop', '1', 'X-Two', '2', 'Proxy-Authenticate', 'Basic', 'TE', 'x', 'X-Stays', '3']
  expect(back([...hop, ...rest])).toEqual(['X-Stays: 3', 'Cache-Control: private', ...ADDED])
})

test('the missing user.css calls itself a style sheet, so that nosniff adds no complaint in the console', () => {
  expect(back(['Content-Type', 'text/plain'], { userStyle: true }, 404)).toEqual([
    'Content-Type: text/css',
    'Cache-Control: private',
    ...ADDED,
  ])
  expect(back(['Content-Type', 'text/plain'], { userStyle: true })[0]).toBe('Content-Type: text/plain')
  expect(back(['Content-Type', 'text/plain'], {}, 404)[0]).toBe('Content-Type: text/plain')
  expect(back([], { userStyle: true }, 404)[0]).toBe('Content-Type: text/css')
  const isStyle = (target: string) => {
    const decision = ask({ target, headers: bearer(KEYS.viewer) })
    return decision.kind === 'forward' && decision.response.userStyle
  }
  expect(['/user.css', '/userdata/user.css', '/api/userdata/user.css'].map(isStyle)).toEqual([true, true, true])
  expect(['/', '/userdata/a.css', '/user.css/', '/x/user.css'].map(isStyle)).toEqual([false, false, false, false])
})

describe('Cache-Control', () => {
  const cacheControl = (values: readonly string[], plan: Partial<ResponsePlan> = {}) =>
    back(
      values.flatMap((value) => ['Cache-Control', value]),
      plan,
    ).filter((line) => line.startsWith('Cache-Control'))

  test.each([
    [[], 'private'],
    [[''], 'private'],
    [['public'], 'private'],
    [['public, max-age=86400'], 'private, max-age=86400'],
    [['PUBLIC,max-age=86400'], 'private, max-age=86400'],
    [['public', 'max-age=1'], 'private, max-age=1'],
    [['max-age=3600'], 'private, max-age=3600'],
    [['s-maxage=60, max-age=1'], 'private, max-age=1'],
    [['no-cache'], 'private, no-cache'],
    [['no-store'], 'no-store'],
    [['no-store, must-revalidate'], 'no-store, must-revalidate'],
    [['private, max-age=1'], 'private, max-age=1'],
    [['private="set-cookie", max-age=1'], 'private, private="set-cookie", max-age=1'],
    [['public, no-store'], 'no-store'],
  ])('%j is %s on an answer that needed a key', (values, expected) => {
    expect(cacheControl(values)).toEqual([`Cache-Control: ${expected}`])
  })

  test('is no-store where the key stood in the query, and nothing else says otherwise', () => {
    expect(cacheControl(['public, max-age=86400'], { noStore: true })).toEqual(['Cache-Control: no-store'])
    expect(cacheControl([], { noStore: true, private: false })).toEqual(['Cache-Control: no-store'])
    expect(back(['Expires', 'x', 'Pragma', 'y'], { noStore: true })).toEqual(['Cache-Control: no-store', ...ADDED])
    expect(back(['Expires', 'x'])[0]).toBe('Expires: x')
  })

  test('is left alone on what was open', () => {
    expect(cacheControl(['public, max-age=86400'], { private: false })).toEqual([
      'Cache-Control: public, max-age=86400',
    ])
    expect(cacheControl([], { private: false })).toEqual([])
  })
})

describe('Set-Cookie', () => {
  test.each([
    'comfy_auth_8189=x; Path=/',
    ' comfy_auth_8189 =x',
    'COMFY_AUTH_8189=x',
    '__Host-comfy_auth_8189=x; Secure; Path=/',
    '__hOST-comfy_auth_8189=x',
    '=comfy_auth_8189=x',
    '= comfy_auth_8189=x',
    'comfy_auth_8189',
    'comfy_auth_8189; Path=/',
  ])('%s of the upstream is dropped', (value) => {
    expect(back(['Set-Cookie', value])).not.toContainEqual(expect.stringMatching(/^Set-Cookie/))
  })

  test.each(['xcomfy_auth_8189=x', 'comfy_auth_81890=x', 'a=comfy_auth_8189', 'comfy_auth=1'])(
    '%s is not ours',
    (value) => {
      expect(back(['Set-Cookie', value])).toContain(`Set-Cookie: ${value}`)
    },
  )
})

test('no upstream can speak our 401', () => {
  expect(back(['WWW-Authenticate', 'Bearer realm="comfy-auth"'], {}, 401)[0]).toBe('Cache-Control: private')
  expect(back(['WWW-Authenticate', 'Bearer realm="Comfy-Auth"'], {}, 401)[0]).toBe('Cache-Control: private')
  expect(back(['WWW-Authenticate', 'Basic realm="x"'], {}, 401)[0]).toBe('WWW-Authenticate: Basic realm="x"')
})

test('the page loses what described it before our script stood in it', () => {
  const page = [
    'ETag',
    '"x"',
    'Last-Modified',
    'x',
    'Accept-Ranges',
    'bytes',
    'Content-Length',
    '3',
    'Content-Type',
    'text/html',
  ]
  expect(back(page, { index: true })).toEqual(['Content-Type: text/html', 'Cache-Control: private', ...ADDED])
})

test('a 101 keeps its handshake alone', () => {
  const handshake = [
    'Upgrade',
    'websocket',
    'Connection',
    'upgrade',
    'Sec-WebSocket-Accept',
    'x',
    'Sec-WebSocket-Extensions',
    'y',
  ]
  expect(back(handshake, {}, 101)).toEqual(['Sec-WebSocket-Accept: x', 'Sec-WebSocket-Extensions: y'])
})

const plan = (...about: Parameters<typeof forwarded>): ResponsePlan => forwarded(...about).response

const admin = { headers: bearer(KEYS.admin) }

describe('the plan', () => {
  test('is a sandbox for what people uploaded, and for what no rule can place', () => {
    const uuid = '0b6d1a3c-7f3e-4f0a-9a53-2f5f6f0f9b1e'
    const sandboxed = [
      '/view?filename=x.svg',
      '/api/view',
      '/userdata/x.html',
      '/api/userdata/a%2Fx.svg',
      `/api/assets/${uuid}/content`,
      '//view',
    ]
    for (const target of sandboxed) expect(plan({ ...admin, target }).sandbox, target).toBe(true)
    for (const target of ['/', '/queue', '/assets/x.svg'])
      expect(plan({ ...admin, target }).sandbox, target).toBe(false)
    expect(back([], { sandbox: true })).toContain("Content-Security-Policy: sandbox; frame-ancestors 'self'")
    expect(plan({ target: '/view' }, { exemptPaths: ['/view'] }).sandbox).toBe(true)
  })

  test('is private for what needed a key', () => {
    expect(plan({ ...admin, target: '/assets/x' }).private).toBe(true)
    expect(plan({ target: '/assets/x.js' }).private).toBe(false)
    expect(plan({ ...admin, target: '/queue' }, { auth: 'none' }).private).toBe(false)
  })

  test('is no-store for a key in the query, needed or not', () => {
    expect(plan({ target: `/queue?api_key=${KEYS.admin}` }).noStore).toBe(true)
    expect(plan({ target: `/assets/x.js?token=${KEYS.admin}` }).noStore).toBe(true)
    expect(plan({ ...admin, target: '/queue?api_key=' }).noStore).toBe(false)
  })

  test('is the index for the page, under each of its names', () => {
    for (const target of ['/', '/index.html', '/api/']) expect(plan({ ...admin, target }).index, target).toBe(true)
    for (const target of ['/queue', '/api/queue', '/index.htm'])
      expect(plan({ ...admin, target }).index, target).toBe(false)
    expect(plan({ ...admin, target: '/' }, { auth: 'none' }).index).toBe(false)
  })

  test('names our cookies, of both schemes', () => {
    expect(plan(admin).cookieNames).toEqual(['comfy_auth_8189', '__Host-comfy_auth_8189'])
  })
})

test('a service worker is 403, wherever it lies', () => {
  const headers = { 'Service-Worker': 'script' }
  expect(ask({ target: '/assets/x.js', headers })).toMatchObject({ refusal: { status: 403, reason: 'service-worker' } })
  expect(ask({ target: '/view', headers: { ...headers, ...bearer(KEYS.admin) } })).toMatchObject({
    refusal: { status: 403 },
  })
})

describe('a browser that brings its key in the query', () => {
  const load = { 'Sec-Fetch-Site': 'none', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' }
  const arrive = (target: string, headers: Record<string, string> = load, method = 'GET') =>
    ask({ method, target, headers })
  const key = `api_key=${KEYS.user}`

  test('gets the page that makes a session and a clean URL', () => {
    expect(arrive(`/?${key}`)).toMatchObject({
      kind: 'page',
      page: 'key-arrival',
      returnTo: '/',
      account: { principal: { keyId: 'user-id', carrier: 'query' } },
    })
    expect(arrive(`/?x=1&${key}#`)).toMatchObject({ refusal: { status: 400 } })
    expect(arrive(`/view?filename=a&${key}&type=output`)).toMatchObject({ returnTo: '/view?filename=a&type=output' })
    expect(arrive(`/?${key}`, { Accept: 'text/html,*/*' })).toMatchObject({ page: 'key-arrival' })
  })

  test('goes on to any path that its own user typed, to none of a foreign link that ComfyUI would not just read', () => {
    const custom = `/custom/page?token=${KEYS.admin}`
    expect(arrive(custom)).toMatchObject({ page: 'key-arrival', returnTo: '/custom/page' })
    expect(arrive(custom, { ...load, 'Sec-Fetch-Site': 'same-origin' })).toMatchObject({ returnTo: '/custom/page' })
    expect(arrive(custom, { ...load, 'Sec-Fetch-Site': 'cross-site' })).toMatchObject({
      page: 'key-arrival',
      returnTo: '/',
    })
    expect(arrive(`/queue?${key}`, { ...load, 'Sec-Fetch-Site': 'cross-site' })).toMatchObject({ returnTo: '/queue' })
  })

  test('gets the login page where the key is no good, without the key in its way back', () => {
    const decision = arrive('/view?api_key=wrong-key&type=temp')
    expect(decision).toMatchObject({ refusal: { status: 401, as: 'login' }, returnTo: '/view?type=temp' })
  })

  test('beside a live session of another key too, which the page replaces; a foreign link asks there first', () => {
    const session = cookie(SESSIONS.viewer.cookie)
    for (const headers of [load, { ...load, 'Sec-Fetch-Site': 'same-site' }, { Accept: 'text/html,*/*' }]) {
      expect(arrive(`/?${key}&x=1`, { ...headers, ...session })).toMatchObject({
        page: 'key-arrival',
        returnTo: '/?x=1',
        account: { principal: { keyId: 'user-id', carrier: 'query', sessionId: undefined } },
      })
    }
    expect(arrive(`/custom/x?${key}`, { ...load, ...session })).toMatchObject({ refusal: { reason: 'role' } })
  })

  test('beside a session of another key is 400 in all else, and a key never stays in the address of a page', () => {
    const session = cookie(SESSIONS.viewer.cookie)
    const clash = (as: 'json' | 'login') => ({ refusal: { status: 400, reason: 'conflicting-keys', as } })
    expect(arrive(`/?${key}`, { Accept: '*/*', ...session })).toMatchObject(clash('json'))
    expect(arrive(`/?${key}`, { ...load, 'Sec-Fetch-Dest': 'empty', ...session })).toMatchObject(clash('json'))
    expect(arrive(`/?${key}`, { ...load, ...session }, 'POST')).toMatchObject(clash('json'))
    expect(arrive(`//?${key}`, { ...load, ...session })).toMatchObject(clash('login'))
    expect(arrive(`/?${key}&token=${KEYS.admin}`, { ...load, ...session })).toMatchObject(clash('login'))
    expect(arrive(`/?${key}`, { ...load, ...session, ...bearer(KEYS.user) })).toMatchObject(clash('login'))
    expect(arrive(`/?${key}`, { ...load, ...session, ...bearer(KEYS.admin) })).toMatchObject(clash('login'))
    const doubled = { refusal: { status: 400, reason: 'doubled-carrier', as: 'login' }, returnTo: '/?x=1' }
    expect(arrive(`/?${key}&x=1&${key}`)).toMatchObject(doubled)
    expect(arrive(`/?${key}&${key}`, { Accept: '*/*' })).toMatchObject({ refusal: { status: 400, as: 'json' } })
  })

  test('is a script where it is no navigation, no GET, or comes with another carrier', () => {
    expect(arrive(`/?${key}`, { Accept: '*/*' }).kind).toBe('forward')
    expect(arrive(`/?${key}`, { ...load, 'Sec-Fetch-Dest': 'empty' }).kind).toBe('forward')
    expect(arrive(`/?${key}`, load, 'HEAD').kind).toBe('forward')
    expect(arrive(`/?${key}`, { ...load, ...bearer(KEYS.user) }).kind).toBe('forward')
    expect(arrive(`//?api_key=${KEYS.admin}`).kind).toBe('forward')
    expect(arrive(`/?${key}`, { ...load, ...cookie(SESSIONS.user.cookie) })).toMatchObject({ page: 'key-arrival' })
  })
})
