import { describe, expect, test } from 'vitest'
import { digestOf } from '../../src/keys/digest.ts'
import { decide } from '../../src/proxy/decide/decide.ts'
import { judgeSecret } from '../../src/proxy/decide/identify.ts'
import { createThrottle } from '../../src/proxy/state/throttle.ts'
import {
  bearer,
  cookie,
  type FactsOverrides,
  KEYS,
  makeFacts,
  makeKnownKey,
  makePolicy,
  NOW_MS,
  SESSIONS,
  UNKNOWN_KEY,
} from '../support/policy.ts'

const WEAK = 'correct horse'
const keys = {
  [KEYS.viewer]: makeKnownKey({ id: 'viewer-id', role: 'viewer' }),
  [WEAK]: makeKnownKey({ id: 'weak-id' }),
  'a dead one': makeKnownKey({ id: 'dead-id', revoked: true }),
}
const calm = makePolicy({ keys })
const sessions = {
  [SESSIONS.viewer.cookie]: {
    id: 's',
    keyId: 'viewer-id',
    tokenDigest: digestOf(SESSIONS.viewer.token),
    endsMs: NOW_MS + 1,
  },
}
/** The client guessed too often: 60 seconds to wait. */
const blocked = makePolicy({ keys, sessions, throttledFor: (client) => (client === '127.0.0.1' ? 60 : undefined) })

const ask = (facts: FactsOverrides, policy = calm) => decide(makeFacts({ target: '/queue', ...facts }), policy)
const failures = (facts: FactsOverrides, policy = calm) => ask(facts, policy).account.failures

describe('a failed guess counts', () => {
  test('on every carrier', () => {
    const guess = digestOf('wrong guess')
    const base64 = Buffer.from('me:wrong guess').toString('base64')
    const protocol = `comfy-auth.bearer.${Buffer.from('wrong guess').toString('base64url')}`
    expect(failures({ headers: bearer('wrong guess') })).toEqual([guess])
    expect(failures({ headers: { 'X-API-Key': 'wrong guess' } })).toEqual([guess])
    expect(failures({ headers: { Authorization: `Basic ${base64}` } })).toEqual([guess])
    expect(failures({ target: '/queue?api_key=wrong%20guess' })).toEqual([guess])
    expect(failures({ target: '/queue?token=wrong%20guess' })).toEqual([guess])
    expect(failures({ headers: cookie('wrong guess') })).toEqual([guess])
    expect(failures({ target: '/ws', upgrade: true, headers: { 'Sec-WebSocket-Protocol': protocol } })).toEqual([guess])
  })

  test('once a digest, each distinct one of a request', () => {
    const target = '/queue?api_key=one%20guess&token=another'
    expect(failures({ target, headers: { 'X-API-Key': 'another' } })).toEqual([
      digestOf('another'),
      digestOf('one guess'),
    ])
  })

  test('twice where a query is read in two ways, unless one of them is a key', () => {
    const policy = makePolicy({ keys: { 'a b': makeKnownKey({ id: 'blank-id' }) } })
    expect(failures({ target: '/queue?api_key=x+y' }, policy)).toEqual([digestOf('x+y'), digestOf('x y')])
    expect(failures({ target: '/queue?api_key=a+b' }, policy)).toEqual([])
  })

  test('beside a live credential too, or a viewer could guess unthrottled', () => {
    const decision = ask({ headers: { ...bearer(KEYS.viewer), 'X-API-Key': 'wrong guess' } })
    expect(decision.kind).toBe('forward')
    expect(decision.account.failures).toEqual([digestOf('wrong guess')])
  })

  test('on an exempt Upgrade too, which it does not hinder', () => {
    const policy = makePolicy({ keys, exemptPaths: ['/ws'] })
    const decision = ask({ target: '/ws', upgrade: true, headers: bearer('wrong guess') }, policy)
    expect(decision.kind).toBe('forward')
    expect(decision.account.failures).toHaveLength(1)
  })
})

