import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decide } from '../../src/proxy/decide/decide.ts'
import { isRefusal } from '../../src/proxy/decide/refusal.ts'
import { parseTarget, type Target } from '../../src/proxy/decide/target.ts'
import { bearer, KEYS, makeFacts, makePolicy } from '../support/policy.ts'

function parse(raw: string): Target {
  const target = parseTarget(raw)
  if (isRefusal(target)) throw new Error(`${raw} was refused`)
  return target
}

const policy = makePolicy()
const outcome = (target: string, headers = {}, method = 'GET') => {
  const decision = decide(makeFacts({ method, target, headers }), policy)
  return decision.kind === 'refuse' ? decision.refusal.status : decision.kind
}

describe('a path is canonical', () => {
  test.each([
    ['/', ['']],
    ['/queue', ['queue']],
    ['/api/', ['api', '']],
    ['/%71ueue', ['queue']],
    ['/assets/a%20b.js', ['assets', 'a b.js']],
    ['/assets/%C3%BC.js', ['assets', 'ü.js']],
    ['/assets/\u00c3\u00bc.js', ['assets', 'ü.js']],
    ['/settings/Comfy.Foo:bar@1,2(3)*', ['settings', 'Comfy.Foo:bar@1,2(3)*']],
    ['/history/...', ['history', '...']],
    ['/assets/%EF%BB%BFx.js', ['assets', '\ufeffx.js']],
    ['/object_info/Foo%2F%2FBar', ['object_info', 'Foo//Bar']],
    ['/api/object_info/a%2fb', ['api', 'object_info', 'a/b']],
    ['/userdata/workflows%2Fname.json', ['userdata', 'workflows/name.json']],
    ['/userdata/workflows%252Fname.json', ['userdata', 'workflows/name.json']],
    ['/userdata/100%25.json', ['userdata', '100%.json']],
    ['/userdata/a%3Bb', ['userdata', 'a;b']],
    ['/api/userdata/a%2Fb/move/c%2Fd', ['api', 'userdata', 'a/b', 'move', 'c/d']],
    ['/userdata/%2563.json', ['userdata', 'c.json']],
  ])('%s', (raw, segments) => {
    expect(parse(raw).canonical?.segments).toEqual(segments)
  })
})

const DOUBTFUL = [
  '//',
  '//queue',
  '/queue//',
  '/./queue',
  '/assets/../queue',
  '/assets/..',
  '/assets/.',
  '/assets/%2e%2e/queue',
  '/assets/%2E/queue',
  '/assets/.%2e/x.js',
  '/assets%2fx.js',
  '/assets/%2fx.js',
  '/assets/a%5Cb.js',
  '/assets/a\\b.js',
  '/assets/a;b.js',
  '/assets/a%3Bb.js',
  '/assets/a%25b.js',
  '/assets/%252e%252e/x.js',
  '/assets/%00.js',
  '/assets/a%0d%0a.js',
  '/assets/%7f.js',
  '/assets/%C2%85.js',
  '/assets/%.js',
  '/assets/%4.js',
  '/assets/%zz.js',
  '/assets/%ff.js',
  '/assets/%c0%ae.js',
  '/assets/%ed%a0%80.js',
  '/assets/\u00ff.js',
  '/queue%2f.js',
  '/api..%2fqueue',
  '/object_info/..%2fqueue',
  '/object_info/a%2f.%2fb',
  '/object_info/a%2F%2e%2e%2Fb',
  '/object_info/a%5Cb',
  '/object_info/a%3Bb',
  '/object_info/a%25b',
  '/object_info/a%2Fb/c',
  '/models/a%2Fb',
  '/userdata/..%2fx',
  '/userdata/..%252fx',
  '/userdata/%252e%252e%252fx',
  '/userdata/%252e%252e',
  '/userdata/%2Fetc%2Fpasswd',
  '/userdata/%252Fetc',
  '/userdata/a%2F%2Fb',
  '/userdata/a%2F',
  '/userdata/a%5Cb',
  '/userdata/a%255Cb',
  '/userdata/a%00',
  '/userdata/a%2500',
  '/userdata/%25ff',
  '/userdata/a%2Fb/copy/c%2Fd',
  '/userdata/a/move/..%2Fb',
  '/v2/userdata/a%2Fb',
]

