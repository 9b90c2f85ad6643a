import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ask, cookie, type FactsOverrides, forwarded, KEYS, type PolicyOverrides, SESSIONS } from '../support/policy.ts'

/** What goes upstream for an admin's request, as `name: value` lines. */
function sent(headers: readonly string[], facts: FactsOverrides = {}, policy: PolicyOverrides = {}): string[] {
  const all = ['X-API-Key', KEYS.admin, ...headers]
  const decision = forwarded({ target: '/queue', ...facts, headers: all }, policy)
  return decision.headers.filter((_, i) => i % 2 === 0).map((name, i) => `${name}: ${decision.headers[2 * i + 1]}`)
}

const HOST = 'Host: 127.0.0.1:8188'

test("Host is the upstream's own, and stands first", () => {
  expect(sent(['Host', 'localhost:8189', 'A', '1'])).toEqual([HOST, 'A: 1'])
  expect(sent(['a', '1', 'hOST', 'localhost'], {}, { upstreamHost: 'gpu.lan' })).toEqual(['Host: gpu.lan', 'a: 1'])
})

test('what no rule names goes up as it came: case, order, doubles, bytes', () => {
  const odd = [
    'User-Agent',
    'x',
    'aCCept',
    '*/*',
    'X-A',
    '1',
    'x-a',
    '\u00fc',
    'Accept-Encoding',
    'gzip, br',
    'Range',
    'bytes=0-1',
  ]
  expect(sent(odd)).toEqual([
    HOST,
    'User-Agent: x',
    'aCCept: */*',
    'X-A: 1',
    'x-a: \u00fc',
    'Accept-Encoding: gzip, br',
    'Range: bytes=0-1',
  ])
})

test.each([
  ['Authorization', `Bearer ${KEYS.admin}`],
  ['X-API-Key', ''],
  ['X_API_Key', KEYS.admin],
  ['x-api_key', KEYS.admin],
  ['Proxy-Authorization', 'Basic eA=='],
  ['Origin', 'http://127.0.0.1:8189'],
  ['Referer', 'http://127.0.0.1:8189/?api_key=x'],
  ['Sec-Fetch-Site', 'same-origin'],
  ['Keep-Alive', 'timeout=5'],
  ['Proxy-Connection', 'keep-alive'],
  ['TE', 'trailers'],
  ['Trailer', 'X'],
  ['Transfer-Encoding', 'chunked'],
  ['Content-Length', '3'],
  ['Upgrade', 'h2c'],
  ['HTTP2-Settings', 'AAMA'],
  ['Expect', '100-continue'],
  ['Connection', 'close'],
  ['Forwarded', 'for=1.2.3.4'],
  ['X-Forwarded-For', '1.2.3.4'],
  ['X-Forwarded-Host', 'evil.example'],
  ['X-Forwarded-Proto', 'https'],
  ['X-Forwarded-Prefix', '/x'],
  ['X-FORWARDED-anything', 'x'],
  ['X_Forwarded_For', '1.2.3.4'],
  ['X-Real-IP', '1.2.3.4'],
  ['X_Real_IP', '1.2.3.4'],
  ['comfy-user', 'alice_1'],
  ['Comfy_User', 'alice_1'],
])('%s does not go up', (name, value) => {
  const headers = name === 'X-API-Key' ? [] : [name, value]
  expect(sent([...headers, 'A', '1'])).toEqual([HOST, 'A: 1'])
})

test('Sec-Fetch-Dest, -Mode and -User stay: without the first an SVG is no image', () => {
  const dest = ['Sec-Fetch-Dest', 'image', 'Sec-Fetch-Mode', 'no-cors', 'Sec-Fetch-User', '?1']
  expect(sent(dest)).toEqual([HOST, 'Sec-Fetch-Dest: image', 'Sec-Fetch-Mode: no-cors', 'Sec-Fetch-User: ?1'])
})

describe('Connection', () => {
  test('deletes what it names, but never what is ours', () => {
    expect(sent(['Connection', 'close, X-A , x-b, Host', 'X-A', '1', 'X-B', '2', 'X-C', '3'])).toEqual([HOST, 'X-C: 3'])
    expect(sent(['Connection', 'X-A', 'connection', 'X-B', 'X-A', '1', 'X-B', '2'])).toEqual([HOST])
    expect(sent(['X-A', '1', 'Connection', 'keep-alive'])).toEqual([HOST, 'X-A: 1'])
  })

  test('cannot hide a credential from the rules that read it', () => {
    const decision = ask({ target: '/queue', headers: { Connection: 'X-API-Key', 'X-API-Key': 'wrong' } })
    expect(decision).toMatchObject({ refusal: { reason: 'unknown-credential' } })
  })

  test('strips exactly what it names, for any list of names', () => {
    const name = fc.stringMatching(/^x-[a-z]{1,3}$/).filter((text) => text !== 'x-api')
    fc.assert(
      fc.property(fc.array(name), fc.array(name), (named, present) => {
        const up = sent(['Connection', named.join(' ,\t'), ...present.flatMap((each) => [each.toUpperCase(), '1'])])
        expect(up).toEqual([
          HOST,
          ...present.filter((each) => !named.includes(each)).map((each) => `${each.toUpperCase()}: 1`),
        ])
      }),
    )
  })
})