describe('a client with one guess left until it has to wait', () => {
  const last = makePolicy({ keys, guessesLeft: () => 1 })
  const headers = { ...bearer('guess 1'), 'X-API-Key': 'guess 2' }

  test('has one guess of a request looked at, and the rest not', () => {
    const asked: string[] = []
    const findKey: typeof last.findKey = (digest) => {
      asked.push(digest)
      return last.findKey(digest)
    }
    const decision = ask({ target: '/queue?api_key=guess%203&token=correct%20horse', headers }, { ...last, findKey })
    expect(decision).toMatchObject({ refusal: { status: 401 }, account: { failures: [digestOf('guess 1')] } })
    expect(new Set(asked)).toEqual(new Set([digestOf('guess 1')]))
  })

  test('is let in with a right one before it, or of our own format, and by the same one in two carriers', () => {
    const weak = encodeURIComponent(WEAK)
    expect(ask({ target: '/queue?api_key=guess', headers: bearer(WEAK) }, last).kind).toBe('forward')
    expect(ask({ headers: { ...bearer('guess'), 'X-API-Key': KEYS.viewer } }, last).kind).toBe('forward')
    expect(ask({ target: `/queue?api_key=${weak}&token=${weak}` }, last).kind).toBe('forward')
    expect(ask({ target: `/queue?api_key=${weak}`, headers: bearer(UNKNOWN_KEY) }, last).kind).toBe('forward')
    expect(ask({ target: '/queue?api_key=correct+horse' }, last).kind).toBe('forward')
  })
})

test('a guess in every carrier gets no more of them looked at in a day than one at a time', () => {
  const day = (perRequest: number) => {
    const throttle = createThrottle()
    let looked = 0
    let n = 0
    const policy = makePolicy({
      keys: {},
      throttledFor: (client, nowMs) => throttle.blockedFor(client, nowMs),
      guessesLeft: (client, nowMs) => throttle.guessesLeft(client, nowMs),
      findKey: () => {
        looked++
        return undefined
      },
    })
    for (let nowMs = NOW_MS; nowMs < NOW_MS + 86_400_000; nowMs++) {
      const next = () => `guess${n++}`
      const query = perRequest > 2 ? `?api_key=${next()}&token=${next()}` : ''
      const headers = { ...bearer(next()), ...(perRequest > 1 && { 'X-API-Key': next() }) }
      const { client, failures: failed } = ask({ target: `/queue${query}`, headers, nowMs }, policy).account
      for (const digest of failed) throttle.fail(client, digest, nowMs)
      nowMs += (throttle.blockedFor(client, nowMs) ?? 0) * 1_000
    }
    return looked
  }
  const one = day(1)
  expect(one).toBeGreaterThan(100)
  expect(day(4)).toBeLessThanOrEqual(one)
})

