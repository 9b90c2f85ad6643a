import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cookieValues } from '../../src/proxy/decide/carriers.ts'
import { decide } from '../../src/proxy/decide/decide.ts'
import type { Carrier } from '../../src/proxy/decide/facts.ts'
import {
  bearer,
  cookie,
  type FactsOverrides,
  KEYS,
  makeFacts,
  makeKnownKey,
  makePolicy,
  type PolicyOverrides,
  SESSIONS,
  UNKNOWN_KEY,
} from '../support/policy.ts'

const base64url = (text: string) => Buffer.from(text).toString('base64url')
const basic = (pair: string) => ({ Authorization: `Basic ${Buffer.from(pair).toString('base64')}` })
const subprotocol = (key: string) => ({ 'Sec-WebSocket-Protocol': `comfy-auth.bearer.${base64url(key)}` })

function ask(facts: FactsOverrides, policy: PolicyOverrides = {}) {
  return decide(makeFacts({ target: '/queue', ...facts }), makePolicy(policy))
}

/** By which carrier whom, or the refusal's status and reason. */
function who(facts: FactsOverrides, policy: PolicyOverrides = {}) {
  const decision = ask(facts, policy)
  if (decision.kind === 'refuse') return `${decision.refusal.status} ${decision.refusal.reason}`
  const { principal } = decision.account
  return `${principal?.carrier} ${principal?.keyId}`
}

const BY_CARRIER: readonly (readonly [Carrier, (key: string) => FactsOverrides])[] = [
  ['bearer', (key) => ({ headers: bearer(key) })],
  ['x-api-key', (key) => ({ headers: { 'X-API-Key': key } })],
  ['basic', (key) => ({ headers: basic(`anyone:${key}`) })],
  ['query', (key) => ({ target: `/queue?api_key=${encodeURIComponent(key)}` })],
  ['query', (key) => ({ target: `/queue?a=1&token=${encodeURIComponent(key)}` })],
  ['subprotocol', (key) => ({ target: '/ws', upgrade: true, headers: subprotocol(key) })],
]