describe('cookies', () => {
  const upstreamCookie = (header: string) =>
    sent(['Cookie', header])
      .filter((line) => line.startsWith('Cookie'))
      .map((line) => line.slice('Cookie: '.length))

  test.each([
    ['a=1; b=2', ['a=1; b=2']],
    [' a=1;b ;; c="x y"; =', [' a=1;b ;; c="x y"; =']],
    ['comfy_auth_8189=x', []],
    ['comfy_auth_8189=x; a=1', ['a=1']],
    ['a=1; comfy_auth_8189=x;b=2', ['a=1;b=2']],
    ['a=1; comfy_auth_8189=x; comfy_auth_8189=y', ['a=1']],
    ['__Host-comfy_auth_8189=x; a=1', ['a=1']],
    ['a=1; comfy_auth_8189', ['a=1']],
    ['xcomfy_auth_8189=1', ['xcomfy_auth_8189=1']],
    [`a=1; comfy_auth_9999=${SESSIONS.admin.cookie}; b=2`, ['a=1; b=2']],
    [`other="${SESSIONS.admin.cookie}"`, []],
    // A no-break space is a byte of a name, not a blank around it
    ['\u00a0comfy_auth_8189=a; comfy_auth_8189\u00a0=b', ['\u00a0comfy_auth_8189=a; comfy_auth_8189\u00a0=b']],
    ['comfy_auth_8189=x;\u00a0a=1', ['\u00a0a=1']],
  ])('%s', (header, expected) => {
    expect(upstreamCookie(header)).toEqual(expected)
  })

  test('of HTTP/2 go up as one', () => {
    const headers = ['cookie', 'a=1', 'cookie', 'comfy_auth_8189=x', 'cookie', 'b=2']
    expect(sent(headers, { http2: true })).toEqual([HOST, 'cookie: a=1; b=2'])
  })

  test('of others go up byte for byte beside ours', () => {
    const pair = fc.stringMatching(/^[a-z]{1,4}=[a-z0-9"%]{0,6}$/)
    fc.assert(
      fc.property(fc.array(pair, { minLength: 1 }), fc.nat(), (pairs, at) => {
        const mixed = [...pairs]
        mixed.splice(at % (pairs.length + 1), 0, `comfy_auth_8189=${SESSIONS.admin.cookie}`)
        expect(upstreamCookie(mixed.join('; '))).toEqual([pairs.join('; ')])
      }),
    )
  })
})

describe('behind a trusted proxy', () => {
  const policy = { isTrustedProxy: (address: string) => address === '127.0.0.1' }

  test('its X-Forwarded-* pass, spelt as they are', () => {
    const headers = ['X-Forwarded-For', '1.2.3.4', 'Forwarded', 'for=1.2.3.4', 'X-Real-IP', '1.2.3.4']
    expect(sent(headers, {}, policy)).toEqual([
      HOST,
      ...['X-Forwarded-For: 1.2.3.4', 'Forwarded: for=1.2.3.4', 'X-Real-IP: 1.2.3.4'],
    ])
    expect(sent(['X_Forwarded_For', '1.2.3.4'], {}, policy)).toEqual([HOST])
  })
})

test('--comfy-user pass lets the header through, and no variant of it', () => {
  const headers = ['Comfy-User', 'alice_1', 'comfy_user', 'bob_1']
  expect(sent(headers, {}, { comfyUser: 'pass' })).toEqual([HOST, 'Comfy-User: alice_1'])
})

describe('an Upgrade', () => {
  test('takes its handshake along, less our subprotocol', () => {
    const offered = `comfy-auth.bearer.${Buffer.from(KEYS.admin).toString('base64url')}`
    const up = (protocols: string) =>
      sent(['Sec-WebSocket-Protocol', protocols, 'Sec-WebSocket-Extensions', 'permessage-deflate'], {
        target: '/ws',
        upgrade: true,
      })
    expect(up(offered)).toEqual([
      HOST,
      'Sec-WebSocket-Extensions: permessage-deflate',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ])
    expect(up(`chat, ${offered}`)).toContain('Sec-WebSocket-Protocol: chat')
    expect(up(`${offered},chat, v2`)).toContain('Sec-WebSocket-Protocol: chat, v2')
    expect(up('chat , v2')).toContain('Sec-WebSocket-Protocol: chat , v2')
  })
})

describe('the page', () => {
  test('is asked for whole and uncompressed', () => {
    const headers = [
      'Accept-Encoding',
      'br',
      'Range',
      'bytes=0-1',
      'If-None-Match',
      '"x"',
      'If-Modified-Since',
      'x',
      'If-Range',
      'x',
      'A',
      '1',
    ]
    for (const target of ['/', '/index.html', '/api/']) {
      expect(sent(headers, { target })).toEqual([HOST, 'A: 1', 'Accept-Encoding: identity'])
    }
  })

  test('is left alone under --no-auth: nothing is put in', () => {
    const up = sent(['Accept-Encoding', 'br', 'Range', 'x'], { target: '/' }, { auth: 'none' })
    expect(up).toEqual([HOST, 'Accept-Encoding: br', 'Range: x'])
  })
})

test('no secret of ours goes up, by whichever carrier it came', () => {
  const key = KEYS.admin
  const token = SESSIONS.admin.token
  const decision = ask({
    target: `/queue?a=1&api_key=${key}&token=${key}`,
    headers: [
      ...['Authorization', `Basic ${Buffer.from(`x:${key}`).toString('base64')}`, 'X-API-Key', key, 'X_Api_Key', token],
      ...['Sec-WebSocket-Protocol', `comfy-auth.bearer.${Buffer.from(key).toString('base64url')}`],
      ...Object.entries(cookie(SESSIONS.admin.cookie)).flat(),
    ],
  })
  expect(decision).toMatchObject({ kind: 'forward', target: '/queue?a=1', headers: ['Host', '127.0.0.1:8188'] })
})