describe('a path is doubtful', () => {
  test.each(DOUBTFUL)('%s: never exempt, and only admin has it, byte for byte', (raw) => {
    expect(parse(raw).canonical).toBeUndefined()
    expect(outcome(raw)).toBe(401)
    expect(outcome(raw, bearer(KEYS.viewer))).toBe(403)
    expect(outcome(raw, bearer(KEYS.user), 'POST')).toBe(403)
    const decision = decide(makeFacts({ target: raw, headers: bearer(KEYS.admin) }), policy)
    expect(decision).toMatchObject({ kind: 'forward', target: raw, response: { sandbox: true } })
  })
})

describe('a target is 400', () => {
  test.each([
    '',
    '*',
    'queue',
    'http://127.0.0.1:8189/queue',
    '127.0.0.1:8189',
    '/queue#.js',
    '/assets/x.js#',
    '/queue?a=1#b',
    '/a b',
    '/a\tb',
    '/a\r\nb',
    '/a\u0000b',
    '/a\u007fb',
    '/a\u0100b',
    '\\queue',
  ])('%j', (target) => {
    expect(outcome(target, bearer(KEYS.admin))).toBe(400)
  })

  test('of CONNECT, whatever it is', () => {
    expect(outcome('/queue', bearer(KEYS.admin), 'CONNECT')).toBe(400)
    expect(outcome('127.0.0.1:80', bearer(KEYS.admin), 'CONNECT')).toBe(400)
  })
})

describe('the query loses a key and nothing else', () => {
  test.each([
    ['/queue?api_key=k', '/queue'],
    ['/queue?token=k', '/queue'],
    ['/queue?api_key=k&token=t', '/queue'],
    ['/queue?a=1&api_key=k&b=%2F+x', '/queue?a=1&b=%2F+x'],
    ['/queue?api_key=k&a', '/queue?a'],
    ['/queue?a&api_key=k', '/queue?a'],
    ['/queue?&&api_key=k', '/queue?&'],
    ['/queue?api%5Fkey=k', '/queue'],
    ['/queue?%61pi_key=k&x', '/queue?x'],
    ['/queue?api_key', '/queue'],
    ['/queue?api_key=', '/queue'],
    ['/userdata/workflows%2Fname.json?api_key=k', '/userdata/workflows%2Fname.json'],
  ])('%s goes up as %s', (raw, without) => {
    expect(parse(raw).withoutKey).toBe(without)
  })

  test.each([
    '/queue',
    '/queue?',
    '/queue?API_KEY=k',
    '/queue?xapi_key=k',
    '/queue?a=api_key=k',
    '/q?%zz&tokens=1',
    '/%zz?%ff=1',
  ])('%s goes up as it came', (raw) => {
    expect(parse(raw).withoutKey).toBe(raw)
  })
})

test('headers that name another path play no part', () => {
  for (const name of ['X-Original-URL', 'X-Rewrite-URL', 'X-Forwarded-Uri', 'X-Forwarded-Path']) {
    expect(outcome('/queue', { [name]: '/health' }), name).toBe(401)
    expect(outcome('/internal/logs', { [name]: '/queue', ...bearer(KEYS.viewer) }), name).toBe(403)
  }
})

/** Every reading that some server makes of a path, as a set of decoded paths. */
function readings(path: string): Set<string> {
  const lax = (text: string) => {
    try {
      return decodeURIComponent(text)
    } catch {
      return text
    }
  }
  const decoded = lax(path)
  const variants = [path, decoded, lax(decoded)].flatMap((text) => [text, text.replaceAll('\\', '/')])
  return new Set(
    variants
      .flatMap((text) => [text, text.split(';')[0]!, text.split('\u0000')[0]!])
      .map((text) => new URL(`http://h${text.startsWith('/') ? text : `/${text}`}`).pathname)
      .map((text) => lax(text).replaceAll(/\/+/g, '/')),
  )
}

test('no path of which two readings differ is canonical', () => {
  const piece = fc.constantFrom(
    ...'/ // . .. %2e %2E%2e %2f %5c \\ ; %3b %25 %252f %00 %ff %c3%bc a assets queue api x.js .js %2 % %zz'.split(' '),
  )
  const path = fc.array(piece, { minLength: 1, maxLength: 7 }).map((pieces) => `/${pieces.join('')}`)
  fc.assert(
    fc.property(path, (raw) => {
      const target = parseTarget(raw)
      if (isRefusal(target) || !target.canonical) return
      expect([...readings(raw)]).toHaveLength(1)
    }),
    { numRuns: 5_000 },
  )
})

test('whatever comes, parsing neither throws nor changes a target without a key', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      const target = parseTarget(`/${text}`)
      if (isRefusal(target) || text.includes('key') || text.includes('token')) return
      expect(target.withoutKey).toBe(`/${text}`)
    }),
    { numRuns: 2_000 },
  )
})