describe('a key counts', () => {
  test.each(BY_CARRIER)('as %s (%#)', (carrier, carry) => {
    expect(who(carry(KEYS.user))).toBe(`${carrier} user-id`)
    expect(who(carry(UNKNOWN_KEY))).toBe('401 unknown-credential')
    expect(who(carry(''))).toBe('401 no-credential')
  })

  test('as a cookie only by its session', () => {
    expect(who({ headers: cookie(SESSIONS.user.cookie) })).toBe('cookie user-id')
    expect(who({ headers: cookie(KEYS.user) })).toBe('401 unknown-credential')
    expect(who({ headers: cookie('') })).toBe('401 no-credential')
    expect(who({ headers: cookie(SESSIONS.user.cookie, 'comfy_auth_9999') })).toBe('401 no-credential')
  })

  test.each(['\u00a0', '\u0085', '\u000b'])(
    'not with a byte before its name (%j), by which a browser takes it for another',
    (byte) => {
      const headers = cookie(SESSIONS.user.cookie, `${byte}__Host-comfy_auth_8189`)
      expect(who({ secure: true, headers })).toBe('401 no-credential')
    },
  )

  test('over TLS only under its __Host- name, which no other port or plain page can set', () => {
    const headers = cookie(SESSIONS.user.cookie, '__Host-comfy_auth_8189')
    expect(who({ secure: true, headers })).toBe('cookie user-id')
    expect(who({ secure: true, headers: cookie(SESSIONS.user.cookie) })).toBe('401 no-credential')
    expect(who({ secure: false, headers })).toBe('401 no-credential')
  })

  test('as a cookie under the name that fits what the browser sees: --public-url, or a trusted proxy before us', () => {
    const plain = { headers: cookie(SESSIONS.user.cookie) }
    const host = { headers: cookie(SESSIONS.user.cookie, '__Host-comfy_auth_8189') }
    const publicUrl = new URL('https://localhost')
    expect(who(host, { publicUrl })).toBe('cookie user-id')
    expect(who(plain, { publicUrl })).toBe('401 no-credential')
    expect(who({ ...plain, secure: true }, { publicUrl: new URL('http://localhost') })).toBe('cookie user-id')
    const behind = (proto: string) => ({ headers: { ...host.headers, 'X-Forwarded-Proto': proto } })
    const isTrustedProxy = () => true
    expect(who(behind('https'), { isTrustedProxy })).toBe('cookie user-id')
    expect(who(behind('http, HTTPS '), { isTrustedProxy })).toBe('cookie user-id')
    expect(who(behind('https, http'), { isTrustedProxy })).toBe('401 no-credential')
    expect(who(behind('https'))).toBe('401 no-credential')
  })

  test('in any case of its scheme and its header name, with blanks around it', () => {
    expect(who({ headers: ['AUTHORIZATION', `bEARER   ${KEYS.user} `] })).toBe('bearer user-id')
    expect(who({ headers: ['x-aPI-kEY', KEYS.user] })).toBe('x-api-key user-id')
  })

  test('under no other scheme', () => {
    for (const scheme of ['Digest', 'Bearerx', 'Token', '']) {
      expect(who({ headers: ['Authorization', `${scheme} ${KEYS.user}`] }), scheme).toBe('401 no-credential')
    }
    expect(who({ headers: ['Authorization', KEYS.user] })).toBe('401 no-credential')
  })

  test('as the password of Basic alone', () => {
    for (const pair of [`${KEYS.user}:`, KEYS.user, `${KEYS.user}:x:`]) {
      expect(who({ headers: basic(pair) }), pair).not.toContain('user-id')
    }
    expect(who({ headers: ['Authorization', 'Basic !!!'] })).toBe('401 no-credential')
  })

  test.each(['pass:with:colons', 'grüße-aus-kuchen', 'voilà', 'a b c d e f'])('free-form: %s', (key) => {
    const policy = { keys: { [key]: makeKnownKey({ id: 'free' }) } }
    const latin1 = Buffer.from(key).toString('latin1')
    expect(who({ headers: bearer(latin1) }, policy)).toBe('bearer free')
    expect(who({ headers: { 'X-API-Key': latin1 } }, policy)).toBe('x-api-key free')
    expect(who({ headers: basic(`me:${key}`) }, policy)).toBe('basic free')
    expect(
      who({ headers: { Authorization: `Basic ${Buffer.from(`me:${key}`, 'latin1').toString('base64')}` } }, policy),
    ).toBe('basic free')
    expect(who({ target: `/queue?api_key=${encodeURIComponent(key)}` }, policy)).toBe('query free')
    expect(who({ target: '/ws', upgrade: true, headers: subprotocol(key) }, policy)).toBe('subprotocol free')
  })

  test('in a query with its + as a plus or as a blank', () => {
    for (const key of ['abc+def/ghi+jk=', 'abc def ghi jk']) {
      const policy = { keys: { [key]: makeKnownKey({ id: 'plus' }) } }
      const sent = key.replaceAll(' ', '+')
      expect(who({ target: `/queue?api_key=${sent}` }, policy)).toBe('query plus')
      expect(who({ target: `/queue?api_key=${encodeURIComponent(key)}` }, policy)).toBe('query plus')
    }
    const dead = { 'a b c d e f': makeKnownKey({ revoked: true }) }
    expect(who({ target: '/queue?api_key=a+b+c+d+e+f' }, { keys: dead })).toBe('401 dead-credential')
    const unknown = ask({ target: '/queue?api_key=wrong+guess' })
    expect(unknown.account.failures).toHaveLength(2) // both were looked at
  })

  test('under an encoded name, which whoever reads after us would decode', () => {
    expect(who({ target: `/queue?api%5fkey=${KEYS.user}` })).toBe('query user-id')
  })
})