describe('a foreign page, which can have a visitor’s browser send any query', () => {
  const image = { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Dest': 'image' }
  const protocol = (key: string) => `comfy-auth.bearer.${Buffer.from(key).toString('base64url')}`
  const guesses = (key: string): [string, FactsOverrides][] => [
    ['cross-site', { target: `/view?api_key=${encodeURIComponent(key)}`, headers: image }],
    [
      'same-site',
      { target: `/queue?token=${encodeURIComponent(key)}`, headers: { ...image, 'Sec-Fetch-Site': 'same-site' } },
    ],
    [
      'a form',
      {
        method: 'POST',
        target: `/prompt?api_key=${encodeURIComponent(key)}`,
        headers: { ...image, 'Sec-Fetch-Dest': 'document' },
      },
    ],
    ['a frame', { target: `/?api_key=${encodeURIComponent(key)}`, headers: { ...image, 'Sec-Fetch-Dest': 'iframe' } }],
    ['a socket', { target: '/ws', upgrade: true, headers: { ...image, 'Sec-WebSocket-Protocol': protocol(key) } }],
    [
      "a socket of Chromium's",
      {
        target: '/ws',
        upgrade: true,
        headers: { Origin: 'http://evil.example', 'Sec-WebSocket-Protocol': protocol(key) },
      },
    ],
    [
      'an image over plain HTTP',
      {
        target: `/view?api_key=${encodeURIComponent(key)}`,
        headers: { Accept: 'image/*', Referer: 'http://evil.example/' },
      },
    ],
    [
      'a frame over plain HTTP',
      {
        target: `/?api_key=${encodeURIComponent(key)}`,
        headers: { Accept: 'text/html', Referer: 'http://evil.example/' },
      },
    ],
    [
      'a page fetched ahead',
      {
        target: `/?api_key=${encodeURIComponent(key)}`,
        headers: {
          ...image,
          'Sec-Fetch-Site': 'none',
          'Sec-Fetch-Mode': 'navigate',
          'Sec-Fetch-Dest': 'document',
          'Sec-Purpose': 'prefetch',
        },
      },
    ],
    ['a frame without an origin', { target: `/queue?token=${encodeURIComponent(key)}`, headers: { Origin: 'null' } }],
  ]

  const theirs = 'foreign pages at 127.0.0.1'
  const theirsBlocked = makePolicy({ keys, throttledFor: (client) => (client === theirs ? 60 : undefined) })

  test('locks nobody out by its guesses, which are held back among themselves', () => {
    for (const [name, facts] of guesses('wrong guess')) {
      expect(ask(facts), name).toMatchObject({ account: { guesser: theirs, failures: [digestOf('wrong guess')] } })
      expect(ask(facts, blocked), name).toMatchObject({ refusal: { status: 401 } })
    }
    for (const [name, facts] of [...guesses(WEAK), ...guesses('wrong guess')]) {
      const refused = { refusal: { status: 429 }, account: { failures: [] } }
      expect(ask(facts, theirsBlocked), name).toMatchObject(refused)
    }
    expect(ask({ headers: bearer(WEAK) }, theirsBlocked).kind).toBe('forward')
  })

  test('may show an image with a key, whatever its visitor guessed before', () => {
    for (const key of [WEAK, KEYS.viewer]) {
      for (const [name, facts] of guesses(key).filter(([kind]) => kind !== 'a form')) {
        expect(ask(facts), name).toMatchObject({ account: { principal: { keyId: expect.any(String) } } })
        expect(ask(facts, blocked), name).toMatchObject({ account: { principal: { keyId: expect.any(String) } } })
      }
    }
  })

  test('may lead to us with a key, which is asked about, and whose guesses count as its own', () => {
    const link = { ...image, 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' }
    expect(ask({ target: '/?api_key=correct%20horse', headers: link })).toMatchObject({ page: 'key-arrival' })
    expect(ask({ target: '/?api_key=wrong%20guess', headers: link })).toMatchObject({
      account: { guesser: theirs, failures: [digestOf('wrong guess')] },
    })
  })

  test('is no foreign one where --enable-cors-header names its origin', () => {
    const policy = makePolicy({ keys, corsOrigin: 'https://app.example' })
    const from = (Origin: string) => ask({ target: '/queue?api_key=wrong', headers: { ...image, Origin } }, policy)
    expect(from('https://app.example').account.guesser).toBe('127.0.0.1')
    expect(from('https://evil.example').account.guesser).toBe(theirs)
  })
})

describe('nothing counts', () => {
  test.each<[string, FactsOverrides]>([
    ['of a success', { headers: bearer(KEYS.viewer) }],
    ['without a credential', {}],
    ['with an empty one', { headers: { Authorization: 'Bearer ', 'X-API-Key': '' } }],
    ['of a dead key', { headers: bearer('a dead one') }],
    ['of a dead session', { headers: cookie(`comfys_${'0'.repeat(43)}`) }],
    ['of a dead storage token', { headers: bearer(`comfyt_${'0'.repeat(43)}`) }],
    ['of a session secret in the wrong place', { headers: { 'X-API-Key': SESSIONS.viewer.cookie } }],
    ['of anything with the session prefix', { headers: bearer('comfys_x') }],
    ['on an exempt request', { target: '/health', headers: bearer('wrong guess') }],
    ['of what is refused before', { target: '/#', headers: bearer('wrong guess') }],
  ])('%s', (_, facts) => {
    expect(failures(facts)).toEqual([])
  })
})

describe('a client that has to wait', () => {
  test('gets 429 with the wait, and no look-up', () => {
    const asked: string[] = []
    const policy = makePolicy({
      throttledFor: () => 60,
      findKey: (digest) => {
        asked.push(digest)
        return undefined
      },
    })
    const decision = ask({ headers: bearer('wrong guess') }, policy)
    expect(decision).toMatchObject({ refusal: { status: 429, reason: 'throttled', as: 'json', retryAfterSeconds: 60 } })
    expect(asked).toEqual([])
    expect(decision.account.failures).toEqual([])
  })

  test('gets it as a page where it loads one', () => {
    expect(ask({ headers: { ...bearer('x'), Accept: 'text/html' } }, blocked)).toMatchObject({
      refusal: { as: 'login' },
    })
  })

  test('gets the same for a right guess at a free-form key, and for a wrong one', () => {
    for (const secret of [WEAK, 'wrong guess', 'a dead one', UNKNOWN_KEY, `comfy_${'x'.repeat(49)}`]) {
      expect(ask({ headers: bearer(secret) }, blocked), secret).toMatchObject({ refusal: { status: 429 } })
    }
    expect(ask({ headers: cookie('wrong') }, blocked)).toMatchObject({ refusal: { status: 429 } })
  })

  test('is never refused with a live key of our own format, or a live session', () => {
    expect(ask({ headers: bearer(KEYS.viewer) }, blocked).kind).toBe('forward')
    expect(ask({ headers: cookie(SESSIONS.viewer.cookie) }, blocked).kind).toBe('forward')
  })

  test('learns nothing from a guess beside such a key', () => {
    for (const guess of [WEAK, 'wrong guess']) {
      const decision = ask({ headers: { ...bearer(KEYS.viewer), 'X-API-Key': guess } }, blocked)
      expect(decision).toMatchObject({ kind: 'forward', account: { principal: { keyId: 'viewer-id' }, failures: [] } })
    }
  })

  test('sees 401, not 429, without a credential or with a dead session: the page must not lock itself out', () => {
    expect(ask({}, blocked)).toMatchObject({ refusal: { status: 401 } })
    expect(ask({ headers: cookie(`comfys_${'0'.repeat(43)}`) }, blocked)).toMatchObject({ refusal: { status: 401 } })
  })

  test('still gets what is open', () => {
    expect(ask({ target: '/health', headers: bearer('x') }, blocked).kind).toBe('page')
    expect(ask({ target: '/auth_login.html', headers: bearer('x') }, blocked).kind).toBe('page')
  })
})

test('the login form judges its key the same way', () => {
  expect(judgeSecret(KEYS.viewer, 60, NOW_MS, blocked)).toMatchObject({ kind: 'live', key: { id: 'viewer-id' } })
  expect(judgeSecret(WEAK, 60, NOW_MS, blocked)).toEqual({ kind: 'throttled', seconds: 60 })
  expect(judgeSecret(WEAK, undefined, NOW_MS, calm)).toMatchObject({ kind: 'live' })
  expect(judgeSecret('a dead one', undefined, NOW_MS, calm)).toEqual({ kind: 'dead' })
  expect(judgeSecret('nobody', undefined, NOW_MS, calm)).toEqual({ kind: 'unknown', digest: digestOf('nobody') })
  expect(judgeSecret(SESSIONS.viewer.cookie, undefined, NOW_MS, calm)).toEqual({ kind: 'session' })
})