describe('a doubled carrier is 400', () => {
  test.each([
    ['Authorization', ['Authorization', `Bearer ${KEYS.user}`, 'authorization', `Bearer ${KEYS.user}`]],
    ['an empty Authorization', ['Authorization', `Bearer ${KEYS.user}`, 'Authorization', '']],
    ['X-API-Key', ['X-API-Key', KEYS.user, 'x-api-key', UNKNOWN_KEY]],
    ['Cookie in HTTP/1', ['Cookie', 'a=1', 'Cookie', `comfy_auth_8189=${SESSIONS.user.cookie}`]],
    ['the subprotocol', ['Sec-WebSocket-Protocol', `comfy-auth.bearer.${base64url(KEYS.user)}, comfy-auth.bearer.x`]],
    [
      'the subprotocol in two fields',
      [
        'Sec-WebSocket-Protocol',
        `comfy-auth.bearer.${base64url(KEYS.user)}`,
        'Sec-WebSocket-Protocol',
        'comfy-auth.bearer.x',
      ],
    ],
  ])('%s', (_, headers) => {
    expect(who({ headers })).toBe('400 doubled-carrier')
  })

  test('api_key in the query, token in the query', () => {
    expect(who({ target: `/queue?api_key=${KEYS.user}&api_key=${KEYS.user}` })).toBe('400 doubled-carrier')
    expect(who({ target: `/queue?token=${KEYS.user}&token=x` })).toBe('400 doubled-carrier')
    expect(who({ target: `/queue?token=&token=${KEYS.user}` })).toBe('query user-id')
  })
})

describe('several carriers', () => {
  test('of two live keys are 400', () => {
    expect(who({ headers: { ...bearer(KEYS.user), 'X-API-Key': KEYS.viewer } })).toBe('400 conflicting-keys')
    expect(who({ target: `/queue?api_key=${KEYS.user}&token=${KEYS.admin}` })).toBe('400 conflicting-keys')
    expect(who({ headers: { ...bearer(KEYS.user), ...cookie(SESSIONS.viewer.cookie) } })).toBe('400 conflicting-keys')
  })

  test('of one key are one, by the one that no browser sends by itself', () => {
    const headers = { ...cookie(SESSIONS.user.cookie), 'X-API-Key': KEYS.user }
    expect(who({ headers, target: `/queue?api_key=${KEYS.user}` })).toBe('x-api-key user-id')
    const decision = ask({ headers })
    expect(decision.account.principal).toMatchObject({ ambient: false, sessionId: 'user-session' })
  })

  test('with an unknown or dead one beside a live one: that one is dropped', () => {
    const keys = {
      [KEYS.user]: makeKnownKey({ id: 'user-id', role: 'user' }),
      'a dead key': makeKnownKey({ id: 'dead', revoked: true }),
    }
    expect(who({ headers: { ...basic('nginx:its-own-password'), 'X-API-Key': KEYS.user } }, { keys })).toBe(
      'x-api-key user-id',
    )
    expect(who({ headers: { ...bearer('a dead key'), 'X-API-Key': KEYS.user } }, { keys })).toBe('x-api-key user-id')
    expect(who({ headers: { ...cookie(`comfys_${'z'.repeat(43)}`), 'X-API-Key': KEYS.user } }, { keys })).toBe(
      'x-api-key user-id',
    )
  })
})

describe('cookies', () => {
  const name = 'comfy_auth_8189'
  const { user, viewer } = SESSIONS

  test('of our name are all looked at: one live session is used, wherever it stands', () => {
    const dead = `comfys_${'0'.repeat(43)}`
    for (const pairs of [
      [`${name}=${dead}`, `${name}=${user.cookie}`],
      [`${name}=${user.cookie}`, `${name}=tossed`],
      [`a=1`, `${name}=${user.cookie}`, `${name}=${user.cookie}`],
    ]) {
      expect(who({ headers: { Cookie: pairs.join('; ') } })).toBe('cookie user-id')
    }
  })

  test('with two live sessions are 401 and the login page, even of one key', () => {
    const both = { Cookie: `${name}=${user.cookie}; ${name}=${viewer.cookie}` }
    expect(who({ headers: both })).toBe('401 two-sessions')
    const page = ask({ headers: { ...both, Accept: 'text/html' } })
    expect(page).toMatchObject({ refusal: { as: 'login', challenge: 'bearer' } })
    const sessions = { [user.cookie]: session('one'), [viewer.cookie]: session('two') }
    expect(who({ headers: both }, { sessions })).toBe('401 two-sessions')
    expect(who({ headers: { ...both, ...bearer(KEYS.user) } }, { sessions })).toBe('401 two-sessions')
  })

  test('with two live sessions may log out, of both, where the request is ours', () => {
    const both = { Cookie: `${name}=${user.cookie}; ${name}=${viewer.cookie}` }
    const logout = (headers: Record<string, string>) =>
      ask({ method: 'POST', target: '/auth_logout', headers: { ...both, ...headers } })
    const ours = logout({ Origin: 'http://127.0.0.1:8189' })
    expect(ours).toMatchObject({ kind: 'page', page: 'logout-post', account: { principal: undefined } })
    const foreign = logout({ Origin: 'http://127.0.0.1:9999' })
    expect(foreign).toMatchObject({ kind: 'refuse', refusal: { reason: 'foreign-origin' } })
  })

  test('with two live sessions give way to a key that a browser brings in its address', () => {
    const headers = { Cookie: `${name}=${user.cookie}; ${name}=${viewer.cookie}`, Accept: 'text/html' }
    const decision = ask({ target: `/?api_key=${KEYS.user}`, headers })
    expect(decision).toMatchObject({ kind: 'page', page: 'key-arrival' })
  })

  test('of HTTP/2 may come in several fields', () => {
    const headers = ['cookie', 'a=1', 'cookie', `${name}=${user.cookie}`, 'cookie', 'b=2']
    expect(who({ http2: true, headers })).toBe('cookie user-id')
  })

  test('are read by exact name', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('a', name, `x${name}`, `${name}x`), fc.stringMatching(/^[a-z0-9]*$/))),
        (pairs) => {
          const header = pairs.map(([key, value]) => `${key}=${value}`).join('; ')
          const ours = pairs.filter(([key, value]) => key === name && value !== '').map(([, value]) => value)
          expect(cookieValues(header, name)).toEqual([...new Set(ours)])
        },
      ),
    )
    expect(cookieValues(`${name}; a=${name}=x;;=; ${name} = y `, name)).toEqual(['y'])
  })
})

function session(id: string) {
  return { id, keyId: 'user-id', tokenDigest: 'x' as never, endsMs: Number.MAX_SAFE_INTEGER }
}

describe('a 401', () => {
  const challenge = (headers: Record<string, string>) => {
    const decision = ask({ headers })
    return decision.kind === 'refuse' ? decision.refusal.challenge : undefined
  }

  test('offers Bearer and Basic where nothing speaks of a browser', () => {
    expect(challenge({ 'User-Agent': 'Mozilla/5.0', Accept: '*/*' })).toBe('bearer-basic')
  })

  test.each(['Sec-Fetch-Site', 'Sec-Fetch-Mode', 'Sec-Fetch-Dest', 'Origin', 'Referer', 'Accept-Language'])(
    'offers Bearer alone beside %s, or a browser would open its dialog',
    (name) => {
      expect(challenge({ [name]: 'x' })).toBe('bearer')
    },
  )

  test('offers Bearer alone with the login page', () => {
    expect(challenge({ Accept: 'text/html' })).toBe('bearer')
  })
})

test('no header, however odd, makes carriers throw', () => {
  const names = fc.constantFrom('Authorization', 'X-API-Key', 'Cookie', 'Sec-WebSocket-Protocol')
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.string({ maxLength: 20 }).map((value) => `Basic ${value}`),
    fc.string({ maxLength: 20 }).map((value) => `comfy-auth.bearer.${value}`),
    fc.string({ maxLength: 20 }).map((value) => `comfy_auth_8189=${value}`),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(names, text), { maxLength: 4 }), (pairs) => {
      const decision = ask({ headers: pairs.flat() })
      expect(decision).toMatchObject({ kind: 'refuse' })
    }),
    { numRuns: 1_000 },
  )
})
